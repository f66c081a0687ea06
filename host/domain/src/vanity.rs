//! Vanity paths: the one form they are kept in, which are refused, and when two of them clash.

use crate::snapshot::MAX_VANITY_SEGMENTS;

/// Longest path in bytes, slashes included: it is shown in pages and typed by people.
pub const MAX_PATH_BYTES: usize = 255;

/// First segments that are the server's own, in lower case; so is everything that begins with `__`.
const RESERVED: &[&str] = &["content", "connect", ".well-known", "favicon.ico", "robots.txt"];

/// Why a path cannot be a vanity path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Nothing but slashes.
    #[error("it names nothing")]
    Empty,
    /// More parts than are looked up.
    #[error("it has more than {MAX_VANITY_SEGMENTS} parts")]
    TooDeep,
    /// Too long.
    #[error("it is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// Characters that have a meaning in addresses, that look like others, or that some program on the way changes.
    #[error("its parts may hold only letters, digits, `-`, `_`, `.` and `~`, and not only dots")]
    Characters,
    /// The server's own.
    #[error("it begins with a word of the server's own")]
    Reserved,
}

/// Brings a path to the form `/one/two/`, or says why it cannot be one.
///
/// Only unreserved characters of RFC 3986 are taken, so a path has one spelling: nothing in it is ever encoded.
pub fn normalise(path: &str) -> Result<String, BadPath> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() || inner == "/" {
        return Err(BadPath::Empty);
    }
    if inner.len() + 2 > MAX_PATH_BYTES {
        return Err(BadPath::TooLong);
    }
    let segments: Vec<&str> = inner.split('/').collect();
    if segments.len() > MAX_VANITY_SEGMENTS {
        return Err(BadPath::TooDeep);
    }
    let plain = |segment: &&str| segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
    let dots = |segment: &&str| segment.bytes().all(|byte| byte == b'.'); // An empty one, too.
    if !segments.iter().all(plain) || segments.iter().any(dots) {
        return Err(BadPath::Characters);
    }
    let first = segments.first().copied().unwrap_or_default();
    if first.starts_with("__") || RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(first)) {
        return Err(BadPath::Reserved);
    }
    Ok(format!("/{inner}/"))
}

/// How a path that is wanted stands to one that another item has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clash {
    /// They are one, letter case aside: people do not tell them apart.
    Same,
    /// The wanted one is below the other: visitors of that item would be led away from a part of it.
    Below,
}

/// Whether `wanted` clashes with `other`; both in the form of [`normalise`]. A path above another is no clash: the longer
/// one goes on being found first.
pub fn clash(wanted: &str, other: &str) -> Option<Clash> {
    let (wanted, other) = (wanted.to_ascii_lowercase(), other.to_ascii_lowercase());
    if wanted == other {
        Some(Clash::Same)
    } else if wanted.starts_with(&other) {
        Some(Clash::Below)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_get_one_form() {
        for (given, expected) in
            [("example", "/example/"), ("/a/b", "/a/b/"), ("/a.b/c-d_~/", "/a.b/c-d_~/"), ("Sales", "/Sales/")]
        {
            assert_eq!(normalise(given).as_deref(), Ok(expected), "{given}");
        }
    }

    #[test]
    fn paths_that_would_hide_something_are_refused() {
        use BadPath::{Characters, Empty, Reserved, TooDeep, TooLong};
        let (long, deep) = ("a".repeat(254), "a/".repeat(9));
        let bad = [
            ("", Empty),
            ("/", Empty),
            ("//", Empty),
            ("///", Empty),
            ("a//b", Characters),
            ("//a", Characters),
            ("a//", Characters),
            ("a/../b", Characters),
            ("../a", Characters),
            ("./a", Characters),
            ("a/...", Characters),
            ("a b", Characters),
            (" a", Characters),
            ("a?b", Characters),
            ("a#b", Characters),
            ("a;b", Characters),
            ("a\\b", Characters),
            ("a%2fb", Characters),
            ("%2e%2e", Characters),
            ("a\n", Characters),
            ("a\0", Characters),
            ("ä", Characters),
            ("\u{430}pp", Characters),
            ("app\u{200b}", Characters),
            ("https://elsewhere", Characters),
            ("__api__", Reserved),
            ("/__API__/v1", Reserved),
            ("__x/y", Reserved),
            ("content", Reserved),
            ("Content/x", Reserved),
            ("/connect/", Reserved),
            (".well-known", Reserved),
            (&long, TooLong),
            (&deep, TooDeep),
        ];
        for (path, why) in bad {
            assert_eq!(normalise(path), Err(why), "{path:?}");
        }
    }

    #[test]
    fn clashes() {
        let table = [
            ("/a/", "/a/", Some(Clash::Same)),
            ("/A/", "/a/", Some(Clash::Same)),
            ("/a/b/", "/a/", Some(Clash::Below)),
            ("/a/b/", "/A/", Some(Clash::Below)),
            ("/a/", "/a/b/", None),
            ("/ab/", "/a/", None),
            ("/a/", "/b/", None),
        ];
        for (wanted, other, expected) in table {
            assert_eq!(clash(wanted, other), expected, "{wanted} {other}");
        }
    }

    proptest! {
        /// What is taken is a path that no reader of addresses changes, and normalising it again changes nothing.
        #[test]
        fn what_is_taken_is_plain(path in ".{0,40}") {
            if let Ok(path) = normalise(&path) {
                prop_assert!(path.starts_with('/') && path.ends_with('/') && !path.contains("//"));
                prop_assert!(path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte)));
                prop_assert!(path.split('/').all(|part| part != "." && part != ".."));
                prop_assert_eq!(normalise(&path), Ok(path.clone()));
            }
        }
    }
}
