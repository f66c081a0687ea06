//! The default router: content by GUID, its other versions, content by vanity path, the protocol and the dashboard.
//!
//! | path | goes to |
//! |---|---|
//! | `/` | redirect to `/connect/` |
//! | `/connect/…` | the dashboard |
//! | `/__api__/…` | the publishing protocol |
//! | `/content/<guid>/…` | the content item |
//! | `/content/<guid>/_bundle<n>/…`, `…/_rev<n>/…` | version `n` of it, for those who may preview it |
//! | a vanity path | the content item that has it |
//!
//! Addresses of directories without their slash are redirected to the ones with it, because pages refer to their parts
//! relatively. It reads the first segments of the path and seldom more, so that its decisions are reused.

use lectern_plugin::web::encode_path;
use lectern_plugin::{Decision, Failure, Forward, Host, Mount, Reply, Router, export_router};

/// The plugin.
#[derive(Debug)]
pub struct ContentRouter;

export_router!(ContentRouter);

impl Router for ContentRouter {
    fn route(host: &impl Host) -> Result<Decision, Failure> {
        Ok(match host.path_prefix(1).as_str() {
            // `//x` has an empty first segment too.
            "/" if host.path_has_prefix("//") => Decision::Next,
            "/" => directory(host, "/connect/", Forward::to("system:dashboard")),
            "/connect" if host.path_has_prefix("/connect/") => Decision::Forward(Forward::to("system:dashboard")),
            "/connect" => directory(host, "/connect/", Forward::to("system:dashboard")),
            "/__api__" => Decision::Forward(Forward::to("system:api")),
            "/content" => content(host),
            _ => host.vanity().map_or(Decision::Next, |mount| vanity(host, &mount)),
        })
    }
}

/// `/content/<guid>/…`. A malformed GUID is nobody's, so the client gets 404.
fn content(host: &impl Host) -> Decision {
    let base = host.path_prefix(2);
    let Some(guid) = base.strip_prefix("/content/").filter(|guid| is_guid(guid)) else { return Decision::Next };
    let forward = Forward::to(&format!("content:{guid}")).strip_segments(2);
    if !host.path_has_prefix(&format!("{base}/")) {
        return directory(host, &format!("{base}/"), forward);
    }
    // Asked as a yes or no: the third segment itself is the content's own business.
    if host.path_has_prefix(&format!("{base}/_")) {
        let third = host.path_prefix(3);
        if let Some(bundle) = version(&third[base.len() + 1..]) {
            let forward = Forward::to(&format!("content:{guid}")).strip_segments(3).hint("bundle", bundle);
            let slashed = format!("{third}/");
            return if host.path_has_prefix(&slashed) {
                Decision::Forward(forward)
            } else {
                directory(host, &slashed, forward)
            };
        }
    }
    Decision::Forward(forward)
}

fn vanity(host: &impl Host, mount: &Mount) -> Decision {
    let forward = Forward::to(&format!("content:{}", mount.content)).strip_segments(mount.segments);
    if host.path_has_prefix(&mount.path) {
        Decision::Forward(forward)
    } else {
        directory(host, &encode_path(&mount.path), forward)
    }
}

/// Sends readers to the address with its slash, query included. Other methods are handed on as they are: not every client
/// repeats a body.
fn directory(host: &impl Host, location: &str, forward: Forward) -> Decision {
    if !host.reads() {
        return Decision::Forward(forward);
    }
    let location = match host.query() {
        Some(query) => format!("{location}?{query}"),
        None => location.to_owned(),
    };
    Decision::Respond(Reply::redirect(307, &location))
}

