//! The default router: content by GUID, its other versions, content by vanity path and by host, the protocol and the dashboard.
//!
//! | path | goes to |
//! |---|---|
//! | `/connect/…` | the dashboard |
//! | `/__oauth__/…` | the dashboard: where providers of OAuth send people back to |
//! | `/__api__/…` | the publishing protocol |
//! | `/__lectern__/…` | Lectern's own API |
//! | `/__docs__/…` | the documentation, which the dashboard shows |
//! | `/.well-known/oauth-authorization-server` | the publishing protocol, which says there how programs sign their users in |
//! | anything else on a host of the setting `hosts` | its content item |
//! | `/` | redirect to `/connect/` |
//! | `/content/<guid>/…` | the content item |
//! | `/content/<guid>/_bundle<n>/…`, `…/_rev<n>/…` | version `n` of it, for those who may preview it |
//! | `/content/<guid>/v<key>/…`, and versions below it | the variant of it that has the key |
//! | a vanity path | the content item that has it |
//!
//! Addresses of directories without their slash are redirected to the ones with it, because pages refer to their parts
//! relatively. It reads the first segments of the path and seldom more, so that its decisions are reused; the host only where some
//! are configured.

mod hosts;

use lectern_plugin::web::{encode_path, keep_query};
use lectern_plugin::{Decision, Failure, Forward, Host, Mount, Reply, Router, export_router};
use serde::Deserialize;

use hosts::Hosts;

/// Where programs look for the server's way to sign users in (RFC 8414 §3).
const OAUTH_METADATA: &str = "/.well-known/oauth-authorization-server";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    hosts: Hosts,
}

/// The plugin.
#[derive(Debug)]
pub struct ContentRouter;

export_router!(ContentRouter);

impl Router for ContentRouter {
    fn check(host: &impl Host) -> Result<(), Failure> {
        let settings: Settings = host.settings()?;
        settings.hosts.problem().map_or(Ok(()), |problem| Err(Failure::Misconfigured(problem)))
    }

    fn route(host: &impl Host) -> Result<Decision, Failure> {
        let settings: Settings = host.settings()?;
        let first = host.path_prefix(1);
        Ok(match first.as_str() {
            "/connect" if host.path_has_prefix("/connect/") => Decision::Forward(Forward::to("system:dashboard")),
            "/connect" => directory(host, "/connect/", Forward::to("system:dashboard")),
            "/__oauth__" => Decision::Forward(Forward::to("system:dashboard")),
            "/__api__" => Decision::Forward(Forward::to("system:api")),
            "/__docs__" => Decision::Forward(Forward::to("system:dashboard")),
            "/__lectern__" => Decision::Forward(Forward::to("system:lectern")),
            "/.well-known" if host.path_prefix(2) == OAUTH_METADATA => Decision::Forward(Forward::to("system:api")),
            // Pages of plugins: the server's own, on every host.
            "/__plugin__" => Decision::Next,
            first => match settings.hosts.content(host) {
                Some(guid) => Decision::Forward(Forward::to(&format!("content:{guid}"))),
                None => elsewhere(host, first),
            },
        })
    }
}

/// On hosts that are no content item's own.
fn elsewhere(host: &impl Host, first: &str) -> Decision {
    match first {
        // `//x` has an empty first segment too.
        "/" if host.path_has_prefix("//") => Decision::Next,
        "/" => directory(host, "/connect/", Forward::to("system:dashboard")),
        "/content" => content(host),
        _ => host.vanity().map_or(Decision::Next, |mount| vanity(host, &mount)),
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
    // Asked as yes or no: the third segment itself is the content's own business.
    if host.path_has_prefix(&format!("{base}/v")) {
        let third = host.path_prefix(3);
        if let Some(key) = variant(&third[base.len() + 1..]) {
            let forward = Forward::to(&format!("content:{guid}")).strip_segments(3).hint("variant", key);
            if !host.path_has_prefix(&format!("{third}/")) {
                return directory(host, &format!("{third}/"), forward);
            }
            let versioned = |bundle: &str| forward.clone().strip_segments(4).hint("bundle", bundle);
            return of_version(host, &third, 4, versioned).unwrap_or_else(|| Decision::Forward(forward.clone()));
        }
    }
    let versioned = |bundle: &str| Forward::to(&format!("content:{guid}")).strip_segments(3).hint("bundle", bundle);
    of_version(host, &base, 3, versioned).unwrap_or(Decision::Forward(forward))
}

/// What `forward` makes of the version that the segment after `base` names, which is the one of this number; `None`: it names none.
fn of_version(host: &impl Host, base: &str, segment: u32, forward: impl Fn(&str) -> Forward) -> Option<Decision> {
    if !host.path_has_prefix(&format!("{base}/_")) {
        return None;
    }
    let named = host.path_prefix(segment);
    let forward = forward(version(&named[base.len() + 1..])?);
    let slashed = format!("{named}/");
    Some(if host.path_has_prefix(&slashed) { Decision::Forward(forward) } else { directory(host, &slashed, forward) })
}

fn vanity(host: &impl Host, mount: &Mount) -> Decision {
    let forward = Forward::to(&format!("content:{}", mount.content)).strip_segments(mount.segments);
    if host.path_has_prefix(&mount.path) {
        Decision::Forward(forward)
    } else {
        directory(host, &encode_path(&mount.path), forward)
    }
}

/// Sends readers to the address with its slash, query included. Other methods are handed on as they are, because not every client
/// repeats a body; so is a query that is too long for a redirect.
fn directory(host: &impl Host, location: &str, forward: Forward) -> Decision {
    if !host.reads() {
        return Decision::Forward(forward);
    }
    match keep_query(location, host.query().as_deref()) {
        Some(location) => Decision::Respond(Reply::redirect(307, &location)),
        None => Decision::Forward(forward),
    }
}

/// The hyphenated form, in either case.
fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The key in `va7c3f09e`: eight hexadecimal digits, of which the first is a letter and the second is none, as the server makes them.
/// Words, dates and versions that begin with a `v` are the content's.
fn variant(segment: &str) -> Option<&str> {
    let key = segment.strip_prefix('v')?;
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let fits = key.len() == 8 && key.bytes().all(hexadecimal);
    (fits && !key.as_bytes()[0].is_ascii_digit() && key.as_bytes()[1].is_ascii_digit()).then_some(key)
}

/// The number in `_bundle33` or `_rev33`. Other segments that begin with an underscore are the content's.
fn version(segment: &str) -> Option<&str> {
    let number = segment.strip_prefix("_bundle").or_else(|| segment.strip_prefix("_rev"))?;
    let fits = (1..=18).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    (fits && !number.starts_with('0')).then_some(number)
}

#[cfg(test)]
mod tests;
