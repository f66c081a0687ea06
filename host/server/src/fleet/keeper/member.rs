//! One worker of a pool, from its launch until it is let go.

use std::sync::Arc;
use std::time::Duration;

use lectern_domain::JobKey;
use lectern_domain::scaling::{self, Stage};
use lectern_edge::Worker;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Where it stands.
pub(super) enum State {
    /// The supervisor has not answered yet.
    Launching {
        limit: Duration,
        /// Dropped when the start is over.
        settled: oneshot::Sender<()>,
    },
    /// The supervisor has started it; it does not accept connections yet.
    Starting {
        limit: Duration,
        #[allow(dead_code, reason = "dropped when the start is over, which tells whose turn is next")]
        settled: Option<oneshot::Sender<()>>,
    },
    Ready {
        worker: Arc<Worker>,
        since: Instant,
    },
}

/// One worker.
pub(super) struct Member {
    pub(super) job: JobKey,
    pub(super) state: State,
}

impl Member {
    /// The worker, once requests may go to it.
    pub(super) fn worker(&self) -> Option<&Arc<Worker>> {
        match &self.state {
            State::Ready { worker, .. } => Some(worker),
            State::Launching { .. } | State::Starting { .. } => None,
        }
    }

    /// How busy it is.
    pub(super) fn view(&self) -> scaling::Member {
        match &self.state {
            State::Launching { .. } | State::Starting { .. } => scaling::Member {
                stage: Stage::Starting,
                in_flight: 0,
                unanswered: 0,
                age: Duration::ZERO,
                idle: Duration::ZERO,
            },
            State::Ready { worker, .. } => {
                let (unanswered, age) = worker.unanswered();
                scaling::Member {
                    stage: Stage::Ready,
                    in_flight: worker.in_flight(),
                    unanswered,
                    age,
                    idle: worker.idle_for(),
                }
            }
        }
    }
}
