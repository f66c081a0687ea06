//! One limit: which requests it counts, together with which others, and how many may come.

use lectern_plugin::Host;
use lectern_plugin::web::{Network, address, is_below, is_path};
use serde::Deserialize;

/// Addresses of one network of IPv6 are counted together: whoever has one has them all.
const IPV6_BITS: u8 = 64;

/// Most paths and methods of one limit.
const MAX_LIST: usize = 50;

/// Most requests a minute, and at once: beyond what one server answers.
const MAX_RATE: u32 = 1_000_000;

/// A limit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// Tells its counts from those of other limits.
    pub(crate) name: String,
    per: Per,
    pub(crate) per_minute: u32,
    pub(crate) burst: u32,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    methods: Vec<String>,
}

/// What requests that are counted together have in common.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Per {
    principal: bool,
    address: bool,
    content: bool,
}

impl TryFrom<String> for Per {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let mut per = Self::default();
        for word in text.split('+') {
            let part = match word {
                "principal" => &mut per.principal,
                "address" => &mut per.address,
                "content" => &mut per.content,
                _ => {
                    return Err(format!(
                        "per {:?} must be principal, address or content, or some of them with + between",
                        shown(&text)
                    ));
                }
            };
            if std::mem::replace(part, true) {
                return Err(format!("per {:?} names {word} twice", shown(&text)));
            }
        }
        Ok(per)
    }
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

impl Rule {
    /// The bucket that this request is taken from; `None`: the limit does not count it.
    ///
    /// A limit by content counts requests for content only. Visitors whom nobody knows are told apart by their address.
    pub(crate) fn bucket(&self, host: &impl Host) -> Option<String> {
        let concerns = (self.paths.is_empty() || self.paths.iter().any(|path| is_below(host, path)))
            && (self.methods.is_empty() || self.methods.contains(&host.method()));
        if !concerns {
            return None;
        }
        let mut bucket = self.name.clone();
        let mut part = |name: &str, value: &str| {
            bucket.push(' ');
            bucket.push_str(name);
            bucket.push('=');
            bucket.push_str(value);
        };
        if self.per.content {
            part("content", &host.target_content()?.to_ascii_lowercase());
        }
        let subject = if self.per.principal { host.visitor_subject() } else { None };
        if let Some(subject) = &subject {
            part("principal", subject);
        }
        if self.per.address || (self.per.principal && subject.is_none()) {
            let network = address(&host.client_ip()).map(|address| match address.is_ipv4() {
                true => address.to_string(),
                false => Network::around(address, IPV6_BITS).to_string(),
            });
            part("address", network.as_deref().unwrap_or("unknown"));
        }
        Some(bucket)
    }

    /// What is wrong with the limit.
    pub(crate) fn problem(&self) -> Option<String> {
        let is_name = |text: &str| {
            (1..=32).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !is_name(&self.name) {
            return Some(format!("name {:?} must be 1 to 32 lower-case letters, digits and `-`", shown(&self.name)));
        }
        for (key, number) in [("per_minute", self.per_minute), ("burst", self.burst)] {
            if !(1..=MAX_RATE).contains(&number) {
                return Some(format!("{key} {number} must be 1 to {MAX_RATE}"));
            }
        }
        if self.paths.len() > MAX_LIST || self.methods.len() > MAX_LIST {
            return Some(format!("more than {MAX_LIST} paths or methods"));
        }
        if let Some(path) = self.paths.iter().find(|path| !is_path(path)) {
            return Some(format!("path {path:?} must begin with a slash and have no dot segments"));
        }
        let is_method = |text: &str| {
            (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
        };
        let bad = self.methods.iter().find(|method| !is_method(method))?;
        Some(format!("method {:?} must be written in capitals, as GET", shown(bad)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lectern_plugin::{Identity, Mock};

    const GUID: &str = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162";

    fn rule(per: &str, more: &str) -> Rule {
        let document = format!(r#"{{"name": "r", "per": "{per}", "per_minute": 60, "burst": 10{more}}}"#);
        Mock::get("").document(&document).settings().unwrap()
    }

    #[test]
    fn buckets_name_what_is_counted_together() {
        let anonymous = || Mock::get("/a/b").client_ip("198.51.100.1");
        let ada = || anonymous().visitor(Identity::new("ada"));
        let content = |mock: Mock| mock.target(&format!("content:{}", GUID.to_uppercase()));
        let cases = [
            ("principal", ada(), Some("r principal=ada".to_owned())),
            ("principal", anonymous(), Some("r address=198.51.100.1".to_owned())),
            ("address", ada(), Some("r address=198.51.100.1".to_owned())),
            ("address", ada().client_ip("::ffff:198.51.100.1"), Some("r address=198.51.100.1".to_owned())),
            ("address", ada().client_ip("2001:db8::1:2:3:4"), Some("r address=2001:db8::/64".to_owned())),
            ("address", ada().client_ip(""), Some("r address=unknown".to_owned())),
            ("content", content(ada()), Some(format!("r content={GUID}"))),
            ("content", ada().target("system:api"), None),
            ("content", ada(), None),
            ("principal+content", content(ada()), Some(format!("r content={GUID} principal=ada"))),
            ("content+principal", content(anonymous()), Some(format!("r content={GUID} address=198.51.100.1"))),
            ("principal+address", ada(), Some("r principal=ada address=198.51.100.1".to_owned())),
            ("principal+address", anonymous(), Some("r address=198.51.100.1".to_owned())),
        ];
        for (per, mock, expected) in cases {
            assert_eq!(rule(per, "").bucket(&mock), expected, "{per}");
        }
    }

    #[test]
    fn only_what_a_limit_names_is_counted() {
        let some = rule("address", r#", "paths": ["/__api__", "/a/b"], "methods": ["POST", "PUT"]"#);
        let cases = [
            ("POST", "/__api__/v1/content", true),
            ("GET", "/__api__/v1/content", false),
            ("PUT", "/a/b", true),
            ("POST", "/a/bc", false),
            ("post", "/a/b", false),
        ];
        for (method, path, expected) in cases {
            assert_eq!(some.bucket(&Mock::new(method, path)).is_some(), expected, "{method} {path}");
        }
        let mock = Mock::get("/elsewhere");
        some.bucket(&mock);
        assert_eq!(mock.asked(), ["path-has-prefix /__api__", "path-has-prefix /a/b"]);
    }
}
