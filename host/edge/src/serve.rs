//! The way of one request: what a client may not say is stripped, the gate says where it goes and who asks, the rules say
//! whether they may, and the content, the API or a page of ours answers.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Version, request};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use lectern_domain::snapshot::Snapshot;
use lectern_gate::{Chain, GateError, Head, PathError, RequestPath, Routed, Target};
use tracing::error;

use crate::access_log::{Ending, chain};
use crate::body::{EdgeBody, RequestBody, Unread};
use crate::bridge::{X_CORRELATION_ID, X_REQUEST_ID, is_websocket_upgrade};
use crate::connection::Connection;
use crate::notice::{Notice, accepts_html};
use crate::origin::Origin;
use crate::outward::outward;
use crate::request_id::RequestId;
use crate::strip::strip;
use crate::{content, health, plugin_page, system};

/// One request while it is decided: what it is, and what has been found out about it.
pub(crate) struct Visit<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) id: &'a RequestId,
    pub(crate) origin: Origin,
    pub(crate) body: RequestBody,
    /// The client's side of the WebSocket it asks for.
    pub(crate) upgrade: Option<OnUpgrade>,
    /// The plugins in force when it came.
    pub(crate) chain: Arc<Chain>,
    /// Content and accounts when it came.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) ending: &'a mut Ending,
}

/// Answers one request, whatever happens.
///
/// Dropped when the client leaves; what was begun for it ends then.
pub(crate) async fn serve(connection: &Connection, request: Request<Incoming>) -> Response<EdgeBody> {
    let (mut parts, incoming) = request.into_parts();
    let unread = Unread::default();
    let body = RequestBody::new(incoming, &connection.watch, &unread);
    let io_timeout = connection.thread.config.limits.io_timeout;
    let owes_body = !http_body::Body::is_end_stream(&body);
    connection.watch.begin(owes_body, io_timeout, io_timeout);
    let trusted = connection.peer.trusted;
    let id = request_id(&parts.headers, trusted);
    let mut ending = Ending::new(&connection.watch, &id, &parts.method, parts.uri.path(), connection.peer.ip);
    let html = accepts_html(&parts.headers);
    let head_only = parts.method == Method::HEAD;
    // HTTP/2 can refuse the rest of one body; so can a client that asked first.
    let may_drain = owes_body && parts.version < Version::HTTP_2 && !parts.headers.contains_key(header::EXPECT);
    strip(&mut parts.headers, trusted);
    let answer = match address(&parts) {
        Err(notice) => Err(notice),
        Ok(authority) => {
            let origin =
                Origin::read(&connection.peer, &parts.headers, authority, &connection.thread.config.trusted_proxies);
            ending.set_client(origin.client);
            // Pinned where it is made: moved once more it would be copied whole, some thousand bytes.
            let answering = pin!(answer(connection, &id, origin, parts, body, &mut ending));
            in_time(connection, owes_body, answering).await
        }
    };
    let mut response = answer.unwrap_or_else(|notice| notice.respond(html, &id));
    if may_drain && !connection.watch.must_finish() && response.status() != StatusCode::REQUEST_TIMEOUT {
        unread.drain().await;
    }
    response.headers_mut().insert(X_REQUEST_ID, id.value());
    if connection.watch.is_last() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let bodiless = head_only || http_body::Body::is_end_stream(response.body());
    ending.answered(response.status(), bodiless);
    response.map(|body| body.with_ending(ending))
}

/// Runs `answering` unless a limit of time passes first; the watch says when.
async fn in_time(
    connection: &Connection,
    owes_body: bool,
    mut answering: Pin<&mut impl Future<Output = Result<Response<EdgeBody>, Notice>>>,
) -> Result<Response<EdgeBody>, Notice> {
    poll_fn(|cx| {
        if connection.watch.is_expired() {
            connection.watch.forgive();
            return Poll::Ready(Err(if owes_body && connection.watch.owes_body() {
                Notice::new(StatusCode::REQUEST_TIMEOUT, "Request timed out", "The request did not arrive completely.")
            } else {
                Notice::new(StatusCode::GATEWAY_TIMEOUT, "Timed out", "The content did not answer in time.")
            }));
        }
        answering.as_mut().poll(cx)
    })
    .await
}

/// A trusted proxy's id, or a new one.
fn request_id(headers: &HeaderMap, trusted: bool) -> RequestId {
    let given = || [X_REQUEST_ID, X_CORRELATION_ID].iter().find_map(|name| RequestId::adopt(headers.get(name)?));
    if trusted { given() } else { None }.unwrap_or_else(RequestId::new)
}

