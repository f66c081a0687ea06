//! What a plugin may reach: asked for by its manifest, given by the operator, and nothing beyond both.
//!
//! Each grant opens one interface of `lectern:plugin` and, where it has a parameter, one thing behind it. The request, the
//! visitor, the log and the configuration are always there: they reach nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::user::UserRole;

/// Which interface a grant opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantKind {
    /// `clock`: the time.
    Clock,
    /// `random`: randomness fit for keys.
    Random,
    /// `content`: vanity paths and what is published.
    Content,
    /// `directory`: look up users, keys, sessions and check passwords.
    Directory,
    /// `accounts`: sign in people whom another directory vouches for, up to a role.
    Accounts,
    /// `tokens`: verify signatures of JSON Web Tokens.
    Tokens,
    /// `key-value`: a small store of the plugin's own.
    KeyValue,
    /// `limiter`: token buckets in the host's memory.
    Limiter,
    /// `outbound`: HTTP requests to a named origin.
    Outbound,
    /// Redirects of visitors to a named origin; opens no interface.
    Redirect,
    /// `secrets`: a named secret that the host uses and the plugin does not see.
    Secret,
    /// `secret-values`: the value of a named secret.
    SecretValue,
}

impl GrantKind {
    /// The word before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Random => "random",
            Self::Content => "content",
            Self::Directory => "directory",
            Self::Accounts => "accounts",
            Self::Tokens => "tokens",
            Self::KeyValue => "key-value",
            Self::Limiter => "limiter",
            Self::Outbound => "outbound",
            Self::Redirect => "redirect",
            Self::Secret => "secret",
            Self::SecretValue => "secret-value",
        }
    }

    /// The kind that opens an interface of `lectern:plugin`; `None`: it is open to all, or not an interface.
    pub fn of_interface(interface: &str) -> Option<Self> {
        Some(match interface {
            "clock" => Self::Clock,
            "random" => Self::Random,
            "content" => Self::Content,
            "directory" => Self::Directory,
            "accounts" => Self::Accounts,
            "tokens" => Self::Tokens,
            "key-value" => Self::KeyValue,
            "limiter" => Self::Limiter,
            "outbound" => Self::Outbound,
            "secrets" => Self::Secret,
            "secret-values" => Self::SecretValue,
            _ => return None,
        })
    }
}

/// Scheme, host and port of a server, in the one form in which origins are compared (RFC 6454 §4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// `https`, or `http` for servers inside a network.
    pub scheme: &'static str,
    /// A host name in lower case, an IPv4 address, or an IPv6 address in brackets.
    pub host: String,
    /// The port, also where it is the scheme's usual one.
    pub port: u16,
}

impl Origin {
    /// Reads `https://host` or `https://host:port`, without a path.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest, usual) = match text.split_once("://")? {
            ("https", rest) => ("https", rest, 443),
            ("http", rest) => ("http", rest, 80),
            _ => return None,
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(inside) => {
                let (address, after) = inside.split_once(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                (format!("[{}]", address.to_ascii_lowercase()), after.strip_prefix(':'))
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host.to_ascii_lowercase(), Some(port)),
                None => (rest.to_ascii_lowercase(), None),
            },
        };
        let is_name = |host: &str| {
            !host.is_empty()
                && host.len() <= 253
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        };
        if !host.starts_with('[') && !is_name(&host) {
            return None;
        }
        // `[::1]x`: neither a port nor the end.
        if rest.contains(']') && !rest.ends_with(']') && port.is_none() {
            return None;
        }
        let port = port.map_or(Some(usual), |port| port.parse().ok().filter(|&port| port > 0))?;
        Some(Self { scheme, host, port })
    }

    /// The origin of a URL: what stands before its path.
    pub fn of_url(url: &str) -> Option<Self> {
        let after = url.find("://")? + 3;
        let end = url[after..].find(['/', '?', '#']).map_or(url.len(), |at| after + at);
        Self::parse(&url[..end])
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        let usual = if self.scheme == "https" { 443 } else { 80 };
        if self.port == usual { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// One grant. In a manifest the parameter may be `*`: the operator names the thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Grant {
    /// A kind without a parameter.
    Plain(GrantKind),
    /// `outbound:` or `redirect:` and an origin; `None` is `*`.
    Origin(GrantKind, Option<Origin>),
    /// `secret:` or `secret-value:` and a name; `None` is `*`.
    Secret(GrantKind, Option<String>),
    /// `accounts:` and the highest role it may give; `None` is `*`.
    Accounts(Option<UserRole>),
}

impl Grant {
    /// Which interface it opens.
    pub fn kind(&self) -> GrantKind {
        match self {
            Self::Plain(kind) | Self::Origin(kind, _) | Self::Secret(kind, _) => *kind,
            Self::Accounts(_) => GrantKind::Accounts,
        }
    }

    /// Whether the operator still has to name the thing.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Origin(_, None) | Self::Secret(_, None) | Self::Accounts(None))
    }

    /// Whether asking for `self` asks for `given` too.
    pub fn covers(&self, given: &Self) -> bool {
        match (self, given) {
            (Self::Accounts(None), Self::Accounts(_)) => true,
            (Self::Accounts(Some(asked)), Self::Accounts(Some(given))) => given <= asked,
            _ => self == given || (self.is_open() && self.kind() == given.kind()),
        }
    }
}

