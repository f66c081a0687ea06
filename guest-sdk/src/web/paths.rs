//! Paths of requests, compared as operators mean them, and queries carried over redirects.

use super::push_escape;
use crate::Host;

/// Whether the path of the request is `path` or lies below it, on whole segments: `/a` is for `/a` and `/a/b`, not for `/ab`. A slash
/// at the end of `path` does not matter, and `/` is for every request.
///
/// It asks for the segments only where the first characters fit, so that most requests give one of two answers.
pub fn is_below(host: &impl Host, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let segments = u32::try_from(path.matches('/').count()).unwrap_or(u32::MAX);
    path.is_empty() || (host.path_has_prefix(path) && host.path_prefix(segments) == path)
}

/// Whether a text can be a path, in the form in which `request.path` gives one: it begins with a slash, has no dot segments and no
/// control characters, and at most 1,024 bytes, which is more than anybody configures.
pub fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && text.len() <= 1024
        && !text.split('/').any(|segment| segment == "." || segment == "..")
        && !text.chars().any(char::is_control)
}

/// Longest address that [`keep_query`] makes, in bytes: half of what the host takes as all fields of one reply.
pub const MAX_LOCATION_BYTES: usize = 8 << 10;

/// An encoded path or address with the query of the request behind it. `None` when it would be too long for a redirect.
///
/// The query stays as it was sent, but for what the host refuses in a `location`: a client must not be able to make a plugin fail.
pub fn keep_query(location: &str, query: Option<&str>) -> Option<String> {
    let mut address = location.to_owned();
    if let Some(query) = query {
        address.push(if location.contains('?') { '&' } else { '?' });
        for byte in query.bytes() {
            if byte.is_ascii_graphic() && byte != b'\\' {
                address.push(char::from(byte));
            } else {
                push_escape(&mut address, byte);
            }
        }
    }
    (address.len() <= MAX_LOCATION_BYTES).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mock;

    #[test]
    fn paths_are_compared_by_whole_segments() {
        let cases = [
            ("/a", "/a", true),
            ("/a/", "/a", true),
            ("/a/b", "/a", true),
            ("/ab", "/a", false),
            ("/b", "/a", false),
            ("/a", "/a/", true),
            ("/a/b/c", "/a/b", true),
            ("/a/bc", "/a/b", false),
            ("/anything", "/", true),
            ("//a", "/a", false),
        ];
        for (path, prefix, expected) in cases {
            assert_eq!(is_below(&Mock::get(path), prefix), expected, "{path} {prefix}");
        }
        let far = Mock::get("/content/x");
        is_below(&far, "/a/b");
        assert_eq!(far.asked(), ["path-has-prefix /a/b"]);
        for bad in ["", "a", "/a/../b", "/.", "/a\n"] {
            assert!(!is_path(bad), "{bad:?}");
        }
        assert!(is_path("/") && is_path("/new plan/ü") && is_path("/a..b"));
    }

    #[test]
    fn queries_are_kept_and_never_refused() {
        let kept = |query| keep_query("/a", query);
        assert_eq!(kept(None).as_deref(), Some("/a"));
        assert_eq!(kept(Some("")).as_deref(), Some("/a?"));
        assert_eq!(kept(Some("x=//y&z=%5C")).as_deref(), Some("/a?x=//y&z=%5C"));
        assert_eq!(kept(Some("x=\\é\t")).as_deref(), Some("/a?x=%5C%C3%A9%09"));
        assert_eq!(keep_query("/a?b=1", Some("c=2")).as_deref(), Some("/a?b=1&c=2"));
        assert_eq!(kept(Some(&"x".repeat(MAX_LOCATION_BYTES))), None);
    }
}
