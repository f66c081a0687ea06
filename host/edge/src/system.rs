//! Requests to the API and the dashboard. They authorize themselves; here they learn who asks.

use std::sync::Arc;

use http::{Request, Response};
use lectern_gate::{Forward, Head, System};
use tracing::error;

use crate::access_log::chain;
use crate::body::{EdgeBody, RequestBody};
use crate::bridge::{apply, drop_session_cookie, remove_hop_by_hop, target_uri};
use crate::identify::{Asking, identify, sign_in};
use crate::notice::Notice;
use crate::origin::READ_FROM;
use crate::serve::Visit;
use crate::services::{Caller, SignIn};

/// Hands the request to its part of the server.
pub(crate) async fn answer(
    visit: &mut Visit<'_>,
    head: Arc<Head>,
    forward: &Forward,
    target: System,
) -> Result<Response<EdgeBody>, Notice> {
    let (principal, rejected, challenge) = match identify(visit, &head).await? {
        Asking::User(principal) => (Some(principal), false, None),
        Asking::Anonymous(challenge) => (None, false, challenge),
        Asking::Rejected => (None, true, None),
    };
    let caller = Caller {
        principal,
        rejected,
        client: visit.origin.client,
        scheme: visit.origin.scheme,
        base_url: format!("{}{}", visit.origin.base(), visit.origin.prefix),
        request_id: visit.id.clone(),
    };
    let uri = target_uri(forward.target_path(&head.path), head.query.as_deref()).map_err(|failure| {
        error!(request.id = visit.id.as_str(), error = %chain(&failure), "address for the system");
        Notice::not_found()
    })?;
    let Head { method, mut headers, .. } = Arc::unwrap_or_clone(head);
    remove_hop_by_hop(&mut headers);
    for name in READ_FROM {
        headers.remove(name);
    }
    apply(forward, &mut headers);
    drop_session_cookie(&mut headers);
    let mut request = Request::new(std::mem::replace(&mut visit.body, RequestBody::empty()));
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let response = visit.connection.thread.services.system.call(target, caller, request).await;
    if response.extensions().get::<SignIn>().is_some() && challenge.is_some() {
        return sign_in(challenge, &method);
    }
    Ok(response)
}
