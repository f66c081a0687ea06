//! Why a request gets no worker: none can be started, or none is free in time.

use std::sync::Arc;
use std::time::Duration;

use lectern_domain::JobKey;

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
    /// It ended by itself while it served.
    #[error("job {job} ended after it had run for {} s: {reason}", served.as_secs())]
    Ended {
        /// The run that ended.
        job: JobKey,
        /// How it ended.
        reason: String,
        /// How long it had been ready.
        served: Duration,
    },
    /// It failed before, and is not tried again yet.
    #[error("starts failed before; the next is tried in {} s; the last: {last}", retry_after.as_secs() + 1)]
    BackOff {
        /// How long until then.
        retry_after: Duration,
        /// The run that failed last, when it is known.
        job: Option<JobKey>,
        /// How it failed.
        last: String,
    },
    /// This host cannot start it now: no supervisor, no disk, no interpreter, being stopped.
    #[error("cannot start: {0}")]
    Unavailable(String),
}

impl StartFailure {
    /// The run whose log says more.
    pub fn job(&self) -> Option<&JobKey> {
        match self {
            Self::Crashed { job, .. } | Self::NeverListened { job, .. } | Self::Ended { job, .. } => Some(job),
            Self::BackOff { job, .. } => job.as_ref(),
            Self::Unavailable(_) => None,
        }
    }
}

/// Why a request got no worker.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// Too many wait already.
    #[error("{waiting} requests wait already")]
    Full {
        /// How many.
        waiting: usize,
        /// When to come back.
        retry_after: Duration,
    },
    /// Too many of this visitor wait already.
    #[error("{waiting} requests wait already, and this visitor has as many among them as one may")]
    Visitor {
        /// How many in all.
        waiting: usize,
        /// When to come back.
        retry_after: Duration,
    },
    /// No worker could take it in time.
    #[error("no worker within {waited:?}{}", held_back.as_ref().map_or(String::new(), |why| format!(": {why}")))]
    TimedOut {
        /// How long it waited.
        waited: Duration,
        /// When to come back.
        retry_after: Duration,
        /// Why no other worker was started, when the machine had no room.
        held_back: Option<Arc<str>>,
    },
    /// There will be none.
    #[error(transparent)]
    Start(#[from] StartFailure),
}

/// The failure of a pool that is no more.
pub(crate) fn gone() -> StartFailure {
    StartFailure::Unavailable("this content is being stopped".into())
}
