//! `/oauth/device`: a program without a browser gets a code for its user to enter elsewhere (RFC 8628 §3.1).

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, http::HeaderValue};
use http::header;
use lectern_domain::oauth::{DEVICE_LIFETIME, POLL_SECONDS, UserCode};
use lectern_metadata::oauth::{self, DeviceRow};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::error::{OAuthError, OAuthErrorBody, Word};
use super::form::Form;
use super::{DEVICE_CODE, WAITING, WAITING_FROM_ONE, secret, token};
use crate::Services;
use crate::error::ApiError;
use crate::guard::{Base, ClientAddress};

/// Tries to find a code that no other program has: of 25,600,000,000 at most 10,000 are taken.
const TRIES: usize = 5;

/// The codes, and where to enter the user's.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceView {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    /// In seconds.
    expires_in: i64,
    /// In seconds.
    interval: i32,
}

/// The parameters.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what the form holds")]
pub(crate) struct DeviceForm {
    client_id: String,
    /// The most that is asked for: `viewer`, `publisher` or `administrator`.
    scope: Option<String>,
}

/// Begins to wait for a user.
#[utoipa::path(post, path = "/oauth/device", tag = "oauth", security(()),
    request_body(content = DeviceForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = DeviceView), (status = 400, body = OAuthErrorBody), (status = 401, body = OAuthErrorBody),
        (status = 413, body = OAuthErrorBody), (status = 429, description = "too many from one address", body = OAuthErrorBody),
        (status = 503, description = "too many wait", body = OAuthErrorBody)))]
pub(crate) async fn begin(
    State(services): State<Services>,
    base: Base,
    address: Option<Extension<ClientAddress>>,
    form: Form,
) -> Result<Response, OAuthError> {
    let database = services.database.client().await?;
    let client = form.client(&database).await?;
    token::registered_for(&client, DEVICE_CODE)?;
    let asked = token::scope_of(&form)?;
    let asked_from = address.map_or_else(|| "unknown".to_owned(), |address| address.0.0.to_string());
    let waiting = oauth::waiting_devices(&database, &asked_from).await?;
    let again = "too many programs wait for their code to be entered; try again in some minutes";
    if waiting.from_here >= WAITING_FROM_ONE {
        return Err(ApiError::too_many(again).into());
    }
    if waiting.total >= WAITING {
        return Err(ApiError::busy(again).into());
    }
    let (device_code, hash) = secret::code()?;
    let now = OffsetDateTime::now_utc();
    let row = DeviceRow {
        client: client.id,
        asked,
        asked_from,
        created_at: now,
        expires_at: now + DEVICE_LIFETIME,
        polled_at: None,
        wait_seconds: POLL_SECONDS,
        denied: false,
        allowed: None,
    };
    for _ in 0..TRIES {
        let mut random = [0u8; 32];
        getrandom::fill(&mut random).map_err(ApiError::no_random)?;
        let Some(code) = UserCode::from_random(&random) else { continue };
        if !oauth::create_device(&database, &hash, &secret::hash(code.letters()), &row).await? {
            continue;
        }
        let verification_uri = base.url("/connect/oauth/device");
        let view = DeviceView {
            device_code,
            verification_uri_complete: format!("{verification_uri}?user_code={}", code.shown()),
            user_code: code.shown(),
            verification_uri,
            expires_in: DEVICE_LIFETIME.whole_seconds(),
            interval: POLL_SECONDS,
        };
        let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        return Ok((no_store, Json(view)).into_response());
    }
    Err(OAuthError::new(Word::TemporarilyUnavailable, "no code was free; try again"))
}
