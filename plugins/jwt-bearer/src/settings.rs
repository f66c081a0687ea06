//! What the operator sets, checked when the plugin is loaded.

use std::collections::BTreeMap;

use lectern_plugin::people::{Accounts, AnyOf, ClaimNames, Claims};
use lectern_plugin::web::is_confidential;
use lectern_plugin::{Failure, Host, Keys};
use serde::Deserialize;

/// For keys that the issuer publishes.
const PUBLIC: &[&str] = &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
/// For a secret that is shared with the issuer.
const SHARED: &[&str] = &["HS256", "HS384", "HS512"];

/// The host refuses more.
const MAX_LEEWAY_SECONDS: u32 = 300;

/// How a subject becomes a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UserBy {
    /// By the list `users`; others are rejected.
    #[default]
    Map,
    /// The claim is the user name.
    Name,
    /// By an account that is linked to issuer and subject, or made.
    Account,
}

/// All settings; `config.schema.json` describes each.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) issuer: String,
    pub(crate) audiences: Vec<String>,
    #[serde(default)]
    jwks_url: Option<String>,
    #[serde(default)]
    jwks: Option<String>,
    #[serde(default)]
    secret: Option<String>,
    #[serde(default)]
    algorithms: Vec<String>,
    #[serde(default = "leeway_seconds")]
    pub(crate) leeway_seconds: u32,
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    pub(crate) required: BTreeMap<String, AnyOf>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default = "subject_claim")]
    pub(crate) subject_claim: String,
    #[serde(default)]
    pub(crate) user: UserBy,
    #[serde(default)]
    pub(crate) users: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) claims: ClaimNames,
    #[serde(default)]
    pub(crate) accounts: Accounts,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    pub(crate) strict: bool,
    #[serde(default)]
    pub(crate) pass_on: bool,
}

fn leeway_seconds() -> u32 {
    30
}
fn subject_claim() -> String {
    "sub".to_owned()
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
        if self.issuer.is_empty() {
            return Some("issuer must be the text that the tokens name as iss".to_owned());
        }
        // Without it a token that the same issuer made for another server would be good here (RFC 8725 §3.9).
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Some("audiences must name this server as the tokens do: at least one text, none empty".to_owned());
        }
        let sources = [self.jwks_url.is_some(), self.jwks.is_some(), self.secret.is_some()];
        if sources.iter().filter(|there| **there).count() != 1 {
            return Some("exactly one of jwks_url, jwks and secret must be set".to_owned());
        }
        if let Some(url) = self.jwks_url.as_ref().filter(|url| !is_confidential(url)) {
            return Some(format!("jwks_url {url:?} must begin with https:// (http:// only on this machine)"));
        }
        let fitting = if self.secret.is_some() { SHARED } else { PUBLIC };
        if let Some(algorithm) = self.algorithms.iter().find(|text| !fitting.contains(&text.as_str())) {
            return Some(format!("algorithm {algorithm:?} must be one of {} for these keys", fitting.join(", ")));
        }
        if self.leeway_seconds > MAX_LEEWAY_SECONDS {
            return Some(format!("leeway_seconds must be at most {MAX_LEEWAY_SECONDS}"));
        }
        if self.subject_claim.is_empty() {
            return Some("subject_claim must name a claim".to_owned());
        }
        if (self.user == UserBy::Map) == self.users.is_empty() {
            return Some("users must list subjects and their user names, if and only if user is \"map\"".to_owned());
        }
        let is_path = |path: &&String| path.starts_with('/') && (path.len() == 1 || !path.ends_with('/'));
        if let Some(path) = self.paths.iter().find(|path| !is_path(path)) {
            return Some(format!("path {path:?} must begin with a slash and end without one"));
        }
        None
    }

    /// Whether the request's path is among `paths`: on whole segments, all paths where there are none.
    pub(crate) fn concerns(&self, host: &impl Host) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|path| is_below(host, path))
    }

    /// The keys; exactly one source is set.
    pub(crate) fn keys(&self) -> Result<Keys, Failure> {
        match (&self.jwks_url, &self.jwks, &self.secret) {
            (Some(url), None, None) => Ok(Keys::JwksUrl(url.clone())),
            (None, Some(text), None) => Ok(Keys::Jwks(text.clone())),
            (None, None, Some(name)) => Ok(Keys::Secret(name.clone())),
            _ => Err(Failure::Misconfigured("exactly one of jwks_url, jwks and secret must be set".to_owned())),
        }
    }

    /// Those set, or the usual ones for these keys.
    pub(crate) fn algorithms(&self) -> Vec<String> {
        if !self.algorithms.is_empty() {
            return self.algorithms.clone();
        }
        let usual: &[&str] = if self.secret.is_some() { &["HS256"] } else { &["RS256", "ES256"] };
        usual.iter().map(|text| (*text).to_owned()).collect()
    }

    /// Whether a token of this `typ` is taken; names are compared as media types, with or without `application/` (RFC 7515 §4.1.9).
    pub(crate) fn is_type(&self, typ: Option<&str>) -> bool {
        let bare = |text: &str| {
            let text = text.to_ascii_lowercase();
            text.strip_prefix("application/").map(str::to_owned).unwrap_or(text)
        };
        self.types.is_empty() || typ.is_some_and(|typ| self.types.iter().any(|wanted| bare(wanted) == bare(typ)))
    }

    /// The first of the scopes that a token does not have, in `scope` or in `scp`.
    pub(crate) fn lacks_scope(&self, claims: &Claims) -> Option<&str> {
        let mut has = claims.words("scope");
        has.extend(claims.words("scp"));
        self.scopes.iter().find(|wanted| !has.contains(wanted)).map(String::as_str)
    }
}

/// Whether the path is `prefix` or below it. Asked as yes or no first: the segments themselves differ from request to request.
fn is_below(host: &impl Host, prefix: &str) -> bool {
    if prefix == "/" || host.path_has_prefix(&format!("{prefix}/")) {
        return true;
    }
    let segments = u32::try_from(prefix.matches('/').count()).unwrap_or(u32::MAX);
    host.path_has_prefix(prefix) && host.path_prefix(segments) == prefix
}