/// What the request addresses; a request that is not clear about it is refused.
fn address(parts: &request::Parts) -> Result<Option<Authority>, Notice> {
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Notice::method_not_allowed("This is not a proxy.", "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE"));
    }
    // hyper understands a list that ends in `chunked`, and would hand the body on without the other codings' names.
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
    {
        let text = "Bodies may be sent chunked, and in no other transfer coding.";
        return Err(Notice::new(StatusCode::NOT_IMPLEMENTED, "Not implemented", text));
    }
    if parts.headers.get_all(header::EXPECT).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(Notice::new(StatusCode::EXPECTATION_FAILED, "Expectation failed", "Only 100-continue is known."));
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Notice::bad_request("The request names more than one host."));
    }
    let named = match host.map(HeaderValue::to_str) {
        None | Some(Ok("")) => None,
        Some(Ok(text)) => match text.parse::<Authority>() {
            Ok(authority) if !text.contains('@') => Some(authority),
            Ok(_) | Err(_) => return Err(Notice::bad_request("The host of the request is not a host name.")),
        },
        Some(Err(_)) => return Err(Notice::bad_request("The host of the request is not a host name.")),
    };
    if host.is_none() && parts.version == Version::HTTP_11 && parts.uri.authority().is_none() {
        return Err(Notice::bad_request("The request names no host."));
    }
    if parts.uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Notice::bad_request("The host of the request is not a host name."));
    }
    // A target that names a host wins over the field (RFC 9112 §3.2.2); on HTTP/2 it is the host.
    Ok(parts.uri.authority().cloned().or(named))
}

fn bad_path(error: PathError) -> Notice {
    match error {
        PathError::TooLong(_) => {
            Notice::new(StatusCode::URI_TOO_LONG, "Address too long", "The address of this request is too long.")
        }
        error => Notice::bad_request(format!("The address of this request cannot be read: {error}.")),
    }
}

/// A plugin that failed has decided nothing: nobody passes.
pub(crate) fn gate_failed(id: &RequestId, failure: &GateError) -> Notice {
    error!(request.id = id.as_str(), error.kind = failure.kind(), error = %chain(failure), "gate failed");
    match failure {
        GateError::Broken { retry_after, .. } => Notice::unavailable().retry_after(*retry_after),
        _ => Notice::unavailable(),
    }
}

async fn answer(
    connection: &Connection,
    id: &RequestId,
    origin: Origin,
    parts: request::Parts,
    body: RequestBody,
    ending: &mut Ending,
) -> Result<Response<EdgeBody>, Notice> {
    let services = &connection.thread.services;
    if let Some(response) = health::answer(&parts, services.health.as_ref()) {
        return Ok(response);
    }
    let request::Parts { method, uri, mut headers, mut extensions, .. } = parts;
    let path = RequestPath::parse(uri.path()).map_err(bad_path)?;
    // What the worker sees as `Host` is what was addressed, also when the target said otherwise.
    if let Some(authority) = uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(header::HOST, host);
    }
    let upgrade =
        if method == Method::GET && is_websocket_upgrade(&headers) { extensions.remove::<OnUpgrade>() } else { None };
    let head = Arc::new(Head {
        id: id.as_str().to_owned(),
        method,
        scheme: origin.scheme,
        authority: origin.authority.clone(),
        path,
        query: uri.query().map(str::to_owned),
        client_ip: origin.client,
        peer_ip: connection.peer.ip,
        certificate: connection.peer.certificate.clone(),
        headers,
    });
    let (chain, snapshot) = (services.gate.chain(), services.snapshot.load_full());
    let mut visit = Visit { connection, id, origin, body, upgrade, chain, snapshot, ending };
    if let Some(plugin) = plugin_page::plugin_of(&head.path) {
        // Rare and large: every request would carry the room for it.
        return Box::pin(plugin_page::answer(&mut visit, &head, plugin)).await;
    }
    match services.gate.route(&visit.chain, &head).await {
        Ok(Routed::Forward(forward)) => match forward.target {
            Target::Content(guid) => content::answer(&mut visit, head, forward, guid).await,
            Target::System(target) => Box::pin(system::answer(&mut visit, head, forward, target)).await,
        },
        Ok(Routed::Respond { reply, .. }) => Ok(outward(reply, &head.method, &visit.origin.prefix)),
        Ok(Routed::NotMine) => Err(Notice::not_found()),
        Err(error) => Err(gate_failed(visit.id, &error)),
    }
}
