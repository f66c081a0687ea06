//! `/v1/content`: content items and their settings.

mod create;
mod fields;
mod list;
mod update;
mod view;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use lectern_domain::audit::Action;
use lectern_metadata::{DbError, bundles, content};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::access::{Changeable, Readable};
use crate::audit::{item, record};
use crate::error::{ApiError, ErrorBody};
use crate::guard::Base;
use crate::query::Params;
use crate::services::Part;

pub(crate) use create::make;
pub(crate) use fields::Fields;
pub(crate) use list::{seen_by, visible_items};
pub(crate) use view::{ContentView, IncludeQuery, content_url, dashboard_url, views};

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list::list, create::create)).routes(routes!(get, update::update, delete))
}

/// One content item.
#[utoipa::path(get, path = "/v1/content/{guid}", tag = "content", params(("guid" = String, Path,), IncludeQuery),
    responses((status = 200, body = ContentView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn get(at: Readable, base: Base, Params(query): Params<IncludeQuery>) -> Result<Json<ContentView>, ApiError> {
    let include = query.read()?;
    let client = at.client().await?;
    let mut views = views(&client, &[(at.row, at.role)], &base, include).await?;
    Ok(Json(views.pop().ok_or_else(|| ApiError::internal("a view of one item has one entry"))?))
}

/// Deletes a content item with all that belongs to it.
#[utoipa::path(delete, path = "/v1/content/{guid}", tag = "content", params(("guid" = String, Path,)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn delete(State(services): State<Services>, at: Changeable) -> Result<StatusCode, ApiError> {
    let hashes: Vec<_> =
        bundles::list(&at.client().await?, at.row.id).await?.into_iter().map(|bundle| bundle.hash).collect();
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    if content::delete(&tx, at.row.id).await? {
        record(&tx, &at.caller, &Action::ContentDeleted { item: item(&at.row) }).await?;
    }
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    services.backstage.refresh(Part::Content(at.row.guid)).await;
    services.backstage.content_deleted(at.row.guid, &hashes).await;
    tracing::info!(content.guid = %at.row.guid, user.name = at.caller.username, "content deleted");
    Ok(StatusCode::NO_CONTENT)
}
