//! `/v1/content/{guid}/bundles`: uploaded versions.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use lectern_bundles::FetchError;
use lectern_domain::access;
use lectern_domain::audit::Action;
use lectern_domain::ids::{BundleId, ContentGuid};
use lectern_metadata::bundles::{self, BundleRow};
use lectern_metadata::content::ContentRow;
use lectern_metadata::{Client, DbError};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio_util::io::ReaderStream;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::access::{Changeable, Readable, permit};
use crate::audit::{item, record};
use crate::error::{ApiError, Code, ErrorBody};
use crate::publish;
use crate::stamp::Stamp;

/// Read from the disk at a time while a bundle is downloaded: large enough that reading is not felt.
const DOWNLOAD_CHUNK: usize = 128 << 10;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, upload)).routes(routes!(get, delete)).routes(routes!(download))
}

/// One uploaded version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BundleView {
    id: String,
    content_guid: String,
    created_time: Stamp,
    cluster_name: &'static str,
    image_name: &'static str,
    environment_guid: Option<String>,
    r_version: Option<String>,
    r_environment_management: Option<bool>,
    py_version: Option<String>,
    py_environment_management: Option<bool>,
    quarto_version: Option<String>,
    node_version: Option<String>,
    /// Whether it is the version served at the content's address.
    active: bool,
    /// Bytes of the archive.
    size: u64,
    /// What the client said about it, and the archive's MD5.
    metadata: Map<String, Value>,
    /// GUID of who uploaded it, while that account exists.
    created_by: Option<String>,
    created_by_name: Option<String>,
    created_by_user: Option<Creator>,
}

/// Who uploaded a bundle.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Creator {
    guid: String,
    username: String,
}

impl BundleView {
    pub(crate) fn of(row: BundleRow, content: ContentGuid) -> Self {
        let known = ["source", "source_repo", "source_branch", "source_commit", "archive_md5", "archive_sha1"];
        let mut metadata: Map<String, Value> = known.iter().map(|key| ((*key).to_owned(), Value::Null)).collect();
        metadata.extend(row.metadata);
        let creator = row.created_by.map(|by| Creator { guid: by.guid.to_string(), username: by.username });
        Self {
            id: row.id.to_string(),
            content_guid: content.to_string(),
            created_time: row.created_at.into(),
            cluster_name: "Local",
            image_name: "Local",
            environment_guid: None,
            r_version: row.traits.r_version,
            r_environment_management: row.traits.r_environment_management,
            py_version: row.traits.py_version,
            py_environment_management: row.traits.py_environment_management,
            quarto_version: row.traits.quarto_version,
            node_version: row.traits.node_version,
            active: row.active,
            size: row.size_bytes,
            metadata,
            created_by: creator.as_ref().map(|by| by.guid.clone()),
            created_by_name: creator.as_ref().map(|by| by.username.clone()),
            created_by_user: creator,
        }
    }
}

/// The bundle of `content` that an address names.
async fn bundle_of(client: &Client, content: &ContentRow, id: &str) -> Result<BundleRow, ApiError> {
    let id: BundleId = id.parse()?;
    let row = bundles::get(client, id).await?.filter(|row| row.content == content.id);
    row.ok_or_else(|| ApiError::new(Code::Missing, "this content has no such bundle"))
}

/// The `content_category` of data that pins keeps.
const PIN: &str = "pin";

/// Whether the caller sees bundles that are not active: collaborators do.
///
/// Who may only open an item has no business here, with one exception. pins asks for a pin's bundles before it reads it, so
/// that readers of a pin are shown the one that its address shows them.
async fn sees_all(client: &Client, at: &Readable) -> Result<bool, ApiError> {
    match permit(client, &at.caller, &at.row, access::Action::Change).await {
        Ok(_) => Ok(true),
        Err(_) if at.row.category == PIN => Ok(false),
        Err(refusal) => Err(refusal),
    }
}

/// Lists the bundles, newest first; to readers of a pin the active one.
#[utoipa::path(get, path = "/v1/content/{guid}/bundles", tag = "bundles", params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<BundleView>), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn list(at: Readable) -> Result<Json<Vec<BundleView>>, ApiError> {
    let client = at.client().await?;
    let all = sees_all(&client, &at).await?;
    let rows = bundles::list(&client, at.row.id).await?.into_iter().filter(|row| all || row.active);
    Ok(Json(rows.map(|row| BundleView::of(row, at.row.guid)).collect()))
}

