//! What a guest hands over, turned into values the host may act on, or refused. WebAssembly checks none of this.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use lectern_domain::plugin::{GrantKind, Grants, Origin};
use lectern_domain::{BundleId, ContentGuid};
use url::Url;

use crate::answer::{Forward, Identity, Reply, Rewrite, System, Target};
use crate::bindings::exports::lectern::plugin::routing as guest_routing;
use crate::bindings::lectern::plugin::types as guest;
use crate::error::BadAnswer;
use crate::head::{Head, is_own_cookie};
use crate::path::RequestPath;

/// Fields of one reply or one forward. Real ones have a dozen.
const MAX_FIELDS: usize = 64;
/// Bytes of all names and values together: what common clients accept.
const MAX_FIELD_BYTES: usize = 16 << 10;
/// Bytes of a reply's body: a page, not a download.
const MAX_REPLY_BODY_BYTES: usize = 256 << 10;
/// Bytes of a short text: a subject, a name, a key.
const MAX_TEXT_BYTES: usize = 256;
/// Groups of one identity, and claims. Directories with more than this many groups per person exist, and filter them.
const MAX_LIST: usize = 1_000;
/// Hints of one forward.
const MAX_HINTS: usize = 16;

/// Fields of a connection or of framing: the host's alone, in both directions (RFC 9110 §7.6.1, RFC 9112 §6).
const CONNECTION_FIELDS: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Fields by which a target learns who is asking and how it was reached: a plugin must not speak for the host.
const HOST_REQUEST_FIELDS: &[&str] = &[
    "host",
    "forwarded",
    "x-real-ip",
    "x-request-id",
    "x-correlation-id",
    "x-rsc-request",
    "shiny-server-credentials",
    "rstudio-connect-credentials",
    "rstudio-connect-app-base-url",
    "posit-connect-user-session-token",
];

/// Checks a reply. `grants` are the plugin's.
pub(crate) fn reply(raw: guest::Reply, grants: &Grants) -> Result<Reply, BadAnswer> {
    let status = StatusCode::from_u16(raw.status)
        .ok()
        .filter(|status| (200..=599).contains(&status.as_u16()))
        .ok_or(BadAnswer::Status(raw.status))?;
    if raw.body.len() > MAX_REPLY_BODY_BYTES {
        return Err(BadAnswer::Body(raw.body.len()));
    }
    let headers = fields(raw.headers, |name| CONNECTION_FIELDS.contains(&name))?;
    for value in headers.get_all(LOCATION) {
        if !stays_on_this_origin(value.as_bytes()) && !leads_to_granted_origin(value, grants) {
            return Err(BadAnswer::Location(shown(&String::from_utf8_lossy(value.as_bytes()))));
        }
    }
    for value in headers.get_all(SET_COOKIE) {
        let name = value.as_bytes().split(|&byte| byte == b'=').next().unwrap_or_default();
        if let Ok(name) = std::str::from_utf8(name.trim_ascii())
            && is_own_cookie(name)
        {
            return Err(BadAnswer::HostField(format!("set-cookie {name}")));
        }
    }
    Ok(Reply { status, headers, body: Bytes::from(raw.body) })
}

/// Whether a `Location` leads to an origin that the plugin may send visitors to, whatever a browser makes of it.
fn leads_to_granted_origin(location: &HeaderValue, grants: &Grants) -> bool {
    // The parser is the browsers' own (WHATWG URL): what it reads as origin is where they go.
    location
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'))
        .and_then(|text| Url::parse(text).ok())
        .filter(|url| url.username().is_empty() && url.password().is_none())
        .and_then(|url| Origin::of_url(url.as_str()))
        .is_some_and(|origin| grants.allows_origin(GrantKind::Redirect, &origin))
}

