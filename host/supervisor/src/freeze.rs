//! Holds everything still for a moment, so that another program can take this one's place.
//!
//! While it freezes, each task that owns something comes to a place where nothing is under way, leaves a record of how it
//! stands and waits. The records are the whole state. When the freeze ends the tasks go on as if nothing had been; when
//! another program runs instead, it makes them again from the records.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lectern_domain::JobKey;
use lectern_domain::worker::ExitStatus;
use tokio::sync::{Notify, watch};

use crate::protocol::Usage;
use crate::state::{ConnectionRest, WorkerRest, ZygoteRest};

/// Freezes, one at a time.
pub(crate) struct Freeze {
    on: watch::Sender<bool>,
    resting: Mutex<Resting>,
    /// Told when somebody came to rest, or got out of something.
    moved: Notify,
    /// Tasks that are starting something or cleaning up, which is not left half done.
    busy: AtomicUsize,
    /// Open connections.
    connections: AtomicUsize,
}

/// Who rests, and how it stands.
#[derive(Default)]
pub(crate) struct Resting {
    pub(crate) workers: HashMap<JobKey, WorkerRest>,
    /// By number.
    pub(crate) zygotes: HashMap<u64, ZygoteRest>,
    pub(crate) connections: HashMap<RawFd, ConnectionRest>,
    /// Ends that came while their owners rest.
    pub(crate) reaped: HashMap<i32, (ExitStatus, Usage)>,
}

impl Default for Freeze {
    fn default() -> Self {
        Self {
            on: watch::channel(false).0,
            resting: Mutex::default(),
            moved: Notify::new(),
            busy: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        }
    }
}

/// Something is under way until this is dropped.
pub(crate) struct Busy(Arc<Freeze>);

/// A connection is open until this is dropped.
pub(crate) struct Open(Arc<Freeze>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Relaxed);
        self.0.moved.notify_waiters();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
        self.0.moved.notify_waiters();
    }
}

impl Freeze {
    /// Tells of freezes.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.on.subscribe()
    }

    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Relaxed);
        Busy(self.clone())
    }

    pub(crate) fn open(self: &Arc<Self>) -> Open {
        self.connections.fetch_add(1, Relaxed);
        Open(self.clone())
    }

    pub(crate) fn resting(&self) -> MutexGuard<'_, Resting> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rests until the freeze is over.
    pub(crate) async fn rest_worker(&self, job: &JobKey, rest: WorkerRest) {
        self.resting().workers.insert(job.clone(), rest);
        self.moved.notify_waiters();
        thaw(&mut self.watch()).await;
        self.resting().workers.remove(job);
    }

    /// Rests until the freeze is over.
    pub(crate) async fn rest_zygote(&self, rest: ZygoteRest) {
        let number = rest.number;
        self.resting().zygotes.insert(number, rest);
        self.moved.notify_waiters();
        thaw(&mut self.watch()).await;
        self.resting().zygotes.remove(&number);
    }

    /// Rests until the freeze is over.
    pub(crate) async fn rest_connection(&self, rest: ConnectionRest) {
        let number = rest.socket;
        self.resting().connections.insert(number, rest);
        self.moved.notify_waiters();
        thaw(&mut self.watch()).await;
        self.resting().connections.remove(&number);
    }

    /// Notes the end of a process whose owner may rest.
    pub(crate) fn reaped(&self, pid: i32, status: ExitStatus, usage: Usage) {
        if *self.on.borrow() {
            self.resting().reaped.insert(pid, (status, usage));
        }
    }

    /// Begins a freeze at a moment when nothing is under way; `None` when there is no such moment within `limit`.
    pub(crate) async fn begin(self: &Arc<Self>, limit: Duration) -> Option<Frozen> {
        let quiet = async {
            loop {
                let moved = self.moved.notified();
                if self.busy.load(Relaxed) == 0 {
                    // Nothing else runs between the look and this: there is one thread.
                    self.resting().reaped.clear();
                    self.on.send_replace(true);
                    return Frozen(self.clone());
                }
                moved.await;
            }
        };
        tokio::time::timeout(limit, quiet).await.ok()
    }
}

/// Waits until a freeze begins. May be dropped.
pub(crate) async fn frost(freeze: &mut watch::Receiver<bool>) {
    // As below.
    let _ = freeze.wait_for(|on| *on).await;
}

/// Waits until a freeze is over.
pub(crate) async fn thaw(freeze: &mut watch::Receiver<bool>) {
    // The sender is the registry's, which lives as long as whoever asks.
    let _ = freeze.wait_for(|on| !on).await;
}

/// A freeze; it ends when this is dropped.
pub(crate) struct Frozen(Arc<Freeze>);

impl Frozen {
    /// Waits until all that there are of workers and zygotes, and all connections, are at rest; false when they are not within
    /// `limit`.
    pub(crate) async fn settle(&self, there: impl Fn() -> (usize, usize), limit: Duration) -> bool {
        let still = async {
            loop {
                let moved = self.0.moved.notified();
                if self.is_still(there()) {
                    return;
                }
                moved.await;
            }
        };
        tokio::time::timeout(limit, still).await.is_ok()
    }

    /// Whether all are at rest now.
    pub(crate) fn is_still(&self, (workers, zygotes): (usize, usize)) -> bool {
        let resting = self.0.resting();
        (resting.workers.len(), resting.zygotes.len()) == (workers, zygotes)
            && resting.connections.len() == self.0.connections.load(Relaxed)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.on.send_replace(false);
    }
}
