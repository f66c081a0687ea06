//! Configurations of integrations between what clients send and what is stored: the secret part is sealed on the way.

use lectern_domain::ids::IntegrationGuid;
use lectern_domain::integrations::Place;
use lectern_domain::integrations::template::{self, Checked};
use lectern_metadata::integrations::{IntegrationFields, IntegrationRow};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::Services;
use crate::error::{ApiError, Code};

/// Judges a configuration, and seals what is secret of it for the integration `guid`.
pub(super) fn stored(
    services: &Services,
    guid: IntegrationGuid,
    template: &str,
    config: &Map<String, Value>,
) -> Result<(Checked, Option<Vec<u8>>), ApiError> {
    let checked = template::check(template, config).map_err(|bad| ApiError::new(Code::BadField, bad.to_string()))?;
    if checked.secret.is_empty() {
        return Ok((checked, None));
    }
    let plain = Zeroizing::new(serde_json::to_vec(&checked.secret).map_err(ApiError::internal)?);
    let sealed = services.backstage.seal_for(Place::Integration(guid), &plain).map_err(ApiError::internal)?;
    Ok((checked, Some(sealed)))
}

/// What is secret of an integration's configuration.
pub(super) fn secrets(services: &Services, row: &IntegrationRow) -> Result<Map<String, Value>, ApiError> {
    let Some(sealed) = &row.fields.sealed else { return Ok(Map::new()) };
    let plain = services.backstage.open_for(Place::Integration(row.guid), sealed).map_err(ApiError::internal)?;
    serde_json::from_slice(&plain).map_err(ApiError::internal)
}

/// The configuration of an integration that is given another one: secrets that the new one does not name stay, because nobody who
/// reads a configuration could send them back.
pub(super) fn merged(
    services: &Services,
    row: &IntegrationRow,
    given: Map<String, Value>,
) -> Result<Map<String, Value>, ApiError> {
    let mut config = secrets(services, row)?;
    config.extend(given);
    Ok(config)
}

/// What is stored of an integration with this configuration.
pub(super) fn fields(
    name: Option<String>,
    description: Option<String>,
    (checked, sealed): (Checked, Option<Vec<u8>>),
) -> IntegrationFields {
    let config = Value::Object(checked.public);
    IntegrationFields { name, description, auth_type: checked.auth_type, config, sealed }
}
