//! What the operator sets, read once per page and checked when the plugin is loaded.

use std::collections::BTreeMap;

use lectern_plugin::people::{Accounts, AnyOf, ClaimNames};
use lectern_plugin::web::{is_confidential, origin_of};
use lectern_plugin::{Failure, Host};
use serde::Deserialize;

/// Where the plugin's pages stand when the operator did not name it otherwise (setting `name`).
pub(crate) const NAME: &str = "oidc-login";

/// Signatures that fit keys which the provider publishes. Shared secrets and `none` are not among them.
const ALGORITHMS: &[&str] = &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// The host refuses more.
const MAX_LEEWAY_SECONDS: u32 = 300;

/// How the token endpoint knows this client (OpenID Connect Core §9).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum ClientAuth {
    /// By a secret, which the host adds.
    #[default]
    #[serde(rename = "client_secret_basic")]
    Basic,
    /// Not at all: a public client, protected by PKCE alone.
    #[serde(rename = "none")]
    Public,
}

/// What the provider asks the user for (OpenID Connect Core §3.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Prompt {
    /// To sign in again, whoever is signed in there.
    Login,
    /// To agree again.
    Consent,
    /// Which account.
    SelectAccount,
}

impl Prompt {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Consent => "consent",
            Self::SelectAccount => "select_account",
        }
    }
}

/// How far signing out goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SignOut {
    /// Here, then at the provider, if it offers that.
    #[default]
    Provider,
    /// Here only.
    Here,
}

/// All settings; `config.schema.json` describes each.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    #[serde(default)]
    pub(crate) client_auth: ClientAuth,
    #[serde(default = "client_secret")]
    pub(crate) client_secret: String,
    #[serde(default)]
    pub(crate) public_url: Option<String>,
    #[serde(default = "name")]
    name: String,
    #[serde(default = "provider_name")]
    pub(crate) provider_name: String,
    #[serde(default = "scopes")]
    pub(crate) scopes: Vec<String>,
    #[serde(default)]
    pub(crate) prompt: Option<Prompt>,
    #[serde(default)]
    pub(crate) max_age: Option<u32>,
    #[serde(default = "algorithms")]
    pub(crate) algorithms: Vec<String>,
    #[serde(default = "leeway_seconds")]
    pub(crate) leeway_seconds: u32,
    #[serde(default)]
    pub(crate) required: BTreeMap<String, AnyOf>,
    #[serde(default)]
    pub(crate) claims: ClaimNames,
    #[serde(default)]
    pub(crate) accounts: Accounts,
    #[serde(default)]
    pub(crate) sign_out: SignOut,
    #[serde(default = "starts_per_minute")]
    pub(crate) starts_per_minute: u32,
}

fn client_secret() -> String {
    "client-secret".to_owned()
}
fn name() -> String {
    NAME.to_owned()
}
fn provider_name() -> String {
    "your identity provider".to_owned()
}
fn scopes() -> Vec<String> {
    vec!["profile".to_owned(), "email".to_owned()]
}
fn algorithms() -> Vec<String> {
    vec!["RS256".to_owned(), "ES256".to_owned()]
}
fn leeway_seconds() -> u32 {
    60
}
fn starts_per_minute() -> u32 {
    30
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
        let plain = |text: &str| !text.contains(['?', '#']);
        let is_name = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        // Scope tokens, RFC 6749 §3.3.
        let is_scope = |text: &String| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
        };
        let unfit = |text: &String| !ALGORITHMS.contains(&text.as_str());
        if !is_confidential(&self.issuer) || !plain(&self.issuer) {
            return Some(format!(
                "issuer {:?} must be the provider's address as it names itself: https, no query (http only on this machine)",
                self.issuer
            ));
        }
        if self.client_id.is_empty() || !self.client_id.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Some("client_id must be the name that the provider gave this client".to_owned());
        }
        if let Some(url) = &self.public_url
            && origin_of(url) != Some(url.as_str())
        {
            return Some(format!("public_url {url:?} must be scheme, host and port: https://apps.example.org"));
        }
        if !is_name(&self.name) {
            return Some(format!("name {:?} must be a plugin's name: lower-case letters, digits and -", self.name));
        }
        if let Some(scope) = self.scopes.iter().find(|scope| !is_scope(scope)) {
            return Some(format!("scope {scope:?} must be one word"));
        }
        if self.algorithms.is_empty() {
            return Some("algorithms must name at least one".to_owned());
        }
        if let Some(algorithm) = self.algorithms.iter().find(|text| unfit(text)) {
            return Some(format!("algorithm {algorithm:?} must be one of {}", ALGORITHMS.join(", ")));
        }
        if self.leeway_seconds > MAX_LEEWAY_SECONDS {
            return Some(format!("leeway_seconds must be at most {MAX_LEEWAY_SECONDS}"));
        }
        if self.starts_per_minute == 0 {
            return Some("starts_per_minute must be at least 1".to_owned());
        }
        None
    }

    /// Below which path the pages stand.
    pub(crate) fn base(&self) -> String {
        format!("/__plugin__/{}/", self.name)
    }

    /// The plugin's name as part of the names of its cookies.
    pub(crate) fn cookie_name(&self, what: &str) -> String {
        format!("lectern-{}-{what}", self.name)
    }

    /// The origin under which browsers reach this server; none when neither the operator nor the request says one.
    pub(crate) fn origin(&self, host: &impl Host) -> Option<String> {
        if let Some(url) = &self.public_url {
            return Some(url.clone());
        }
        let origin = format!("{}://{}", host.scheme(), host.authority().to_ascii_lowercase());
        origin_of(&origin).is_some_and(|whole| whole == origin).then_some(origin)
    }
}
