//! The plugins' stores, in the database, with what was read a moment ago in memory.
//!
//! On this server a write shows at once. Another server may answer [`KeyValue::get`] with what it read up to [`FRESH`]
//! before. [`KeyValue::swap`] always asks the database, so of many servers one wins: what may be used once is taken with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lectern_domain::plugin::PluginName;
use lectern_gate::{KeyValue, StoreError};
use lectern_metadata::plugins::{PluginRefusal, values};
use lectern_metadata::{Client, Database, DbError};
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How long a value that was read is answered without asking again: one query for what a page's requests all ask.
pub(crate) const FRESH: Duration = Duration::from_secs(2);
/// A request of a visitor waits for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of keys and values in memory, with what an entry costs beside them.
const MEMORY_BYTES: usize = 16 << 20;
const ENTRY_BYTES: usize = 128;
/// How often rows of values whose time is over are removed.
const SWEEP: Duration = Duration::from_secs(3600);

/// The stores of this server's plugins.
#[derive(Clone)]
pub(crate) struct DatabaseValues {
    database: Database,
    /// The runtime of the database's connections.
    runtime: tokio::runtime::Handle,
    memory: Arc<Mutex<Memory>>,
    /// Queries at a time: the rest of the pool is for everybody else.
    queries: Arc<Semaphore>,
}

impl DatabaseValues {
    pub(crate) fn new(database: Database, runtime: tokio::runtime::Handle) -> Self {
        let queries = Arc::new(Semaphore::new((database.config().pool_size / 2).max(1)));
        Self { database, runtime, memory: Arc::default(), queries }
    }

    /// Removes rows of values whose time is over, until `stop`.
    pub(crate) async fn sweep(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => {}
            }
            let swept = async { values::sweep(&self.database.client().await?).await };
            match swept.await {
                Ok(count) => tracing::debug!(count, "values of plugins whose time was over were removed"),
                Err(error) => tracing::debug!(error = crate::cli::chain(&error), "remove values of plugins"),
            }
        }
    }

    /// Does `work` on the database's runtime, in time. It goes on when the caller stops waiting.
    async fn ask<T, F>(&self, work: impl FnOnce(Client) -> F + Send + 'static) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DbError>> + Send + 'static,
    {
        let (database, queries) = (self.database.clone(), Arc::clone(&self.queries));
        let asked = self.runtime.spawn(tokio::time::timeout(PATIENCE, async move {
            let _permit = queries.acquire().await;
            work(database.client().await?).await
        }));
        match asked.await {
            Ok(Ok(outcome)) => outcome.map_err(|error| refusal(&error)),
            Ok(Err(_)) => Err(StoreError::Unavailable("the database did not answer in time".into())),
            Err(error) => Err(StoreError::Unavailable(error.to_string())),
        }
    }

    /// Like [`Self::ask`], for work that changes a key: what is remembered of it is forgotten, whatever came of it.
    async fn change<T, F>(&self, key: &str, work: impl FnOnce(Client) -> F + Send + 'static) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DbError>> + Send + 'static,
    {
        // Dropped with the work, which may outlive this call.
        let forget = Forget { memory: Arc::clone(&self.memory), key: key.to_owned() };
        self.ask(|client| async move {
            let outcome = work(client).await;
            drop(forget);
            outcome
        })
        .await
    }
}

/// Forgets a key when it is dropped.
struct Forget {
    memory: Arc<Mutex<Memory>>,
    key: String,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.memory.lock().forget(&self.key);
    }
}

fn refusal(error: &DbError) -> StoreError {
    match error {
        DbError::Plugin(PluginRefusal::StoreFull) => StoreError::Quota,
        DbError::Refused { .. } => StoreError::TooLarge,
        other => StoreError::Unavailable(crate::cli::chain(other)),
    }
}

fn name(plugin: &str) -> Result<PluginName, StoreError> {
    plugin.parse().map_err(|error: lectern_domain::plugin::BadPluginName| StoreError::Unavailable(error.to_string()))
}

/// A plugin's key in memory. Names of plugins hold no NUL.
fn place(plugin: &str, key: &str) -> String {
    [plugin, key].join("\0")
}

#[async_trait]
impl KeyValue for DatabaseValues {
    async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let place = place(plugin, key);
        let writes = {
            let memory = self.memory.lock();
            if let Some(value) = memory.find(&place, Instant::now()) {
                return Ok(value);
            }
            memory.writes
        };
        let (plugin, key, asked_at) = (name(plugin)?, key.to_owned(), Instant::now());
        let found = self.ask(|client| async move { values::get(&client, &plugin, &key).await }).await?;
        let ends = found.as_ref().and_then(|value| value.expires_at);
        let left = ends.map_or(FRESH, |ends| (ends - OffsetDateTime::now_utc()).try_into().unwrap_or(Duration::ZERO));
        let value = found.map(|value| value.bytes);
        // Counted from the question: what was changed meanwhile elsewhere is as old as that.
        self.memory.lock().remember(place, value.clone(), asked_at + left.min(FRESH), writes);
        Ok(value)
    }

    async fn set(&self, plugin: &str, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> Result<(), StoreError> {
        let (place, plugin, key) = (place(plugin, key), name(plugin)?, key.to_owned());
        self.change(
            &place,
            move |client| async move { values::set(&client, &plugin, &key, &value, ttl).await.map(drop) },
        )
        .await
    }

    async fn delete(&self, plugin: &str, key: &str) -> Result<(), StoreError> {
        let (place, plugin, key) = (place(plugin, key), name(plugin)?, key.to_owned());
        self.change(&place, move |client| async move { values::delete(&client, &plugin, &key).await.map(drop) }).await
    }

    async fn swap(
        &self,
        plugin: &str,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        ttl: Option<Duration>,
    ) -> Result<bool, StoreError> {
        let (place, plugin, key) = (place(plugin, key), name(plugin)?, key.to_owned());
        self.change(&place, move |client| async move {
            values::swap(&client, &plugin, &key, expected.as_deref(), value.as_deref(), ttl).await
        })
        .await
    }
}

/// What was read, in two generations: when the young one is full, the old one is forgotten.
#[derive(Default)]
struct Memory {
    young: HashMap<String, Remembered>,
    old: HashMap<String, Remembered>,
    young_bytes: usize,
    /// Counts changes: what was read before one may be what it replaced.
    writes: u64,
}

struct Remembered {
    /// `None`: there is none.
    value: Option<Vec<u8>>,
    until: Instant,
}

impl Memory {
    fn find(&self, key: &str, now: Instant) -> Option<Option<Vec<u8>>> {
        let found = self.young.get(key).or_else(|| self.old.get(key))?;
        (found.until > now).then(|| found.value.clone())
    }

    /// Remembers what was read when there had been so many writes.
    fn remember(&mut self, key: String, value: Option<Vec<u8>>, until: Instant, writes: u64) {
        if writes != self.writes {
            return;
        }
        let bytes = ENTRY_BYTES + key.len() + value.as_ref().map_or(0, Vec::len);
        if self.young_bytes + bytes > MEMORY_BYTES / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.old.remove(&key);
        // An entry that is replaced stays counted until the turn: less is kept than could be.
        self.young_bytes += bytes;
        self.young.insert(key, Remembered { value, until });
    }

    fn forget(&mut self, key: &str) {
        self.writes += 1;
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests;
