//! Asks a provider's token endpoint (RFC 6749 §4.1.3, §4.4.2, §6).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use lectern_domain::integrations::provider::{ClientAuth, Provider};
use lectern_domain::integrations::tokens::{NoTokens, Tokens, read_answer};
use lectern_metadata::integrations::IntegrationRow;
use sha2::{Digest as _, Sha256};
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use super::form::{FormFailure, SentForm};
use super::name;
use crate::Backstage;
use crate::error::{ApiError, Code};

/// What is redeemed for tokens.
pub(super) enum Grant<'a> {
    /// What the browser brought back.
    Code { code: &'a str, verifier: &'a str, redirect_uri: &'a str },
    /// What renews tokens.
    Refresh(&'a str),
    /// Nothing but who asks.
    Client,
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotGiven {
    #[error(transparent)]
    Answer(#[from] NoTokens),
    #[error(transparent)]
    Exchange(#[from] FormFailure),
}

impl NotGiven {
    /// Whether only signing in again helps.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Answer(answer) if answer.is_over())
    }

    /// Whether a later try may do better.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Answer(NoTokens::Failed(status)) => *status >= 500 || *status == 429,
            Self::Answer(NoTokens::Refused(_) | NoTokens::Odd(_)) => false,
            Self::Exchange(failure) => matches!(failure, FormFailure::Timeout | FormFailure::Failed(_)),
        }
    }

    /// What clients are told, where signing in again does not help.
    pub(super) fn told(&self, integration: &IntegrationRow) -> ApiError {
        let name = name(integration);
        tracing::warn!(integration.guid = %integration.guid, error = %self, "a provider gave no token");
        if self.may_pass() {
            return ApiError::busy(format!(
                "the provider of the integration {name:?} cannot be asked: {self}; try again"
            ));
        }
        let text =
            format!("the integration {name:?} cannot be used: {self}; an administrator can look at its settings");
        ApiError::new(Code::BadParameter, text)
    }
}

/// Asks once.
pub(super) async fn ask(backstage: &dyn Backstage, provider: &Provider, grant: Grant<'_>) -> Result<Tokens, NotGiven> {
    let answer = backstage.send_form(form(provider, &grant)).await?;
    Ok(read_answer(answer.status, &answer.body)?)
}

fn form(provider: &Provider, grant: &Grant<'_>) -> SentForm {
    let mut form = Serializer::new(String::new());
    match grant {
        Grant::Code { code, verifier, redirect_uri } => {
            form.append_pair("grant_type", "authorization_code").append_pair("code", code);
            form.append_pair("redirect_uri", redirect_uri).append_pair("code_verifier", verifier);
        }
        Grant::Refresh(token) => {
            form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token);
        }
        Grant::Client => {
            form.append_pair("grant_type", "client_credentials");
            if !provider.scopes.is_empty() {
                form.append_pair("scope", &provider.scopes);
            }
        }
    }
    let authorization = match &provider.client_auth {
        ClientAuth::Basic(secret) => {
            // Each is encoded as in a form before they are put together (RFC 6749 §2.3.1).
            let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let both = Zeroizing::new(format!("{}:{}", encode(&provider.client_id), encode(secret)));
            Some(Zeroizing::new(format!("Basic {}", STANDARD.encode(both.as_bytes()))))
        }
        ClientAuth::Post(secret) => {
            form.append_pair("client_id", &provider.client_id).append_pair("client_secret", secret);
            None
        }
        ClientAuth::Public => {
            form.append_pair("client_id", &provider.client_id);
            None
        }
    };
    SentForm { target: provider.token.clone(), authorization, body: Zeroizing::new(form.finish()) }
}

/// Where a browser is sent to sign in (RFC 6749 §4.1.1, RFC 7636 §4.3); `None` where nobody signs in.
pub(super) fn authorization_address(
    provider: &Provider,
    redirect_uri: &str,
    state: &str,
    verifier: &str,
) -> Option<String> {
    let address = provider.authorization.as_ref()?.as_str();
    let mut query = Serializer::new(String::new());
    query.append_pair("response_type", "code").append_pair("client_id", &provider.client_id);
    query.append_pair("redirect_uri", redirect_uri).append_pair("state", state);
    query.append_pair("code_challenge", &challenge(verifier)).append_pair("code_challenge_method", "S256");
    if !provider.scopes.is_empty() {
        query.append_pair("scope", &provider.scopes);
    }
    // The address may have a query of its own, which stays (RFC 6749 §3.1).
    let sign = if address.contains('?') { '&' } else { '?' };
    Some(format!("{address}{sign}{}", query.finish()))
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lectern_domain::integrations::AuthType;
    use serde_json::json;

    fn provider(method: &str) -> Provider {
        let config = json!({
            "authorization_uri": "https://idp.example/auth?tenant=1", "token_uri": "https://idp.example/token",
            "client_id": "we b", "scopes": "a b", "token_endpoint_auth_method": method,
        });
        Provider::read(AuthType::Viewer, &config, &json!({"client_secret": "h:sh%"})).unwrap()
    }

    #[test]
    fn the_client_says_who_it_is() {
        let sent = |method: &str, grant| {
            let form = form(&provider(method), &grant);
            (form.authorization.map(|text| text.to_string()), form.body.to_string())
        };
        // `we+b:h%3Ash%25`
        let basic = Some("Basic d2UrYjpoJTNBc2glMjU=".to_owned());
        assert_eq!(
            sent("client_secret_basic", Grant::Refresh("r/1")),
            (basic, "grant_type=refresh_token&refresh_token=r%2F1".into())
        );
        assert_eq!(
            sent("client_secret_post", Grant::Client),
            (None, "grant_type=client_credentials&scope=a+b&client_id=we+b&client_secret=h%3Ash%25".into())
        );
        let code = Grant::Code { code: "c", verifier: "v", redirect_uri: "https://here/back" };
        let expected = "grant_type=authorization_code&code=c&redirect_uri=https%3A%2F%2Fhere%2Fback&code_verifier=v&client_id=we+b";
        assert_eq!(sent("none", code), (None, expected.into()));
    }

    #[test]
    fn browsers_are_sent_with_a_challenge() {
        // The pair of RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let address = authorization_address(&provider("none"), "https://here/back", "st", verifier).unwrap();
        assert_eq!(
            address,
            "https://idp.example/auth?tenant=1&response_type=code&client_id=we+b&redirect_uri=https%3A%2F%2Fhere%2Fback&state=st\
             &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&scope=a+b"
        );
    }
}
