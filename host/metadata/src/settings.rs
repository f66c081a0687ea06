//! Values of the whole installation, equal on every server that uses this database.

use crate::database::GenericClient;
use crate::error::DbError;
use crate::hidden::Hidden;
use crate::row;

/// The value of `key`.
pub async fn get(client: &impl GenericClient, key: &str) -> Result<Option<String>, DbError> {
    let row = row::query_opt(client, "SELECT value FROM settings WHERE key = $1", &[&key]).await?;
    row.as_ref().map(|row| row::get(row, "value")).transpose()
}

/// Sets `key`.
pub async fn put(client: &impl GenericClient, key: &str, value: &str) -> Result<(), DbError> {
    let sql = "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = $2";
    row::execute(client, sql, &[&key, &Hidden(value)]).await.map(drop)
}

/// The value of `key`, which becomes `value` when it has none. Of two calls at the same time the first one's counts for
/// both.
pub async fn get_or_insert(client: &impl GenericClient, key: &str, value: &str) -> Result<String, DbError> {
    // The update changes nothing but makes the row that is there come back.
    let sql = "INSERT INTO settings AS s (key, value) VALUES ($1, $2) \
               ON CONFLICT (key) DO UPDATE SET value = s.value RETURNING s.value";
    row::get(&row::query_one(client, sql, &[&key, &Hidden(value)]).await?, "value")
}
