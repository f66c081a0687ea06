//! `GET /v1/oauth/integrations[/{guid}]`: integrations without what is secret of them. Administrators see all, publishers those that
//! they may use.

use axum::Json;
use axum::extract::{Path, State};
use lectern_domain::UserRole;
use lectern_domain::access::Principal;
use lectern_domain::ids::IntegrationGuid;
use lectern_metadata::GenericClient;
use lectern_metadata::integrations::{self, IntegrationPermission, IntegrationRow, Listed};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::Services;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Publisher;
use crate::stamp::Stamp;

/// An integration.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IntegrationView {
    id: String,
    guid: String,
    created_time: Stamp,
    updated_time: Stamp,
    name: Option<String>,
    description: Option<String>,
    #[schema(example = "custom")]
    template: String,
    #[schema(example = "Viewer")]
    auth_type: &'static str,
    /// As the template says, without what is secret.
    #[schema(value_type = Object)]
    config: Value,
    /// Who may use it; empty: all publishers.
    permissions: Vec<IntegrationPermissionView>,
    /// Always empty: no template sets variables of content.
    environment_variables: Vec<String>,
}

/// An entry in the list of who may use an integration.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IntegrationPermissionView {
    id: String,
    guid: String,
    integration_guid: String,
    /// Null: a group is listed.
    user_guid: Option<String>,
    /// Null: a user is listed.
    group_guid: Option<String>,
}

impl From<&IntegrationPermission> for IntegrationPermissionView {
    fn from(entry: &IntegrationPermission) -> Self {
        let (user_guid, group_guid) = match entry.listed {
            Listed::User(user) => (Some(user.to_string()), None),
            Listed::Group(group) => (None, Some(group.to_string())),
        };
        let (id, guid) = (entry.id.to_string(), entry.guid.to_string());
        Self { id, guid, integration_guid: entry.integration.to_string(), user_guid, group_guid }
    }
}

/// An integration as it is shown; `permissions` may be those of others as well.
pub(super) fn view(row: IntegrationRow, permissions: &[IntegrationPermission]) -> IntegrationView {
    let own = permissions.iter().filter(|entry| entry.integration == row.guid);
    IntegrationView {
        id: row.id.to_string(),
        guid: row.guid.to_string(),
        created_time: row.created_at.into(),
        updated_time: row.updated_at.into(),
        name: row.fields.name,
        description: row.fields.description,
        template: row.template,
        auth_type: row.fields.auth_type.as_str(),
        config: row.fields.config,
        permissions: own.map(IntegrationPermissionView::from).collect(),
        environment_variables: Vec::new(),
    }
}

/// The integration that an address names, if the caller may use it. Who may not is told that there is none.
pub(super) async fn named(
    client: &impl GenericClient,
    caller: &Principal,
    guid: &str,
) -> Result<IntegrationRow, ApiError> {
    let guid: IntegrationGuid = guid.parse()?;
    let row = match caller.role {
        UserRole::Administrator => integrations::get(client, guid).await?,
        UserRole::Viewer | UserRole::Publisher => integrations::get_usable(client, caller.user, guid).await?,
    };
    row.ok_or_else(missing)
}

pub(super) fn missing() -> ApiError {
    ApiError::new(Code::Missing, "there is no such integration")
}

/// Lists the integrations in the order they were made. For publishers and administrators.
#[utoipa::path(get, path = "/v1/oauth/integrations", tag = "integrations",
    responses((status = 200, body = Vec<IntegrationView>), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(super) async fn list(
    State(services): State<Services>,
    Publisher(caller): Publisher,
) -> Result<Json<Vec<IntegrationView>>, ApiError> {
    let client = services.database.client().await?;
    let rows = match caller.role {
        UserRole::Administrator => integrations::list(&client).await?,
        UserRole::Viewer | UserRole::Publisher => integrations::list_usable(&client, caller.user).await?,
    };
    let permissions = integrations::permissions(&client, None).await?;
    Ok(Json(rows.into_iter().map(|row| view(row, &permissions)).collect()))
}

/// One integration. For publishers and administrators.
#[utoipa::path(get, path = "/v1/oauth/integrations/{guid}", tag = "integrations", params(("guid" = String, Path,)),
    responses((status = 200, body = IntegrationView), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(super) async fn get(
    State(services): State<Services>,
    Publisher(caller): Publisher,
    Path(guid): Path<String>,
) -> Result<Json<IntegrationView>, ApiError> {
    let client = services.database.client().await?;
    let row = named(&client, &caller, &guid).await?;
    let permissions = integrations::permissions(&client, Some(row.guid)).await?;
    Ok(Json(view(row, &permissions)))
}
