//! Cookies of content: kept below its mount, and away from Lectern's own.
//!
//! All content shares one host name, so a cookie for `/` that one app sets would reach all others. Each `Set-Cookie` of a worker gets a
//! path below the mount, once; a cookie with a name of Lectern's is dropped.

use http::header::{HeaderMap, HeaderValue, SET_COOKIE};
use lectern_gate::{SESSION_COOKIE, WORKER_COOKIE};

/// Confines the cookies that a response sets to `mount` (empty, or a path without a last slash).
pub(crate) fn confine(headers: &mut HeaderMap, mount: &str) {
    if !headers.contains_key(SET_COOKIE) {
        return;
    }
    let kept: Vec<HeaderValue> =
        headers.get_all(SET_COOKIE).iter().filter_map(|cookie| rewrite(cookie, mount)).collect();
    headers.remove(SET_COOKIE);
    for cookie in kept {
        headers.append(SET_COOKIE, cookie);
    }
}

/// One cookie with its path below the mount; `None` when content may not set it, or when it is not text.
fn rewrite(cookie: &HeaderValue, mount: &str) -> Option<HeaderValue> {
    let text = std::str::from_utf8(cookie.as_bytes()).ok()?;
    let (pair, attributes) = text.split_once(';').unwrap_or((text, ""));
    let name = pair.split_once('=').map_or("", |(name, _)| name).trim();
    if is_reserved(name) {
        return None;
    }
    let attributes: Vec<&str> = attributes.split(';').map(str::trim).filter(|part| !part.is_empty()).collect();
    let path_of = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        name.trim().eq_ignore_ascii_case("path").then(|| value.trim().to_owned())
    };
    if mount.is_empty() {
        return Some(cookie.clone());
    }
    // The last `Path` counts, and one that does not begin with a slash is as if absent (RFC 6265 §5.2.4, §5.3).
    let path = attributes.iter().filter_map(|part| path_of(part)).next_back().filter(|path| path.starts_with('/'));
    let path = below(path.as_deref().unwrap_or("/"), mount);
    let mut written = format!("{}; Path={path}", pair.trim());
    for part in attributes.iter().filter(|part| path_of(part).is_none()) {
        written.push_str("; ");
        written.push_str(part);
    }
    HeaderValue::from_bytes(written.as_bytes()).ok()
}

/// Names that only Lectern sets, also behind the prefixes that browsers treat specially.
fn is_reserved(name: &str) -> bool {
    let bare = ["__host-", "__secure-"].iter().find_map(|prefix| {
        let (head, tail) = name.split_at_checked(prefix.len())?;
        head.eq_ignore_ascii_case(prefix).then_some(tail)
    });
    let bare = bare.unwrap_or(name);
    bare == SESSION_COOKIE || bare == WORKER_COOKIE
}

/// `path` below `mount`, which is added unless it is there already.
pub(super) fn below(path: &str, mount: &str) -> String {
    let inside = path.strip_prefix(mount).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']));
    if inside { path.to_owned() } else { format!("{mount}{path}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MOUNT: &str = "/content/0f4b";

    #[test]
    fn cookies_stay_below_the_mount() {
        let cases = [
            ("a=1", Some("a=1; Path=/content/0f4b/")),
            ("a=1; Path=/", Some("a=1; Path=/content/0f4b/")),
            ("a=1; path=/x; HttpOnly", Some("a=1; Path=/content/0f4b/x; HttpOnly")),
            ("a=1; HttpOnly; PATH=/x ; Secure", Some("a=1; Path=/content/0f4b/x; HttpOnly; Secure")),
            // Already below: an app that knows its mount.
            ("a=1; Path=/content/0f4b", Some("a=1; Path=/content/0f4b")),
            ("a=1; Path=/content/0f4b/x", Some("a=1; Path=/content/0f4b/x")),
            // Another's mount that begins alike, and the whole host.
            ("a=1; Path=/content/0f4b2", Some("a=1; Path=/content/0f4b/content/0f4b2")),
            ("a=1; Path=/content", Some("a=1; Path=/content/0f4b/content")),
            // Two paths: browsers take the last; none of both may remain.
            ("a=1; Path=/x; Path=/y", Some("a=1; Path=/content/0f4b/y")),
            ("a=1; Path=x", Some("a=1; Path=/content/0f4b/")),
            ("a=1; Path", Some("a=1; Path=/content/0f4b/")),
            ("a=b=c; Max-Age=3", Some("a=b=c; Path=/content/0f4b/; Max-Age=3")),
            ("a=1;;; Secure", Some("a=1; Path=/content/0f4b/; Secure")),
            // Lectern's own name, however dressed.
            ("lectern=evil", None),
            (" lectern =evil; Path=/", None),
            ("__Host-lectern=evil; Secure; Path=/", None),
            ("__secure-lectern=evil; Secure", None),
            ("lectern-worker=evil; Path=/", None),
            ("__Secure-lectern-worker=evil; Secure", None),
            ("lectern2=fine", Some("lectern2=fine; Path=/content/0f4b/")),
            ("Lectern=other", Some("Lectern=other; Path=/content/0f4b/")),
        ];
        for (cookie, expected) in cases {
            let got = rewrite(&HeaderValue::from_static(cookie), MOUNT);
            assert_eq!(got.as_ref().map(|value| value.to_str().unwrap()), expected, "{cookie}");
            // Once is enough: a second time changes nothing.
            if let Some(once) = got {
                assert_eq!(rewrite(&once, MOUNT).as_ref(), Some(&once), "{cookie}");
            }
        }
    }

    #[test]
    fn without_a_mount_only_names_are_checked() {
        let mut headers = HeaderMap::new();
        for cookie in ["a=1; Path=/", "lectern=evil", "b=2"] {
            headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
        }
        confine(&mut headers, "");
        let left: Vec<&str> = headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(left, ["a=1; Path=/", "b=2"]);
    }
}
