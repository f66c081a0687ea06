//! `POST /v1/content`.

use axum::Json;
use axum::extract::State;
use lectern_domain::access::{AppRole, Principal};
use lectern_domain::audit::Action;
use lectern_domain::ids::ContentGuid;
use lectern_metadata::DbError;
use lectern_metadata::content::{self, ContentRow, NewContent};
use uuid::Uuid;

use super::fields::{Fields, check_result};
use super::update::check_run_as;
use super::view::{ContentView, Include};
use crate::Services;
use crate::audit::{item, record};
use crate::body::Object;
use crate::error::{ApiError, ErrorBody};
use crate::guard::{Base, Publisher};
use crate::services::Part;

/// Makes a content item, owned by the caller. Any setting can be given at once.
#[utoipa::path(post, path = "/v1/content", tag = "content", request_body = Fields,
    responses((status = 200, body = ContentView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, description = "the caller has another item of this name", body = ErrorBody)))]
pub(crate) async fn create(
    State(services): State<Services>,
    Publisher(caller): Publisher,
    base: Base,
    Object(fields): Object<Fields>,
) -> Result<Json<ContentView>, ApiError> {
    let row = make(&services, &caller, fields).await?;
    Ok(Json(ContentView::of(&row, AppRole::Owner, &base, Include::default())))
}

/// Makes an item for `caller`, who may publish.
pub(crate) async fn make(services: &Services, caller: &Principal, fields: Fields) -> Result<ContentRow, ApiError> {
    let patch = fields.patch()?;
    let guid = ContentGuid(Uuid::new_v4());
    // A name nobody chose: the GUID makes it unique, and recognisable.
    let name = patch.name.clone().unwrap_or_else(|| format!("content-{guid}"));
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let mut row = content::create(&tx, &NewContent { guid, name, owner: caller.user }).await?;
    check_result(&row, &patch, &services.settings.scheduler)?;
    check_run_as(&row, &patch, caller)?;
    if !patch.is_empty() {
        row = content::update(&tx, row.id, &patch).await?;
    }
    record(&tx, caller, &Action::ContentMade { item: item(&row) }).await?;
    if let Some(access) = patch.access_type {
        record(&tx, caller, &Action::ContentAccessSet { item: item(&row), access }).await?;
    }
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    services.backstage.refresh(Part::Content(guid)).await;
    tracing::info!(content.guid = %guid, content.name = row.name, user.name = caller.username, "content created");
    Ok(row)
}
