//! What load balancers and supervisors ask. These answers pass no gate.

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode, request};

use crate::body::EdgeBody;
use crate::services::Health;

/// Answers a health path; `None`: it is another path.
///
/// `/__ping__` and `/__live__` say that requests are answered at all, `/__ready__` whether the server can do all of its work.
pub(crate) fn answer(parts: &request::Parts, health: &dyn Health) -> Option<Response<EdgeBody>> {
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return None;
    }
    let (status, body) = match parts.uri.path() {
        "/__ping__" | "/__live__" => (StatusCode::OK, "{}".to_owned()),
        "/__ready__" => match health.ready() {
            Ok(()) => (StatusCode::OK, "{}".to_owned()),
            Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({ "error": reason }).to_string()),
        },
        _ => return None,
    };
    let mut response = Response::new(EdgeBody::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}
