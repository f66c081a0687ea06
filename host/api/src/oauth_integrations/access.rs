//! Access tokens of providers: a visitor's, by the session that the visitor has with one, or the content's own.

use lectern_domain::access::Principal;
use lectern_metadata::integrations::IntegrationRow;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::Services;
use crate::error::ApiError;
use crate::providers::{self, Given};

/// An access token as a provider gave it.
pub(super) struct AccessToken {
    /// Its text.
    pub(super) text: Zeroizing<String>,
    /// When it ends; `None`: the provider did not say.
    pub(super) expires_at: Option<OffsetDateTime>,
}

impl From<Given> for AccessToken {
    fn from(given: Given) -> Self {
        Self { text: given.access_token, expires_at: given.expires_at }
    }
}

/// The access token of a visitor who has signed in to an integration.
pub(super) async fn viewer_token(
    services: &Services,
    integration: &IntegrationRow,
    visitor: &Principal,
) -> Result<AccessToken, ApiError> {
    // Content asks over an address that need not be its visitors'. Where the operator named none, it is told a path.
    let server = services.settings.public_url.as_ref().map_or("", |url| url.as_str().trim_end_matches('/'));
    let (database, backstage) = (&services.database, &*services.backstage);
    Ok(providers::viewer_token(database, backstage, integration, visitor.user, server).await?.into())
}

/// The access token of a service account.
pub(super) async fn service_token(services: &Services, integration: &IntegrationRow) -> Result<AccessToken, ApiError> {
    let tokens = &services.service_tokens;
    Ok(providers::service_token(tokens, &*services.backstage, integration).await?.into())
}
