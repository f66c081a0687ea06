//! The small store that each plugin has. Each function is one statement and takes effect whole, from any number of servers at
//! once. A value whose time is over is absent, whether its row was swept or not.
//!
//! [`PluginRefusal::StoreFull`](super::PluginRefusal::StoreFull) when a plugin's keys or bytes would pass their bound; what
//! has expired makes room before that.

use std::time::Duration;

use lectern_domain::plugin::PluginName;
use time::OffsetDateTime;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::hidden::Hidden;
use crate::row;

/// Longest key, in bytes.
pub const MOST_KEY_BYTES: usize = 256;
/// Longest value, in bytes.
pub const MOST_VALUE_BYTES: usize = 65_536;

/// A value that was stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredValue {
    /// The value.
    pub bytes: Vec<u8>,
    /// A number that is never the same for two states of a key.
    pub version: i64,
    /// When it becomes absent; `None`: never.
    pub expires_at: Option<OffsetDateTime>,
}

/// What a plugin keeps may be a visitor's.
impl std::fmt::Debug for StoredValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredValue")
            .field("bytes", &self.bytes.len())
            .field("version", &self.version)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// How much a plugin keeps, with rows that are not swept yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many keys.
    pub keys: i64,
    /// Bytes of keys and values.
    pub bytes: i64,
}

/// The value of a key.
pub async fn get(client: &impl GenericClient, plugin: &PluginName, key: &str) -> Result<Option<StoredValue>, DbError> {
    let sql = "SELECT value, version, expires_at FROM plugin_values \
               WHERE plugin = $1 AND key = $2 AND (expires_at IS NULL OR expires_at > now())";
    let Some(row) = row::query_opt(client, sql, &[&plugin.as_str(), &Hidden(key)]).await? else { return Ok(None) };
    let (bytes, version) = (row::get(&row, "value")?, row::get(&row, "version")?);
    Ok(Some(StoredValue { bytes, version, expires_at: row::get(&row, "expires_at")? }))
}

/// Sets a key, for `lifetime` or for good; answers the new version.
pub async fn set(
    client: &impl GenericClient,
    plugin: &PluginName,
    key: &str,
    value: &[u8],
    lifetime: Option<Duration>,
) -> Result<i64, DbError> {
    let sql = "INSERT INTO plugin_values (plugin, key, value, expires_at) \
               VALUES ($1, $2, $3, now() + make_interval(secs => $4)) ON CONFLICT (plugin, key) DO UPDATE \
               SET value = excluded.value, expires_at = excluded.expires_at, version = excluded.version \
               RETURNING version";
    let seconds = lifetime.map(|lifetime| lifetime.as_secs_f64());
    let params: row::Params<'_> = &[&plugin.as_str(), &Hidden(key), &Hidden(value), &seconds];
    row::get(&row::query_one(client, sql, params).await?, "version")
}

/// Sets a key (`None`: deletes it) when its value is `expected` (`None`: when it is absent); whether it was.
pub async fn swap(
    client: &impl GenericClient,
    plugin: &PluginName,
    key: &str,
    expected: Option<&[u8]>,
    value: Option<&[u8]>,
    lifetime: Option<Duration>,
) -> Result<bool, DbError> {
    let seconds = lifetime.map(|lifetime| lifetime.as_secs_f64());
    let (plugin, key) = (plugin.as_str(), Hidden(key));
    let changed = match (expected, value) {
        (None, None) => {
            let sql = "SELECT 1 FROM plugin_values \
                       WHERE plugin = $1 AND key = $2 AND (expires_at IS NULL OR expires_at > now())";
            return Ok(row::query_opt(client, sql, &[&plugin, &key]).await?.is_none());
        }
        // Of several that insert at once one does; the others find its row and see that it has not expired.
        (None, Some(value)) => {
            let sql = "INSERT INTO plugin_values AS v (plugin, key, value, expires_at) \
                       VALUES ($1, $2, $3, now() + make_interval(secs => $4)) ON CONFLICT (plugin, key) DO UPDATE \
                       SET value = excluded.value, expires_at = excluded.expires_at, version = excluded.version \
                       WHERE v.expires_at <= now()";
            row::execute(client, sql, &[&plugin, &key, &Hidden(value), &seconds]).await?
        }
        // A row that another transaction is changing is waited for, and compared again as that one leaves it.
        (Some(expected), Some(value)) => {
            let sql = "UPDATE plugin_values SET value = $4, expires_at = now() + make_interval(secs => $5), \
                       version = nextval('record_stamps') \
                       WHERE plugin = $1 AND key = $2 AND value = $3 AND (expires_at IS NULL OR expires_at > now())";
            row::execute(client, sql, &[&plugin, &key, &Hidden(expected), &Hidden(value), &seconds]).await?
        }
        (Some(expected), None) => {
            let sql = "DELETE FROM plugin_values \
                       WHERE plugin = $1 AND key = $2 AND value = $3 AND (expires_at IS NULL OR expires_at > now())";
            row::execute(client, sql, &[&plugin, &key, &Hidden(expected)]).await?
        }
    };
    Ok(changed > 0)
}

/// Deletes a key; `false` when it was absent.
pub async fn delete(client: &impl GenericClient, plugin: &PluginName, key: &str) -> Result<bool, DbError> {
    let sql = "DELETE FROM plugin_values WHERE plugin = $1 AND key = $2 \
               RETURNING (expires_at IS NULL OR expires_at > now()) AS present";
    match row::query_opt(client, sql, &[&plugin.as_str(), &Hidden(key)]).await? {
        Some(row) => row::get(&row, "present"),
        None => Ok(false),
    }
}

/// How much a plugin keeps.
pub async fn usage(client: &impl GenericClient, plugin: &PluginName) -> Result<Usage, DbError> {
    let sql = "SELECT keys, bytes FROM plugin_usage WHERE plugin = $1";
    let Some(row) = row::query_opt(client, sql, &[&plugin.as_str()]).await? else { return Ok(Usage::default()) };
    Ok(Usage { keys: row::get(&row, "keys")?, bytes: row::get(&row, "bytes")? })
}

/// Deletes all that a plugin keeps; answers how many rows that were.
pub async fn clear(client: &impl GenericClient, plugin: &PluginName) -> Result<u64, DbError> {
    row::execute(client, "DELETE FROM plugin_values WHERE plugin = $1", &[&plugin.as_str()]).await
}

/// Removes the rows of values that have expired; answers how many. For a client outside a transaction.
pub async fn sweep(client: &impl GenericClient) -> Result<u64, DbError> {
    // One plugin at a time: each statement then changes one counter, and two sweeps cannot wait for each other.
    let sql = "SELECT DISTINCT plugin FROM plugin_values WHERE expires_at <= now() ORDER BY plugin";
    let mut swept = 0;
    for found in row::query(client, sql, &[]).await? {
        // The counter is held first: who finds the store full meanwhile waits for the room that this makes.
        let sql = "WITH held AS MATERIALIZED (SELECT plugin FROM plugin_usage WHERE plugin = $1 FOR UPDATE) \
                   DELETE FROM plugin_values WHERE EXISTS (SELECT 1 FROM held) AND plugin = $1 AND key IN \
                   (SELECT key FROM plugin_values WHERE plugin = $1 AND expires_at <= now() FOR UPDATE SKIP LOCKED)";
        swept += row::execute(client, sql, &[&row::get::<&str>(&found, "plugin")?]).await?;
    }
    Ok(swept)
}
