//! From what another directory says of somebody to the profile that the host signs in, by rules that the operator sets.
//!
//! [`ClaimNames`] and [`Accounts`] are meant as parts of a plugin's settings. Plugins that identify people by tokens, headers or an
//! identity provider then read the same words.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{Failure, Host, Identity, Level, Outcome, Profile, SignInRefusal};

/// The host takes texts up to this many bytes; longer groups are left out.
const MAX_TEXT_BYTES: usize = 256;
/// The host takes that many groups of one person.
const MAX_GROUPS: usize = 1_000;

/// Statements about somebody: the claims of a token, or what stands in its place.
#[derive(Debug, Clone)]
pub struct Claims(serde_json::Map<String, Value>);

impl Claims {
    /// Reads a JSON object; none where it is something else.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self)
    }

    /// Statements put together by hand, all texts.
    pub fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name, Value::String(value))).collect())
    }

    /// A claim as text: a text that is not empty, a number or a yes or no. A name that begins with a slash is a path into nested
    /// claims (RFC 6901): `/realm_access/roles`.
    pub fn text(&self, name: &str) -> Option<String> {
        scalar(self.value(name)?)
    }

    /// A claim that is a whole number; some issuers write times with a fraction.
    pub fn seconds(&self, name: &str) -> Option<u64> {
        let value = self.value(name)?;
        // A float beyond the range becomes the nearest end of it.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        value.as_u64().or_else(|| value.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64))
    }

    /// A claim that is a list of texts. A text is the list of its parts between commas, or a JSON list written as text.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::Array(items)) => items.iter().filter_map(scalar).collect(),
            Some(Value::String(text)) => match serde_json::from_str::<Vec<String>>(text) {
                Ok(items) if text.starts_with('[') => items,
                _ => text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            },
            _ => Vec::new(),
        }
    }

    /// The words of a claim that is a text with spaces, as `scope` is (RFC 8693 §4.2), or a list.
    pub fn words(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::String(text)) => text.split_ascii_whitespace().map(str::to_owned).collect(),
            _ => self.list(name),
        }
    }

    /// The first of these requirements that is not met.
    pub fn lacks<'a>(&self, required: &'a BTreeMap<String, AnyOf>) -> Option<&'a str> {
        let meets = |(name, allowed): &(&String, &AnyOf)| match self.value(name) {
            Some(Value::Array(items)) => items.iter().filter_map(scalar).any(|item| allowed.allows(&item)),
            Some(value) => scalar(value).is_some_and(|text| allowed.allows(&text)),
            None => false,
        };
        required.iter().find(|required| !meets(required)).map(|(name, _)| name.as_str())
    }

    fn value(&self, name: &str) -> Option<&Value> {
        let Some(path) = name.strip_prefix('/') else { return self.0.get(name) };
        let (first, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
        let first = first.replace("~1", "/").replace("~0", "~");
        self.0.get(&first)?.pointer(rest)
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What a claim may be: one text, or one of several. Numbers and yes or no are compared as JSON writes them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum AnyOf {
    /// This.
    One(String),
    /// Yes or no.
    Bool(bool),
    /// One of these.
    Several(Vec<String>),
}

impl AnyOf {
    fn allows(&self, text: &str) -> bool {
        match self {
            Self::One(only) => only == text,
            Self::Bool(yes) => text == if *yes { "true" } else { "false" },
            Self::Several(several) => several.iter().any(|allowed| allowed == text),
        }
    }
}

/// Which claims say what.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClaimNames {
    /// Claims that a new account may be named after: the first that is there and fits.
    pub username: Vec<String>,
    /// The address.
    pub email: String,
    /// The first name.
    pub first_name: String,
    /// The last name.
    pub last_name: String,
    /// The list of groups.
    pub groups: String,
    /// Claims that are handed on to plugins of the phase select.
    pub keep: Vec<String>,
}

impl Default for ClaimNames {
    /// The standard claims of OpenID Connect (Core §5.1), and `groups`.
    fn default() -> Self {
        let text = str::to_owned;
        Self {
            username: vec![text("preferred_username"), text("email")],
            email: text("email"),
            first_name: text("given_name"),
            last_name: text("family_name"),
            groups: text("groups"),
            keep: Vec::new(),
        }
    }
}

/// A role on the server. Ordered: each may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May open what is shared with them.
    Viewer,
    /// May also publish.
    Publisher,
    /// May also administer the server.
    Administrator,
}

