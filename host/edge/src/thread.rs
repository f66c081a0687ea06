//! One thread that serves: its connections, their tasks and their time limits.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio_util::task::TaskTracker;
use tracing::info;

use crate::bridge;
use crate::config::EdgeConfig;
use crate::services::Services;
use crate::watch::{Clock, Watch, Watches, sweep_period};

/// How long idle connections are kept for one more request when another process serves the address already. Clients that ask
/// all the time do so within a fraction of it; those that do not will not mind.
const LINGER: Duration = Duration::from_secs(5);

/// What the tasks of one thread share. It never leaves the thread.
pub(crate) struct Thread {
    pub(crate) config: Arc<EdgeConfig>,
    pub(crate) services: Services,
    clock: Arc<Clock>,
    watches: RefCell<Watches>,
    connections: Arc<AtomicUsize>,
    tasks: TaskTracker,
}

impl Thread {
    pub(crate) fn new(config: Arc<EdgeConfig>, services: Services) -> Self {
        Self {
            config,
            services,
            clock: Clock::new(),
            watches: RefCell::default(),
            connections: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Runs a connection or a tunnel on this thread; the thread waits for it before it ends.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.spawn_local(task);
    }

    /// Counts and watches a new connection.
    pub(crate) fn watch(&self) -> Arc<Watch> {
        let watch = Watch::new(&self.clock, &self.connections);
        self.watches.borrow_mut().add(&watch);
        watch
    }

    /// Whether the thread has as many connections as it may.
    pub(crate) fn is_full(&self) -> bool {
        self.connections.load(Relaxed) >= self.config.limits.connections_per_thread
    }

    /// Moves the clock and enforces limits of time, for ever. Ends by being dropped.
    pub(crate) async fn sweep(&self) {
        let limits = &self.config.limits;
        let mut ticks = tokio::time::interval(sweep_period(limits));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = self.clock.advance();
            self.watches.borrow_mut().sweep(now, limits);
            bridge::sweep_idle(limits.upstream_idle_timeout);
        }
    }

    /// Lets what is in flight finish for `grace`, then cuts it. Returns how many connections were cut. Idle connections are closed
    /// at once or, `lingering`, after one more request.
    pub(crate) async fn drain(&self, grace: Duration, lingering: bool) -> usize {
        self.tasks.close();
        // Another process serves whoever comes, so nobody waits for the end of what is under way here.
        let grace = if lingering { self.config.handed_over_grace } else { grace };
        if lingering {
            self.watches.borrow().each(Watch::last);
            if tokio::time::timeout(LINGER.min(grace), self.tasks.wait()).await.is_ok() {
                return 0;
            }
        }
        self.watches.borrow().each(Watch::finish);
        bridge::close_idle();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_ok() {
            return 0;
        }
        let cut = self.connections.load(Relaxed);
        info!(connections = cut, "cutting connections that are still busy");
        self.watches.borrow().each(Watch::restart);
        // What does not end now is dropped with the thread's runtime: HTTP/2 streams whose connection is gone.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.tasks.wait()).await;
        cut
    }
}
