//! Which of the old addresses have a newer one. Clients print a warning where an answer says so, so only addresses are listed that
//! no current client uses by itself: `/me`, `/timezones` and the variants have no other or are asked for by them.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};

/// What the clients look for.
const FIELD: HeaderName = HeaderName::from_static("x-deprecated-endpoint");

/// Old addresses, each with what is to be used instead.
const REPLACED: &[(&str, &str)] = &[
    ("/__api__/applications", "/v1/content"),
    ("/__api__/applications/{app}", "/v1/content/{guid}"),
    ("/__api__/applications/{app}/upload", "/v1/content/{guid}/bundles"),
    ("/__api__/applications/{app}/deploy", "/v1/content/{guid}/deploy"),
    ("/__api__/applications/{app}/image", "/v1/content/{guid}/thumbnail"),
    ("/__api__/tasks/{id}", "/v1/tasks/{id}"),
    ("/__api__/users", "/v1/users"),
    ("/__api__/users/{id}", "/v1/users/{guid}"),
    ("/__api__/users/current", "/v1/user"),
];

/// Says in an answer that there is a newer address.
pub(crate) async fn tell(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let mut response = next.run(request).await;
    if let Some((_, newer)) = path.and_then(|path| REPLACED.iter().find(|(old, _)| *old == path)) {
        response.headers_mut().insert(FIELD, HeaderValue::from_static(newer));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_addresses_are_in_the_document() {
        let document = crate::openapi();
        for (old, newer) in REPLACED {
            let newer = format!("/__api__{newer}");
            for path in [*old, &newer] {
                assert!(document.paths.paths.contains_key(path), "{path}");
            }
        }
    }
}