/// A grant that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "grant {0:?} is none of: clock, random, content, directory, tokens, key-value, limiter, outbound:<origin>, redirect:<origin>, \
     secret:<name>, secret-value:<name>, accounts:<highest role>"
)]
pub struct BadGrant(String);

impl FromStr for Grant {
    type Err = BadGrant;
    fn from_str(text: &str) -> Result<Self, BadGrant> {
        let bad = || BadGrant(text.chars().take(200).collect());
        let (kind, parameter) = text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        let origin = |kind| match parameter {
            Some("*") => Ok(Self::Origin(kind, None)),
            Some(text) => Origin::parse(text).map(|origin| Self::Origin(kind, Some(origin))).ok_or_else(bad),
            None => Err(bad()),
        };
        let secret = |kind| match parameter {
            Some("*") => Ok(Self::Secret(kind, None)),
            Some(name) if is_secret_name(name) => Ok(Self::Secret(kind, Some(name.to_owned()))),
            _ => Err(bad()),
        };
        let plain = |kind| if parameter.is_none() { Ok(Self::Plain(kind)) } else { Err(bad()) };
        match kind {
            "clock" => plain(GrantKind::Clock),
            "random" => plain(GrantKind::Random),
            "content" => plain(GrantKind::Content),
            "directory" => plain(GrantKind::Directory),
            "tokens" => plain(GrantKind::Tokens),
            "key-value" => plain(GrantKind::KeyValue),
            "limiter" => plain(GrantKind::Limiter),
            "outbound" => origin(GrantKind::Outbound),
            "redirect" => origin(GrantKind::Redirect),
            "secret" => secret(GrantKind::Secret),
            "secret-value" => secret(GrantKind::SecretValue),
            "accounts" => match parameter {
                Some("*") => Ok(Self::Accounts(None)),
                Some(role) => UserRole::parse(role).map(|role| Self::Accounts(Some(role))).ok_or_else(bad),
                None => Err(bad()),
            },
            _ => Err(bad()),
        }
    }
}

/// Whether a text can name a secret: 1 to 64 letters, digits, `-`, `_` and `.`.
fn is_secret_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().as_str())?;
        match self {
            Self::Plain(_) => Ok(()),
            Self::Origin(_, Some(origin)) => write!(f, ":{origin}"),
            Self::Secret(_, Some(name)) => write!(f, ":{name}"),
            Self::Accounts(Some(role)) => write!(f, ":{}", role.as_str()),
            Self::Origin(_, None) | Self::Secret(_, None) | Self::Accounts(None) => f.write_str(":*"),
        }
    }
}

impl TryFrom<String> for Grant {
    type Error = BadGrant;
    fn try_from(text: String) -> Result<Self, BadGrant> {
        text.parse()
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.to_string()
    }
}

/// A set of grants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants(BTreeSet<Grant>);

/// Grants of an operator that a manifest does not ask for, or that name nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantsRefused {
    /// The plugin would never use it; most likely it was meant for another.
    #[error("{grant} is not asked for by the plugin, which asks for: {asked}")]
    NotAsked {
        /// What the operator gave.
        grant: Grant,
        /// What the manifest asks for.
        asked: Grants,
    },
    /// `*` is no grant: it would give whatever a later version asks for.
    #[error("{0} names nothing: give the one that is meant instead of `*`")]
    Open(Grant),
}