/// Uploads a version: a gzipped tar with a `manifest.json`, as the whole body (of any content type, of known or unknown
/// length) or as the part `archive` of a multipart body, whose part `metadata` may describe it in JSON.
#[utoipa::path(post, path = "/v1/content/{guid}/bundles", tag = "bundles",
    params(("guid" = String, Path,),
        ("X-Content-Checksum" = Option<String>, Header, description = "MD5 of the body, base64 or hexadecimal")),
    request_body(content = Vec<u8>, content_type = "application/gzip"),
    responses((status = 200, body = BundleView),
        (status = 400, description = "empty, cut short, damaged, not an archive, no usable manifest", body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "the content is managed by git", body = ErrorBody),
        (status = 413, description = "larger than the server accepts", body = ErrorBody),
        (status = 507, description = "the server has no room", body = ErrorBody)))]
async fn upload(State(services): State<Services>, request: Request) -> Result<Json<BundleView>, ApiError> {
    let (mut parts, body) = request.into_parts();
    let at = Changeable::from_request_parts(&mut parts, &services).await?;
    let guid = at.row.guid;
    let row = publish::take_in(&services, at, Request::from_parts(parts, body)).await?;
    Ok(Json(BundleView::of(row, guid)))
}

/// One bundle.
#[utoipa::path(get, path = "/v1/content/{guid}/bundles/{id}", tag = "bundles",
    params(("guid" = String, Path,), ("id" = String, Path,)),
    responses((status = 200, body = BundleView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn get(at: Readable, Path((_guid, id)): Path<(String, String)>) -> Result<Json<BundleView>, ApiError> {
    let client = at.client().await?;
    let all = sees_all(&client, &at).await?;
    let row = bundle_of(&client, &at.row, &id).await?;
    if !all && !row.active {
        return Err(ApiError::new(Code::CannotChange, "versions that are not active are for collaborators"));
    }
    Ok(Json(BundleView::of(row, at.row.guid)))
}

/// Deletes a bundle that is not the active one.
#[utoipa::path(delete, path = "/v1/content/{guid}/bundles/{id}", tag = "bundles",
    params(("guid" = String, Path,), ("id" = String, Path,)),
    responses((status = 204), (status = 400, description = "it is the active one", body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn delete(
    State(services): State<Services>,
    at: Changeable,
    Path((_guid, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let row = bundle_of(&at.client().await?, &at.row, &id).await?;
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    bundles::delete(&tx, row.id).await?;
    record(&tx, &at.caller, &Action::BundleDeleted { item: item(&at.row), bundle: row.id }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    services.backstage.refresh(crate::Part::Content(at.row.guid)).await;
    services.backstage.bundle_deleted(at.row.guid, row.id, row.hash).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The bytes of a bundle, exactly as they were uploaded.
#[utoipa::path(get, path = "/v1/content/{guid}/bundles/{id}/download", tag = "bundles",
    params(("guid" = String, Path,), ("id" = String, Path,)),
    responses((status = 200, body = Vec<u8>, content_type = "application/x-gzip"), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn download(
    State(services): State<Services>,
    at: Changeable,
    Path((_guid, id)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let row = bundle_of(&at.client().await?, &at.row, &id).await?;
    let (store, cache) = (Arc::clone(&services.store), Arc::clone(&services.cache));
    // Every byte is checked before the first is sent. An open file can be read on when the copy is removed.
    let opened = tokio::task::spawn_blocking(move || {
        let bundle = cache.fetch(&store, &row.hash)?;
        Ok((bundle.open()?, bundle.size_bytes()))
    });
    let (file, size) = opened.await.map_err(ApiError::internal)?.map_err(fetch_refusal)?;
    let body = Body::from_stream(ReaderStream::with_capacity(tokio::fs::File::from_std(file), DOWNLOAD_CHUNK));
    let disposition = format!("attachment; filename=\"bundle-{}.tar.gz\"", row.id);
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-gzip"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// A stored bundle that cannot be had is a failure of ours, whatever it is: the record says that it is there.
pub(crate) fn fetch_refusal(error: FetchError) -> ApiError {
    ApiError::internal(error)
}
