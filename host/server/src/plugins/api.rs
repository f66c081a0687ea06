//! `/__lectern__/v1`: what the Connect protocol has no word for. The same router serves the admin socket; there whoever may open the
//! socket is an operator, here an administrator with an API key.
//!
//! Errors are `{"code": "<word>", "error": "<what to change>"}`. A browser's session changes nothing and sees nothing: published
//! pages share the server's origin.

mod bindings;
mod change;
mod history;
mod keys;
mod look;
mod packages;
mod secrets;

use std::sync::Arc;

use axum::body::{Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, Extension, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use lectern_domain::plugin::Actor;
use lectern_domain::{Principal, PrincipalVia, UserRole};
use lectern_metadata::plugins::Note;
use lectern_packages::PACKAGE_BYTES;
use serde_json::{Value, json};

use super::manage::{Plugins, Refused};
use super::metrics;

/// The field that carries a package's signature.
pub(crate) const SIGNATURE: &str = "lectern-signature";
/// The field that carries the reason of a change without a JSON body.
pub(crate) const REASON: &str = "lectern-reason";

/// Bytes of a JSON body: a configuration has 256 KiB at most.
const JSON_BYTES: usize = 1 << 20;

/// Who operates.
#[derive(Debug, Clone)]
pub(crate) struct Operator(pub(crate) Actor);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Package(_) | Self::Load(_) | Self::Cases { .. } | Self::Config(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Signature(_) => StatusCode::FORBIDDEN,
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let body = json!({"code": self.code(), "error": crate::cli::chain(&self)});
        (status, Json(body)).into_response()
    }
}

type Answer = Result<Json<Value>, Refused>;

fn shown(value: impl serde::Serialize) -> Answer {
    serde_json::to_value(value).map(Json).map_err(|error| Refused::Unavailable(error.to_string()))
}

/// The routes, for whoever is an [`Operator`].
pub(crate) fn operations(plugins: Arc<Plugins>) -> Router {
    Router::new()
        .route("/plugins", get(look::overview))
        .route("/packages", get(packages::list).post(packages::install).layer(DefaultBodyLimit::max(PACKAGE_BYTES)))
        .route("/packages/{digest}", delete(packages::remove))
        .route("/bindings", get(look::bindings).post(bindings::bind))
        .route("/bindings/{name}", get(look::binding).patch(bindings::set).delete(bindings::unbind))
        .route("/bindings/{name}/swap", post(bindings::swap))
        .route("/bindings/{name}/rollback", post(bindings::roll_back))
        .route("/bindings/{name}/shadow", get(look::shadow_report).post(bindings::offer_shadow))
        .route("/bindings/{name}/explain", get(look::explain))
        .route("/bindings/{name}/canary", post(bindings::offer_canary))
        .route("/bindings/{name}/promote", post(bindings::promote))
        .route("/bindings/{name}/withdraw", post(bindings::withdraw))
        .route("/bindings/{name}/secrets", get(secrets::list))
        .route("/bindings/{name}/secrets/{secret}", put(secrets::set).delete(secrets::forget))
        .route("/history", get(history::list))
        .route("/history/verify", get(history::verify))
        .route("/keys", get(keys::list).post(keys::trust))
        .route("/keys/{id}", delete(keys::untrust))
        .route("/nodes", get(look::nodes))
        .route("/metrics", get(metrics::answer))
        .layer(DefaultBodyLimit::max(JSON_BYTES))
        .fallback(|| async { Refused::NotFound("there is no such address below /__lectern__/v1".into()) })
        .layer(map_response(in_json))
        .with_state(plugins)
}

/// Gives what the router itself refuses the form of every other refusal: bodies that are too large, names that cannot be,
/// methods that an address does not have.
async fn in_json(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let is_json = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if !parts.status.is_client_error() || is_json {
        return Response::from_parts(parts, body);
    }
    let error = match parts.status {
        StatusCode::PAYLOAD_TOO_LARGE => format!(
            "the body is too large: a package has at most {PACKAGE_BYTES} bytes, everything else at most {JSON_BYTES}"
        ),
        StatusCode::METHOD_NOT_ALLOWED => "this address does not have this method".to_owned(),
        // One sentence of the router's.
        _ => String::from_utf8_lossy(&to_bytes(body, 4 << 10).await.unwrap_or_default()).into_owned(),
    };
    let mut answer = (parts.status, Json(json!({"code": "request", "error": error}))).into_response();
    if let Some(methods) = parts.headers.get(header::ALLOW) {
        answer.headers_mut().insert(header::ALLOW, methods.clone());
    }
    answer
}

/// The routes below `/__lectern__/v1`, for administrators with a key.
pub(crate) fn router(plugins: Arc<Plugins>) -> Router {
    Router::new().nest("/__lectern__/v1", operations(plugins).layer(from_fn(operators_only)))
}

async fn operators_only(
    Extension(principal): Extension<Option<Principal>>,
    mut request: Request,
    next: Next,
) -> Response {
    let refuse =
        |status: StatusCode, text: &str| (status, Json(json!({"code": "refused", "error": text}))).into_response();
    match principal {
        None => refuse(StatusCode::UNAUTHORIZED, "send an administrator's API key: Authorization: Key …"),
        Some(Principal { via: PrincipalVia::Session, .. }) => {
            refuse(StatusCode::FORBIDDEN, "a browser's session does not operate the gate: use an API key")
        }
        Some(Principal { via: PrincipalVia::Content(_), .. }) => {
            refuse(StatusCode::FORBIDDEN, "content does not operate the gate: use an administrator's own API key")
        }
        Some(principal) if principal.role != UserRole::Administrator => {
            refuse(StatusCode::FORBIDDEN, "only administrators, with a key of that role, operate the gate")
        }
        Some(principal) => {
            request.extensions_mut().insert(Operator(Actor::User(principal.username)));
            next.run(request).await
        }
    }
}

/// Who does it, and why.
fn note(operator: Operator, reason: impl Into<String>) -> Note {
    Note::new(operator.0, reason.into().chars().take(1_000).collect::<String>())
}

fn reason(headers: &HeaderMap) -> String {
    headers.get(REASON).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// Reads a JSON body; the error says where it does not fit.
fn body<T: serde::de::DeserializeOwned>(bytes: &Bytes) -> Result<T, Refused> {
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| Refused::Request(format!("the request does not fit: {error}")))
}
