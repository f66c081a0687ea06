//! What the operator sets, checked when the plugin is loaded.

use std::collections::BTreeSet;

use lectern_plugin::people::{Accounts, ClaimNames};
use lectern_plugin::{Failure, Host};
use serde::Deserialize;

use crate::proof::Range;

/// Fields that mean something else, to the host or to everybody. The host takes `remote-user` and `x-remote-user` away from every
/// request, so they would never arrive.
const NOT_FOR_US: &[&str] =
    &["authorization", "cookie", "host", "remote-user", "x-remote-user", "content-length", "transfer-encoding"];

/// How a name becomes a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UserBy {
    /// It is the user name.
    #[default]
    Name,
    /// By an account that is linked to it, or made.
    Account,
}

/// Certificates that are the proxy's: one of these is enough.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Certificates {
    pub(crate) sha256: Vec<String>,
    pub(crate) subjects: Vec<String>,
    pub(crate) dns_names: Vec<String>,
}

/// All settings; `config.schema.json` describes each.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    #[serde(default = "header")]
    pub(crate) header: String,
    #[serde(default)]
    pub(crate) secret: Option<String>,
    #[serde(default = "secret_header")]
    pub(crate) secret_header: String,
    #[serde(default)]
    pub(crate) certificate: Option<Certificates>,
    #[serde(default)]
    pub(crate) peers: Vec<Range>,
    #[serde(default)]
    email_header: Option<String>,
    #[serde(default)]
    first_name_header: Option<String>,
    #[serde(default)]
    last_name_header: Option<String>,
    #[serde(default)]
    groups_header: Option<String>,
    #[serde(default)]
    pub(crate) user: UserBy,
    #[serde(default = "issuer")]
    pub(crate) issuer: String,
    #[serde(default)]
    pub(crate) accounts: Accounts,
    #[serde(default)]
    pub(crate) pass_on: bool,
}

fn header() -> String {
    "x-auth-user".to_owned()
}
fn secret_header() -> String {
    "x-auth-proof".to_owned()
}
fn issuer() -> String {
    "trusted-header".to_owned()
}

impl Settings {
    /// Reads and checks them.
    pub(crate) fn read(host: &impl Host) -> Result<Self, Failure> {
        let settings: Self = host.settings()?;
        match settings.mistake() {
            Some(mistake) => Err(Failure::Misconfigured(mistake)),
            None => Ok(settings),
        }
    }

    fn mistake(&self) -> Option<String> {
        let has_certificate = match &self.certificate {
            Some(Certificates { sha256, subjects, dns_names }) => {
                if sha256.is_empty() && subjects.is_empty() && dns_names.is_empty() {
                    return Some("certificate must name a sha256, a subject or a DNS name".to_owned());
                }
                let is_hash = |text: &&String| {
                    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
                };
                if let Some(bad) = sha256.iter().find(|text| !is_hash(text)) {
                    return Some(format!("certificate.sha256 {bad:?} must be 64 hexadecimal digits in lower case"));
                }
                let is_name = |text: &&String| !text.is_empty() && **text == text.to_ascii_lowercase();
                if let Some(bad) = dns_names.iter().find(|text| !is_name(text)) {
                    return Some(format!("certificate.dns_names {bad:?} must be in lower case"));
                }
                if subjects.iter().any(String::is_empty) {
                    return Some("certificate.subjects must not be empty texts".to_owned());
                }
                true
            }
            None => false,
        };
        // Without a proof anybody who reaches the server could be anybody; addresses can be shared and are no proof.
        if self.secret.is_none() && !has_certificate {
            return Some("set secret or certificate: without one of them anybody could claim to be anybody".to_owned());
        }
        let mut seen = BTreeSet::new();
        let all = self.fields().map(|(_, field)| field).chain([self.secret_header.as_str()]);
        for field in all {
            let is_field = !field.is_empty()
                && field.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            if !is_field {
                return Some(format!("field {field:?} must be lower-case letters, digits and hyphens"));
            }
            if NOT_FOR_US.contains(&field) || field.starts_with("x-lectern-") {
                return Some(format!("field {field:?} does not arrive here or means something else: choose another"));
            }
            if !seen.insert(field) {
                return Some(format!("field {field:?} is used twice"));
            }
        }
        (self.issuer.is_empty()).then(|| "issuer must be a text: accounts are linked to it".to_owned())
    }

    /// The fields in which the proxy speaks of the user, and as which claim each is read.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let optional = [
            ("email", &self.email_header),
            ("first_name", &self.first_name_header),
            ("last_name", &self.last_name_header),
            ("groups", &self.groups_header),
        ];
        let optional = optional.into_iter().filter_map(|(claim, field)| Some((claim, field.as_deref()?)));
        [("user", self.header.as_str())].into_iter().chain(optional)
    }

    /// The names of those claims.
    pub(crate) fn claim_names(&self) -> ClaimNames {
        let text = str::to_owned;
        ClaimNames {
            username: vec![text("user"), text("email")],
            email: text("email"),
            first_name: text("first_name"),
            last_name: text("last_name"),
            groups: text("groups"),
            keep: Vec::new(),
        }
    }
}
