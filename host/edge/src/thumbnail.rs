//! `…/__thumbnail__`: the picture of a content item, shown to whoever may see that the item exists.
//!
//! That there is none is known from the snapshot. The bytes are asked for elsewhere, so that the request path reads no
//! database itself; they are named by their hash, which is the entity tag.

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use lectern_domain::AccessType;
use lectern_domain::snapshot::ContentEntry;
use lectern_gate::Head;
use tracing::error;

use crate::access_log::chain;
use crate::body::EdgeBody;
use crate::notice::Notice;
use crate::serve::Visit;
use crate::statics::unchanged;

/// The path within a content item.
pub(crate) const PATH: &str = "/__thumbnail__";

/// Answers with the picture; 204 when there is none.
pub(crate) async fn answer(
    visit: &Visit<'_>,
    head: &Head,
    content: &ContentEntry,
) -> Result<Response<EdgeBody>, Notice> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(Notice::method_not_allowed("A thumbnail can only be read here.", "GET, HEAD"));
    }
    let none = || {
        let mut response = Response::new(EdgeBody::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    };
    let Some(picture) = content.thumbnail else { return Ok(none()) };
    // Half of the hash is enough: nobody but its publisher gains by two pictures with one tag.
    let digits: String = picture.hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{digits}\"");
    let tag = HeaderValue::try_from(tag).map_err(|_| Notice::not_found())?;
    let mut response = Response::new(EdgeBody::empty());
    let is_known = unchanged(&head.headers, &tag);
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        let found = visit.connection.thread.services.thumbnails.thumbnail(content, &picture.hash).await;
        let found = found.map_err(|failure| {
            error!(request.id = visit.id.as_str(), content.id = %content.guid, error = %chain(&failure), "thumbnail");
            Notice::unavailable()
        })?;
        // It went since the snapshot was made.
        let Some(bytes) = found else { return Ok(none()) };
        response = Response::new(if head.method == Method::HEAD { EdgeBody::empty() } else { EdgeBody::full(bytes) });
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(picture.kind.as_str()));
    headers.insert(header::ETAG, tag);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    let cache = if content.access.access_type == AccessType::All { "no-cache" } else { "private, no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    Ok(response)
}
