//! Tokens as they are kept: a JSON object, sealed for their session.

use lectern_domain::OAuthSessionGuid;
use lectern_domain::integrations::Place;
use lectern_domain::integrations::provider::Provider;
use lectern_domain::integrations::tokens::Tokens;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::Backstage;
use crate::error::ApiError;

/// What is sealed.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) access_token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token: Option<String>,
    pub(super) token_type: String,
    /// Who gave them, and to which client.
    of: String,
}

impl Kept {
    pub(super) fn new(tokens: Tokens, provider: &Provider) -> Self {
        let Tokens { access_token, refresh_token, token_type, lasts: _ } = tokens;
        Self { access_token, refresh_token, token_type, of: of(provider) }
    }

    /// Whether this provider gave them. An integration may be pointed to another one, which must not get the first one's tokens.
    pub(super) fn is_of(&self, provider: &Provider) -> bool {
        self.of == of(provider)
    }

    pub(super) fn seal(&self, backstage: &dyn Backstage, session: OAuthSessionGuid) -> Result<Vec<u8>, ApiError> {
        let plain = serde_json::to_vec(self).map(Zeroizing::new);
        let plain = plain.map_err(|_| ApiError::internal("tokens cannot be written as JSON"))?;
        backstage.seal_for(Place::Session(session), &plain).map_err(ApiError::internal)
    }

    pub(super) fn open(backstage: &dyn Backstage, session: OAuthSessionGuid, sealed: &[u8]) -> Result<Self, ApiError> {
        let plain = backstage.open_for(Place::Session(session), sealed).map_err(ApiError::internal)?;
        serde_json::from_slice(&plain).map_err(|_| ApiError::internal("the tokens of a session are no JSON"))
    }
}

fn of(provider: &Provider) -> String {
    format!("{} {}", provider.token, provider.client_id)
}

/// When tokens end that were got now.
pub(super) fn end_of(tokens: &Tokens, now: OffsetDateTime) -> Option<OffsetDateTime> {
    tokens.lasts.map(|lasts| now + lasts)
}
