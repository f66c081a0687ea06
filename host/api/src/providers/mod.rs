//! Providers of OAuth 2 that content reaches: users sign in to them in the browser, what they get is kept sealed and renewed, and
//! content that has an account of its own gets a token for it.
//!
//! Everything goes to the token endpoint that an administrator named, through [`Backstage::send_form`], which judges where it leads.
//! No text for users, clients or the log holds a token, a code or a secret.
//!
//! [`Backstage::send_form`]: crate::Backstage::send_form

mod ask;
mod form;
mod give;
mod kept;
mod sign_in;

use lectern_domain::integrations::Place;
use lectern_domain::integrations::provider::{BadProvider, Provider};
use lectern_metadata::integrations::IntegrationRow;
use serde_json::{Value, json};

use crate::Backstage;
use crate::error::{ApiError, Code};

pub use form::{FormAnswer, FormFailure, SentForm};
pub use give::{Given, ServiceTokens, service_token, viewer_token};
pub use sign_in::{Asked, Begun, Came, NotSignedIn, begin, finish, look, sign_out};

/// Where providers send browsers back to, below the server's address: the one address to register there.
pub const CALLBACK: &str = "/__oauth__/integrations/callback";

/// Where a visitor signs in to an integration, below the server's address.
pub fn sign_in_path(integration: lectern_domain::IntegrationGuid) -> String {
    format!("/__oauth__/integrations/{integration}/login")
}

/// What people call an integration.
pub(crate) fn name(integration: &IntegrationRow) -> &str {
    integration.fields.name.as_deref().unwrap_or(&integration.template)
}

/// The provider that an integration describes.
fn provider(backstage: &dyn Backstage, integration: &IntegrationRow) -> Result<Provider, ApiError> {
    let fields = &integration.fields;
    let secrets: Value = match &fields.sealed {
        None => json!({}),
        Some(sealed) => {
            let plain = backstage.open_for(Place::Integration(integration.guid), sealed).map_err(ApiError::internal)?;
            serde_json::from_slice(&plain).map_err(|_| ApiError::internal("an integration's secrets are no JSON"))?
        }
    };
    Provider::read(fields.auth_type, &fields.config, &secrets).map_err(|why| unusable(integration, &why))
}

fn unusable(integration: &IntegrationRow, why: &BadProvider) -> ApiError {
    let text = format!("the integration {:?} cannot be used: {why}; an administrator can mend it", name(integration));
    ApiError::new(Code::BadParameter, text)
}
