//! Writes visits of content, and uses of Shiny applications, down. The request path puts each into a bounded queue and goes on; a task writes what has come
//! every two seconds in one statement, and forgets what is old.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lectern_domain::{ContentId, UserId};
use lectern_edge::{Seen, Use, Visits};
use lectern_metadata::hits::{self, MOST_PATH, MOST_USER_AGENT, NewHit};
use lectern_metadata::shiny_usage::{self, NewUsage};
use lectern_metadata::{Database, DbError};
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Visits that wait to be written: two seconds of 5,000 a second. Of the usual size they take some 2 MB, at most 20.
const QUEUE: usize = 10_000;
/// Visits written by one statement: its parameters stay below 2 MB.
const BATCH: usize = 1000;
/// Between two rounds: a visit is shown well within ten seconds.
const ROUND: Duration = Duration::from_secs(2);
/// Rounds between two looks for old visits: an hour.
const PRUNE_EVERY: u32 = 1800;
/// Rows removed by one statement, so that none holds locks for long.
const PRUNE: i64 = 10_000;

/// The queue's near end.
pub(crate) struct Hits {
    queue: mpsc::Sender<Noted>,
    waiting: Mutex<Option<mpsc::Receiver<Noted>>>,
    /// Notes that found the queue full since the start.
    dropped: Arc<AtomicU64>,
}

/// What is to be written down.
enum Noted {
    Hit(NewHit),
    Usage(NewUsage),
}

/// Somebody uses an application; dropped when they do no longer.
struct Using {
    key: Uuid,
    queue: mpsc::Sender<Noted>,
    dropped: Arc<AtomicU64>,
}