/// The hyphenated form, in either case.
fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The number in `_bundle33` or `_rev33`. Other segments that begin with an underscore are the content's.
fn version(segment: &str) -> Option<&str> {
    let number = segment.strip_prefix("_bundle").or_else(|| segment.strip_prefix("_rev"))?;
    let fits = (1..=18).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    (fits && !number.starts_with('0')).then_some(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lectern_plugin::{Mock, Rewrite};

    const GUID: &str = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162";

    /// A decision on one line: `next`, `307 <location>` or `<target> <rewrite> <hints>`.
    fn line(mock: &Mock) -> String {
        match ContentRouter::route(mock).unwrap() {
            Decision::Next => "next".into(),
            Decision::Respond(reply) => format!("{} {}", reply.status, reply.field("location").unwrap()),
            Decision::Forward(forward) => {
                let rewrite = match forward.rewrite {
                    Rewrite::Keep => "keep".into(),
                    Rewrite::StripSegments(n) => format!("strip {n}"),
                    Rewrite::Replace(path) => format!("replace {path}"),
                };
                let hints: String = forward.hints.iter().map(|(name, value)| format!(" {name}={value}")).collect();
                format!("{} {rewrite}{hints}", forward.target)
            }
        }
    }

    #[test]
    fn every_kind_of_address() {
        let content = format!("content:{GUID}");
        let cases = [
            ("/".into(), "307 /connect/".into()),
            ("/?a=1".into(), "307 /connect/?a=1".into()),
            ("//".into(), "next".into()),
            ("//connect/".into(), "next".into()),
            ("/connect".into(), "307 /connect/".into()),
            ("/connect/".into(), "system:dashboard keep".into()),
            ("/connect/apps".into(), "system:dashboard keep".into()),
            ("/connected".into(), "next".into()),
            ("/__api__".into(), "system:api keep".into()),
            ("/__api__/v1/user".into(), "system:api keep".into()),
            ("/__api__x".into(), "next".into()),
            ("/content".into(), "next".into()),
            ("/content/".into(), "next".into()),
            ("/content/nonsense/".into(), "next".into()),
            (format!("/content/{GUID}x/"), "next".into()),
            (format!("/content/{}/", GUID.replace('-', "_")), "next".into()),
            (format!("/content/{GUID}"), format!("307 /content/{GUID}/")),
            (format!("/content/{GUID}?x=//y"), format!("307 /content/{GUID}/?x=//y")),
            (format!("/content/{GUID}/"), format!("{content} strip 2")),
            (format!("/content/{GUID}/a/b"), format!("{content} strip 2")),
            (format!("/content/{}/a", GUID.to_uppercase()), format!("content:{} strip 2", GUID.to_uppercase())),
            (format!("/content/{GUID}/_bundle33/"), format!("{content} strip 3 bundle=33")),
            (format!("/content/{GUID}/_bundle33/a"), format!("{content} strip 3 bundle=33")),
            (format!("/content/{GUID}/_rev7/"), format!("{content} strip 3 bundle=7")),
            (format!("/content/{GUID}/_bundle33"), format!("307 /content/{GUID}/_bundle33/")),
            (format!("/content/{GUID}/_bundle/"), format!("{content} strip 2")),
            (format!("/content/{GUID}/_bundle0/"), format!("{content} strip 2")),
            (format!("/content/{GUID}/_bundle3x/"), format!("{content} strip 2")),
            (format!("/content/{GUID}/_dash-layout"), format!("{content} strip 2")),
            ("/elsewhere".into(), "next".into()),
        ];
        for (path, expected) in cases {
            let expected: String = expected;
            assert_eq!(line(&Mock::get(&path)), expected, "{path}");
        }
    }

    #[test]
    fn vanity_paths() {
        let at = |mock: Mock| line(&mock.vanity("/sales/new plan/", GUID));
        assert_eq!(at(Mock::get("/sales/new plan/x")), format!("content:{GUID} strip 2"));
        assert_eq!(at(Mock::get("/sales/new plan/")), format!("content:{GUID} strip 2"));
        assert_eq!(at(Mock::get("/sales/new plan?q")), "307 /sales/new%20plan/?q");
        assert_eq!(at(Mock::post("/sales/new plan")), format!("content:{GUID} strip 2"));
    }

    #[test]
    fn bodies_are_never_redirected() {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            assert_eq!(line(&Mock::new(method, &format!("/content/{GUID}"))), format!("content:{GUID} strip 2"));
        }
        assert_eq!(line(&Mock::new("HEAD", &format!("/content/{GUID}"))), format!("307 /content/{GUID}/"));
    }

    #[test]
    fn content_is_routed_by_its_first_two_segments() {
        let mock = Mock::get(&format!("/content/{GUID}/page/7?x=1"));
        line(&mock);
        let base = format!("/content/{GUID}");
        assert_eq!(
            mock.asked(),
            [
                "path-prefix 1",
                "path-prefix 2",
                &format!("path-has-prefix {base}/"),
                &format!("path-has-prefix {base}/_"),
            ]
        );
        let api = Mock::get("/__api__/v1/content?x");
        line(&api);
        assert_eq!(api.asked(), ["path-prefix 1"]);
    }
}
