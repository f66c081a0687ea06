//! The bridge: carries a request to a worker over its Unix socket and the answer back. Nothing is held whole.

mod answer;
mod chunked;
mod cookies;
mod exchange;
mod frames;
mod head;
mod hop;
mod location;
mod outgoing;
mod pool;
mod tunnel;

use std::sync::Arc;

use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use lectern_domain::{ContentId, UserId};

pub(crate) use exchange::{Exchange, ExchangeError, WorkerBody};
pub(crate) use head::{Story, X_CORRELATION_ID, X_REQUEST_ID, apply, drop_session_cookie, target_uri, to_worker};
pub(crate) use hop::{is_websocket_upgrade, remove_hop_by_hop};
pub(crate) use outgoing::Outgoing;
pub(crate) use pool::{clear as close_idle, sweep as sweep_idle};

use crate::body::EdgeBody;
use crate::config::Limits;
use crate::request_id::RequestId;
use crate::thread::Thread;
use crate::watch::Watch;
use crate::worker::InFlight;

/// What the bridge needs to know of a request that was admitted.
pub(crate) struct Crossing<'a> {
    pub(crate) thread: &'a Thread,
    pub(crate) watch: &'a Arc<Watch>,
    pub(crate) id: &'a RequestId,
    pub(crate) limits: &'a Limits,
    /// The external path of the content, without a last slash.
    pub(crate) mount: &'a str,
    /// Host and port as the client addressed them.
    pub(crate) host: &'a str,
    /// Of a Shiny application: what is used and by whom, should a WebSocket come of it.
    pub(crate) shiny: Option<(ContentId, Option<UserId>)>,
}

impl Crossing<'_> {
    /// Sends `request` to the worker that counts it as `in_flight`; `client` is the other end of the WebSocket it asks for, if it
    /// asks for one.
    pub(crate) async fn forward(
        &self,
        in_flight: InFlight,
        request: Outgoing,
        client: &mut Option<OnUpgrade>,
    ) -> Result<Response<EdgeBody>, ExchangeError> {
        let worker = &in_flight.worker().clone();
        let answer = Exchange { worker, limits: self.limits }.send(in_flight, request).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (parts, body) = answer::from_worker(answer, self.mount, self.host);
            return Ok(Response::from_parts(parts, EdgeBody::worker(body)));
        }
        let Some(client) = client.take().filter(|_| is_websocket_upgrade(answer.headers())) else {
            return Err(ExchangeError::Unasked { job: worker.job().clone() });
        };
        let used = self.shiny.map(|(content, user)| self.thread.services.visits.begin(content, user));
        let answer = tunnel::join(self.thread, self.watch, self.id.clone(), client, answer, used);
        let (parts, ()) = answer::from_worker(answer, self.mount, self.host);
        Ok(Response::from_parts(parts, EdgeBody::empty()))
    }
}
