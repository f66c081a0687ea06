//! `/v1/oauth/sessions`: who signed in to which integration. Users see and end their own, administrators all.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use lectern_domain::UserRole;
use lectern_domain::access::Principal;
use lectern_domain::audit::Action;
use lectern_domain::ids::OAuthSessionGuid;
use lectern_metadata::integrations::sessions::{self, SessionRow};
use lectern_metadata::{DbError, GenericClient, users};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Services;
use crate::audit::record;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Account;
use crate::query::Params;
use crate::stamp::Stamp;

/// That a user has signed in to an integration.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OAuthSessionView {
    id: String,
    guid: String,
    user_guid: String,
    oauth_integration_guid: String,
    /// Whether access is renewed without the user.
    has_refresh_token: bool,
    created_time: Stamp,
    updated_time: Stamp,
}

impl From<SessionRow> for OAuthSessionView {
    fn from(row: SessionRow) -> Self {
        Self {
            id: row.id.to_string(),
            guid: row.guid.to_string(),
            user_guid: row.user_guid.to_string(),
            oauth_integration_guid: row.integration_guid.to_string(),
            has_refresh_token: row.has_refresh_token,
            created_time: row.created_at.into(),
            updated_time: row.updated_at.into(),
        }
    }
}

/// Whose sessions to list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SessionsQuery {
    /// `true`: everybody's.
    all: Option<String>,
}

/// Clients write truth in several ways.
fn truth(text: Option<&str>) -> Result<bool, ApiError> {
    match text.unwrap_or_default() {
        "" => Ok(false),
        text if ["false", "0", "f"].iter().any(|no| text.eq_ignore_ascii_case(no)) => Ok(false),
        text if ["true", "1", "t"].iter().any(|yes| text.eq_ignore_ascii_case(yes)) => Ok(true),
        _ => Err(ApiError::new(Code::BadParameter, "all must be true or false")),
    }
}

/// Lists the caller's sessions, or with `all` everybody's, which is for administrators.
#[utoipa::path(get, path = "/v1/oauth/sessions", tag = "integrations",
    params(("all" = Option<bool>, Query, description = "Everybody's; for administrators.")),
    responses((status = 200, body = Vec<OAuthSessionView>), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)))]
pub(super) async fn list(
    State(services): State<Services>,
    Account(caller): Account,
    Params(query): Params<SessionsQuery>,
) -> Result<Json<Vec<OAuthSessionView>>, ApiError> {
    let all = truth(query.all.as_deref())?;
    if all && caller.role < UserRole::Administrator {
        return Err(ApiError::new(Code::NotPermitted, "everybody's sessions are for administrators"));
    }
    let client = services.database.client().await?;
    let rows = sessions::list(&client, (!all).then_some(caller.user)).await?;
    Ok(Json(rows.into_iter().map(OAuthSessionView::from).collect()))
}

/// The session that an address names. Others' are as good as none.
async fn named(client: &impl GenericClient, caller: &Principal, guid: &str) -> Result<SessionRow, ApiError> {
    let guid: OAuthSessionGuid = guid.parse()?;
    let row = sessions::get(client, guid).await?;
    let own = |row: &SessionRow| row.user == caller.user || caller.role == UserRole::Administrator;
    row.filter(own).ok_or_else(|| ApiError::new(Code::Missing, "there is no such session"))
}

/// One session; one's own, or anybody's for administrators.
#[utoipa::path(get, path = "/v1/oauth/sessions/{guid}", tag = "integrations", params(("guid" = String, Path,)),
    responses((status = 200, body = OAuthSessionView), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(super) async fn get(
    State(services): State<Services>,
    Account(caller): Account,
    Path(guid): Path<String>,
) -> Result<Json<OAuthSessionView>, ApiError> {
    Ok(Json(named(&services.database.client().await?, &caller, &guid).await?.into()))
}

/// Ends a session: content gets nothing more by it until the user signs in again.
#[utoipa::path(delete, path = "/v1/oauth/sessions/{guid}", tag = "integrations", params(("guid" = String, Path,)),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(super) async fn end(
    State(services): State<Services>,
    Account(caller): Account,
    Path(guid): Path<String>,
) -> Result<StatusCode, ApiError> {
    let mut client = services.database.client().await?;
    let row = named(&client, &caller, &guid).await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let user = users::get_by_guid(&tx, row.user_guid).await?.map_or_else(String::new, |user| user.username);
    if !sessions::delete(&tx, row.guid).await? {
        return Err(ApiError::new(Code::Missing, "there is no such session"));
    }
    let integration = row.integration_guid.to_string();
    record(&tx, &caller, &Action::IntegrationSessionEnded { user: &user, integration: &integration }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(StatusCode::NO_CONTENT)
}
