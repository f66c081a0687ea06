//! Where an authorization code may be sent: to a program that listens on the user's own machine.

/// Longest address, in bytes; it is stored and shown.
const MAX_BYTES: usize = 512;

/// An address of the loopback interface (RFC 8252 §7.3): `http`, an IP literal, any port, and a path without a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// `127.0.0.1` or `[::1]`.
    host: &'static str,
    /// As it was written: empty, or with its colon.
    port: String,
    /// Path and query; begins with a slash, or is empty.
    rest: String,
}

/// Why an address is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a redirect URI must be http://127.0.0.1 or http://[::1], with any port and a path, without a fragment")]
pub struct BadRedirect;

impl Redirect {
    /// Reads an address. Strict: what two readers could read differently is refused.
    pub fn parse(text: &str) -> Result<Self, BadRedirect> {
        let clean = |byte: u8| byte.is_ascii_graphic() && !b"#\\\"<>`{}|^'".contains(&byte);
        if text.len() > MAX_BYTES || !text.bytes().all(clean) {
            return Err(BadRedirect);
        }
        let after = text.strip_prefix("http://").ok_or(BadRedirect)?;
        let read = |host: &'static str| after.strip_prefix(host).map(|after| (host, after));
        let (host, after) = read("127.0.0.1").or_else(|| read("[::1]")).ok_or(BadRedirect)?;
        let (port, rest) = after.split_at(after.find('/').unwrap_or(after.len()));
        let fits = match port.strip_prefix(':') {
            Some(digits) => {
                digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|n| n > 0)
            }
            None => port.is_empty(),
        };
        if !fits {
            return Err(BadRedirect);
        }
        Ok(Self { host, port: port.to_owned(), rest: rest.to_owned() })
    }

    /// Whether this is the registered address: the same in all but the port, which the system chooses when the program runs.
    pub fn is(&self, registered: &Self) -> bool {
        (self.host, &self.rest) == (registered.host, &registered.rest)
    }

    /// Scheme, host and port: fit to stand in a content security policy.
    pub fn origin(&self) -> String {
        format!("http://{}{}", self.host, self.port)
    }

    /// The address with `query`, which is encoded already, added to its own.
    pub fn with(&self, query: &str) -> String {
        let path = if self.rest.is_empty() { "/" } else { &self.rest };
        let sign = if path.contains('?') { '&' } else { '?' };
        format!("{}{path}{sign}{query}", self.origin())
    }
}

impl std::fmt::Display for Redirect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.origin(), self.rest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_own_machine() {
        for good in
            ["http://127.0.0.1/callback", "http://127.0.0.1:8123/callback?a=b", "http://[::1]:1/", "http://127.0.0.1"]
        {
            assert_eq!(Redirect::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "https://127.0.0.1/callback",
            "HTTP://127.0.0.1/callback",
            "http://localhost/callback",
            "http://127.0.0.1.evil.example/",
            "http://127.0.0.1@evil.example/",
            "http://127.0.0.1:80@evil.example/",
            "http://127.0.0.1:/x",
            "http://127.0.0.1:0/x",
            "http://127.0.0.1:65536/x",
            "http://127.0.0.1:+1/x",
            "http://127.0.0.1\\@evil.example/",
            "http://127.0.0.1?x",
            "http://127.0.0.1/x#y",
            "http://127.0.0.1/x\r\nset-cookie: a",
            "http://127.0.0.1/ x",
            "http://127.1/x",
            "javascript:alert(1)",
            "//evil.example",
            "/relative",
        ] {
            assert!(Redirect::parse(bad).is_err(), "{bad}");
        }
        assert!(Redirect::parse(&format!("http://127.0.0.1/{}", "x".repeat(MAX_BYTES))).is_err());
    }

    #[test]
    fn only_the_port_may_differ() {
        let registered = Redirect::parse("http://127.0.0.1/callback").unwrap();
        for (given, expected) in [
            ("http://127.0.0.1/callback", true),
            ("http://127.0.0.1:4711/callback", true),
            ("http://127.0.0.1:4711/callback/", false),
            ("http://127.0.0.1:4711/callback?next=x", false),
            ("http://127.0.0.1:4711/Callback", false),
            ("http://[::1]:4711/callback", false),
        ] {
            assert_eq!(Redirect::parse(given).unwrap().is(&registered), expected, "{given}");
        }
        assert_eq!(Redirect::parse("http://127.0.0.1:7").unwrap().with("code=1"), "http://127.0.0.1:7/?code=1");
        assert_eq!(Redirect::parse("http://127.0.0.1/a?b=c").unwrap().with("code=1"), "http://127.0.0.1/a?b=c&code=1");
    }

    proptest! {
        #[test]
        fn whatever_is_taken_stays_on_the_machine(text in "(http://)?(127\\.0\\.0\\.1|\\[::1\\])?[-:@/\\\\?#.a-z0-9]{0,20}") {
            if let Ok(read) = Redirect::parse(&text) {
                prop_assert_eq!(read.to_string(), text);
                let local = |host: &str| read.origin() == host || read.origin().starts_with(&format!("{host}:"));
                prop_assert!(local("http://127.0.0.1") || local("http://[::1]"));
            }
        }
    }
}
