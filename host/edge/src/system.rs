//! Requests to the API and the dashboard. They authorize themselves; here they learn who asks.

use std::sync::Arc;

use http::{Request, Response};
use lectern_gate::{Forward, Head, Selected, System, TargetView};
use tracing::error;

use crate::access_log::chain;
use crate::body::{EdgeBody, RequestBody};
use crate::bridge::{apply, drop_session_cookie, remove_hop_by_hop, target_uri};
use crate::identify::{Asking, identify, select, sign_in};
use crate::notice::Notice;
use crate::origin::READ_FROM;
use crate::outward::outward;
use crate::serve::Visit;
use crate::services::{Caller, SignIn};

/// Hands the request to its part of the server.
pub(crate) async fn answer(
    visit: &mut Visit<'_>,
    head: Arc<Head>,
    forward: Arc<Forward>,
    target: System,
) -> Result<Response<EdgeBody>, Notice> {
    let view = Arc::new(TargetView { target: forward.target, content: None });
    let (principal, vouched, rejected, challenge) = match identify(visit, &head, &view).await? {
        Asking::User(principal, vouched) => (Some(principal), Some(vouched), false, None),
        Asking::Anonymous(challenge) => (None, None, false, challenge),
        Asking::Rejected => (None, None, true, None),
    };
    let forward = match select(visit, &head, &view, principal.as_ref().zip(vouched.as_deref()), forward).await? {
        Selected::Forward(forward) => forward,
        Selected::Respond { reply, .. } => return Ok(outward(reply, &head.method, &visit.origin.prefix)),
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
    let kept = challenge.is_some().then(|| Arc::clone(&head));
    let Head { method, mut headers, .. } = Arc::unwrap_or_clone(head);
    remove_hop_by_hop(&mut headers);
    for name in READ_FROM {
        headers.remove(name);
    }
    apply(&forward, &mut headers);
    drop_session_cookie(&mut headers);
    let mut request = Request::new(std::mem::replace(&mut visit.body, RequestBody::empty()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let response = visit.connection.thread.services.system.call(target, caller, request).await;
    match kept {
        Some(head) if response.extensions().get::<SignIn>().is_some() => {
            sign_in(challenge, &head, &visit.origin.prefix)
        }
        Some(_) | None => Ok(response),
    }
}