/// Whether a `Location` leads to a path on the origin it is sent from, whatever a browser makes of it.
///
/// Browsers read `//host` and `/\host` as another host, drop tabs and newlines inside, and take `\` for `/`.
pub fn stays_on_this_origin(location: &[u8]) -> bool {
    location.first() == Some(&b'/')
        && !matches!(location.get(1), Some(b'/' | b'\\'))
        && location.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// Checks where a request is to go. `head` is the request's.
pub(crate) fn forward(plugin: &Arc<str>, raw: guest_routing::Forward, head: &Head) -> Result<Forward, BadAnswer> {
    let target = target(&raw.target)?;
    let rewrite = match raw.rewrite {
        guest_routing::Rewrite::Keep => Rewrite::Keep,
        guest_routing::Rewrite::StripSegments(count) => usize::try_from(count)
            .ok()
            .filter(|&count| head.path.without(count).is_some())
            .map(Rewrite::StripSegments)
            .ok_or(BadAnswer::Strip(count))?,
        guest_routing::Rewrite::Replace(path) => match RequestPath::from_decoded(&path) {
            Ok(path) => Rewrite::Replace(path),
            Err(error) => return Err(BadAnswer::Replace(shown(&path), error)),
        },
    };
    let of_host = |name: &str| {
        CONNECTION_FIELDS.contains(&name)
            || HOST_REQUEST_FIELDS.contains(&name)
            || name.starts_with("x-forwarded-")
            || name.starts_with("x-lectern-")
    };
    let set_headers = fields(raw.set_headers, of_host)?;
    let remove_headers = {
        let list = raw.remove_headers;
        let bytes = list.iter().map(String::len).sum();
        bounded(list.len(), bytes)?;
        list.iter()
            .map(|name| {
                let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| BadAnswer::FieldName(shown(name)))?;
                if of_host(parsed.as_str()) { Err(BadAnswer::HostField(shown(name))) } else { Ok(parsed) }
            })
            .collect::<Result<Vec<_>, _>>()?
    };
    let sticky_key = raw.sticky_key.map(|key| text("sticky-key", key)).transpose()?;
    let hints = pairs("hints", raw.hints, MAX_HINTS)?;
    let bundle = match hints.iter().find(|(name, _)| name == "bundle") {
        Some((_, id)) => Some(id.parse::<BundleId>().map_err(|_| BadAnswer::BundleHint(shown(id)))?),
        None => None,
    };
    let plugin = Arc::clone(plugin);
    Ok(Forward { plugin, target, rewrite, bundle, selected: None, hints, set_headers, remove_headers, sticky_key })
}

/// Adds what a plugin of the phase select answered to what was decided: fields, a version, a sticky key. Never another target, and
/// never another path.
pub(crate) fn select(decided: &mut Forward, answered: &Forward) -> Result<(), BadAnswer> {
    if answered.target != decided.target {
        return Err(BadAnswer::OtherTarget(answered.target.to_string()));
    }
    for name in &answered.remove_headers {
        decided.set_headers.remove(name);
        if !decided.remove_headers.contains(name) {
            decided.remove_headers.push(name.clone());
        }
    }
    for name in answered.set_headers.keys() {
        decided.set_headers.remove(name);
    }
    for (name, value) in &answered.set_headers {
        decided.set_headers.append(name, value.clone());
    }
    // A version that was asked for by its own address stays the one that is shown.
    if decided.bundle.is_none() {
        decided.selected = answered.bundle.or(decided.selected);
    }
    if answered.sticky_key.is_some() {
        decided.sticky_key.clone_from(&answered.sticky_key);
    }
    decided.hints.extend_from_slice(&answered.hints);
    decided.hints.truncate(MAX_HINTS);
    Ok(())
}

/// Checks an identity.
pub(crate) fn identity(raw: guest::Identity) -> Result<Identity, BadAnswer> {
    if raw.subject.is_empty() {
        return Err(BadAnswer::Subject);
    }
    if raw.groups.len() > MAX_LIST {
        return Err(BadAnswer::TooMuch { what: "the list of groups", limit: MAX_LIST });
    }
    Ok(Identity {
        subject: text("the subject", raw.subject)?,
        display_name: raw.display_name.map(|name| text("the display name", name)).transpose()?,
        groups: raw.groups.into_iter().map(|group| text("a group", group)).collect::<Result<_, _>>()?,
        claims: pairs("claims", raw.claims, MAX_LIST)?,
        ttl: raw.ttl.map(|seconds| Duration::from_secs(u64::from(seconds))),
    })
}

