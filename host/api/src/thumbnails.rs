//! `/v1/content/{guid}/thumbnail` and `/applications/{app}/image`: the picture of an item.
//!
//! Visitors get it at the content's own address (`…/__thumbnail__`), which is not of this room.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use lectern_domain::audit::Action;
use lectern_domain::picture::{BadPicture, MAX_BYTES, recognise};
use lectern_metadata::DbError;
use lectern_metadata::thumbnails::{self, Thumbnail};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::access::{Changeable, Readable};
use crate::audit::{item, record};
use crate::error::{ApiError, Code, ErrorBody};
use crate::services::Part;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(get, set, remove)).routes(routes!(legacy_get, legacy_set, legacy_remove))
}

/// The bytes of a picture, as many as one may have.
struct PictureBody(Bytes);

impl<S: Send + Sync> FromRequest<S> for PictureBody {
    type Rejection = ApiError;
    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        match Limited::new(request.into_body(), MAX_BYTES).collect().await {
            Ok(collected) => Ok(Self(collected.to_bytes())),
            Err(cause) if cause.is::<LengthLimitError>() => Err(refusal(BadPicture::TooLong)),
            Err(cause) => Err(ApiError::new(Code::ShortUpload, "the picture was cut short").caused_by(cause)),
        }
    }
}

fn refusal(bad: BadPicture) -> ApiError {
    let refusal = ApiError::new(Code::BadField, format!("this is not taken as a thumbnail: {bad}"));
    if bad == BadPicture::TooLong { refusal.with_status(StatusCode::PAYLOAD_TOO_LARGE) } else { refusal }
}

/// A picture as an answer; 204 where there is none.
fn shown(picture: Option<Thumbnail>) -> Response {
    let Some(picture) = picture else { return StatusCode::NO_CONTENT.into_response() };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(picture.kind.as_str()));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    (headers, picture.bytes).into_response()
}

async fn read(at: &Readable) -> Result<Response, ApiError> {
    Ok(shown(thumbnails::get(&at.client().await?, at.row.id).await?))
}

async fn store(services: &Services, at: &Changeable, bytes: Bytes) -> Result<StatusCode, ApiError> {
    let kind = recognise(&bytes).map_err(refusal)?;
    let picture = Thumbnail { kind, hash: *blake3::hash(&bytes).as_bytes(), bytes: bytes.into() };
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    thumbnails::set(&tx, at.row.id, &picture).await?;
    record(&tx, &at.caller, &Action::ThumbnailSet { item: item(&at.row) }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    services.backstage.refresh(Part::Content(at.row.guid)).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn take_away(services: &Services, at: &Changeable) -> Result<StatusCode, ApiError> {
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    if !thumbnails::delete(&tx, at.row.id).await? {
        return Err(ApiError::new(Code::CannotRemove, "this content has no thumbnail"));
    }
    record(&tx, &at.caller, &Action::ThumbnailRemoved { item: item(&at.row) }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    services.backstage.refresh(Part::Content(at.row.guid)).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The picture of an item; 204 when it has none.
#[utoipa::path(get, path = "/v1/content/{guid}/thumbnail", tag = "content", params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<u8>, content_type = "image/png"), (status = 204), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn get(at: Readable) -> Result<Response, ApiError> {
    read(&at).await
}

/// Gives an item a picture: a PNG, JPEG, GIF or WebP of at most 5 MiB and 8192 × 8192 pixels, as the whole body.
#[utoipa::path(put, path = "/v1/content/{guid}/thumbnail", tag = "content", params(("guid" = String, Path,)),
    request_body(content = Vec<u8>, content_type = "image/png"),
    responses((status = 204), (status = 400, description = "no picture that is taken", body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 413, body = ErrorBody)))]
async fn set(
    State(services): State<Services>,
    at: Changeable,
    PictureBody(bytes): PictureBody,
) -> Result<StatusCode, ApiError> {
    store(&services, &at, bytes).await
}

/// Takes an item's picture away.
#[utoipa::path(delete, path = "/v1/content/{guid}/thumbnail", tag = "content", params(("guid" = String, Path,)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn remove(State(services): State<Services>, at: Changeable) -> Result<StatusCode, ApiError> {
    take_away(&services, &at).await
}

/// The picture of an application; 204 when it has none.
#[utoipa::path(get, path = "/applications/{app}/image", tag = "legacy", params(("app" = String, Path,)),
    responses((status = 200, body = Vec<u8>, content_type = "image/png"), (status = 204), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn legacy_get(at: Readable) -> Result<Response, ApiError> {
    read(&at).await
}

/// Gives an application a picture.
#[utoipa::path(post, path = "/applications/{app}/image", tag = "legacy", params(("app" = String, Path,)),
    request_body(content = Vec<u8>, content_type = "image/png"),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody)))]
async fn legacy_set(
    State(services): State<Services>,
    at: Changeable,
    PictureBody(bytes): PictureBody,
) -> Result<StatusCode, ApiError> {
    store(&services, &at, bytes).await
}

/// Takes an application's picture away.
#[utoipa::path(delete, path = "/applications/{app}/image", tag = "legacy", params(("app" = String, Path,)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn legacy_remove(State(services): State<Services>, at: Changeable) -> Result<StatusCode, ApiError> {
    take_away(&services, &at).await
}
