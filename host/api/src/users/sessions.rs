//! `/v1/users/{guid}/sessions`: where somebody is signed in with a browser. One's own, or for administrators.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use lectern_domain::audit::Action;
use lectern_metadata::DbError;
use lectern_metadata::sessions::{self, SessionRow};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::somebody;
use crate::Services;
use crate::audit::record;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Account;
use crate::services::Part;
use crate::stamp::Stamp;

/// Most sessions listed: somebody who signs in every minute has fewer.
const LISTED: i64 = 1000;

/// A browser session, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionView {
    id: String,
    /// The plugin that signed the user in; null: the protocol's own sign-in.
    source: Option<String>,
    created_time: Stamp,
    expires_time: Stamp,
}

impl From<SessionRow> for SessionView {
    fn from(row: SessionRow) -> Self {
        let (created_time, expires_time) = (row.created_at.into(), row.expires_at.into());
        Self { id: row.guid.to_string(), source: row.source, created_time, expires_time }
    }
}

/// Lists the sessions that have not ended, youngest first.
#[utoipa::path(get, path = "/v1/users/{guid}/sessions", tag = "users", params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<SessionView>), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(super) async fn list(
    State(services): State<Services>,
    Account(caller): Account,
    Path(guid): Path<String>,
) -> Result<Json<Vec<SessionView>>, ApiError> {
    let client = services.database.client().await?;
    let user = somebody(&client, &caller, &guid, Code::NoAccess).await?;
    let rows = sessions::list(&client, user.id, LISTED).await?;
    Ok(Json(rows.into_iter().map(SessionView::from).collect()))
}

/// Ends all sessions.
#[utoipa::path(delete, path = "/v1/users/{guid}/sessions", tag = "users", params(("guid" = String, Path,)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(super) async fn end_all(
    State(services): State<Services>,
    Account(caller): Account,
    Path(guid): Path<String>,
) -> Result<StatusCode, ApiError> {
    let mut client = services.database.client().await?;
    let user = somebody(&client, &caller, &guid, Code::MayNotRemove).await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let count = sessions::delete_of_user(&tx, user.id).await?;
    record(&tx, &caller, &Action::SessionsEnded { user: &user.username, count }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    services.backstage.refresh(Part::Sessions).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends one session at once.
#[utoipa::path(delete, path = "/v1/users/{guid}/sessions/{id}", tag = "users",
    params(("guid" = String, Path,), ("id" = String, Path,)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(super) async fn end(
    State(services): State<Services>,
    Account(caller): Account,
    Path((guid, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let mut client = services.database.client().await?;
    let user = somebody(&client, &caller, &guid, Code::MayNotRemove).await?;
    let id: Uuid = id.parse().map_err(|_| ApiError::new(Code::BadId, "the address does not name a session"))?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    if !sessions::delete_by_guid(&tx, user.id, id).await? {
        return Err(ApiError::new(Code::CannotRemove, "there is no such session"));
    }
    record(&tx, &caller, &Action::SessionsEnded { user: &user.username, count: 1 }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    services.backstage.refresh(Part::Sessions).await;
    Ok(StatusCode::NO_CONTENT)
}
