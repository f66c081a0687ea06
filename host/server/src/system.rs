//! The API and the dashboard behind the listener: requests cross from the threads that serve to the runtime that may wait.

use axum::Router;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use lectern_api::{ClientAddress, CredentialRejected, External};
use lectern_edge::{Caller, EdgeBody, RequestBody, SystemService};
use lectern_gate::System;
use tower::ServiceExt as _;

/// The parts of the server that requests are routed to besides content.
pub(crate) struct SystemParts {
    pub(crate) api: Router,
    pub(crate) dashboard: Router,
    /// What the protocol has no word for.
    pub(crate) lectern: Router,
    /// Where their handlers run.
    pub(crate) runtime: tokio::runtime::Handle,
}

impl SystemService for SystemParts {
    fn call(
        &self,
        target: System,
        caller: Caller,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Response<EdgeBody>> {
        let router = match target {
            System::Api => self.api.clone(),
            System::Lectern => self.lectern.clone(),
            System::Dashboard => self.dashboard.clone(),
        };
        let mut request = request.map(axum::body::Body::new);
        let extensions = request.extensions_mut();
        extensions.insert(external(&caller));
        extensions.insert(ClientAddress(caller.client));
        if caller.rejected {
            extensions.insert(CredentialRejected);
        }
        extensions.insert(caller.principal);
        // A client that leaves does not undo half of what its request began: the handler runs to its end.
        let handling = self.runtime.spawn(router.oneshot(request));
        Box::pin(async move {
            match handling.await {
                Ok(Ok(response)) => response.map(EdgeBody::stream),
                Ok(Err(never)) => match never {},
                Err(error) => {
                    tracing::error!(%error, request.id = caller.request_id.as_str(), "a handler ended without an answer");
                    let mut response = Response::new(EdgeBody::full("the server failed; its log says why\n"));
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    response
                }
            }
        })
    }
}

/// Splits `scheme://host[/prefix]`.
fn external(caller: &Caller) -> External {
    let (scheme, rest) = caller.base_url.split_once("://").unwrap_or(("http", &caller.base_url));
    let (authority, prefix) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    External { scheme: scheme.to_owned(), authority: authority.to_owned(), prefix: prefix.to_owned() }
}
