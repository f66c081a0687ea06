//! Keeps the snapshot that the request path reads: loads it, swaps it whole, and follows the database's notifications.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use lectern_domain::snapshot::Snapshot;
use lectern_metadata::{Database, DbError, Part, snapshots};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Between tries to refresh while the database is away: it costs one connection attempt.
const RETRY: Duration = Duration::from_secs(2);
/// A change that another server announces is shown at the latest after this, even if its notification was lost.
const SWEEP: Duration = Duration::from_secs(300);

/// The snapshot and how it is renewed.
pub(crate) struct View {
    current: Arc<ArcSwap<Snapshot>>,
    database: Database,
    content: Renewal,
    users: Renewal,
    keys: Renewal,
    sessions: Renewal,
}

/// Renewals of one part: one at a time, and one load serves all who asked before it began.
#[derive(Default)]
struct Renewal {
    asked: AtomicU64,
    shown: Mutex<u64>,
}

impl Renewal {
    async fn run<F: Future<Output = Result<(), DbError>>>(&self, load: impl FnOnce() -> F) -> Result<(), DbError> {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut shown = self.shown.lock().await;
        if *shown >= mine {
            return Ok(());
        }
        let through = self.asked.load(Ordering::SeqCst);
        load().await?;
        *shown = through;
        Ok(())
    }
}

impl View {
    /// Loads everything.
    pub(crate) async fn load(database: Database) -> Result<Self, DbError> {
        let snapshot = snapshots::load_snapshot(&database).await?;
        Ok(Self {
            current: Arc::new(ArcSwap::from_pointee(snapshot)),
            database,
            content: Renewal::default(),
            users: Renewal::default(),
            keys: Renewal::default(),
            sessions: Renewal::default(),
        })
    }

    /// The snapshot as it is now.
    pub(crate) fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// What the request path reads from.
    pub(crate) fn shared(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.current)
    }

    fn swap(&self, change: impl Fn(&mut Snapshot)) {
        self.current.rcu(|old| {
            let mut new = Snapshot::clone(old);
            change(&mut new);
            new
        });
    }

    /// Returns when everything committed to `part` before the call is shown.
    pub(crate) async fn refresh(&self, part: Part) -> Result<(), DbError> {
        match part {
            Part::Content => {
                self.content
                    .run(|| async {
                        let (content, vanities, groups) = snapshots::load_content(&self.database).await?;
                        let (content, vanities, groups) = (Arc::new(content), Arc::new(vanities), Arc::new(groups));
                        self.swap(|view| {
                            view.groups = Arc::clone(&groups);
                            view.content = Arc::clone(&content);
                            view.vanities = Arc::clone(&vanities);
                        });
                        Ok(())
                    })
                    .await
            }
            Part::Users => {
                self.users
                    .run(|| async {
                        let users = Arc::new(snapshots::load_users(&self.database).await?);
                        self.swap(|view| view.users = Arc::clone(&users));
                        Ok(())
                    })
                    .await
            }
            Part::Keys => {
                self.keys
                    .run(|| async {
                        let keys = Arc::new(snapshots::load_keys(&self.database).await?);
                        self.swap(|view| view.keys = Arc::clone(&keys));
                        Ok(())
                    })
                    .await
            }
            Part::Sessions => {
                self.sessions
                    .run(|| async {
                        let sessions = Arc::new(snapshots::load_sessions(&self.database).await?);
                        self.swap(|view| view.sessions = Arc::clone(&sessions));
                        Ok(())
                    })
                    .await
            }
            Part::Tasks | Part::Gate => Ok(()),
            Part::Everything => {
                for part in [Part::Users, Part::Keys, Part::Sessions, Part::Content] {
                    Box::pin(self.refresh(part)).await?;
                }
                Ok(())
            }
        }
    }

    /// Refreshes `part`, trying again while the database is away, until it is shown or `stop`.
    pub(crate) async fn refresh_patiently(&self, part: Part, stop: &CancellationToken) {
        let mut told = false;
        while let Err(error) = self.refresh(part).await {
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(
                    error = crate::cli::chain(&error),
                    ?part,
                    "the view cannot be refreshed; serving what was known"
                );
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
        if told {
            tracing::info!(?part, "the view is fresh again");
        }
    }

    /// Follows `changes` until `stop`; `on_tasks` is called when tasks changed.
    pub(crate) async fn follow(
        &self,
        mut changes: lectern_metadata::Changes,
        on_change: impl Fn(Part),
        stop: CancellationToken,
    ) {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.tick().await;
        loop {
            let part = tokio::select! {
                () = stop.cancelled() => return,
                _ = sweep.tick() => Part::Everything,
                part = changes.next() => match part {
                    Some(part) => part,
                    None => return,
                },
            };
            self.refresh_patiently(part, &stop).await;
            on_change(part);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[tokio::test]
    async fn one_load_serves_all_who_asked_before_it_began() {
        let renewal = Arc::new(Renewal::default());
        let loads = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let ask = || {
            let (renewal, loads, gate) = (Arc::clone(&renewal), Arc::clone(&loads), Arc::clone(&gate));
            tokio::spawn(async move {
                renewal
                    .run(|| async {
                        gate.acquire().await.unwrap().forget();
                        loads.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    })
                    .await
                    .unwrap();
            })
        };
        let first = ask();
        while renewal.asked.load(Ordering::SeqCst) < 1 {
            tokio::task::yield_now().await;
        }
        let rest: Vec<_> = (0..10).map(|_| ask()).collect();
        while renewal.asked.load(Ordering::SeqCst) < 11 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(2);
        first.await.unwrap();
        for one in rest {
            one.await.unwrap();
        }
        assert_eq!(loads.load(Ordering::SeqCst), 2, "the first, and one for the ten that came while it ran");
    }
}
