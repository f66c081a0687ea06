//! One request to one worker and its answer, both streamed.
//!
//! Both are polled here, inside the task of the client's connection: nothing is handed between tasks on the way. The codec is
//! our own, because it is what the proxy's share of a request is made of: a head goes out as bytes that were never a map, and a small
//! answer is read, handed on and forgotten with two system calls (docs/performance.md).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use lectern_domain::JobKey;

use super::answer::{self, AnswerHead, Malformed, Rest};
use super::chunked::{BadChunk, Step};
use super::outgoing::{Outgoing, SendError};
use super::pool::{self, Upstream};
use crate::body::BodyError;
use crate::config::Limits;
use crate::worker::{InFlight, Worker};

/// Interim answers (1xx) to one request that are read and dropped; a worker that sends more does not answer.
const MOST_INTERIM: u32 = 16;

/// Why a worker gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// Nobody accepts connections; the request was not sent and may go to another worker.
    #[error("connect to job {job}")]
    Connect {
        job: JobKey,
        request: Box<Outgoing>,
        #[source]
        cause: io::Error,
    },
    /// The connection ended before an answer came.
    #[error("job {job} closed the connection before it answered")]
    Closed {
        job: JobKey,
        #[source]
        cause: io::Error,
    },
    /// What came is no answer.
    #[error("job {job} answered something that is not HTTP")]
    Malformed {
        job: JobKey,
        #[source]
        cause: Malformed,
    },
    /// The client broke off while the worker waited for the rest of its request.
    #[error("the request broke off on its way to job {job}: {cause}")]
    Client { job: JobKey, cause: BodyError },
    /// It switched to a protocol that nobody asked for.
    #[error("job {job} switched protocols unasked")]
    Unasked { job: JobKey },
}

impl ExchangeError {
    /// The run that gave no answer.
    pub(crate) fn job(&self) -> &JobKey {
        match self {
            Self::Connect { job, .. }
            | Self::Closed { job, .. }
            | Self::Malformed { job, .. }
            | Self::Client { job, .. }
            | Self::Unasked { job } => job,
        }
    }
}

/// What an exchange needs to know besides the request.
pub(crate) struct Exchange<'a> {
    pub(crate) worker: &'a Arc<Worker>,
    pub(crate) limits: &'a Limits,
}

/// Why one try on one connection brought no answer.
enum Failed {
    /// The connection ended; not a byte of an answer came.
    Ended(io::Error),
    /// It is not to be tried again.
    Finally(ExchangeError),
}

