//! Reads what is left of a refused request's body.
//!
//! Publishing clients send a whole bundle before they read the reply. Were the connection closed while they send, they
//! would report a broken pipe instead of the refusal's text.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

/// Most bytes read and thrown away, 64 MiB: nearly all bundles are smaller; a larger one is cut off.
const MOST_BYTES: usize = 64 << 20;

/// How long that may take: the reply waits for it.
const MOST_TIME: Duration = Duration::from_secs(10);

/// A body that two may hold: whoever handles the request, and this module after them.
struct Shared(Arc<Mutex<Body>>);

impl http_body::Body for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

/// Runs around every route.
pub(crate) async fn drain_if_refused(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let shared = Arc::new(Mutex::new(body));
    let mut rest = Shared(Arc::clone(&shared));
    let response = next.run(Request::from_parts(parts, Body::new(Shared(shared)))).await;
    if response.status().is_client_error() || response.status().is_server_error() {
        // A time-out or a broken body only means that there is nothing more to be polite about.
        let _ = tokio::time::timeout(MOST_TIME, discard(&mut rest)).await;
    }
    response
}

async fn discard(body: &mut Shared) {
    let mut bytes = 0;
    while !body.is_end_stream() && bytes < MOST_BYTES {
        match body.frame().await {
            Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => break,
        }
    }
}
