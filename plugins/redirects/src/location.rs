//! Where a redirect leads: an address as it is configured, and the `location` made of it for one request.

use lectern_plugin::web::{encode_path, is_path, keep_query};
use serde::Deserialize;

/// A path here, `/new plan?view=all#top`, or one on another server, `https://other.example.org/new`. The path is written decoded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Location {
    /// Scheme and authority; `None`: this server, whatever it was addressed as.
    pub(crate) origin: Option<String>,
    /// Begins with a slash.
    pub(crate) path: String,
    query: Option<String>,
    fragment: Option<String>,
}

impl Location {
    /// The host of the origin, in lower case without its port.
    pub(crate) fn host(&self) -> Option<String> {
        let (_, authority) = self.origin.as_deref()?.split_once("://")?;
        let end = match authority.find(']') {
            Some(bracket) => bracket + 1,
            None => authority.find(':').unwrap_or(authority.len()),
        };
        Some(authority[..end].to_ascii_lowercase())
    }

    /// Whether there is nothing but an origin.
    pub(crate) fn is_origin(&self) -> bool {
        self.origin.is_some() && self.path == "/" && self.query.is_none() && self.fragment.is_none()
    }

    /// The path with `rest` (decoded, empty or from its slash on) after it.
    pub(crate) fn path_with(&self, rest: &str) -> String {
        let path = format!("{}{rest}", self.path.trim_end_matches('/'));
        // `//x` would be another server to a browser.
        if path.starts_with("//") || path.is_empty() { format!("/{}", path.trim_start_matches('/')) } else { path }
    }

    /// The text for `location`: the path with `rest` after it, where there is one, and the query of the request after its own. `None`
    /// when that would be too long.
    pub(crate) fn of(&self, rest: Option<&str>, query: Option<&str>) -> Option<String> {
        let path = rest.map_or_else(|| self.path.clone(), |rest| self.path_with(rest));
        let address = format!("{}{}", self.origin.as_deref().unwrap_or_default(), encode_path(&path));
        let address = match &self.query {
            Some(own) => format!("{address}?{own}"),
            None => address,
        };
        let address = keep_query(&address, query)?;
        Some(match &self.fragment {
            Some(fragment) => format!("{address}#{fragment}"),
            None => address,
        })
    }
}

/// Whether somebody wrote `%20` where a space is meant. `%2F` is how `request.path` gives an encoded slash.
pub(crate) fn is_encoded(path: &str) -> bool {
    path.match_indices('%').any(|(at, _)| {
        let digits = path.as_bytes().get(at + 1..at + 3).unwrap_or_default();
        digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit) && digits != b"2F"
    })
}

fn is_authority(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'[' | b']' | b':');
    (1..=260).contains(&text.len()) && text.bytes().all(allowed)
}

impl TryFrom<String> for Location {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bad = || {
            let shown: String = text.chars().take(200).collect();
            format!(
                "{shown:?} must be a path that begins with one slash, or an address as https://other.example.org/new; paths are written decoded"
            )
        };
        let (address, fragment) = text.split_once('#').map_or((text.as_str(), None), |(a, f)| (a, Some(f)));
        let (address, query) = address.split_once('?').map_or((address, None), |(a, q)| (a, Some(q)));
        let (origin, path) = if address.starts_with('/') {
            (None, address)
        } else {
            let scheme =
                ["https://", "http://"].into_iter().find(|scheme| address.starts_with(scheme)).ok_or_else(bad)?;
            let end = address[scheme.len()..].find('/').map_or(address.len(), |at| scheme.len() + at);
            if !is_authority(&address[scheme.len()..end]) {
                return Err(bad());
            }
            (Some(address[..end].to_ascii_lowercase()), if end == address.len() { "/" } else { &address[end..] })
        };
        let is_plain =
            |part: Option<&str>| part.is_none_or(|part| part.bytes().all(|b| b.is_ascii_graphic() && b != b'\\'));
        let leads_away = path.starts_with("//") || path.contains('\\');
        if !is_path(path) || leads_away || is_encoded(path) || !is_plain(query) || !is_plain(fragment) {
            return Err(bad());
        }
        let owned = |part: Option<&str>| part.map(str::to_owned);
        Ok(Self { origin, path: path.to_owned(), query: owned(query), fragment: owned(fragment) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn location(text: &str) -> Location {
        text.to_owned().try_into().unwrap()
    }

    #[test]
    fn the_rest_and_the_query_are_kept() {
        let cases = [
            ("/new", Some("/a b/ü"), Some("x=1"), "/new/a%20b/%C3%BC?x=1"),
            ("/new/", Some("/a"), None, "/new/a"),
            ("/new/", Some(""), None, "/new"),
            ("/new/", None, None, "/new/"),
            ("/", Some("/a"), None, "/a"),
            ("/", Some(""), None, "/"),
            ("/", Some("//evil.example/"), None, "/evil.example/"),
            ("/new", Some("//a"), None, "/new//a"),
            ("/new", Some("/a%2Fb"), None, "/new/a%2Fb"),
            ("/new plan?view=all#top", None, Some("x=\\"), "/new%20plan?view=all&x=%5C#top"),
            ("/connect/#/apps", None, Some("q"), "/connect/?q#/apps"),
            ("https://Other.Example:8443", Some("/a"), Some("q"), "https://other.example:8443/a?q"),
            ("https://other.example/docs/", Some("/a"), None, "https://other.example/docs/a"),
            ("https://other.example", Some("//a"), None, "https://other.example/a"),
        ];
        for (to, rest, query, expected) in cases {
            assert_eq!(location(to).of(rest, query).as_deref(), Some(expected), "{to} {rest:?} {query:?}");
        }
        assert_eq!(location("/new").of(Some(&format!("/{}", "ü".repeat(2000))), None), None);
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for bad in [
            "",
            "new",
            "//other.example/",
            "/\\other.example",
            "/a/../b",
            "/new%20plan",
            "ftp://other.example/",
            "https://",
            "https:///a",
            "https://user@other.example/",
            "https://other.example//a",
            "/a?b c",
            "/a#b c",
            "javascript:alert(1)",
            "/a\nb",
        ] {
            assert!(Location::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
        assert_eq!(location("/100%").path, "/100%");
        assert_eq!(location("https://[2001:DB8::1]:8443/x").host().as_deref(), Some("[2001:db8::1]"));
        assert_eq!(location("https://a.example:8443").host().as_deref(), Some("a.example"));
        assert!(location("https://a.example").is_origin() && !location("https://a.example/b").is_origin());
    }
}
