//! Hosts that show one content item.

use std::collections::BTreeMap;

use lectern_plugin::Host;
use serde::Deserialize;

use crate::is_guid;

/// Most hosts: a name and a certificate for each are somebody's work.
const MAX_HOSTS: usize = 1_000;

/// Host names in lower case without port, each with the GUID of its content item.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hosts(BTreeMap<String, String>);

impl Hosts {
    /// The content item of the host that the request was sent to. Without hosts it asks nothing.
    pub(crate) fn content(&self, host: &impl Host) -> Option<&str> {
        if self.0.is_empty() { None } else { self.0.get(&host.host()).map(String::as_str) }
    }

    /// What is wrong with them.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.0.len() > MAX_HOSTS {
            return Some(format!("hosts has {} hosts, more than {MAX_HOSTS}", self.0.len()));
        }
        self.0.iter().find_map(|(name, guid)| {
            if !is_name(name) {
                let shown: String = name.chars().take(100).collect();
                return Some(format!("host {shown:?} must be a name in lower case without port"));
            }
            let shown: String = guid.chars().take(100).collect();
            (!is_guid(guid)).then(|| format!("host {name}: {shown:?} must be the GUID of a content item"))
        })
    }
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_' | b'[' | b']' | b':')
    };
    (1..=253).contains(&text.len()) && text.bytes().all(allowed) && (text.starts_with('[') || !text.contains(':'))
}
