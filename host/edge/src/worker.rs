//! Workers as the request path sees them: an address, how busy it is, and who can be asked for one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::BoxFuture;
use lectern_domain::snapshot::{BundleEntry, ContentEntry};
use lectern_domain::{BundleId, ContentGuid, JobKey};

use crate::coarse::now_ms;

static NEXT_SERIAL: AtomicU64 = AtomicU64::new(0);

/// One process that answers requests on a Unix socket.
#[derive(Debug)]
pub struct Worker {
    job: JobKey,
    socket: PathBuf,
    /// The account that must have made the socket.
    uid: Option<u32>,
    /// Names it among all workers of this process: cheaper to look up than the key.
    serial: u64,
    in_flight: AtomicUsize,
    last_used_ms: AtomicU64,
}

impl Worker {
    /// A worker that listens on `socket`.
    pub fn new(job: JobKey, socket: PathBuf) -> Arc<Self> {
        Self::of_account(job, socket, None)
    }

    /// A worker that listens on `socket` as the account `uid`. Whatever else answers there is an impostor: content owns the
    /// directory of its socket, and could put a link to somebody else's in its place.
    pub fn of_account(job: JobKey, socket: PathBuf, uid: Option<u32>) -> Arc<Self> {
        Arc::new(Self {
            job,
            socket,
            uid,
            serial: NEXT_SERIAL.fetch_add(1, Relaxed),
            in_flight: AtomicUsize::new(0),
            last_used_ms: AtomicU64::new(now_ms()),
        })
    }

    /// Its job.
    pub fn job(&self) -> &JobKey {
        &self.job
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The account that must have made the socket; `None`: the server's own, which everything here runs as.
    pub fn uid(&self) -> Option<u32> {
        self.uid
    }

    /// Requests and WebSockets it is serving now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// How long it has had nothing to do; zero while it has.
    pub fn idle_for(&self) -> Duration {
        if self.in_flight() > 0 {
            return Duration::ZERO;
        }
        Duration::from_millis(now_ms().saturating_sub(self.last_used_ms.load(Relaxed)))
    }

    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// Counts one request until the guard is dropped. Public for those who start and scale workers, and their tests.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        self.last_used_ms.store(now_ms(), Relaxed);
        InFlight(self.clone())
    }
}

/// One request that a worker is serving.
#[derive(Debug)]
pub struct InFlight(Arc<Worker>);

impl InFlight {
    /// Who serves it.
    pub fn worker(&self) -> &Arc<Worker> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.last_used_ms.store(now_ms(), Relaxed);
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// Why there is no worker. The texts are for the log: a visitor is only told the status.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StartFailure {
    /// It ended before it accepted a connection.
    #[error("job {job} ended before it accepted a connection: {reason}")]
    Crashed {
        /// The run that failed.
        job: JobKey,
        /// How it ended.
        reason: String,
    },
    /// It did not accept a connection in time.
    #[error("job {job} did not accept a connection within {limit:?}")]
    NeverListened {
        /// The run that failed.
        job: JobKey,
        /// Its init time-out.
        limit: Duration,
    },
    /// It failed before, and is not tried again yet.
    #[error("starts failed before; the next is tried in {retry_after:?}")]
    BackOff {
        /// How long until then.
        retry_after: Duration,
    },
    /// This host cannot start it now: no supervisor, no disk, no interpreter, being stopped.
    #[error("cannot start: {0}")]
    Unavailable(String),
}

impl StartFailure {
    /// The run whose log says more.
    pub fn job(&self) -> Option<&JobKey> {
        match self {
            Self::Crashed { job, .. } | Self::NeverListened { job, .. } => Some(job),
            Self::BackOff { .. } | Self::Unavailable(_) => None,
        }
    }
}

/// Who starts, picks and scales workers.
pub trait Workers: Send + Sync {
    /// A worker that can take one more request now. Called for every request, on the thread that serves it: answers from
    /// memory. `None`: none runs, or all have as many requests as they may.
    fn ready(&self, content: ContentGuid, bundle: BundleId) -> Option<Arc<Worker>>;

    /// Waits for such a worker, starting one if that is allowed. Many wait for the same one at a time; each may stop waiting at
    /// any moment (the future is dropped), which must not stop a start that others wait for.
    fn wait_ready(
        &self,
        content: Arc<ContentEntry>,
        bundle: Arc<BundleEntry>,
    ) -> BoxFuture<'static, Result<Arc<Worker>, StartFailure>>;

    /// Nobody accepts connections at the worker's address. It must not be offered again before it was looked at.
    fn report_dead(&self, job: &JobKey);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_while_they_run() {
        let worker = Worker::new(JobKey::from_random([1; 16]), "/nowhere".into());
        let (one, two) = (worker.begin(), worker.begin());
        assert_eq!((worker.in_flight(), worker.idle_for()), (2, Duration::ZERO));
        drop(one);
        assert_eq!(worker.in_flight(), 1);
        drop(two);
        assert_eq!(worker.in_flight(), 0);
    }
}