impl Grants {
    /// Those.
    pub fn new(grants: impl IntoIterator<Item = Grant>) -> Self {
        Self(grants.into_iter().collect())
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the interface behind `kind` is open.
    pub fn opens(&self, kind: GrantKind) -> bool {
        self.0.iter().any(|grant| grant.kind() == kind)
    }

    /// Whether a request to, or a redirect to, this origin is granted.
    pub fn allows_origin(&self, kind: GrantKind, origin: &Origin) -> bool {
        self.0.iter().any(|grant| matches!(grant, Grant::Origin(of, Some(named)) if *of == kind && named == origin))
    }

    /// Whether the use of this secret is granted.
    pub fn allows_secret(&self, kind: GrantKind, name: &str) -> bool {
        self.0.iter().any(|grant| matches!(grant, Grant::Secret(of, Some(named)) if *of == kind && named == name))
    }

    /// The highest role that the plugin may give to the people it signs in; `None`: it may not sign anybody in.
    pub fn highest_role(&self) -> Option<UserRole> {
        self.0.iter().filter_map(|grant| if let Grant::Accounts(role) = grant { *role } else { None }).max()
    }

    /// What a plugin whose manifest asks for `self` gets of what the operator gives.
    pub fn give(&self, given: &Self) -> Result<Self, GrantsRefused> {
        for grant in &given.0 {
            if grant.is_open() {
                return Err(GrantsRefused::Open(grant.clone()));
            }
            if !self.0.iter().any(|asked| asked.covers(grant)) {
                return Err(GrantsRefused::NotAsked { grant: grant.clone(), asked: self.clone() });
            }
        }
        Ok(given.clone())
    }

    /// What is asked for and not in `given`.
    pub fn missing(&self, given: &Self) -> Self {
        Self(self.0.iter().filter(|asked| !given.0.iter().any(|grant| asked.covers(grant))).cloned().collect())
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (at, grant) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{grant}")?;
        }
        Ok(())
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<T: IntoIterator<Item = Grant>>(grants: T) -> Self {
        Self::new(grants)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn grants(texts: &[&str]) -> Grants {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn grants_are_read_and_printed() {
        for text in [
            "clock",
            "key-value",
            "outbound:https://idp.example.org",
            "outbound:http://10.0.0.1:8080",
            "redirect:https://[::1]:8443",
            "outbound:*",
            "secret:client-secret",
            "secret-value:*",
            "accounts:publisher",
        ] {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
        assert_eq!(
            "outbound:https://IDP.example:443".parse::<Grant>().unwrap().to_string(),
            "outbound:https://idp.example"
        );
        for bad in [
            "",
            "files",
            "clock:x",
            "outbound",
            "outbound:",
            "outbound:idp.example",
            "outbound:ftp://a",
            "outbound:https://a/b",
            "outbound:https://a:0",
            "outbound:https://u@a",
            "outbound:https://[::1]x",
            "secret",
            "secret:",
            "secret:a b",
            "accounts",
            "accounts:root",
        ] {
            assert!(bad.parse::<Grant>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_is_asked_for_is_given() {
        let asked = grants(&["clock", "outbound:*", "secret:a", "accounts:publisher"]);
        for given in
            [&["clock"][..], &["outbound:https://x"], &["secret:a"], &["accounts:viewer"], &["accounts:publisher"]]
        {
            assert_eq!(asked.give(&grants(given)).unwrap(), grants(given));
        }
        for given in ["random", "secret:b", "accounts:administrator", "redirect:https://x", "outbound:*"] {
            assert!(asked.give(&grants(&[given])).is_err(), "{given}");
        }
        let missing = asked.missing(&grants(&["outbound:https://x", "accounts:viewer"]));
        assert_eq!(missing, grants(&["clock", "secret:a"]));
    }

    #[test]
    fn origins_are_compared_whole() {
        let given = grants(&["outbound:https://idp.example"]);
        let allows =
            |url: &str| Origin::of_url(url).is_some_and(|origin| given.allows_origin(GrantKind::Outbound, &origin));
        for good in ["https://idp.example", "https://idp.example/a?b#c", "https://IDP.example:443/"] {
            assert!(allows(good), "{good}");
        }
        for bad in [
            "http://idp.example/",
            "https://idp.example:8443/",
            "https://idp.example.evil/",
            "https://x@idp.example/",
            "https://idp.example@evil/",
            "https://evil/https://idp.example",
            "//idp.example/",
            "https:idp.example",
        ] {
            assert!(!allows(bad), "{bad}");
        }
        assert!(!given.allows_origin(GrantKind::Redirect, &Origin::parse("https://idp.example").unwrap()));
    }
}
