//! Bodies: a client's, as it comes in, and the answer's, as it goes out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::access_log::Ending;
use crate::bridge::WorkerBody;
use crate::watch::Watch;

/// The error of a body that ended before its end.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body, streamed as the client sends it.
///
/// An error means that the client went away, sent something that is no HTTP, or was too slow: whoever reads it must not take the bytes so
/// far for the whole.
pub struct RequestBody(Option<Arriving>);

struct Arriving {
    /// Always there until this is dropped.
    incoming: Option<Incoming>,
    watch: Arc<Watch>,
    unread: Unread,
}

/// Where the rest of a body goes that nobody wanted.
#[derive(Clone, Default)]
pub(crate) struct Unread(Arc<Mutex<Option<Incoming>>>);

/// Most that is read of a body that nobody wanted, and for how long: as nginx lingers before it closes. Larger uploads with a wrong key
/// see a broken connection in place of the answer.
const UNREAD_BYTES: u64 = 128 << 20;
const UNREAD_TIME: Duration = Duration::from_secs(30);

impl Unread {
    /// Reads the rest of a body that was dropped before its end, so that the client, which may send all before it reads, gets
    /// the answer: closing on unread bytes would take it back.
    pub(crate) async fn drain(self) {
        let Some(mut incoming) = self.0.lock().take() else { return };
        let drained = async {
            let mut bytes = 0;
            while let Some(Ok(frame)) = incoming.frame().await {
                bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if bytes > UNREAD_BYTES {
                    break;
                }
            }
        };
        // Over a limit it is closed after all.
        let _ = tokio::time::timeout(UNREAD_TIME, drained).await;
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let rest = self.incoming.take();
        *self.unread.0.lock() = rest.filter(|incoming| !incoming.is_end_stream());
    }
}

impl RequestBody {
    /// A body without bytes.
    pub fn empty() -> Self {
        Self(None)
    }

    /// A client's body; what is left of it when this is dropped goes to `unread`.
    pub(crate) fn new(incoming: Incoming, watch: &Arc<Watch>, unread: &Unread) -> Self {
        let arriving = |incoming| Arriving { incoming: Some(incoming), watch: watch.clone(), unread: unread.clone() };
        Self((!incoming.is_end_stream()).then(|| arriving(incoming)))
    }

    fn incoming(&self) -> Option<&Incoming> {
        self.0.as_ref()?.incoming.as_ref()
    }
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestBody").field("hint", &self.size_hint()).finish()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(Arriving { incoming: Some(incoming), watch, .. }) = &mut self.0 else { return Poll::Ready(None) };
        if watch.is_expired() {
            return Poll::Ready(Some(Err("the client sent nothing for too long".into())));
        }
        let frame = Pin::new(&mut *incoming).poll_frame(cx);
        // A body that ended or broke has no rest to be read.
        if !matches!(frame, Poll::Pending | Poll::Ready(Some(Ok(_)))) || incoming.is_end_stream() {
            if !matches!(frame, Poll::Ready(Some(Err(_)))) {
                watch.body_received();
            }
            if let Some(mut arriving) = self.0.take() {
                arriving.incoming = None;
            }
        }
        frame.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A response's body.
pub struct EdgeBody {
    kind: Kind,
    ending: Option<Box<Ending>>,
}

enum Kind {
    Full(Option<Bytes>),
    Worker(Box<WorkerBody>),
    Other(UnsyncBoxBody<Bytes, BodyError>),
}

impl Kind {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Worker(body) => body.is_end_stream(),
            Self::Other(body) => body.is_end_stream(),
        }
    }
}

impl EdgeBody {
    /// A body without bytes.
    pub fn empty() -> Self {
        Self { kind: Kind::Full(None), ending: None }
    }

    /// A body that is in memory.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { kind: Kind::Full((!bytes.is_empty()).then_some(bytes)), ending: None }
    }

    /// Any other body, streamed.
    pub fn stream<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        Self { kind: Kind::Other(body.map_err(Into::into).boxed_unsync()), ending: None }
    }

    pub(crate) fn worker(body: WorkerBody) -> Self {
        Self { kind: Kind::Worker(Box::new(body)), ending: None }
    }

    /// Lets `ending` know what is sent, and that it is over.
    pub(crate) fn with_ending(mut self, ending: Box<Ending>) -> Self {
        self.ending = Some(ending);
        self
    }
}

impl std::fmt::Debug for EdgeBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EdgeBody").field("hint", &self.size_hint()).finish()
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.ending.as_ref().is_some_and(|ending| ending.is_expired()) {
            return Poll::Ready(Some(Err("nothing passed for too long".into())));
        }
        let frame = match &mut this.kind {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Worker(body) => Pin::new(body).poll_frame(cx),
            Kind::Other(body) => Pin::new(body).poll_frame(cx),
        };
        if let Some(ending) = &mut this.ending {
            match &frame {
                Poll::Ready(Some(Ok(frame))) => {
                    ending.sent(frame.data_ref().map_or(0, Bytes::len), this.kind.is_end_stream());
                }
                Poll::Ready(Some(Err(error))) => ending.failed(error.as_ref()),
                Poll::Ready(None) => ending.sent(0, true),
                Poll::Pending => {}
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.kind.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Worker(body) => body.size_hint(),
            Kind::Other(body) => body.size_hint(),
        }
    }
}
