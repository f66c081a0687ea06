//! Uploading, deploying and following, as R clients before 1.0 do it.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, Path, Request, State};
use lectern_metadata::bundles::BundleRow;
use lectern_metadata::tasks::TaskKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::Services;
use crate::access::Changeable;
use crate::body::Object;
use crate::deploy::{bundle_number, start};
use crate::error::{ApiError, ErrorBody};
use crate::guard::Account;
use crate::publish::take_in;
use crate::query::Params;
use crate::stamp::Stamp;
use crate::tasks::{LegacyTask, look};

/// An uploaded version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LegacyBundle {
    id: i64,
    app_id: i64,
    created_time: Stamp,
    /// Bytes of the archive.
    size: u64,
    active: bool,
}

impl From<BundleRow> for LegacyBundle {
    fn from(row: BundleRow) -> Self {
        Self {
            id: row.id.0,
            app_id: row.content.0,
            created_time: row.created_at.into(),
            size: row.size_bytes,
            active: row.active,
        }
    }
}

/// Uploads a version.
#[utoipa::path(post, path = "/applications/{app}/upload", tag = "legacy", params(("app" = String, Path,)),
    request_body(content = Vec<u8>, content_type = "application/x-gzip"),
    responses((status = 200, body = LegacyBundle), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, description = "it is managed by git", body = ErrorBody)))]
pub(super) async fn upload(State(services): State<Services>, request: Request) -> Result<Json<LegacyBundle>, ApiError> {
    let (mut parts, body) = request.into_parts();
    let at = Changeable::from_request_parts(&mut parts, &services).await?;
    let row = take_in(&services, at, Request::from_parts(parts, body)).await?;
    Ok(Json(row.into()))
}

/// What to deploy.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct LegacyDeploy {
    /// A bundle's number; absent: the active one, or the newest.
    #[schema(schema_with = bundle_number)]
    bundle: Value,
}

/// Deploys a bundle and makes it active when it is healthy.
#[utoipa::path(post, path = "/applications/{app}/deploy", tag = "legacy", params(("app" = String, Path,)),
    request_body = LegacyDeploy,
    responses((status = 200, body = LegacyTask), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn deploy(
    State(services): State<Services>,
    at: Changeable,
    Object(wanted): Object<LegacyDeploy>,
) -> Result<Json<LegacyTask>, ApiError> {
    let id = start(&services, &at, &wanted.bundle, TaskKind::Deploy, true).await?;
    let task = look(&services, &at.caller, id.as_str(), None, Duration::ZERO).await?;
    Ok(Json(task.into()))
}

/// Which lines of a task.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct LegacyTaskQuery {
    /// The first line wanted, counted from 0; the `last_status` of the reply before.
    first_status: Option<i64>,
}

/// A task, at once: these clients pause by themselves.
#[utoipa::path(get, path = "/tasks/{id}", tag = "legacy", params(("id" = String, Path,), LegacyTaskQuery),
    responses((status = 200, body = LegacyTask), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(super) async fn task(
    State(services): State<Services>,
    Account(caller): Account,
    Path(id): Path<String>,
    Params(query): Params<LegacyTaskQuery>,
) -> Result<Json<LegacyTask>, ApiError> {
    let task = look(&services, &caller, &id, query.first_status, Duration::ZERO).await?;
    Ok(Json(task.into()))
}
