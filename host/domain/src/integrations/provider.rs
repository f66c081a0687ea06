//! A provider of OAuth 2 as an administrator describes it: where it is, and how Lectern says who it is there.

use std::fmt;

use serde_json::Value;

use super::AuthType;
use crate::outbound::{BadTarget, Target};

/// Longest client id, secret and list of scopes, in bytes: the longest that providers give are a few hundred.
const MAX_BYTES: usize = 4096;

/// How the server proves to the provider that it is the registered client (RFC 6749 §2.3).
#[derive(Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// By HTTP's basic authentication, with this secret.
    Basic(String),
    /// In the form, with this secret.
    Post(String),
    /// Not at all: a public client, which only PKCE protects.
    Public,
}

/// A provider, with all that is needed to ask it for tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Provider {
    /// Where browsers are sent to sign in; absent where nobody signs in.
    pub authorization: Option<Target>,
    /// Where tokens are asked for.
    pub token: Target,
    /// As which client.
    pub client_id: String,
    /// How the client proves it.
    pub client_auth: ClientAuth,
    /// What is asked for, separated by spaces; may be empty.
    pub scopes: String,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("token", &self.token.as_str())
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// What of a description cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadProvider {
    /// It is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It is not a text, or one too long or with characters that cannot be sent.
    #[error("{0} must be a text of at most {MAX_BYTES} bytes, without control characters")]
    Text(&'static str),
    /// It is not an address that is fetched.
    #[error("{field}: {cause}")]
    Address {
        /// Which.
        field: &'static str,
        /// Why.
        cause: BadTarget,
    },
    /// It is none of the words.
    #[error("{0} must be one of: {1}")]
    Word(&'static str, &'static str),
}

impl Provider {
    /// Reads the configuration of an integration, and its secret part: both JSON objects.
    pub fn read(auth_type: AuthType, config: &Value, secrets: &Value) -> Result<Self, BadProvider> {
        let authorization = match auth_type {
            AuthType::Viewer => Some(address(config, "authorization_uri")?),
            AuthType::ServiceAccount | AuthType::VisitorApiKey => None,
        };
        let secret = || needed(secrets, "client_secret");
        let client_auth = match (optional(config, "auth_mode")?, optional(config, "token_endpoint_auth_method")?) {
            (Some("Public"), _) | (_, Some("none")) => ClientAuth::Public,
            (Some("Confidential") | None, Some("client_secret_post")) => ClientAuth::Post(secret()?.to_owned()),
            (Some("Confidential") | None, Some("client_secret_basic") | None) => {
                ClientAuth::Basic(secret()?.to_owned())
            }
            (Some("Confidential") | None, Some(_)) => {
                let words = "client_secret_basic, client_secret_post, none";
                return Err(BadProvider::Word("token_endpoint_auth_method", words));
            }
            (Some(_), _) => return Err(BadProvider::Word("auth_mode", "Confidential, Public")),
        };
        let scopes = optional(config, "scopes")?.unwrap_or_default();
        Ok(Self {
            authorization,
            token: address(config, "token_uri")?,
            client_id: needed(config, "client_id")?.to_owned(),
            client_auth,
            // People separate them by commas and lines too; the protocol has spaces (RFC 6749 §3.3).
            scopes: scopes.split([' ', ',', '\t']).filter(|scope| !scope.is_empty()).collect::<Vec<_>>().join(" "),
        })
    }
}

fn optional<'a>(config: &'a Value, field: &'static str) -> Result<Option<&'a str>, BadProvider> {
    match config.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) if text.len() <= MAX_BYTES && !text.chars().any(char::is_control) => Ok(Some(text)),
        Some(_) => Err(BadProvider::Text(field)),
    }
}

fn needed<'a>(config: &'a Value, field: &'static str) -> Result<&'a str, BadProvider> {
    optional(config, field)?.ok_or(BadProvider::Missing(field))
}

fn address(config: &Value, field: &'static str) -> Result<Target, BadProvider> {
    Target::parse(needed(config, field)?).map_err(|cause| BadProvider::Address { field, cause })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn config() -> Value {
        json!({
            "authorization_uri": "https://idp.example/auth?tenant=1", "token_uri": "https://idp.example/token",
            "client_id": "web", "scopes": "openid,  profile",
        })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut config = config();
        config[field] = value;
        config
    }

    #[test]
    fn a_provider_is_read_whole() {
        let secrets = json!({"client_secret": "hush"});
        let read = Provider::read(AuthType::Viewer, &config(), &secrets).unwrap();
        assert_eq!(read.authorization.as_ref().unwrap().as_str(), "https://idp.example/auth?tenant=1");
        assert_eq!((read.client_id.as_str(), read.scopes.as_str()), ("web", "openid profile"));
        assert!(!format!("{read:?}").contains("hush"));
        let account = Provider::read(AuthType::ServiceAccount, &config(), &secrets).unwrap();
        assert_eq!(account.authorization, None);
    }

    #[test]
    fn the_client_proves_itself_as_described() {
        let basic = ClientAuth::Basic("hush".into());
        let cases = [
            (None, None, basic.clone()),
            (Some("Confidential"), None, basic.clone()),
            (Some("Confidential"), Some("client_secret_basic"), basic),
            (None, Some("client_secret_post"), ClientAuth::Post("hush".into())),
            (None, Some("none"), ClientAuth::Public),
            (Some("Public"), None, ClientAuth::Public),
            // A secret that is there is not sent by a client that says it has none.
            (Some("Public"), Some("client_secret_post"), ClientAuth::Public),
        ];
        for (mode, method, expected) in cases {
            let mut config = config();
            config["auth_mode"] = json!(mode);
            config["token_endpoint_auth_method"] = json!(method);
            let read = Provider::read(AuthType::Viewer, &config, &json!({"client_secret": "hush"})).unwrap();
            assert!(read.client_auth == expected, "{mode:?} {method:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let secrets = json!({"client_secret": "hush"});
        let cases = [
            (with("token_uri", Value::Null), "token_uri is missing"),
            (with("token_uri", json!("ftp://x/")), "token_uri: a URL must begin with https:// or http://"),
            (with("token_uri", json!(7)), "token_uri must be a text"),
            (with("authorization_uri", json!("https://a@b/")), "authorization_uri: a URL must name no user"),
            (with("client_id", json!("")), "client_id is missing"),
            (with("client_id", json!("a\nb")), "client_id must be a text"),
            (with("scopes", json!("x".repeat(MAX_BYTES + 1))), "scopes must be a text of at most 4096 bytes"),
            (with("auth_mode", json!("Secret")), "auth_mode must be one of: Confidential, Public"),
            (with("token_endpoint_auth_method", json!("private_key_jwt")), "token_endpoint_auth_method must be one of"),
        ];
        for (config, expected) in cases {
            let error = Provider::read(AuthType::Viewer, &config, &secrets).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let error = Provider::read(AuthType::Viewer, &config(), &json!({})).unwrap_err();
        assert_eq!(error.to_string(), "client_secret is missing");
    }
}
