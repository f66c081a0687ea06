//! Replies of plugins on their way out.
//!
//! Plugins know paths as the host routes them. Where a proxy has the server below a path of its own host, the browser needs that path
//! before them: here it is put before the one field of a reply that a browser follows by itself.

use http::header::LOCATION;
use http::{HeaderValue, Method, Response};
use lectern_gate::Reply;

use crate::body::EdgeBody;

/// The reply to a request with `method`, for a visitor who finds this server below `prefix` (empty, or `/` and no last slash).
pub(crate) fn outward(reply: Reply, method: &Method, prefix: &str) -> Response<EdgeBody> {
    let mut response = reply.into_response(method).map(EdgeBody::full);
    if let Some(location) = response.headers().get(LOCATION).and_then(|location| below(location, prefix)) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// A path of this server below `prefix`; `None` where there is nothing to put before it.
fn below(location: &HeaderValue, prefix: &str) -> Option<HeaderValue> {
    let path = location.to_str().ok()?;
    // Two slashes begin the name of another host, which browsers read from a backslash too.
    let is_path = path.starts_with('/') && !path.starts_with("//") && !path.starts_with("/\\");
    if prefix.is_empty() || !is_path {
        return None;
    }
    HeaderValue::try_from(format!("{prefix}{path}")).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_paths_of_this_server_are_below_the_prefix() {
        for (location, prefix, expected) in [
            ("/content/x/?a=b", "/rsc", Some("/rsc/content/x/?a=b")),
            ("/", "/a/b", Some("/a/b/")),
            ("/rsc/content/x/", "/rsc", Some("/rsc/rsc/content/x/")),
            ("/content/x/", "", None),
            ("https://idp.example/authorize", "/rsc", None),
            ("//other.example/", "/rsc", None),
            ("/\\other.example", "/rsc", None),
            ("page", "/rsc", None),
            ("", "/rsc", None),
        ] {
            let got = below(&HeaderValue::from_static(location), prefix);
            assert_eq!(got.as_ref().map(|value| value.to_str().unwrap()), expected, "{location} below {prefix}");
        }
    }
}
