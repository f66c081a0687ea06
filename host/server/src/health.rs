//! Whether this server can publish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lectern_edge::Health;
use lectern_metadata::Database;
use tokio_util::sync::CancellationToken;

/// How often the database is asked for a sign of life.
const ROUND: Duration = Duration::from_secs(2);

/// The health of this server.
#[derive(Default)]
pub(crate) struct ServerHealth {
    serving: AtomicBool,
    database_away: AtomicBool,
}

impl ServerHealth {
    /// Everything has started, or is about to stop.
    pub(crate) fn serving(&self, yes: bool) {
        self.serving.store(yes, Ordering::Relaxed);
    }

    /// Looks after the database until `stop`.
    pub(crate) async fn watch(self: Arc<Self>, database: Database, stop: CancellationToken) {
        loop {
            let away = tokio::select! {
                () = stop.cancelled() => return,
                answer = database.ping() => answer.err(),
            };
            let was_away = self.database_away.swap(away.is_some(), Ordering::Relaxed);
            match (&away, was_away) {
                (Some(error), false) => {
                    tracing::error!(
                        error = crate::cli::chain(error),
                        "the database is away; content is served, publishing waits"
                    );
                }
                (None, true) => tracing::info!("the database is back"),
                (Some(_), true) | (None, false) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }
}

impl Health for ServerHealth {
    fn ready(&self) -> Result<(), String> {
        if !self.serving.load(Ordering::Relaxed) {
            return Err("the server is starting or stopping".into());
        }
        if self.database_away.load(Ordering::Relaxed) {
            return Err("the database is away".into());
        }
        Ok(())
    }
}
