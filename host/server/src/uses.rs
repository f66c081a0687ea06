//! Which API keys were used of late. The request path sets a flag, once between two rounds for each key; a task writes down
//! together what was set, so that a key which is used a thousand times a second costs the database one row in each round.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use lectern_domain::KeyId;
use lectern_metadata::{Database, DbError, keys};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Between two rounds: times of use are shown to people, to the minute.
const ROUND: Duration = Duration::from_secs(30);

/// The uses since the last round.
#[derive(Default)]
pub(crate) struct Uses {
    /// Keys that were used before, with whether they were since the last round.
    known: ArcSwap<HashMap<KeyId, AtomicBool>>,
    /// Keys used for the first time since the start. At most one for each key that exists.
    fresh: Mutex<HashSet<KeyId>>,
}

impl Uses {
    /// Notes that a key which exists was used. No lock, except for the first use of a key.
    pub(crate) fn note(&self, key: KeyId) {
        match self.known.load().get(&key) {
            // Read first: a line of memory that nobody writes is shared by all cores.
            Some(used) if used.load(Ordering::Relaxed) => {}
            Some(used) => used.store(true, Ordering::Relaxed),
            None => {
                self.fresh.lock().insert(key);
            }
        }
    }

    /// The keys used since the last call.
    fn take(&self) -> Vec<KeyId> {
        let fresh = std::mem::take(&mut *self.fresh.lock());
        let known = self.known.load();
        let mut used: Vec<KeyId> =
            known.iter().filter(|(_, used)| used.swap(false, Ordering::Relaxed)).map(|(key, _)| *key).collect();
        if !fresh.is_empty() {
            let all = known.keys().copied().chain(fresh.iter().copied());
            self.known.store(Arc::new(all.map(|key| (key, AtomicBool::new(false))).collect()));
            used.extend(fresh.into_iter().filter(|key| !known.contains_key(key)));
        }
        used
    }

    /// Writes uses down until `stop`, and once more then. What cannot be written is kept for the next round.
    pub(crate) async fn run(self: Arc<Self>, database: Database, stop: CancellationToken) {
        loop {
            let last = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(ROUND) => false,
            };
            let used = self.take();
            if let Err(error) = write(&database, &used).await {
                tracing::debug!(error = crate::cli::chain(&error), "write down uses of keys");
                used.into_iter().for_each(|key| self.note(key));
            }
            if last {
                return;
            }
        }
    }
}

async fn write(database: &Database, used: &[KeyId]) -> Result<(), DbError> {
    if used.is_empty() {
        return Ok(());
    }
    let mut client = database.client().await?;
    let tx = client.transaction().await?;
    keys::note_uses(&tx, used).await?;
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_use_is_taken_once() {
        let uses = Uses::default();
        let sorted = || {
            let mut taken = uses.take();
            taken.sort_unstable();
            taken
        };
        assert_eq!(sorted(), []);
        for key in [2, 1, 2] {
            uses.note(KeyId(key));
        }
        assert_eq!(sorted(), [KeyId(1), KeyId(2)]);
        assert_eq!(sorted(), []);
        for key in [2, 3, 2] {
            uses.note(KeyId(key));
        }
        assert_eq!(sorted(), [KeyId(2), KeyId(3)]);
        assert_eq!((sorted(), uses.known.load().len()), (vec![], 3));
    }
}
