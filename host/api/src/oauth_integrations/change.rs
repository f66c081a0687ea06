//! Making, changing and deleting integrations. For administrators.

use std::collections::HashSet;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use lectern_domain::audit::Action;
use lectern_domain::ids::{GroupGuid, IntegrationGuid, IntegrationPermissionGuid, UserGuid};
use lectern_domain::integrations::template::Checked;
use lectern_metadata::integrations::{self, IntegrationRow, Listed, MOST_INTEGRATIONS};
use lectern_metadata::{DbError, Transaction, sealing};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::config;
use super::view::{IntegrationView, missing, view};
use crate::Services;
use crate::audit::record;
use crate::body::{Object, present};
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Administrator;
use crate::services::Part;

/// Most characters of a name, and of a description.
const MAX_NAME: usize = 255;
const MAX_DESCRIPTION: usize = 4096;

/// Most entries in the list of who may use an integration: groups are for more.
const MAX_PERMISSIONS: usize = 1000;

/// An integration to make.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct NewIntegration {
    name: Option<String>,
    description: Option<String>,
    /// One of `/v1/oauth/templates`.
    template: Option<String>,
    /// The fields of the template, as text.
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
    /// Who may use it; absent or empty: all publishers.
    permissions: Option<Vec<NewIntegrationPermission>>,
}

/// What is changed of an integration. Absent fields stay as they are.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct IntegrationChange {
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    /// Replaces the configuration; secret fields that it does not name stay.
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
    /// Replaces the list; empty: all publishers.
    permissions: Option<Vec<NewIntegrationPermission>>,
}

/// A user or a group who may use an integration.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct NewIntegrationPermission {
    user_guid: Option<String>,
    group_guid: Option<String>,
}

fn named(what: &'static str, most: usize, text: Option<String>) -> Result<Option<String>, ApiError> {
    let text = text.filter(|text| !text.is_empty());
    let bad = |text: &String| text.chars().count() > most || text.chars().any(|c| c.is_control() && c != '\n');
    if text.as_ref().is_some_and(bad) {
        let message = format!("{what} must be at most {most} characters long, without control characters");
        return Err(ApiError::new(Code::BadField, message));
    }
    Ok(text)
}

type Entries = Vec<(IntegrationPermissionGuid, Listed)>;

/// Reads who may use it; each is listed once.
fn entries(given: Vec<NewIntegrationPermission>) -> Result<Entries, ApiError> {
    if given.len() > MAX_PERMISSIONS {
        let message = format!("an integration lists at most {MAX_PERMISSIONS} users and groups; list a group instead");
        return Err(ApiError::new(Code::BadField, message));
    }
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for entry in given {
        let listed = match (entry.user_guid.filter(|user| !user.is_empty()), entry.group_guid) {
            (Some(user), None) => Listed::User(user.parse::<UserGuid>()?),
            (None, Some(group)) => Listed::Group(group.parse::<GroupGuid>()?),
            _ => return Err(ApiError::new(Code::BadField, "a permission names a user_guid or a group_guid")),
        };
        if seen.insert(listed) {
            all.push((IntegrationPermissionGuid(Uuid::new_v4()), listed));
        }
    }
    Ok(all)
}

/// How the audit log names an integration.
fn label(row: &IntegrationRow) -> String {
    let name = row.fields.name.as_deref().unwrap_or("without a name");
    format!("{name} ({}, template {})", row.guid, row.template)
}

/// Makes an integration.
#[utoipa::path(post, path = "/v1/oauth/integrations", tag = "integrations", request_body = NewIntegration,
    responses((status = 200, body = IntegrationView), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, description = "a user or group to list is missing", body = ErrorBody),
        (status = 413, body = ErrorBody)))]
