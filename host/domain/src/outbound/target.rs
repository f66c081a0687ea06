//! A URL that Lectern is to fetch for somebody, in the one form that all readers of URLs read alike.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::plugin::Origin;

/// Longest URL, in bytes: what servers and proxies take at least (RFC 9110 §4.1 asks for 8000).
const MAX_BYTES: usize = 2000;

/// An `http` or `https` URL without a user, a password or a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    text: String,
    origin: Origin,
}

/// Why a URL is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// Too long.
    #[error("the URL is longer than {MAX_BYTES} bytes")]
    Long,
    /// Another scheme, or none.
    #[error("a URL must begin with https:// or http://")]
    Scheme,
    /// A user or a password before the host.
    #[error("a URL must name no user and no password before its host")]
    User,
    /// A fragment.
    #[error("a URL must have no fragment (#)")]
    Fragment,
    /// A space, a backslash, a control character, something beyond ASCII.
    #[error("a URL must be plain: letters, digits and -._~:/?[]@!$&'()*+,;=%")]
    Characters,
    /// Not a name, an IPv4 address of four decimal numbers, or an IPv6 address in brackets; a strange port.
    #[error(
        "a URL must have a host that is a name, an address like 192.0.2.1 or [2001:db8::1], with a port from 1 to 65535 if any"
    )]
    Host,
}

impl Target {
    /// Reads a URL. Strict: what two readers could read differently is refused, so that none is judged as one host and fetched
    /// from another.
    pub fn parse(text: &str) -> Result<Self, BadTarget> {
        if text.len() > MAX_BYTES {
            return Err(BadTarget::Long);
        }
        let after = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or(BadTarget::Scheme)?;
        if text.contains('#') {
            return Err(BadTarget::Fragment);
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&byte);
        if !text.bytes().all(plain) {
            return Err(BadTarget::Characters);
        }
        let authority = &after[..after.find(['/', '?']).unwrap_or(after.len())];
        if authority.contains('@') {
            return Err(BadTarget::User);
        }
        let host = host_of(authority).ok_or(BadTarget::Host)?;
        if !is_one_host(host) {
            return Err(BadTarget::Host);
        }
        let origin = Origin::of_url(text).ok_or(BadTarget::Host)?;
        Ok(Self { text: text.to_owned(), origin })
    }

    /// The URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether TLS is spoken there.
    pub fn is_secure(&self) -> bool {
        self.origin.scheme == "https"
    }

    /// The host: a name in lower case, or an address without brackets.
    pub fn host(&self) -> &str {
        self.origin.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, also where it is the scheme's usual one.
    pub fn port(&self) -> u16 {
        self.origin.port
    }

    /// The address, if one stands in place of a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host().parse().ok()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What stands before the port, brackets included; `None` if the port is not one.
fn host_of(authority: &str) -> Option<&str> {
    let after_host = match authority.strip_prefix('[') {
        Some(inside) => inside.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(after_host);
    let fits = match port.strip_prefix(':') {
        Some(digits) => {
            !digits.starts_with('0')
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && digits.parse::<u16>().is_ok()
        }
        None => port.is_empty(),
    };
    fits.then_some(host)
}

fn is_one_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[') {
        // No zone: it would name an interface of ours.
        return inside.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let labels = || host.split('.');
    if labels().any(|label| label.is_empty() || label.len() > 63) {
        return false;
    }
    // A name whose last part is a number is an address to those who read them as C does: 127.1, 0x7f000001, 2130706433.
    let number = |label: &str| {
        let digits = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
        match digits {
            Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
            None => label.bytes().all(|byte| byte.is_ascii_digit()),
        }
    };
    if labels().next_back().is_some_and(number) { host.parse::<Ipv4Addr>().is_ok() } else { true }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_read_one_way() {
        for (text, host, port, is_secure) in [
            ("https://idp.example.org/token", "idp.example.org", 443, true),
            ("https://IDP.example.org:8443/a/b?c=d%20e", "idp.example.org", 8443, true),
            ("http://10.0.0.1", "10.0.0.1", 80, false),
            ("http://[::1]:81/x", "::1", 81, false),
            ("https://a/x@y:z", "a", 443, true),
            ("https://a?b@c", "a", 443, true),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!((target.host(), target.port(), target.is_secure()), (host, port, is_secure), "{text}");
            assert_eq!(target.to_string(), text);
        }
    }

    #[test]
    fn what_is_not_taken() {
        use BadTarget::{Characters, Fragment, Host, Long, Scheme, User};
        for (text, why) in [
            ("", Scheme),
            ("ftp://a/", Scheme),
            ("file:///etc/passwd", Scheme),
            ("gopher://a:70/_", Scheme),
            ("HTTPS://a/", Scheme),
            ("//a/", Scheme),
            ("https:a", Scheme),
            (" https://a", Scheme),
            ("https://user@a/", User),
            ("https://user:word@a/", User),
            ("https://1.1.1.1@127.0.0.1/", User),
            ("https://a/#x", Fragment),
            ("https://1.1.1.1#@127.0.0.1/", Fragment),
            ("https://a\\@127.0.0.1/", Characters),
            ("https://a b/", Characters),
            ("https://a/\r\nhost: b", Characters),
            ("https://a\t/", Characters),
            ("https://b\u{fc}cher.example/", Characters),
            ("https://\u{2460}27.0.0.1/", Characters),
            ("https://", Host),
            ("https:///x", Host),
            ("https://:80/", Host),
            ("https://a:/", Host),
            ("https://a:0/", Host),
            ("https://a:080/", Host),
            ("https://a:+80/", Host),
            ("https://a:65536/", Host),
            ("https://a:80:80/", Host),
            ("https://127.1/", Host),
            ("https://2130706433/", Host),
            ("https://0x7f000001/", Host),
            ("https://0x7f.0.0.1/", Host),
            ("https://0177.0.0.1/", Host),
            ("https://127.0.0.1./", Host),
            ("https://localhost./", Host),
            ("https://a..b/", Host),
            ("https://1.2.3.4.5/", Host),
            ("https://256.0.0.1/", Host),
            ("https://a%2eb/", Host),
            ("https://[::1/", Host),
            ("https://[::1]x/", Host),
            ("https://[fe80::1%25eth0]/", Host),
            ("https://[127.0.0.1]/", Host),
            ("https://a[::1]/", Host),
        ] {
            assert_eq!(Target::parse(text), Err(why), "{text}");
        }
        assert_eq!(Target::parse(&format!("https://a/{}", "x".repeat(MAX_BYTES))), Err(Long));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_read_is_whole(text in "(https?://)?[-a-z0-9.:@/\\\\?#\\[\\]%xX]{0,24}") {
            if let Ok(target) = Target::parse(&text) {
                prop_assert_eq!(target.as_str(), &text);
                let origin = target.origin().to_string();
                prop_assert!(Origin::parse(&origin).as_ref() == Some(target.origin()));
                prop_assert!(!target.host().is_empty() && target.port() > 0);
            }
        }
    }
}
