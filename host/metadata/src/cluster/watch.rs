//! Keeps a private cluster running.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::PrivateCluster;

/// How often it is looked at.
const TICK: Duration = Duration::from_millis(500);

/// Longest pause between attempts to start it: a full disk may be emptied, a missing program installed.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl PrivateCluster {
    /// Starts PostgreSQL again whenever it ends by itself, and keeps its log bounded, until `stop`. The task does not stop
    /// it.
    pub fn watch(self: &Arc<Self>, stop: CancellationToken) -> JoinHandle<()> {
        let cluster = Arc::clone(self);
        tokio::spawn(async move {
            let mut pause = TICK;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(pause) => {}
                }
                if let Err(cause) = cluster.layout.bound_log() {
                    warn!(error = &cause as &dyn Error, "private database's log");
                }
                if cluster.is_running() {
                    pause = TICK;
                    continue;
                }
                // Not given up when `stop` comes: a start that is left alone halfway would be found by nobody.
                match cluster.restart_if_dead().await {
                    Ok(true) => warn!(db.pid = cluster.pid(), "the private database had ended and was started again"),
                    Ok(false) => {}
                    Err(cause) => {
                        error!(error = &cause as &dyn Error, "the private database has ended and does not start");
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        })
    }
}
