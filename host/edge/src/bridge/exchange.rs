//! One request to one worker and its answer, both streamed.
//!
//! The connection's future is polled here, inside the task of the client's connection. Whatever hyper's channels between the two
//! halves could report comes from that very poll, so the halves are polled with a waker that does nothing: else each answer
//! would wake its own task once more for nothing.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use lectern_domain::JobKey;

use super::pool::{self, Upstream};
use crate::body::{BodyError, RequestBody};
use crate::config::Limits;
use crate::worker::{InFlight, Worker};

/// Why a worker gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// Nobody accepts connections; the request was not sent and may go to another worker.
    #[error("connect to job {job}")]
    Connect {
        job: JobKey,
        request: Box<Request<RequestBody>>,
        #[source]
        cause: io::Error,
    },
    /// The connection ended before an answer came.
    #[error("job {job} closed the connection before it answered")]
    Closed {
        job: JobKey,
        #[source]
        cause: hyper::Error,
    },
    /// It switched to a protocol that nobody asked for.
    #[error("job {job} switched protocols unasked")]
    Unasked { job: JobKey },
}

/// What an exchange needs to know besides the request.
pub(crate) struct Exchange<'a> {
    pub(crate) worker: &'a Arc<Worker>,
    pub(crate) limits: &'a Limits,
}

impl Exchange<'_> {
    /// Sends the request and waits for the head of the answer.
    ///
    /// May be dropped at any moment: the connection to the worker is closed then, which tells it that nobody waits.
    pub(crate) async fn send(&self, mut request: Request<RequestBody>) -> Result<Response<WorkerBody>, ExchangeError> {
        let in_flight = self.worker.begin();
        let idle = poll_fn(|cx| Poll::Ready(pool::take(self.worker, cx, self.limits.upstream_idle_timeout))).await;
        let upstream = match idle {
            Some(upstream) => {
                let again = repeatable(&request);
                match self.on(upstream, request).await {
                    Ok(answered) => return Ok(self.answer(answered, in_flight)),
                    // The worker closed an idle connection while the request was on its way. It has seen nothing of it that counts:
                    // not a byte of an answer came, and the request may be made twice.
                    Err(Failed::Unsent(unsent)) => request = *unsent,
                    Err(Failed::Sent(cause)) => match again {
                        Some(again) => request = again,
                        None => return Err(ExchangeError::Closed { job: self.worker.job().clone(), cause }),
                    },
                }
                self.connect(request).await?
            }
            None => self.connect(request).await?,
        };
        let (upstream, request) = upstream;
        match self.on(upstream, request).await {
            Ok(answered) => Ok(self.answer(answered, in_flight)),
            Err(Failed::Sent(cause)) => Err(ExchangeError::Closed { job: self.worker.job().clone(), cause }),
            Err(Failed::Unsent(request)) => Err(ExchangeError::Connect {
                job: self.worker.job().clone(),
                request,
                cause: io::ErrorKind::ConnectionReset.into(),
            }),
        }
    }

    async fn connect(
        &self,
        request: Request<RequestBody>,
    ) -> Result<(Box<Upstream>, Request<RequestBody>), ExchangeError> {
        match Upstream::connect(self.worker).await {
            Ok(upstream) => Ok((upstream, request)),
            Err(cause) => {
                Err(ExchangeError::Connect { job: self.worker.job().clone(), request: Box::new(request), cause })
            }
        }
    }

    /// One try on one connection.
    async fn on(&self, mut upstream: Box<Upstream>, request: Request<RequestBody>) -> Result<Answered, Failed> {
        let sending = upstream.send.try_send_request(request);
        // Without tokio's budget: it asks to be polled again through the waker, which does nothing here.
        let mut sending = pin!(tokio::task::unconstrained(sending));
        let mut quiet = Context::from_waker(Waker::noop());
        let connection = &mut upstream.connection;
        let mut closed = false;
        let sent = poll_fn(|cx| {
            if !closed {
                closed = Pin::new(&mut *connection).poll(cx).is_ready();
            }
            sending.as_mut().poll(&mut quiet).map_err(|mut error| match error.take_message() {
                Some(request) => Failed::Unsent(Box::new(request)),
                None => Failed::Sent(error.into_error()),
            })
        });
        let response = sent.await?;
        Ok(Answered { upstream, closed, response })
    }

    fn answer(&self, answered: Answered, in_flight: InFlight) -> Response<WorkerBody> {
        let Answered { upstream, closed, response } = answered;
        let keep = self.limits.upstream_idle;
        response.map(|incoming| WorkerBody { upstream: Some(upstream), closed, incoming, in_flight, keep })
    }
}

/// The head of an answer, and the connection on which the rest comes.
struct Answered {
    upstream: Box<Upstream>,
    /// The connection has ended; what it had read is still to be had.
    closed: bool,
    response: Response<Incoming>,
}

enum Failed {
    /// The request is untouched.
    Unsent(Box<Request<RequestBody>>),
    /// Some of it was sent.
    Sent(hyper::Error),
}

/// A copy of a request that may be made twice: an idempotent method (RFC 9110 §9.2.2) and no body.
fn repeatable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let idempotent =
        [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE].contains(request.method());
    if !idempotent || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// The body of a worker's answer; polling it also moves what is left of the request.
///
/// Dropped before its end it closes the connection to the worker; at its end the connection is kept for the next request.
pub(crate) struct WorkerBody {
    upstream: Option<Box<Upstream>>,
    closed: bool,
    incoming: Incoming,
    in_flight: InFlight,
    /// Most idle connections to the worker.
    keep: usize,
}

impl WorkerBody {
    /// Takes the exchange apart for a tunnel: the connection, whether it has been polled to its end, and the worker's count.
    pub(super) fn into_parts(mut self) -> (Option<Box<Upstream>>, bool, InFlight) {
        (self.upstream.take(), self.closed, self.in_flight.worker().begin())
    }

    fn release(&mut self) {
        if let Some(upstream) = self.upstream.take()
            && !self.closed
        {
            pool::put(self.in_flight.worker(), upstream, self.keep);
        }
    }
}

impl Body for WorkerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(upstream) = &mut this.upstream else { return Poll::Ready(None) };
        let mut quiet = Context::from_waker(Waker::noop());
        let mut frame = Pin::new(&mut this.incoming).poll_frame(&mut quiet);
        if frame.is_pending() && !this.closed {
            this.closed = Pin::new(&mut upstream.connection).poll(cx).is_ready();
            frame = Pin::new(&mut this.incoming).poll_frame(&mut quiet);
        }
        let frame = match frame {
            // A connection that has ended fed its body to the end or to an error; this would wait for ever.
            Poll::Pending if this.closed => {
                Poll::Ready(Some(Err(BodyError::from("the connection to the worker ended"))))
            }
            frame => frame.map_err(BodyError::from),
        };
        match &frame {
            Poll::Ready(None) => this.release(),
            Poll::Ready(Some(Ok(_))) if this.incoming.is_end_stream() => this.release(),
            Poll::Ready(Some(Err(_))) => this.upstream = None,
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for WorkerBody {
    fn drop(&mut self) {
        if self.incoming.is_end_stream() {
            self.release();
        }
    }
}
