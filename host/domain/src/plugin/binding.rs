//! Where a plugin applies, and who gets its candidate.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::ContentGuid;

/// Which requests a binding concerns. An empty list of a kind means all; kinds are combined with "and".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matcher {
    /// Host names in lower case without port; `*.example.org` means every host below `example.org`.
    pub hosts: BTreeSet<String>,
    /// Path prefixes on whole segments: `/a` means `/a` and all below `/a/`.
    pub paths: BTreeSet<String>,
    /// Content items. Known only after routing: such a binding cannot route.
    pub content: BTreeSet<ContentGuid>,
}

/// A matcher that can never be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMatcher {
    /// Not a host name.
    #[error("host {0:?} must be a name in lower case without port, or `*.` and a name")]
    Host(String),
    /// Not a path.
    #[error("path {0:?} must begin with a slash and have no dot segments")]
    Path(String),
    /// Content in the phase where it is decided.
    #[error("a binding of the phase route cannot be limited to content: routing decides which content it is")]
    ContentWhileRouting,
}

impl Matcher {
    /// Whether a request concerns the binding. `path` is normalised and decoded; `content` is `None` before routing and for
    /// targets that are no content.
    pub fn matches(&self, host: &str, path: &str, content: Option<ContentGuid>) -> bool {
        (self.hosts.is_empty() || self.hosts.iter().any(|pattern| host_matches(pattern, host)))
            && (self.paths.is_empty() || self.paths.iter().any(|prefix| path_matches(prefix, path)))
            && (self.content.is_empty() || content.is_some_and(|guid| self.content.contains(&guid)))
    }

    /// Whether it concerns every request.
    pub fn is_everything(&self) -> bool {
        self.hosts.is_empty() && self.paths.is_empty() && self.content.is_empty()
    }

    /// Checks each part.
    pub fn check(&self, phase: super::Phase) -> Result<(), BadMatcher> {
        let shown = |text: &str| text.chars().take(200).collect::<String>();
        for host in &self.hosts {
            let name = host.strip_prefix("*.").unwrap_or(host);
            let fits = !name.is_empty()
                && name.len() <= 253
                && name.bytes().all(|byte| {
                    byte.is_ascii_lowercase()
                        || byte.is_ascii_digit()
                        || matches!(byte, b'-' | b'.' | b'_' | b'[' | b']' | b':')
                });
            if !fits || (name.contains(':') && !name.starts_with('[')) {
                return Err(BadMatcher::Host(shown(host)));
            }
        }
        for path in &self.paths {
            let fits = path.starts_with('/')
                && path.len() <= 1024
                && !path.split('/').any(|segment| segment == "." || segment == "..")
                && !path.chars().any(char::is_control);
            if !fits {
                return Err(BadMatcher::Path(shown(path)));
            }
        }
        if phase == super::Phase::Route && !self.content.is_empty() {
            return Err(BadMatcher::ContentWhileRouting);
        }
        Ok(())
    }
}

fn host_matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        // `*.example.org`: at least one label before the dot.
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => pattern == host,
    }
}

