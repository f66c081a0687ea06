//! One client's connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use crate::access_log::chain;
use crate::body::EdgeBody;
use crate::io::{ClientIo, Protocol};
use crate::origin::Peer;
use crate::serve::serve;
use crate::thread::Thread;
use crate::watch::Watch;

/// Largest read and write buffer of a connection: large bodies move in pieces of this size.
const BUFFER_BYTES: usize = 64 * 1024;
/// Requests that one HTTP/2 connection may have in flight; RFC 9113 §6.5.2 advises not less than 100.
const STREAMS: u32 = 128;
/// How often a silent HTTP/2 client is asked whether it is there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_WITHIN: Duration = Duration::from_secs(20);

/// Whose connection a request came on.
pub(crate) struct Connection {
    pub(crate) thread: Rc<Thread>,
    pub(crate) peer: Peer,
    pub(crate) watch: Arc<Watch>,
}

/// Serves one connection until either side ends it. `socket` may be a plain or an encrypted one; a client that has `agreed` on a
/// protocol in its handshake may speak no other.
pub(crate) async fn run<S>(socket: S, connection: Connection, agreed: Option<Protocol>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let watch = connection.watch.clone();
    let mut io = ClientIo::new(socket, watch.clone());
    let protocol = match until_told(Waits::new(io.detect()), &watch).await.flatten() {
        Some(Ok(Some(protocol))) => protocol,
        Some(Ok(None)) | None => return,
        Some(Err(error)) => return debug!(%error, client.ip = %connection.peer.ip, "connection broke"),
    };
    let peer = connection.peer.ip;
    if agreed.is_some_and(|agreed| agreed != protocol) {
        return debug!(client.ip = %peer, ?agreed, spoken = ?protocol, "another protocol than agreed on");
    }
    let limits = &connection.thread.config.limits;
    let header_bytes = limits.header_bytes;
    let connection = Rc::new(connection);
    let service = service_fn(move |request: Request<Incoming>| {
        let connection = connection.clone();
        async move { Ok::<_, Infallible>(serve(&connection, request).await) }
    });
    let ended = match protocol {
        Protocol::Http1 => until_told(speak_http1(io, header_bytes, service), &watch).await,
        Protocol::Http2 => {
            watch.set_multiplexed();
            until_told(speak_http2(io, header_bytes, service), &watch).await
        }
    };
    if let Some(Err(error)) = ended {
        debug!(error = %chain(&error), client.ip = %peer, "connection ended early");
    }
}

fn speak_http1<S, T>(io: ClientIo<S>, header_bytes: usize, service: T) -> impl Stoppable<Output = hyper::Result<()>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: Service<Request<Incoming>, Response = http::Response<EdgeBody>, Error = Infallible> + 'static,
    T::Future: 'static,
{
    // The watch keeps the time of heads; hyper's own timer would also run between requests.
    http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(header_bytes)
        .max_buf_size(BUFFER_BYTES.max(header_bytes))
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades()
}

fn speak_http2<S, T>(io: ClientIo<S>, header_bytes: usize, service: T) -> impl Stoppable<Output = hyper::Result<()>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: Service<Request<Incoming>, Response = http::Response<EdgeBody>, Error = Infallible> + 'static,
    T::Future: 'static,
{
    http2::Builder::new(OnThisThread)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WITHIN)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(io), service)
}

/// Runs the streams of HTTP/2 connections on the thread of their connection. They end with it: a stream whose connection is
/// gone cannot send.
#[derive(Debug, Clone, Copy)]
struct OnThisThread;

impl<F: Future<Output = ()> + 'static> Executor<F> for OnThisThread {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A future that can be asked to come to an end.
pub(crate) trait Stoppable: Future {
    /// Asks it to finish what it is doing, and nothing new.
    fn finish(self: Pin<&mut Self>);
}

impl<S, T> Stoppable for http1::UpgradeableConnection<TokioIo<ClientIo<S>>, T>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: Service<Request<Incoming>, Response = http::Response<EdgeBody>, Error = Infallible> + 'static,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S, T> Stoppable for http2::Connection<TokioIo<ClientIo<S>>, T, OnThisThread>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: Service<Request<Incoming>, Response = http::Response<EdgeBody>, Error = Infallible> + 'static,
    T::Future: 'static,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Waits for the client's first bytes: asked to finish, it gives up (`None`) unless they are there.
pub(crate) struct Waits<F> {
    future: Pin<Box<F>>,
    finishing: bool,
}

impl<F: Future> Waits<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Box::pin(future), finishing: false }
    }
}

impl<F: Future> Future for Waits<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        match self.future.as_mut().poll(cx) {
            Poll::Pending if self.finishing => Poll::Ready(None),
            polled => polled.map(Some),
        }
    }
}

impl<F: Future> Stoppable for Waits<F> {
    fn finish(mut self: Pin<&mut Self>) {
        self.finishing = true;
    }
}

/// A tunnel, which has no end of its own, or a handshake, which ends soon: asked to finish, it goes on for as long as it may.
pub(crate) struct Tunnel<F>(Pin<Box<F>>);

impl<F: Future> Tunnel<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(Box::pin(future))
    }
}

impl<F: Future> Future for Tunnel<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<F: Future> Stoppable for Tunnel<F> {
    fn finish(self: Pin<&mut Self>) {}
}

/// Runs `future` until it ends or its watch says so (`None`).
pub(crate) async fn until_told<F: Stoppable>(future: F, watch: &Watch) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut registered: Option<Waker> = None;
    let mut finishing = false;
    poll_fn(|cx| {
        // An order wakes once: whoever it was waits for the next one, too.
        if watch.was_woken() || registered.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            watch.register(cx.waker());
            registered = Some(cx.waker().clone());
        }
        if watch.must_close() {
            return Poll::Ready(None);
        }
        if watch.must_finish() && !finishing {
            finishing = true;
            future.as_mut().finish();
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}