pub(super) async fn create(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Object(given): Object<NewIntegration>,
) -> Result<Json<IntegrationView>, ApiError> {
    let (name, description) =
        (named("name", MAX_NAME, given.name)?, named("description", MAX_DESCRIPTION, given.description)?);
    let template = given.template.filter(|template| !template.is_empty());
    let template = template.ok_or_else(|| ApiError::new(Code::MissingParameter, "an integration needs a template"))?;
    let entries = entries(given.permissions.unwrap_or_default())?;
    let guid = IntegrationGuid(Uuid::new_v4());
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    sealing::begin_write(&tx).await?;
    let stored = config::stored(&services, guid, &template, &given.config.unwrap_or_default())?;
    let row = integrations::create(&tx, guid, &template, &config::fields(name, description, stored)).await?;
    let row = row.ok_or_else(|| {
        ApiError::new(
            Code::BadField,
            format!("a server has at most {MOST_INTEGRATIONS} integrations; delete some first"),
        )
    })?;
    integrations::replace_permissions(&tx, row.id, &entries).await?;
    record(&tx, &caller, &Action::IntegrationMade { integration: &label(&row) }).await?;
    shown(tx, row).await
}

/// Changes an integration. Who signed in to it has to do so again if its configuration changes in more than a secret.
#[utoipa::path(patch, path = "/v1/oauth/integrations/{guid}", tag = "integrations", params(("guid" = String, Path,)),
    request_body = IntegrationChange,
    responses((status = 200, body = IntegrationView), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 413, body = ErrorBody)))]
pub(super) async fn change(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Path(guid): Path<String>,
    Object(given): Object<IntegrationChange>,
) -> Result<Json<IntegrationView>, ApiError> {
    let guid: IntegrationGuid = guid.parse()?;
    let name = given.name.map(|name| named("name", MAX_NAME, name)).transpose()?;
    let description = given.description.map(|text| named("description", MAX_DESCRIPTION, text)).transpose()?;
    let entries = given.permissions.map(entries).transpose()?;
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    sealing::begin_write(&tx).await?;
    let was = integrations::lock(&tx, guid).await?.ok_or_else(missing)?;
    // `{}` is how a client reads an object again.
    if name.is_none() && description.is_none() && given.config.is_none() && entries.is_none() {
        return shown(tx, was).await;
    }
    let mut fields = was.fields.clone();
    if let Some(config) = given.config {
        let config = config::merged(&services, &was, config)?;
        let (Checked { auth_type, public, secret: _ }, sealed) =
            config::stored(&services, guid, &was.template, &config)?;
        (fields.auth_type, fields.config, fields.sealed) = (auth_type, Value::Object(public), sealed);
    }
    fields.name = name.unwrap_or(fields.name);
    fields.description = description.unwrap_or(fields.description);
    let row = integrations::change(&tx, guid, &fields).await?;
    let ended = was.fields.config != row.fields.config;
    if ended {
        integrations::end_credentials(&tx, row.id).await?;
    }
    if let Some(entries) = entries {
        integrations::replace_permissions(&tx, row.id, &entries).await?;
    }
    record(&tx, &caller, &Action::IntegrationChanged { integration: &label(&row) }).await?;
    let answer = shown(tx, row).await;
    drop(client); // Refreshing needs a connection too.
    if ended {
        services.backstage.refresh(Part::Keys).await;
    }
    answer
}

/// Commits, and answers with the integration.
async fn shown(tx: Transaction<'_>, row: IntegrationRow) -> Result<Json<IntegrationView>, ApiError> {
    let permissions = integrations::permissions(&tx, Some(row.guid)).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Json(view(row, &permissions)))
}

/// Deletes an integration. Content no longer uses it, and what users got by it is gone.
#[utoipa::path(delete, path = "/v1/oauth/integrations/{guid}", tag = "integrations", params(("guid" = String, Path,)),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(super) async fn delete(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Path(guid): Path<String>,
) -> Result<StatusCode, ApiError> {
    let guid: IntegrationGuid = guid.parse()?;
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = integrations::lock(&tx, guid).await?.ok_or_else(missing)?;
    let users = integrations::associations::of_integration(&tx, row.id).await?;
    integrations::delete(&tx, guid).await?;
    record(&tx, &caller, &Action::IntegrationDeleted { integration: &label(&row) }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    services.backstage.refresh(Part::Keys).await;
    // A refresh shows all content; to ask for one item is to ask for all.
    if let Some(one) = users.first() {
        services.backstage.refresh(Part::Content(one.content)).await;
    }
    Ok(StatusCode::NO_CONTENT)
}