fn path_matches(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Who gets the candidate of a binding instead of its live release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Share {
    /// Of all visitors, in hundredths of a percent: 0 to 10,000. The same visitor always falls on the same side.
    pub per_ten_thousand: u16,
    /// Users by name. They are known only in the phase select and by their sessions and keys; elsewhere the share decides.
    pub users: BTreeSet<String>,
}

/// A share that is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a share is between 0 and 100 percent with at most two decimals, not {0:?}")]
pub struct BadShare(String);

/// Reads `5%`, `0.25%` or `5` as hundredths of a percent.
pub fn share_of(text: &str) -> Result<u16, BadShare> {
    let bad = || BadShare(text.chars().take(40).collect());
    let number = text.trim().trim_end_matches('%').trim();
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 3 || decimals.len() > 2 || !digits(whole) || !digits(decimals) {
        return Err(bad());
    }
    let hundredths: u16 = format!("{decimals:0<2}").parse().map_err(|_| bad())?;
    let whole: u16 = whole.parse().map_err(|_| bad())?;
    whole.checked_mul(100).and_then(|n| n.checked_add(hundredths)).filter(|&n| n <= 10_000).ok_or_else(bad)
}

impl Share {
    /// Whether a visitor gets the candidate. `visitor` is what stays the same for one visitor: the user's name where it is known,
    /// else the client's address. `salt` tells bindings apart, so that not the same people try everything.
    pub fn includes(&self, user: Option<&str>, visitor: &str, salt: &str) -> bool {
        if user.is_some_and(|user| self.users.contains(user)) {
            return true;
        }
        if self.per_ten_thousand == 0 {
            return false;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(salt.as_bytes()).update(b"\0").update(visitor.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        // Modulo bias of 10,000 in 2^64 is beyond noticing.
        u64::from_le_bytes(first) % 10_000 < u64::from(self.per_ten_thousand)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Phase;
    use super::*;

    fn matcher(hosts: &[&str], paths: &[&str]) -> Matcher {
        let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Matcher { hosts: set(hosts), paths: set(paths), content: BTreeSet::new() }
    }

    #[test]
    fn whole_labels_and_segments_match() {
        type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a str, &'a str, bool);
        let cases: &[Case<'_>] = &[
            (&[], &[], "", "/", true),
            (&["a.example"], &[], "a.example", "/", true),
            (&["a.example"], &[], "b.a.example", "/", false),
            (&["*.example"], &[], "a.example", "/", true),
            (&["*.example"], &[], "example", "/", false),
            (&["*.example"], &[], "evilexample", "/", false),
            (&[], &["/a"], "", "/a", true),
            (&[], &["/a"], "", "/a/b", true),
            (&[], &["/a/"], "", "/a", true),
            (&[], &["/a"], "", "/ab", false),
            (&[], &["/"], "", "/x", true),
            (&["h"], &["/a"], "h", "/b", false),
        ];
        for (hosts, paths, host, path, expected) in cases {
            assert_eq!(matcher(hosts, paths).matches(host, path, None), *expected, "{hosts:?} {paths:?} {host} {path}");
        }
        let guid: ContentGuid = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162".parse().unwrap();
        let only = Matcher { content: [guid].into(), ..Matcher::default() };
        assert!(only.matches("", "/", Some(guid)) && !only.matches("", "/", None));
        assert_eq!(only.check(Phase::Route), Err(BadMatcher::ContentWhileRouting));
        assert_eq!(only.check(Phase::Select), Ok(()));
    }

    #[test]
    fn matchers_are_checked() {
        for (hosts, paths) in
            [(&["A"][..], &[][..]), (&["a:80"], &[]), (&["*"], &[]), (&[], &["a"]), (&[], &["/a/../b"])]
        {
            assert!(matcher(hosts, paths).check(Phase::Route).is_err(), "{hosts:?} {paths:?}");
        }
        assert_eq!(matcher(&["*.example.org", "[::1]"], &["/a b"]).check(Phase::Route), Ok(()));
    }

    #[test]
    fn shares_are_read() {
        let cases = [("5", 500), ("5%", 500), ("0.25%", 25), ("100%", 10_000), ("0", 0), ("12.5", 1250)];
        for (text, expected) in cases {
            assert_eq!(share_of(text), Ok(expected), "{text}");
        }
        for bad in ["", "%", "101", "100.01", "-1", "1.234", "a", "1e1", "٣"] {
            assert!(share_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_is_steady_and_near_its_size() {
        let share = Share { per_ten_thousand: 500, users: ["ada".to_owned()].into() };
        let hits = (0..20_000).filter(|n| share.includes(None, &format!("visitor {n}"), "b")).count();
        assert!((800..1200).contains(&hits), "{hits}");
        assert_eq!(share.includes(None, "v", "b"), share.includes(None, "v", "b"));
        assert!(share.includes(Some("ada"), "v", "b"));
        let none = Share::default();
        assert!(!(0..1000).any(|n| none.includes(Some("eve"), &n.to_string(), "b")));
        let all = Share { per_ten_thousand: 10_000, ..Share::default() };
        assert!((0..1000).all(|n| all.includes(None, &n.to_string(), "b")));
    }
}
