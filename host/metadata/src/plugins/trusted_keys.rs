//! Keys whose signatures on packages are believed.

use lectern_domain::plugin::{Action, TrustedKey};
use serde_json::json;
use tokio_postgres::Row;

use super::{Note, PluginRefusal, gate, history, read};
use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;

/// Most trusted keys: each signature is tried with a few at most, and nobody keeps an eye on more.
pub const MOST_KEYS: i64 = 100;

const COLUMNS: &str = "k.id, k.public_key, k.comment, k.added_by, k.added_at";

/// Trusts a key. [`PluginRefusal::AlreadyTrusted`] when it, or another of its id, is trusted.
pub async fn add(
    tx: &Transaction<'_>,
    id: &str,
    public_key: &str,
    comment: &str,
    note: &Note,
) -> Result<TrustedKey, DbError> {
    gate::lock(tx).await?;
    let count = row::query_one(tx, "SELECT count(*) AS total FROM trusted_keys", &[]).await?;
    if row::get::<i64>(&count, "total")? >= MOST_KEYS {
        return Err(PluginRefusal::TooMany { what: "trusted keys", most: MOST_KEYS }.into());
    }
    let sql = format!(
        "INSERT INTO trusted_keys AS k (id, public_key, comment, added_by) VALUES ($1, $2, $3, $4) \
         ON CONFLICT DO NOTHING RETURNING {COLUMNS}"
    );
    let row = row::query_opt(tx, &sql, &[&id, &public_key, &comment, &note.actor.to_stored()]).await?;
    let key = from_row(&row.ok_or(PluginRefusal::AlreadyTrusted)?)?;
    tell(tx, Action::Trust, &key, note).await?;
    Ok(key)
}

/// Ends the trust in a key. Packages that it signed stay installed. [`DbError::NotFound`] when it is not trusted.
pub async fn remove(tx: &Transaction<'_>, id: &str, note: &Note) -> Result<TrustedKey, DbError> {
    gate::lock(tx).await?;
    let sql = format!("DELETE FROM trusted_keys k WHERE k.id = $1 RETURNING {COLUMNS}");
    let row = row::query_opt(tx, &sql, &[&id]).await?;
    let key = from_row(&row.ok_or(DbError::NotFound("trusted key"))?)?;
    tell(tx, Action::Untrust, &key, note).await?;
    Ok(key)
}

/// All trusted keys, by id.
pub async fn list(client: &impl GenericClient) -> Result<Vec<TrustedKey>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM trusted_keys k ORDER BY k.id COLLATE \"C\"");
    row::query(client, &sql, &[]).await?.iter().map(from_row).collect()
}

async fn tell(tx: &Transaction<'_>, action: Action, key: &TrustedKey, note: &Note) -> Result<(), DbError> {
    let own = [("key", json!(key.id)), ("public_key", json!(key.public_key)), ("comment", json!(key.comment))];
    history::append(tx, note.event(action, own)).await.map(drop)
}

fn from_row(row: &Row) -> Result<TrustedKey, DbError> {
    Ok(TrustedKey {
        id: row::get(row, "id")?,
        public_key: row::get(row, "public_key")?,
        comment: row::get(row, "comment")?,
        added_by: read::actor(row, "added_by")?,
        added_at: row::get(row, "added_at")?,
    })
}