impl Exchange<'_> {
    /// Sends the request, which is counted as `in_flight`, and waits for the head of the answer.
    ///
    /// May be dropped at any moment: the connection to the worker is closed then, which tells it that nobody waits.
    pub(crate) async fn send(
        &self,
        in_flight: InFlight,
        mut request: Outgoing,
    ) -> Result<Response<WorkerBody>, ExchangeError> {
        if let Some(mut upstream) = pool::take(self.worker, self.limits.upstream_idle_timeout) {
            match self.on(&mut upstream, &mut request).await {
                Ok((head, sent)) => return Ok(self.answer(upstream, head, (!sent).then_some(request), in_flight)),
                Err(Failed::Finally(error)) => return Err(error),
                // The worker closed an idle connection while the request was on its way. It has seen nothing of it that counts:
                // not a byte of it was taken, or it may be made twice.
                Err(Failed::Ended(_)) if request.is_untouched() => {}
                Err(Failed::Ended(cause)) => match request.again() {
                    Some(again) => request = again,
                    None => return Err(self.closed(cause)),
                },
            }
        }
        let mut upstream = match Upstream::connect(self.worker).await {
            Ok(upstream) => upstream,
            Err(cause) => return Err(self.unsent(request, cause)),
        };
        match self.on(&mut upstream, &mut request).await {
            Ok((head, sent)) => Ok(self.answer(upstream, head, (!sent).then_some(request), in_flight)),
            Err(Failed::Finally(error)) => Err(error),
            Err(Failed::Ended(cause)) if request.is_untouched() => Err(self.unsent(request, cause)),
            Err(Failed::Ended(cause)) => Err(self.closed(cause)),
        }
    }

    fn unsent(&self, request: Outgoing, cause: io::Error) -> ExchangeError {
        ExchangeError::Connect { job: self.worker.job().clone(), request: Box::new(request), cause }
    }

    fn closed(&self, cause: io::Error) -> ExchangeError {
        ExchangeError::Closed { job: self.worker.job().clone(), cause }
    }

    /// One try on one connection: the head of the answer, and whether the request has been sent to its end.
    async fn on(&self, upstream: &mut Upstream, request: &mut Outgoing) -> Result<(AnswerHead, bool), Failed> {
        let (mut sent, mut refused) = (false, false);
        let mut interim = 0;
        poll_fn(|cx| {
            if !sent && !refused {
                match request.poll_send(cx, &mut upstream.stream) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => sent = true,
                    Poll::Ready(Err(SendError::Client(cause))) => {
                        let job = self.worker.job().clone();
                        return Poll::Ready(Err(Failed::Finally(ExchangeError::Client { job, cause })));
                    }
                    Poll::Ready(Err(SendError::Worker(error))) if request.is_untouched() => {
                        return Poll::Ready(Err(Failed::Ended(error)));
                    }
                    // It stopped reading; it may have answered before.
                    Poll::Ready(Err(SendError::Worker(_))) => refused = true,
                }
            }
            loop {
                let head = if upstream.arrived.is_empty() {
                    None
                } else {
                    let malformed = |cause| ExchangeError::Malformed { job: self.worker.job().clone(), cause };
                    answer::read(&mut upstream.arrived, request.method())
                        .map_err(|cause| Failed::Finally(malformed(cause)))?
                };
                match head {
                    Some(head) if is_interim(head.status) => {
                        interim += 1;
                        if interim > MOST_INTERIM {
                            let (job, cause) = (self.worker.job().clone(), Malformed::Interim(MOST_INTERIM));
                            return Poll::Ready(Err(Failed::Finally(ExchangeError::Malformed { job, cause })));
                        }
                    }
                    Some(head) => return Poll::Ready(Ok((head, sent))),
                    None => match ready!(upstream.poll_more(cx)) {
                        Ok(0) => {
                            let ended = io::Error::from(io::ErrorKind::UnexpectedEof);
                            let nothing_came = upstream.arrived.is_empty() && interim == 0;
                            let failed =
                                if nothing_came { Failed::Ended(ended) } else { Failed::Finally(self.closed(ended)) };
                            return Poll::Ready(Err(failed));
                        }
                        Ok(_) => {}
                        Err(error) if upstream.arrived.is_empty() && interim == 0 => {
                            return Poll::Ready(Err(Failed::Ended(error)));
                        }
                        Err(error) => return Poll::Ready(Err(Failed::Finally(self.closed(error)))),
                    },
                }
            }
        })
        .await
    }

    fn answer(
        &self,
        upstream: Box<Upstream>,
        head: AnswerHead,
        unsent: Option<Outgoing>,
        mut in_flight: InFlight,
    ) -> Response<WorkerBody> {
        in_flight.answered();
        let AnswerHead { status, headers, rest, keeps } = head;
        let keep = if keeps { self.limits.upstream_idle } else { 0 };
        let mut body = WorkerBody { upstream: Some(upstream), rest, unsent, in_flight, keep };
        if status != StatusCode::SWITCHING_PROTOCOLS && matches!(body.rest, Rest::Nothing) {
            body.release();
        }
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.version_mut() = Version::HTTP_11;
        *response.headers_mut() = headers;
        response
    }
}

