//! `POST /__login__`: a session for a client that knows a user's password, and the one thing it may change with that: make the
//! user an API key. It is there while the gate signs people in with passwords.
//!
//! Sessions change nothing through this interface, as published pages share the server's origin. The exception is a session
//! that was begun here: its answer holds a second secret, which is sent back in `X-RSC-XSRF`. A browser's own session has no
//! such secret, and scripts of a page cannot read this one (`HttpOnly`), so no page can make a key in its visitor's name.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::header::SET_COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use lectern_domain::access::Principal;
use lectern_metadata::{sessions, users};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use crate::Services;
use crate::body::Object;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::{ClientAddress, External};
use crate::keys::ApiKeyText;
use crate::services::PasswordError;
use crate::users::Standing;

/// The cookie and the field that carry the second secret.
const COOKIE: &str = "RSC-XSRF";
const FIELD: &str = "x-rsc-xsrf";

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(sign_in))
}

/// Who signs in.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Credentials {
    #[schema(required = true, value_type = String, min_length = 1)]
    username: Option<String>,
    #[schema(required = true, value_type = String, format = Password, min_length = 1)]
    password: Option<String>,
}

/// Whose session it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SignedIn {
    guid: String,
    username: String,
}

/// Signs in with user name and password. The session may make an API key for its user, and otherwise only read.
#[utoipa::path(post, path = "/__login__", tag = "users", security(()), request_body = Credentials,
    responses((status = 200, body = SignedIn), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 429, body = ErrorBody)))]
async fn sign_in(
    State(services): State<Services>,
    address: Option<Extension<ClientAddress>>,
    external: Option<Extension<External>>,
    headers: HeaderMap,
    Object(given): Object<Credentials>,
) -> Result<Response, ApiError> {
    // Browsers say where a form comes from; this is no page's business. Other clients send neither field.
    if headers.contains_key("origin") || headers.contains_key("sec-fetch-site") {
        return Err(ApiError::new(Code::CrossSite, "browsers sign in on the sign-in page"));
    }
    if !services.settings.logout.takes_passwords() {
        return Err(ApiError::new(Code::Missing, "nobody signs in here with a password"));
    }
    let need = |field: Option<String>, name: &str| {
        let missing = || ApiError::new(Code::MissingParameter, format!("signing in needs a {name}"));
        field.filter(|text| !text.is_empty()).ok_or_else(missing)
    };
    let (username, password) = (need(given.username, "username")?, Zeroizing::new(need(given.password, "password")?));
    let from = address.map_or_else(|| std::net::Ipv4Addr::UNSPECIFIED.into(), |address| address.0.0);
    let fits = services.backstage.check_password(from, &username, password).await.map_err(refused)?;
    let client = services.database.client().await?;
    let account = if fits { users::get_by_username(&client, &username).await? } else { None };
    let wrong = || ApiError::new(Code::BadCredential, "the user name or the password is wrong");
    let account = account.ok_or_else(wrong)?;
    // Told only to who knows the password.
    Standing::check(&account)?;
    drop(client); // Beginning a session needs a connection too.
    let session = services.backstage.begin_session(account.guid).await.map_err(ApiError::internal)?;
    let second = ApiKeyText::random()?;
    sessions::set_xsrf_hash(&services.database.client().await?, &session.hash, &second.hash()).await?;
    let seconds = session.max_age.as_secs();
    let secure = external.is_some_and(|external| external.0.scheme == "https");
    let secure = if secure { "; Secure" } else { "" };
    let about = SignedIn { guid: account.guid.to_string(), username: account.username };
    let mut response = Json(about).into_response();
    for (name, value) in [(session.cookie, session.token.as_str()), (COOKIE, second.into_text().as_str())] {
        let cookie = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        let mut cookie = HeaderValue::from_str(&cookie).map_err(ApiError::internal)?;
        cookie.set_sensitive(true);
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The refusal of a password that could not be checked.
pub(crate) fn refused(error: PasswordError) -> ApiError {
    match error {
        PasswordError::Refused(rule) => ApiError::new(Code::BadField, rule),
        PasswordError::Throttled(_) => {
            ApiError::new(Code::BadCredential, error.to_string()).with_status(StatusCode::TOO_MANY_REQUESTS)
        }
        PasswordError::Failed(_) => ApiError::internal(error),
    }
}

/// Whether this request of a session, which may change nothing else, makes a key and proves that no page sent it.
pub(crate) async fn may_make_key(
    services: &Services,
    principal: &Principal,
    request: &Parts,
) -> Result<bool, ApiError> {
    let path = format!("/__api__/v1/users/{}/keys", principal.guid);
    let Some(second) = request.headers.get(FIELD) else { return Ok(false) };
    if request.method != Method::POST || request.uri.path() != path {
        return Ok(false);
    }
    let hash = *blake3::hash(second.as_bytes()).as_bytes();
    Ok(sessions::knows_xsrf(&services.database.client().await?, principal.user, &hash).await?)
}
