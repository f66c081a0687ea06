//! `/v1/content/{guid}/vanity` and `/v1/vanities`: addresses that publishers choose.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use lectern_domain::access::Action;
use lectern_domain::audit;
use lectern_domain::vanity::{Clash, clash, normalise};
use lectern_metadata::content::{self, ContentFilter};
use lectern_metadata::vanities::{self, VanityRow};
use lectern_metadata::{DbError, GenericClient};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::access::{Changeable, Readable, permit};
use crate::audit::{item, record};
use crate::body::Object;
use crate::content::visible_items;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Account;
use crate::services::Part;
use crate::stamp::Stamp;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, set, remove))
}

/// The vanity path of an item.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VanityView {
    content_guid: String,
    /// With a leading and a trailing slash.
    path: String,
    created_time: Stamp,
}

impl From<VanityRow> for VanityView {
    fn from(row: VanityRow) -> Self {
        Self { content_guid: row.content_guid.to_string(), path: row.path, created_time: row.created_at.into() }
    }
}

/// The path wanted.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[schema(example = json!({"path": "/sales/"}))]
pub(crate) struct VanityRequest {
    #[schema(required = true, value_type = String, min_length = 1)]
    path: Option<String>,
    /// Takes the path from another item; for administrators and whoever may change that item.
    force: Option<bool>,
}

/// Lists the vanity paths of the content that the caller may see.
#[utoipa::path(get, path = "/v1/vanities", tag = "content",
    responses((status = 200, body = Vec<VanityView>), (status = 401, body = ErrorBody)))]
async fn list(State(services): State<Services>, Account(caller): Account) -> Result<Json<Vec<VanityView>>, ApiError> {
    let client = services.database.client().await?;
    let seen = visible_items(&client, &caller, ContentFilter::default()).await?;
    let seen: std::collections::HashSet<_> = seen.into_iter().map(|(row, _)| row.id).collect();
    let rows = vanities::list(&client).await?.into_iter().filter(|row| seen.contains(&row.content));
    Ok(Json(rows.map(VanityView::from).collect()))
}

/// The vanity path of an item; 404 when it has none.
#[utoipa::path(get, path = "/v1/content/{guid}/vanity", tag = "content", params(("guid" = String, Path,)),
    responses((status = 200, body = VanityView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn get(at: Readable) -> Result<Json<VanityView>, ApiError> {
    let row = vanities::get(&at.client().await?, at.row.id).await?;
    Ok(Json(row.ok_or_else(|| ApiError::new(Code::Missing, "this content has no vanity path"))?.into()))
}

/// Gives an item a vanity path, in place of the one it had.
#[utoipa::path(put, path = "/v1/content/{guid}/vanity", tag = "content", params(("guid" = String, Path,)),
    request_body = VanityRequest,
    responses((status = 200, body = VanityView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, description = "another item has it", body = ErrorBody)))]
async fn set(
    State(services): State<Services>,
    at: Changeable,
    Object(wanted): Object<VanityRequest>,
) -> Result<Json<VanityView>, ApiError> {
    let path = wanted.path.ok_or_else(|| ApiError::new(Code::MissingParameter, "a vanity path needs a path"))?;
    let path = normalise(&path)
        .map_err(|bad| ApiError::new(Code::VanityRefused, format!("this vanity path is not allowed: {bad}")))?;
    let force = wanted.force.unwrap_or(false);
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    vanities::lock(&tx).await?;
    let losers = clear(&tx, &at, &path, force).await?;
    let ids: Vec<_> = losers.iter().map(|loser| loser.content).collect();
    let row = vanities::set(&tx, at.row.id, &path, &ids).await?;
    record(&tx, &at.caller, &audit::Action::VanitySet { item: item(&at.row), path: &path }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    services.backstage.refresh(Part::Content(at.row.guid)).await;
    for loser in losers {
        services.backstage.refresh(Part::Content(loser.content_guid)).await;
    }
    Ok(Json(row.into()))
}

/// Whose paths have to go so that `at` can have `path`; refuses where that is not the caller's to decide.
///
/// Taking a path is a change of the item that loses it, and so is one below it: visitors of that item would find another
/// one there.
async fn clear(
    client: &impl GenericClient,
    at: &Changeable,
    path: &str,
    force: bool,
) -> Result<Vec<VanityRow>, ApiError> {
    let taken = |text: &str| Err(ApiError::new(Code::VanityTaken, text));
    let mut losers = Vec::new();
    for other in vanities::around(client, path).await?.into_iter().filter(|row| row.content != at.row.id) {
        let clash = clash(path, &other.path);
        if clash == Some(Clash::Same) && !force {
            return taken("another content item has this vanity path");
        }
        let row = content::get(client, other.content).await?;
        if let Some(row) = row
            && let Err(refusal) = permit(client, &at.caller, &row, Action::Change).await
        {
            return match clash {
                Some(Clash::Below) => taken("this vanity path is below the one of another content item"),
                _ => Err(refusal),
            };
        }
        if clash == Some(Clash::Same) {
            losers.push(other);
        }
    }
    Ok(losers)
}

/// Takes an item's vanity path away.
#[utoipa::path(delete, path = "/v1/content/{guid}/vanity", tag = "content", params(("guid" = String, Path,)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn remove(State(services): State<Services>, at: Changeable) -> Result<StatusCode, ApiError> {
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    if !vanities::delete(&tx, at.row.id).await? {
        return Err(ApiError::new(Code::CannotRemove, "this content has no vanity path"));
    }
    record(&tx, &at.caller, &audit::Action::VanityRemoved { item: item(&at.row) }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    services.backstage.refresh(Part::Content(at.row.guid)).await;
    Ok(StatusCode::NO_CONTENT)
}
