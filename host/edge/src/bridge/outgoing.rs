//! A request on its way to a worker: a head that is written already, and a body that is read as the worker takes it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::Method;
use http_body::Body as _;
use tokio::io::AsyncWrite;

use crate::body::{BodyError, RequestBody};

/// Bytes of a body that may wait for the worker to take them. More would hold what the client's socket can hold.
const MOST_QUEUED: usize = 64 * 1024;
/// Pieces that one system call writes.
const PIECES: usize = 16;

/// Why a request could not be sent to its end.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The client broke off.
    Client(BodyError),
    /// The worker does not take it.
    Worker(io::Error),
}

/// How the end of the body is told (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// By a length, so many bytes of which have not been read yet. Zero: there is no body.
    Length(u64),
    /// By a last chunk.
    Chunked,
}

/// One request.
pub(crate) struct Outgoing {
    method: Method,
    head: Bytes,
    head_sent: usize,
    framing: Framing,
    body: RequestBody,
    body_ended: bool,
    queue: VecDeque<Bytes>,
    queued: usize,
    started: bool,
}

impl Outgoing {
    /// `head` is complete, with the fields that tell `framing`.
    pub(super) fn new(method: Method, head: Bytes, framing: Framing, body: RequestBody) -> Self {
        let body_ended = framing == Framing::Length(0);
        let queue = VecDeque::new();
        Self { method, head, head_sent: 0, framing, body, body_ended, queue, queued: 0, started: false }
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// The head as it is sent.
    #[cfg(test)]
    pub(super) fn head(&self) -> &Bytes {
        &self.head
    }

    /// Whether the worker has not been given a single byte.
    pub(super) fn is_untouched(&self) -> bool {
        !self.started
    }

    /// A copy of a request that may be made twice: an idempotent method (RFC 9110 §9.2.2) and no body.
    pub(super) fn again(&self) -> Option<Self> {
        let idempotent =
            [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE].contains(&self.method);
        let bodiless = self.framing == Framing::Length(0) && self.queued == 0;
        (idempotent && bodiless)
            .then(|| Self::new(self.method.clone(), self.head.clone(), self.framing, RequestBody::empty()))
    }

    /// Writes as much as `worker` takes; ready when the whole request is with it.
    pub(super) fn poll_send<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &mut W,
    ) -> Poll<Result<(), SendError>> {
        loop {
            self.read_body(cx)?;
            let head = &self.head[self.head_sent..];
            if head.is_empty() && self.queue.is_empty() {
                return if self.body_ended { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let mut count = 0;
            for piece in std::iter::once(head).chain(self.queue.iter().map(|bytes| &bytes[..])) {
                if count == PIECES {
                    break;
                }
                if !piece.is_empty() {
                    pieces[count] = IoSlice::new(piece);
                    count += 1;
                }
            }
            let written = ready!(Pin::new(&mut *worker).poll_write_vectored(cx, &pieces[..count]));
            match written {
                Ok(0) => return Poll::Ready(Err(SendError::Worker(io::ErrorKind::WriteZero.into()))),
                Ok(written) => self.advance(written),
                Err(error) => return Poll::Ready(Err(SendError::Worker(error))),
            }
        }
    }

    /// Takes from the client what has come, unless enough waits already.
    fn read_body(&mut self, cx: &mut Context<'_>) -> Result<(), SendError> {
        while !self.body_ended && self.queued < MOST_QUEUED {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Err(error))) => return Err(SendError::Client(error)),
                // Trailers are not announced to the worker, and are dropped.
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.queue_data(data)?;
                    }
                    if self.body.is_end_stream() {
                        self.end_body()?;
                    }
                }
                Poll::Ready(None) => self.end_body()?,
            }
        }
        Ok(())
    }

    fn queue_data(&mut self, data: Bytes) -> Result<(), SendError> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            Framing::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(less) => *left = less,
                None => return Err(SendError::Client("the body is longer than announced".into())),
            },
            Framing::Chunked => self.push(Bytes::from(format!("{:x}\r\n", data.len()))),
        }
        self.push(data);
        if self.framing == Framing::Chunked {
            self.push(Bytes::from_static(b"\r\n"));
        }
        Ok(())
    }

    fn end_body(&mut self) -> Result<(), SendError> {
        self.body_ended = true;
        match self.framing {
            Framing::Length(0) => {}
            Framing::Length(_) => return Err(SendError::Client("the body is shorter than announced".into())),
            Framing::Chunked => self.push(Bytes::from_static(b"0\r\n\r\n")),
        }
        Ok(())
    }

    fn push(&mut self, bytes: Bytes) {
        self.queued += bytes.len();
        self.queue.push_back(bytes);
    }

    fn advance(&mut self, mut written: usize) {
        self.started = true;
        let of_head = written.min(self.head.len() - self.head_sent);
        self.head_sent += of_head;
        written -= of_head;
        self.queued -= written;
        while written > 0 {
            let Some(first) = self.queue.front_mut() else { return };
            let here = written.min(first.len());
            first.advance(here);
            written -= here;
            if first.is_empty() {
                self.queue.pop_front();
            }
        }
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The head holds what visitors and plugins sent, secrets among it.
        f.debug_struct("Outgoing").field("method", &self.method).field("started", &self.started).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::task::Waker;

    /// Takes `each` bytes at a time and then none until it is asked again.
    struct Slow {
        taken: Vec<u8>,
        each: usize,
        pauses: bool,
    }

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.pauses = !self.pauses;
            if self.pauses {
                return Poll::Pending;
            }
            let taken = bytes.len().min(self.each);
            self.taken.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn outgoing(method: Method) -> Outgoing {
        Outgoing::new(method, Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n"), Framing::Length(0), RequestBody::empty())
    }

    #[test]
    fn a_slow_worker_gets_every_byte_once() {
        for each in [1, 3, 7, 1000] {
            let mut request = outgoing(Method::GET);
            // As if the body had been read so far.
            request.framing = Framing::Chunked;
            request.queue_data(Bytes::from_static(b"hello")).unwrap();
            request.queue_data(Bytes::new()).unwrap();
            request.queue_data(Bytes::from(vec![b'x'; 17])).unwrap();
            request.end_body().unwrap();
            let mut worker = Slow { taken: Vec::new(), each, pauses: false };
            let mut cx = Context::from_waker(Waker::noop());
            while request.poll_send(&mut cx, &mut worker).is_pending() {}
            let text = String::from_utf8(worker.taken).unwrap();
            let x = "x".repeat(17);
            assert_eq!(text, format!("GET / HTTP/1.1\r\n\r\n5\r\nhello\r\n11\r\n{x}\r\n0\r\n\r\n"));
            assert_eq!(request.queued, 0);
        }
    }

    #[test]
    fn a_length_is_kept() {
        let mut request = outgoing(Method::POST);
        request.framing = Framing::Length(5);
        request.queue_data(Bytes::from_static(b"abc")).unwrap();
        assert!(matches!(request.end_body(), Err(SendError::Client(_))));
        assert!(matches!(request.queue_data(Bytes::from_static(b"abc")), Err(SendError::Client(_))));
        request.queue_data(Bytes::from_static(b"ab")).unwrap();
        request.end_body().unwrap();
    }

    #[test]
    fn only_what_may_be_made_twice_is_copied() {
        for (method, may) in [
            (Method::GET, true),
            (Method::HEAD, true),
            (Method::PUT, true),
            (Method::DELETE, true),
            (Method::POST, false),
            (Method::PATCH, false),
        ] {
            assert_eq!(outgoing(method.clone()).again().is_some(), may, "{method}");
            let mut with_body = outgoing(method);
            with_body.framing = Framing::Chunked;
            assert!(with_body.again().is_none());
        }
    }
}