/// A text of a guest, fit for one line of a log: cut and without control characters.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String =
        text.chars().take(200).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if text.chars().nth(200).is_some() {
        shown.push('…');
    }
    shown
}

fn target(text: &str) -> Result<Target, BadAnswer> {
    let bad = || BadAnswer::Target(shown(text));
    match text.split_once(':') {
        Some(("content", guid)) => guid.parse::<ContentGuid>().map(Target::Content).map_err(|_| bad()),
        Some(("system", "api")) => Ok(Target::System(System::Api)),
        Some(("system", "lectern")) => Ok(Target::System(System::Lectern)),
        Some(("system", "dashboard")) => Ok(Target::System(System::Dashboard)),
        _ => Err(bad()),
    }
}

fn fields(raw: Vec<guest::Field>, of_host: impl Fn(&str) -> bool) -> Result<HeaderMap, BadAnswer> {
    bounded(raw.len(), raw.iter().map(|(name, value)| name.len() + value.len()).sum())?;
    let mut headers = HeaderMap::with_capacity(raw.len());
    for (name, value) in raw {
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| BadAnswer::FieldName(shown(&name)))?;
        if of_host(parsed.as_str()) {
            return Err(BadAnswer::HostField(shown(&name)));
        }
        // Refuses control characters other than the tab, CR and LF first of all.
        let value =
            HeaderValue::from_maybe_shared(Bytes::from(value)).map_err(|_| BadAnswer::FieldValue(shown(&name)))?;
        headers.append(parsed, value);
    }
    Ok(headers)
}

fn bounded(count: usize, bytes: usize) -> Result<(), BadAnswer> {
    if count > MAX_FIELDS || bytes > MAX_FIELD_BYTES { Err(BadAnswer::Fields { count, bytes }) } else { Ok(()) }
}

fn text(what: &'static str, text: String) -> Result<String, BadAnswer> {
    if text.len() > MAX_TEXT_BYTES { Err(BadAnswer::TooMuch { what, limit: MAX_TEXT_BYTES }) } else { Ok(text) }
}