/// An answer before the answer. After 101 nothing more comes.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Why the body of an answer broke off.
#[derive(Debug, thiserror::Error)]
enum Broke {
    #[error("the worker closed the connection before the end of its answer")]
    Short,
    #[error("read from the worker")]
    Read(#[source] io::Error),
    #[error(transparent)]
    Chunk(#[from] BadChunk),
}

/// The body of a worker's answer; polling it also moves what is left of the request.
///
/// Dropped before its end it closes the connection to the worker; at its end the connection is kept for the next request.
pub(crate) struct WorkerBody {
    /// `None` after the end.
    upstream: Option<Box<Upstream>>,
    rest: Rest,
    /// The request, while the worker has not taken all of it.
    unsent: Option<Outgoing>,
    in_flight: InFlight,
    /// Most idle connections to the worker; 0: this one cannot be used again.
    keep: usize,
}

impl WorkerBody {
    /// Takes the exchange apart for a tunnel: the connection, and the worker's count.
    pub(super) fn into_parts(self) -> (Option<Box<Upstream>>, InFlight) {
        (self.upstream, self.in_flight)
    }

    /// Lets go of the connection: to be used again if the exchange left it clean.
    fn release(&mut self) {
        if let Some(upstream) = self.upstream.take()
            && self.unsent.is_none()
            && self.keep > 0
        {
            pool::put(self.in_flight.worker(), upstream, self.keep);
        }
        self.unsent = None;
    }

    /// Moves what is left of the request. A worker that takes no more may still answer to the end.
    fn send_rest(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let (Some(unsent), Some(upstream)) = (&mut self.unsent, &mut self.upstream) else { return Ok(()) };
        match unsent.poll_send(cx, &mut upstream.stream) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(SendError::Worker(_))) => self.keep = 0,
            Poll::Ready(Err(SendError::Client(error))) => return Err(error),
        }
        self.unsent = None;
        Ok(())
    }

    /// The next piece; `None`: that was all.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broke>> {
        let Some(upstream) = &mut self.upstream else { return Poll::Ready(Ok(None)) };
        loop {
            let arrived = &mut upstream.arrived;
            match &mut self.rest {
                Rest::Nothing => return Poll::Ready(Ok(None)),
                Rest::Length(left) if !arrived.is_empty() => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(arrived.len());
                    *left -= here as u64;
                    if *left == 0 {
                        self.rest = Rest::Nothing;
                    }
                    return Poll::Ready(Ok(Some(arrived.split_to(here).freeze())));
                }
                Rest::Chunked(chunks) => match chunks.decode(arrived)? {
                    Step::Data(data) => return Poll::Ready(Ok(Some(data))),
                    Step::End => {
                        self.rest = Rest::Nothing;
                        return Poll::Ready(Ok(None));
                    }
                    Step::More => {}
                },
                Rest::UntilClose if !arrived.is_empty() => return Poll::Ready(Ok(Some(arrived.split().freeze()))),
                Rest::Length(_) | Rest::UntilClose => {}
            }
            match ready!(upstream.poll_more(cx)) {
                Ok(0) if matches!(self.rest, Rest::UntilClose) => {
                    self.rest = Rest::Nothing;
                    return Poll::Ready(Ok(None));
                }
                Ok(0) => return Poll::Ready(Err(Broke::Short)),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Broke::Read(error))),
            }
        }
    }
}

impl Body for WorkerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Err(error) = this.send_rest(cx) {
            this.upstream = None;
            this.rest = Rest::Nothing;
            return Poll::Ready(Some(Err(error)));
        }
        let data = ready!(this.poll_data(cx));
        if data.is_err() {
            this.upstream = None;
            this.rest = Rest::Nothing;
        } else if matches!(this.rest, Rest::Nothing) {
            this.release();
        }
        Poll::Ready(data.transpose().map(|data| data.map(Frame::data).map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest {
            Rest::Nothing => SizeHint::with_exact(0),
            Rest::Length(left) => SizeHint::with_exact(left),
            Rest::Chunked(_) | Rest::UntilClose => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_before_the_answer_are_passed_over() {
        for (status, interim) in [(100, true), (102, true), (103, true), (101, false), (200, false), (404, false)] {
            assert_eq!(StatusCode::from_u16(status).map(is_interim).ok(), Some(interim), "{status}");
        }
    }
}