impl Drop for Using {
    fn drop(&mut self) {
        let ended = NewUsage::Ended { key: self.key, at: OffsetDateTime::now_utc() };
        if self.queue.try_send(Noted::Usage(ended)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Hits {
    pub(crate) fn new() -> Self {
        Self::of(QUEUE)
    }

    fn of(size: usize) -> Self {
        let (queue, waiting) = mpsc::channel(size);
        Self { queue, waiting: Mutex::new(Some(waiting)), dropped: Arc::default() }
    }

    /// In the format of Prometheus.
    pub(crate) fn metrics(&self) -> String {
        let dropped = self.dropped.load(Ordering::Relaxed);
        format!(
            "# HELP lectern_visits_dropped_total Visits and uses that were not written down\n\
             # TYPE lectern_visits_dropped_total counter\nlectern_visits_dropped_total {dropped}\n"
        )
    }

    /// Writes visits down until `stop`, and once more then. Visits older than `keep` are removed. What cannot be written waits
    /// for the next round; the queue is the bound.
    pub(crate) async fn run(self: Arc<Self>, database: Database, keep: Duration, stop: CancellationToken) {
        let Some(mut waiting) = self.waiting.lock().take() else { return };
        let mut batch = Vec::new();
        let mut rounds = 0_u32;
        let mut told = 0;
        loop {
            let last = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(ROUND) => false,
            };
            if let Err(error) = write(&database, &mut waiting, &mut batch).await {
                tracing::debug!(error = crate::cli::chain(&error), "write down visits");
            }
            let dropped = self.dropped.load(Ordering::Relaxed);
            if dropped > told {
                tracing::warn!(
                    dropped = dropped - told,
                    "visits or uses were not written down: too many at a time, or the database is away"
                );
            }
            told = dropped;
            if last {
                return;
            }
            if rounds.is_multiple_of(PRUNE_EVERY)
                && let Err(error) = prune(&database, keep).await
            {
                tracing::debug!(error = crate::cli::chain(&error), "remove old visits");
            }
            rounds = rounds.wrapping_add(1);
        }
    }
}

/// Writes all that waits, a batch at a time. A batch that could not be written is still in `batch`.
async fn write(
    database: &Database,
    waiting: &mut mpsc::Receiver<Noted>,
    batch: &mut Vec<Noted>,
) -> Result<(), DbError> {
    // At most one queue full in a round: visits that come meanwhile do not keep it going.
    for _ in 0..=QUEUE / BATCH {
        while batch.len() < BATCH
            && let Ok(hit) = waiting.try_recv()
        {
            batch.push(hit);
        }
        if batch.is_empty() {
            return Ok(());
        }
        match add(database, batch).await {
            Ok(()) => batch.clear(),
            Err(error) if lectern_metadata::is_transient(&error) => return Err(error),
            Err(error) => {
                // It would be refused the next time too.
                batch.clear();
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Writes a batch in one transaction: it is never written in part and then again.
async fn add(database: &Database, batch: &[Noted]) -> Result<(), DbError> {
    let (mut visits, mut uses) = (Vec::new(), Vec::new());
    for noted in batch {
        match noted {
            Noted::Hit(hit) => visits.push(hit.clone()),
            Noted::Usage(usage) => uses.push(usage.clone()),
        }
    }
    let mut client = database.client().await?;
    let tx = client.transaction().await?;
    if !visits.is_empty() {
        hits::add(&tx, &visits).await?;
    }
    if !uses.is_empty() {
        shiny_usage::add(&tx, &uses).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn prune(database: &Database, keep: Duration) -> Result<(), DbError> {
    let client = database.client().await?;
    while hits::prune(&client, keep, PRUNE).await? == PRUNE.unsigned_abs() {}
    while shiny_usage::prune(&client, keep, PRUNE).await? == PRUNE.unsigned_abs() {}
    Ok(())
}

/// The beginning of a text, of at most `most` bytes, without what the database does not take.
fn beginning(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text[..end].replace('\0', "")
}

impl Visits for Hits {
    fn note(&self, seen: &Seen<'_>) {
        // Before anything is copied: a queue that is full shall cost nothing.
        let Ok(place) = self.queue.try_reserve() else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        place.send(Noted::Hit(NewHit {
            content: seen.content,
            user: seen.user,
            bundle: seen.bundle,
            at: OffsetDateTime::now_utc(),
            path: beginning(seen.path, MOST_PATH),
            user_agent: beginning(seen.user_agent.unwrap_or_default(), MOST_USER_AGENT),
        }));
    }

    fn begin(&self, content: ContentId, user: Option<UserId>) -> Use {
        let key = Uuid::new_v4();
        let started = NewUsage::Started { key, content, user, at: OffsetDateTime::now_utc() };
        if self.queue.try_send(Noted::Usage(started)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Box::new(Using { key, queue: self.queue.clone(), dropped: Arc::clone(&self.dropped) })
    }
}

#[cfg(test)]
mod tests {
    use lectern_domain::BundleId;

    use super::*;

    #[test]
    fn what_finds_the_queue_full_is_counted() {
        let hits = Hits::of(2);
        let seen = Seen {
            content: ContentId(1),
            bundle: BundleId(2),
            user: Some(UserId(3)),
            path: &"é".repeat(MOST_PATH),
            user_agent: None,
        };
        for _ in 0..5 {
            hits.note(&seen);
        }
        assert_eq!(hits.metrics().lines().last(), Some("lectern_visits_dropped_total 3"));
        let mut waiting = hits.waiting.lock().take().into_iter().next();
        let mut taken = Vec::new();
        while let Some(Ok(hit)) = waiting.as_mut().map(mpsc::Receiver::try_recv) {
            if let Noted::Hit(hit) = hit {
                taken.push(hit);
            }
        }
        assert_eq!((taken.len(), taken[0].path.len(), taken[0].user_agent.as_str()), (2, MOST_PATH, ""));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        for (text, most, expected) in
            [("abc", 9, "abc"), ("abc", 2, "ab"), ("aé", 2, "a"), ("", 5, ""), ("a\0b", 5, "ab"), ("é", 1, "")]
        {
            assert_eq!(beginning(text, most), expected, "{text:?} {most}");
        }
    }
}