fn pairs(what: &'static str, raw: Vec<(String, String)>, limit: usize) -> Result<Vec<(String, String)>, BadAnswer> {
    if raw.len() > limit {
        return Err(BadAnswer::TooMuch { what, limit });
    }
    raw.into_iter().map(|(name, value)| Ok((text(what, name)?, text(what, value)?))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::head::tests::head;

    fn raw_reply(status: u16, headers: &[(&str, &[u8])]) -> guest::Reply {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
        guest::Reply { status, headers, body: Vec::new() }
    }

    #[test]
    fn replies_that_http_does_not_allow_are_refused() {
        let status = |status| reply(raw_reply(status, &[]), &none()).map(|reply| reply.status.as_u16());
        assert_eq!([status(200), status(303), status(599)], [Ok(200), Ok(303), Ok(599)]);
        for bad in [0, 99, 100, 101, 199, 600, 1000, u16::MAX] {
            assert_eq!(status(bad), Err(BadAnswer::Status(bad)), "{bad}");
        }
        let field = |name: &str, value: &[u8]| reply(raw_reply(200, &[(name, value)]), &none()).map(|_| ());
        assert_eq!(field("x-a", b"tab\tand \xff"), Ok(()));
        for (name, value) in
            [("x-a", b"a\r\nset-cookie: b=1".as_slice()), ("x-a", b"a\n"), ("x-a", b"\0"), ("x-a", b"\x7f")]
        {
            assert_eq!(field(name, value), Err(BadAnswer::FieldValue(name.into())), "{value:?}");
        }
        for name in ["", "a b", "a:b", "a\r\nb", "ä", "a(b)"] {
            assert_eq!(field(name, b"1"), Err(BadAnswer::FieldName(shown(name))), "{name:?}");
        }
        for name in ["Connection", "transfer-encoding", "Content-Length", "upgrade", "keep-alive", "te", "trailer"] {
            assert_eq!(field(name, b"1"), Err(BadAnswer::HostField(name.into())), "{name}");
        }
        assert_eq!(field("set-cookie", b"mine=1; Path=/"), Ok(()));
        assert_eq!(field("Set-Cookie", b" lectern =forged"), Err(BadAnswer::HostField("set-cookie lectern".into())));
        let worker = field("Set-Cookie", b"lectern-worker=forged; Path=/");
        assert_eq!(worker, Err(BadAnswer::HostField("set-cookie lectern-worker".into())));
    }

    #[test]
    fn replies_are_bounded() {
        let many: Vec<(&str, &[u8])> = vec![("x", b"1".as_slice()); MAX_FIELDS + 1];
        assert_eq!(reply(raw_reply(200, &many), &none()), Err(BadAnswer::Fields { count: 65, bytes: 130 }));
        let large = vec![b'a'; MAX_FIELD_BYTES];
        let bytes = MAX_FIELD_BYTES + 1;
        assert_eq!(reply(raw_reply(200, &[("x", &large)]), &none()), Err(BadAnswer::Fields { count: 1, bytes }));
        let body = guest::Reply { status: 200, headers: Vec::new(), body: vec![0; MAX_REPLY_BODY_BYTES + 1] };
        assert_eq!(reply(body, &none()), Err(BadAnswer::Body(MAX_REPLY_BODY_BYTES + 1)));
    }

    #[test]
    fn redirects_stay_here() {
        for good in ["/", "/connect/", "/a?next=//b", "/%5Cevil"] {
            assert!(stays_on_this_origin(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "a",
            "//evil.example",
            r"/\evil.example",
            "https://evil.example/",
            "/\t/evil.example",
            "/a\nb",
            "javascript:x",
            r"/a\b",
            "/ä",
        ] {
            assert!(!stays_on_this_origin(bad.as_bytes()), "{bad:?}");
            let answer = reply(raw_reply(303, &[("location", bad.as_bytes())]), &none());
            assert!(answer.is_err(), "{bad:?}");
        }
    }

    #[test]
    fn redirects_leave_only_for_granted_origins() {
        let grants: Grants = ["redirect:https://idp.example"].iter().map(|text| text.parse().unwrap()).collect();
        let go = |to: &str| reply(raw_reply(303, &[("location", to.as_bytes())]), &grants).is_ok();
        for good in ["https://idp.example/authorize?x=1", "https://IDP.example:443/", "/here"] {
            assert!(go(good), "{good}");
        }
        for bad in [
            "http://idp.example/",
            "https://idp.example.evil/",
            "https://idp.example:8443/",
            "https://idp.example@evil/",
            "https://u@idp.example/",
            r"https:/\evil/",
            "https://evil/?https://idp.example/",
            "//idp.example/",
            "https://idp.example\u{9}.evil/",
        ] {
            assert!(!go(bad), "{bad:?}");
        }
    }

    #[test]
    fn selecting_adds_and_never_moves() {
        let head = head("/a/b", &[]);
        let go = |raw| forward(&"p".into(), raw, &head).unwrap();
        let mut decided = go(guest_routing::Forward {
            set_headers: vec![("x-a".into(), b"1".to_vec()), ("x-b".into(), b"1".to_vec())],
            ..raw_forward("system:api")
        });
        let answered = go(guest_routing::Forward {
            set_headers: vec![("x-a".into(), b"2".to_vec())],
            remove_headers: vec!["x-b".into()],
            sticky_key: Some("k".into()),
            hints: vec![("bundle".into(), "7".into())],
            ..raw_forward("system:api")
        });
        select(&mut decided, &answered).unwrap();
        assert_eq!(decided.set_headers.get("x-a").unwrap(), "2");
        assert!(decided.set_headers.get("x-b").is_none() && decided.remove_headers.iter().any(|name| name == "x-b"));
        assert_eq!((decided.selected, decided.bundle), (Some(BundleId(7)), None));
        let elsewhere = go(raw_forward("system:dashboard"));
        assert_eq!(select(&mut decided, &elsewhere), Err(BadAnswer::OtherTarget("system:dashboard".into())));
    }

    fn none() -> Grants {
        Grants::default()
    }

    fn raw_forward(target: &str) -> guest_routing::Forward {
        guest_routing::Forward {
            target: target.into(),
            rewrite: guest_routing::Rewrite::Keep,
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            sticky_key: None,
            hints: Vec::new(),
        }
    }

    #[test]
    fn only_real_targets_are_forwarded_to() {
        let head = head("/a/b", &[]);
        let go = |raw| forward(&"router".into(), raw, &head);
        let guid = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162";
        for good in [&format!("content:{guid}"), "system:api", "system:dashboard"] {
            assert_eq!(go(raw_forward(good)).unwrap().target.to_string(), good);
        }
        for bad in ["", "content:", "content:x", "system:", "system:admin", "http://127.0.0.1/", guid] {
            assert_eq!(go(raw_forward(bad)).unwrap_err(), BadAnswer::Target(bad.into()), "{bad}");
        }
        let strip = |n| {
            go(guest_routing::Forward {
                rewrite: guest_routing::Rewrite::StripSegments(n),
                ..raw_forward("system:api")
            })
        };
        assert_eq!(strip(2).unwrap().rewrite, Rewrite::StripSegments(2));
        assert_eq!(strip(3).unwrap_err(), BadAnswer::Strip(3));
        let replace = |path: &str| {
            go(guest_routing::Forward {
                rewrite: guest_routing::Rewrite::Replace(path.into()),
                ..raw_forward("system:api")
            })
        };
        assert!(replace("/x y").is_ok());
        assert!(replace("x").is_err() && replace("/a\r\nb").is_err());
    }

    #[test]
    fn a_plugin_does_not_speak_for_the_host() {
        let head = head("/a/b", &[]);
        for name in
            ["Host", "X-Forwarded-For", "forwarded", "rstudio-connect-credentials", "X-Lectern-User", "connection"]
        {
            let set =
                guest_routing::Forward { set_headers: vec![(name.into(), b"1".to_vec())], ..raw_forward("system:api") };
            let remove = guest_routing::Forward { remove_headers: vec![name.into()], ..raw_forward("system:api") };
            for raw in [set, remove] {
                assert_eq!(forward(&"r".into(), raw, &head).unwrap_err(), BadAnswer::HostField(name.into()));
            }
        }
        let hint = |id: &str| {
            let hints = vec![("bundle".to_owned(), id.to_owned())];
            forward(&"r".into(), guest_routing::Forward { hints, ..raw_forward("system:api") }, &head).map(|f| f.bundle)
        };
        assert_eq!(hint("33").unwrap(), Some(BundleId(33)));
        assert_eq!(hint("../1").unwrap_err(), BadAnswer::BundleHint("../1".into()));
    }

    #[test]
    fn identities_have_a_subject_and_an_end() {
        let raw = |subject: &str| guest::Identity {
            subject: subject.into(),
            display_name: None,
            groups: Vec::new(),
            claims: Vec::new(),
            ttl: None,
        };
        assert_eq!(identity(raw("u")).unwrap().subject, "u");
        assert_eq!(identity(raw("")), Err(BadAnswer::Subject));
        assert!(identity(raw(&"u".repeat(257))).is_err());
        assert!(identity(guest::Identity { groups: vec!["g".into(); 1_001], ..raw("u") }).is_err());
    }
}
