//! `/oauth/register`: a program says who it is (RFC 7591). Needs no credential and proves nothing, so it is bounded: per address, and in
//! all. A registration that nobody uses within a day is removed.

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, http::HeaderValue};
use http::{StatusCode, header};
use lectern_domain::json;
use lectern_domain::oauth::Redirect;
use lectern_metadata::oauth::{self, ClientRow};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::error::{OAuthError, OAuthErrorBody, Word};
use super::{AUTHORIZATION_CODE, DEVICE_CODE, GRANT_TYPES, WAITING, WAITING_FROM_ONE};
use crate::Services;
use crate::body;
use crate::error::ApiError;
use crate::guard::ClientAddress;
use crate::keys::ApiKeyText;

/// Longest name, in characters: it stands in a heading.
const MAX_NAME: usize = 100;
/// Most redirect URIs of one program: one per address family and a few of older versions.
const MOST_REDIRECTS: usize = 10;

/// What a program says of itself. Other members are passed over (RFC 7591 §2).
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[schema(example = json!({"client_name": "A program", "redirect_uris": ["http://127.0.0.1/callback"]}))]
pub(crate) struct NewClient {
    /// Shown to users.
    client_name: Option<String>,
    /// Where its codes may go: `http://127.0.0.1/…` or `http://[::1]/…`; the port may differ when it is used.
    redirect_uris: Option<Vec<String>>,
    /// `none`: there is no other.
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
}

/// A registered program.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClientView {
    client_id: String,
    /// In seconds since 1970.
    client_id_issued_at: i64,
    client_name: String,
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: &'static str,
    grant_types: Vec<String>,
    response_types: Vec<&'static str>,
}

/// Registers a program.
#[utoipa::path(post, path = "/oauth/register", tag = "oauth", security(()), request_body = NewClient,
    responses((status = 201, body = ClientView), (status = 400, body = OAuthErrorBody),
        (status = 413, body = OAuthErrorBody), (status = 429, description = "too many from one address", body = OAuthErrorBody),
        (status = 503, description = "too many wait", body = OAuthErrorBody)))]
pub(crate) async fn register(
    State(services): State<Services>,
    address: Option<Extension<ClientAddress>>,
    request: Request,
) -> Result<Response, OAuthError> {
    let asked_from = address.map_or_else(|| "unknown".to_owned(), |address| address.0.0.to_string());
    let bytes = body::collect(request.into_body()).await?;
    let unread =
        |text: &str| OAuthError::new(Word::InvalidClientMetadata, format!("the body is not the JSON expected: {text}"));
    let wanted = json::parse(&bytes).map_err(|cause| unread(&cause.to_string()))?;
    if !wanted.is_object() {
        return Err(unread("it is no object"));
    }
    let wanted: NewClient = serde_json::from_value(wanted).map_err(|cause| unread(&cause.to_string()))?;
    let row = judged(wanted, asked_from)?;
    let client = services.database.client().await?;
    let waiting = oauth::unused_clients(&client, &row.asked_from).await?;
    let again = "too many programs have registered and were not used; use one, or wait a day";
    if waiting.from_here >= WAITING_FROM_ONE {
        return Err(ApiError::too_many(again).into());
    }
    if waiting.total >= WAITING {
        return Err(ApiError::busy(again).into());
    }
    oauth::create_client(&client, &row).await?;
    let response_types =
        if row.grant_types.iter().any(|grant| grant == AUTHORIZATION_CODE) { vec!["code"] } else { vec![] };
    let view = ClientView {
        client_id: row.id,
        client_id_issued_at: row.created_at.unix_timestamp(),
        client_name: row.name,
        redirect_uris: row.redirect_uris,
        token_endpoint_auth_method: "none",
        grant_types: row.grant_types,
        response_types,
    };
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, no_store, Json(view)).into_response())
}

/// Reads what a program says of itself.
fn judged(wanted: NewClient, asked_from: String) -> Result<ClientRow, OAuthError> {
    let bad = |text: &str| OAuthError::new(Word::InvalidClientMetadata, text);
    let name =
        wanted.client_name.as_deref().map(str::trim).filter(|name| !name.is_empty()).unwrap_or("A program").to_owned();
    // What reverses or hides text would let a name pass for another, or for the page's own words.
    let plain = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if name.chars().count() > MAX_NAME || !name.chars().all(plain) {
        return Err(bad("client_name has at most 100 visible characters"));
    }
    if wanted.token_endpoint_auth_method.as_deref().is_some_and(|method| method != "none") {
        return Err(bad("token_endpoint_auth_method must be none: programs on people's machines keep no secret"));
    }
    let grant_types = wanted.grant_types.unwrap_or_else(|| vec![AUTHORIZATION_CODE.to_owned()]);
    let known = |grant: &String| GRANT_TYPES.contains(&grant.as_str());
    if grant_types.is_empty() || grant_types.len() > GRANT_TYPES.len() || !grant_types.iter().all(known) {
        return Err(bad("grant_types are authorization_code, refresh_token and the device code's"));
    }
    if wanted.response_types.iter().flatten().any(|kind| kind != "code") {
        return Err(bad("response_types must be code"));
    }
    let redirect_uris = wanted.redirect_uris.unwrap_or_default();
    let by_browser = grant_types.iter().any(|grant| grant == AUTHORIZATION_CODE);
    if !by_browser && !grant_types.iter().any(|grant| grant == DEVICE_CODE) {
        return Err(bad("grant_types must contain authorization_code or the device code's"));
    }
    let refused = |text: String| OAuthError::new(Word::InvalidRedirectUri, text);
    if by_browser && redirect_uris.is_empty() || redirect_uris.len() > MOST_REDIRECTS {
        return Err(refused(format!("redirect_uris must name 1 to {MOST_REDIRECTS} addresses")));
    }
    for uri in &redirect_uris {
        Redirect::parse(uri).map_err(|why| refused(why.to_string()))?;
    }
    Ok(ClientRow {
        id: ApiKeyText::random()?.into_text(),
        name,
        redirect_uris,
        grant_types,
        asked_from,
        created_at: OffsetDateTime::now_utc(),
    })
}
