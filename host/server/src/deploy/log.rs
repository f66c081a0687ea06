//! A task's output: lines collected here and written to its row a few times a second.

use std::sync::Arc;
use std::time::Duration;

use lectern_metadata::tasks::{Lease, append_output};
use lectern_metadata::{Database, DbError, is_transient};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::news::News;

/// Lines wait this long for company: clients see them as they come, and a resolver's thousand lines are few queries.
const GATHER: Duration = Duration::from_millis(150);
/// Lines in one query.
const BATCH: usize = 500;
/// Most lines one task keeps: beyond, nobody reads them and every poll without `first` carries them all.
const MOST_LINES: usize = 20_000;
/// Longest line kept, in bytes. With [`MOST_LINES`] it bounds what waits while the database is away, to 40 MiB.
const MOST_BYTES: usize = 2_048;
/// Between tries while the database is away.
const RETRY: Duration = Duration::from_secs(1);

/// Takes the lines of one task. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TaskLog(Arc<Shared>);

struct Shared {
    lines: Mutex<Lines>,
    more: Notify,
    /// No more lines come.
    ended: CancellationToken,
}

#[derive(Default)]
struct Lines {
    waiting: Vec<String>,
    taken: usize,
}

impl TaskLog {
    /// A log, and the task that writes it: it ends after [`TaskLog::end`] when everything is written, or when the lease is
    /// lost (then `lost` is cancelled).
    pub(super) fn new(
        database: Database,
        lease: Lease,
        news: Arc<News>,
        lost: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let shared = Arc::new(Shared { lines: Mutex::default(), more: Notify::new(), ended: CancellationToken::new() });
        (Self(Arc::clone(&shared)), write(database, lease, news, lost, shared))
    }

    /// Adds a line; text with line ends becomes several. Never waits.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        let mut lines = self.0.lines.lock();
        for line in text.as_ref().lines() {
            match lines.taken {
                MOST_LINES => lines.waiting.push(format!("(output ends here: a task keeps {MOST_LINES} lines)")),
                taken if taken > MOST_LINES => return,
                _ => lines.waiting.push(clip(line)),
            }
            lines.taken += 1;
        }
        drop(lines);
        self.0.more.notify_one();
    }

    /// Says that no more lines come.
    pub(super) fn end(&self) {
        self.0.ended.cancel();
    }
}

fn clip(line: &str) -> String {
    if line.len() <= MOST_BYTES {
        return line.to_owned();
    }
    let end = (0..=MOST_BYTES).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
    format!("{} … ({} bytes)", &line[..end], line.len())
}

async fn write(database: Database, lease: Lease, news: Arc<News>, lost: CancellationToken, shared: Arc<Shared>) {
    loop {
        let ended = shared.ended.is_cancelled();
        let waiting = std::mem::take(&mut shared.lines.lock().waiting);
        for batch in waiting.chunks(BATCH) {
            if !put_patiently(&database, &lease, &news, &lost, batch).await {
                return;
            }
        }
        if ended && waiting.is_empty() {
            return;
        }
        if waiting.is_empty() {
            tokio::select! {
                () = shared.more.notified() => {}
                () = shared.ended.cancelled() => continue,
            }
        }
        tokio::select! {
            () = shared.ended.cancelled() => {}
            () = tokio::time::sleep(GATHER) => {}
        }
    }
}

/// Writes a batch, trying again while the database is away; `false` when the lease is lost.
async fn put_patiently(
    database: &Database,
    lease: &Lease,
    news: &News,
    lost: &CancellationToken,
    batch: &[String],
) -> bool {
    loop {
        match put(database, lease, batch).await {
            Ok(count) => {
                news.lines(&lease.task, count);
                return true;
            }
            Err(error) if is_transient(&error) && !lost.is_cancelled() => tokio::time::sleep(RETRY).await,
            Err(error) => {
                tracing::warn!(task.id = %lease.task, error = crate::cli::chain(&error), "a task's output is lost");
                lost.cancel();
                return false;
            }
        }
    }
}

async fn put(database: &Database, lease: &Lease, batch: &[String]) -> Result<i64, DbError> {
    let client = database.client().await?;
    append_output(&client, lease, batch).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_clipped_between_characters() {
        assert_eq!(clip("short"), "short");
        let long = "ä".repeat(MOST_BYTES);
        let clipped = clip(&long);
        assert!(clipped.len() < MOST_BYTES + 40);
        assert!(clipped.ends_with("… (4096 bytes)"));
    }
}
