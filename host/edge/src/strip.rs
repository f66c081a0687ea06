//! Fields that a client must not set: the one place where they are removed.
//!
//! Content, plugins and the API trust what these fields say about who is asking and how the request came, so what a client
//! sends under such a name never passes, however often it is repeated and however it is written. Servers that follow CGI fold
//! `-` into `_` (`X_Forwarded_For` and `X-Forwarded-For` become one variable), so names are compared folded.

use http::header::{HeaderMap, HeaderName};

/// Never from outside: identity, Lectern's own fields, and names that CGI-like servers read as their own variables.
const NEVER: &[&str] = &[
    "path-info",
    "proxy", // becomes HTTP_PROXY, which HTTP clients inside content obey
    "remote-addr",
    "remote-user",
    "script-name",
    "x-original-url", // frameworks take their path from these two
    "x-remote-user",
    "x-rewrite-url",
    "x-script-name",
];

/// Never from outside: every name that begins so.
const NEVER_PREFIX: &[&str] = &["posit-connect-", "rstudio-connect-", "shiny-server-", "x-lectern-"];

/// Only from trusted proxies.
const PROXY: &[&str] = &[
    "forwarded",
    "true-client-ip",
    "x-client-ip",
    "x-correlation-id",
    "x-forwarded",
    "x-real-ip",
    "x-request-id",
    "x-rsc-request",
];

/// Only from trusted proxies: every name that begins so.
const PROXY_PREFIX: &[&str] = &["x-forwarded-"];

/// Longest name compared folded; the longest in the tables is 14 characters, the prefixes are shorter.
const FOLDED: usize = 24;

/// Removes the fields that the sender may not set. A trusted proxy may set those about forwarding, never those about identity.
pub fn strip(headers: &mut HeaderMap, trusted: bool) {
    // No allocation unless there is something to remove.
    let forbidden: Vec<HeaderName> =
        headers.keys().filter(|name| is_forbidden(name.as_str(), trusted)).cloned().collect();
    for name in forbidden {
        while headers.remove(&name).is_some() {}
    }
}

/// Whether a sender may not set this field. `name` is in lower case, as `HeaderName` keeps it.
fn is_forbidden(name: &str, trusted: bool) -> bool {
    if !matches!(name.as_bytes().first(), Some(b'f' | b'p' | b'r' | b's' | b't' | b'x')) {
        return false;
    }
    let mut folded = [0; FOLDED];
    let length = name.len().min(FOLDED);
    for (to, from) in folded.iter_mut().zip(name.bytes()) {
        *to = if from == b'_' { b'-' } else { from };
    }
    let folded = &folded[..length];
    let exact = |names: &[&str]| name.len() == length && names.iter().any(|known| known.as_bytes() == folded);
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| folded.starts_with(prefix.as_bytes()));
    // A proxy writes hyphens; an underscored twin came through it from the client.
    let trusted = trusted && !name.contains('_');
    exact(NEVER) || begins(NEVER_PREFIX) || (!trusted && (exact(PROXY) || begins(PROXY_PREFIX)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::HeaderValue;

    const IDENTITY: &[&str] = &[
        "Shiny-Server-Credentials",
        "RStudio-Connect-Credentials",
        "RStudio-Connect-App-Base-URL",
        "Posit-Connect-User-Session-Token",
        "X-Lectern-Anything",
        "Remote-User",
        "X-Remote-User",
        "Script-Name",
        "Path-Info",
        "Proxy",
        "X-Original-URL",
    ];
    const FORWARDING: &[&str] = &[
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Proto",
        "X-Forwarded-Prefix",
        "X-Forwarded-Anything-Else",
        "Forwarded",
        "X-Real-IP",
        "X-RSC-Request",
        "X-Request-Id",
        "X-Correlation-ID",
    ];
    const HARMLESS: &[&str] = &[
        "Authorization",
        "X-RSC-Authorization",
        "X-RSC-XSRF",
        "X-Auth-Token",
        "X-Requested-With",
        "Cookie",
        "Referer",
        "Range",
        "Sec-Fetch-Site",
        "X-My_Header",
        "api_key",
        "X-Forward",
        "Proxy-Thing",
    ];

    /// How attackers write one name: as it is, shouted, with some or all hyphens as underscores.
    fn spellings(name: &str) -> Vec<String> {
        let mut all = vec![name.to_owned(), name.to_uppercase(), name.to_lowercase(), name.replace('-', "_")];
        all.extend(name.match_indices('-').map(|(at, _)| format!("{}_{}", &name[..at], &name[at + 1..])));
        all
    }

    fn survives(names: &[String], trusted: bool) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for name in names {
            // Twice: removing the first value only would let the second through.
            for value in ["evil", "evil2"] {
                headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(value));
            }
        }
        strip(&mut headers, trusted);
        headers.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn nobody_sets_identity() {
        for trusted in [false, true] {
            for name in IDENTITY {
                assert_eq!(survives(&spellings(name), trusted), Vec::<String>::new(), "{name}, trusted: {trusted}");
            }
        }
    }

    #[test]
    fn only_proxies_speak_of_forwarding() {
        for name in FORWARDING {
            assert_eq!(survives(&spellings(name), false), Vec::<String>::new(), "{name}");
            assert_eq!(survives(&spellings(name), true), [name.to_lowercase()], "{name}");
        }
    }

    #[test]
    fn the_rest_passes() {
        for name in HARMLESS {
            assert_eq!(survives(&[(*name).to_owned()], false), [name.to_lowercase()], "{name}");
        }
    }

    #[test]
    fn the_tables_fit_the_comparison() {
        let longest = [NEVER, NEVER_PREFIX, PROXY, PROXY_PREFIX].concat().iter().map(|name| name.len()).max();
        assert!(longest.is_some_and(|longest| longest < FOLDED));
        for name in [NEVER, NEVER_PREFIX, PROXY, PROXY_PREFIX].concat() {
            assert!(is_forbidden(name, false), "{name}: its first letter is not in the quick test");
        }
    }
}
