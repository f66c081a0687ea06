//! Secrets of plugins. Values are sealed before they come here; the database never sees them, nor does the history.

use lectern_domain::plugin::{Action, PluginName, SealedSecret};
use serde_json::json;
use tokio_postgres::Row;

use super::{Note, PluginRefusal, gate, history, read};
use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::hidden::Hidden;
use crate::row;

/// Most secrets of one plugin: all are in the memory of each server.
pub const MOST_SECRETS: i64 = 100;

const COLUMNS: &str = "s.plugin, s.name, s.sealed, s.stamp, s.set_by, s.set_at";

/// Sets a secret, whether it has a value or not.
pub async fn set(
    tx: &Transaction<'_>,
    plugin: &PluginName,
    name: &str,
    sealed: &[u8],
    note: &Note,
) -> Result<SealedSecret, DbError> {
    gate::lock(tx).await?;
    let sql = "SELECT count(*) AS total FROM plugin_secrets WHERE plugin = $1 AND name <> $2";
    let count = row::query_one(tx, sql, &[&plugin.as_str(), &name]).await?;
    if row::get::<i64>(&count, "total")? >= MOST_SECRETS {
        return Err(PluginRefusal::TooMany { what: "secrets of this plugin", most: MOST_SECRETS }.into());
    }
    let sql = format!(
        "INSERT INTO plugin_secrets AS s (plugin, name, sealed, set_by) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (plugin, name) DO UPDATE SET sealed = excluded.sealed, stamp = excluded.stamp, \
         set_by = excluded.set_by, set_at = excluded.set_at RETURNING {COLUMNS}"
    );
    let params: row::Params<'_> = &[&plugin.as_str(), &name, &Hidden(sealed), &note.actor.to_stored()];
    let secret = from_row(&row::query_one(tx, &sql, params).await?)?;
    tell(tx, Action::Secret, plugin, name, note).await?;
    Ok(secret)
}

/// Removes a secret. [`DbError::NotFound`] when there is none.
pub async fn remove(tx: &Transaction<'_>, plugin: &PluginName, name: &str, note: &Note) -> Result<(), DbError> {
    gate::lock(tx).await?;
    let sql = "DELETE FROM plugin_secrets WHERE plugin = $1 AND name = $2";
    if row::execute(tx, sql, &[&plugin.as_str(), &name]).await? == 0 {
        return Err(DbError::NotFound("secret"));
    }
    tell(tx, Action::Forget, plugin, name, note).await
}

/// The secrets of one plugin, by name.
pub async fn list(client: &impl GenericClient, plugin: &PluginName) -> Result<Vec<SealedSecret>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM plugin_secrets s WHERE s.plugin = $1 ORDER BY s.name COLLATE \"C\"");
    row::query(client, &sql, &[&plugin.as_str()]).await?.iter().map(from_row).collect()
}

/// The secrets of all plugins, by plugin and name.
pub async fn all(client: &impl GenericClient) -> Result<Vec<SealedSecret>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM plugin_secrets s ORDER BY s.plugin COLLATE \"C\", s.name COLLATE \"C\"");
    row::query(client, &sql, &[]).await?.iter().map(from_row).collect()
}

async fn tell(
    tx: &Transaction<'_>,
    action: Action,
    plugin: &PluginName,
    name: &str,
    note: &Note,
) -> Result<(), DbError> {
    let mut event = note.event(action, [("secret", json!(name))]);
    event.plugin = Some(plugin.clone());
    history::append(tx, event).await.map(drop)
}

fn from_row(row: &Row) -> Result<SealedSecret, DbError> {
    Ok(SealedSecret {
        plugin: row::parsed(row, "plugin", "plugin name")?,
        name: row::get(row, "name")?,
        sealed: row::get(row, "sealed")?,
        stamp: row::get(row, "stamp")?,
        set_by: read::actor(row, "set_by")?,
        set_at: row::get(row, "set_at")?,
    })
}
