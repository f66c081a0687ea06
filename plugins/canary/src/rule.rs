//! Who gets another version of a content item.

use lectern_plugin::Host;
use lectern_plugin::web::address;
use serde::Deserialize;

use crate::share::{Share, of_address};

/// Most users and most groups of one rule: more are a group of their own.
const MAX_NAMES: usize = 100;

/// Longest name of a user or group, in bytes: as long as the host takes.
const MAX_NAME_BYTES: usize = 256;

/// One trial.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) content: String,
    pub(crate) bundle: String,
    #[serde(default)]
    share: Option<Share>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    users: Vec<String>,
}

impl Rule {
    /// Whether this visitor takes part: by name, by group, or by belonging to the share.
    pub(crate) fn includes(&self, host: &impl Host) -> bool {
        if self.share.is_some_and(Share::is_all) {
            return true;
        }
        let subject = host.visitor_subject();
        if let Some(subject) = &subject {
            let named = |name: &str| self.users.iter().any(|user| user.eq_ignore_ascii_case(name));
            let by_guid = self.users.iter().any(|user| is_guid(user)) && named(subject);
            let by_name = || {
                self.users.iter().any(|user| !is_guid(user))
                    && host.visitor_claim("username").is_some_and(|name| named(&name))
            };
            if by_guid || by_name() || self.groups.iter().any(|group| host.visitor_in_group(group)) {
                return true;
            }
        }
        let Some(share) = self.share else { return false };
        let visitor = subject.or_else(|| address(&host.client_ip()).map(of_address));
        visitor.is_some_and(|visitor| share.includes(&visitor, &self.salt()))
    }

    /// Another version is another trial, with other visitors.
    fn salt(&self) -> String {
        format!("{} {}", self.content.to_ascii_lowercase(), self.bundle)
    }

    /// What is wrong with the rule.
    pub(crate) fn problem(&self) -> Option<String> {
        if !is_guid(&self.content) {
            return Some(format!("content {:?} must be the GUID of a content item", shown(&self.content)));
        }
        let digits = (1..=18).contains(&self.bundle.len()) && self.bundle.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || self.bundle.starts_with('0') {
            return Some(format!("bundle {:?} must be the number of a version, as \"34\"", shown(&self.bundle)));
        }
        if self.share.is_none() && self.groups.is_empty() && self.users.is_empty() {
            return Some("say who takes part: a share, groups or users".to_owned());
        }
        if self.groups.len() > MAX_NAMES || self.users.len() > MAX_NAMES {
            return Some(format!("more than {MAX_NAMES} groups or users"));
        }
        let bad =
            self.groups.iter().chain(&self.users).find(|name| name.trim().is_empty() || name.len() > MAX_NAME_BYTES);
        bad.map(|name| format!("{:?} is no name of a user or group", shown(name)))
    }
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

/// The hyphenated form, in either case.
fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
