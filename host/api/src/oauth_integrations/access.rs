//! Access tokens of providers: a visitor's, by the session that the visitor has with one.

use lectern_domain::access::Principal;
use lectern_metadata::integrations::IntegrationRow;
use lectern_metadata::integrations::sessions;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::Services;
use crate::error::{ApiError, Code};

/// An access token as a provider gave it.
pub(super) struct AccessToken {
    /// Its text.
    pub(super) text: Zeroizing<String>,
    /// When it ends; `None`: the provider did not say.
    pub(super) expires_at: Option<OffsetDateTime>,
}

/// The access token of a visitor who has signed in to an integration.
pub(super) async fn viewer_token(
    services: &Services,
    integration: &IntegrationRow,
    visitor: &Principal,
) -> Result<AccessToken, ApiError> {
    let client = services.database.client().await?;
    sessions::of_user(&client, visitor.user, integration.id).await?;
    Err(not_signed_in(integration))
}

/// The visitor has to sign in first, which a page of the content can lead to.
fn not_signed_in(integration: &IntegrationRow) -> ApiError {
    let guid = integration.guid;
    let text =
        format!("the visitor has not signed in to this integration: send them to /__oauth__/integrations/{guid}/login");
    ApiError::new(Code::SignInNeeded, text)
}
