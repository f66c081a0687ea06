//! How many workers start at a time: an interpreter that loads its packages keeps a core busy, and all at once would only make all
//! miss their init time-outs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// A start that takes longer than this is waiting for something rather than computing: the next one begins.
const SHARE: Duration = Duration::from_secs(5);
/// Starts for each core that somebody waits for. Some compute, some read files; and a visitor waits for each.
const DEMANDED_PER_CORE: usize = 4;

/// Turns of two kinds: what is kept warm must not stand before those whom somebody waits for.
pub(super) struct Turns {
    demanded: Arc<Semaphore>,
    warm: Arc<Semaphore>,
}

impl Turns {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { demanded: Arc::new(Semaphore::new(cores * DEMANDED_PER_CORE)), warm: Arc::new(Semaphore::new(cores)) }
    }

    pub(super) async fn take(&self, demanded: bool) -> Turn {
        let turns = if demanded { &self.demanded } else { &self.warm };
        // Never closed.
        Turn(Arc::clone(turns).acquire_owned().await.ok())
    }
}

/// The turn of one start; the next one's when it is dropped.
pub(super) struct Turn(Option<OwnedSemaphorePermit>);

impl Turn {
    /// Keeps the turn until the start is over, for a share of time at most.
    pub(super) async fn until(self, over: oneshot::Receiver<()>) {
        let _ = tokio::time::timeout(SHARE, over).await;
        drop(self.0);
    }
}