impl Role {
    /// The word in profiles.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Publisher => "publisher",
            Self::Administrator => "administrator",
        }
    }
}

/// Who may have an account, and which.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accounts {
    /// Whether an account is made for somebody who has none.
    pub create: bool,
    /// Groups whose members get a role, the highest that fits. Where this is set, members of none are viewers: who leaves a group
    /// loses its role at the next sign-in. Where it is empty, roles are left as they are.
    pub roles: BTreeMap<Role, Vec<String>>,
    /// Only members of one of these are let in; empty: everybody.
    pub allowed_groups: Vec<String>,
}

/// Somebody whom the operator's rules do not let in. The text is for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAllowed(pub String);

impl Accounts {
    /// The profile of somebody whom `issuer` calls `subject`.
    pub fn profile(
        &self,
        issuer: &str,
        subject: &str,
        claims: &Claims,
        names: &ClaimNames,
    ) -> Result<Profile, NotAllowed> {
        let mut groups = claims.list(&names.groups);
        let is_in = |wanted: &Vec<String>| wanted.iter().any(|group| groups.contains(group));
        if !self.allowed_groups.is_empty() && !is_in(&self.allowed_groups) {
            return Err(NotAllowed("member of none of the groups that may sign in".to_owned()));
        }
        let role = if self.roles.is_empty() {
            None
        } else {
            let highest = self.roles.iter().rev().find(|(_, wanted)| is_in(wanted)).map(|(role, _)| *role);
            Some(highest.unwrap_or(Role::Viewer))
        };
        groups.retain(|group| group.len() <= MAX_TEXT_BYTES && !group.chars().any(char::is_control));
        groups.truncate(MAX_GROUPS);
        // An address that the issuer did not check is anybody's.
        let unchecked = claims.text("email_verified").as_deref() == Some("false");
        let usable = |name: &str| !(unchecked && name == names.email);
        let text = |name: &str| claims.text(name).filter(|_| usable(name)).unwrap_or_default();
        let username = names.username.iter().map(|name| text(name)).find(|name| fits_username(name));
        Ok(Profile {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            username: username.unwrap_or_default(),
            email: text(&names.email),
            first_name: text(&names.first_name),
            last_name: text(&names.last_name),
            role: role.map(|role| role.as_str().to_owned()),
            groups,
            create: self.create,
        })
    }
}

impl ClaimNames {
    /// The identity with the claims to keep, and with the groups where the host said none.
    pub fn complete(&self, mut identity: Identity, claims: &Claims, groups: &[String]) -> Identity {
        if identity.groups.is_empty() {
            identity.groups = groups.to_vec();
        }
        for name in &self.keep {
            if let Some(value) = claims.text(name).filter(|value| value.len() <= MAX_TEXT_BYTES) {
                identity.claims.push((name.clone(), value));
            }
        }
        identity
    }
}

/// What the host refuses as a user name is not proposed: 3 to 64 ASCII letters, digits, `.`, `_`, `-`, `@`, beginning with a letter
/// or digit.
fn fits_username(name: &str) -> bool {
    (3..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte))
}

/// The outcome of a request whose visitor was to be signed in: a refusal denies, and is explained in the log.
pub fn outcome(host: &impl Host, signed_in: Result<Identity, SignInRefusal>) -> Result<Outcome, Failure> {
    let refusal = match signed_in {
        Ok(identity) => return Ok(Outcome::Authenticated(identity)),
        Err(refusal) => refusal,
    };
    let reason = match refusal {
        SignInRefusal::Unavailable => return Err(Failure::Unavailable("the accounts cannot be read".to_owned())),
        SignInRefusal::Unknown => "no account is linked to this person, and none may be made".to_owned(),
        SignInRefusal::Locked => "the account is locked".to_owned(),
        SignInRefusal::NameTaken => "the user name belongs to an account that is not linked to this person".to_owned(),
        SignInRefusal::Invalid(what) => format!("no account can be made of this profile: {what}"),
        SignInRefusal::NotGranted => {
            host.log(Level::Error, "the role is above the grant: raise accounts:<role>, or change the roles", &[]);
            "the role is above what the operator granted".to_owned()
        }
    };
    Ok(Outcome::Rejected(reason))
}

#[cfg(test)]
mod tests;
