//! The history: appended to, listed, and checked.

use lectern_domain::audit;
use lectern_domain::plugin::{
    Action, Actor, BindingName, HistoryEntry, HistoryEvent, HistoryHash, HistoryHead, PackageDigest, PluginName,
};
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::{gate, read};
use crate::chain;
use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;

const COLUMNS: &str = "h.seq, h.made_at, h.actor, h.action, h.binding, h.plugin, h.from_release, h.to_release, \
                       h.package, h.reason, h.details::text AS details, h.prev_hash, h.hash";

/// Which entries to list; empty lists all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Of this binding.
    pub binding: Option<BindingName>,
    /// Of this plugin.
    pub plugin: Option<PluginName>,
    /// Older than the entry of this number.
    pub before: Option<i64>,
}

/// What checking the chain found.
pub type Chain = chain::Chain<HistoryHead>;

/// Adds an entry. Entries of other transactions wait until this one ends.
pub async fn append(tx: &Transaction<'_>, event: HistoryEvent) -> Result<HistoryEntry, DbError> {
    let head = gate::lock(tx).await?;
    // After the lock: the times of entries have their order too.
    let now: OffsetDateTime = row::get(&row::query_one(tx, "SELECT clock_timestamp() AS at", &[]).await?, "at")?;
    let entry = HistoryEntry::after(head, now, event);
    let sql = "INSERT INTO plugin_history (seq, made_at, actor, action, binding, plugin, from_release, to_release, \
               package, reason, details, prev_hash, hash) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::json, $12, $13)";
    let event = &entry.event;
    row::execute(
        tx,
        sql,
        &[
            &entry.seq,
            &entry.at,
            &event.actor.to_stored(),
            &event.action.as_str(),
            &event.binding.as_ref().map(BindingName::as_str),
            &event.plugin.as_ref().map(PluginName::as_str),
            &event.from_release.as_ref().map(|hash| hash.0.as_slice()),
            &event.to_release.as_ref().map(|hash| hash.0.as_slice()),
            &event.package.as_ref().map(|digest| digest.0.as_slice()),
            &event.reason,
            &event.details.as_str(),
            &entry.prev_hash.0.as_slice(),
            &entry.hash.0.as_slice(),
        ],
    )
    .await?;
    record(tx, &entry).await?;
    Ok(entry)
}

/// Repeats the entry in the audit log, where those look who ask what happened on the server.
async fn record(tx: &Transaction<'_>, entry: &HistoryEntry) -> Result<(), DbError> {
    let event = &entry.event;
    let account = match &event.actor {
        Actor::User(name) => crate::users::get_by_username(tx, name).await?,
        Actor::AdminSocket | Actor::Automatic | Actor::Server => None,
    };
    let actor = match account {
        Some(user) => audit::Actor::account(user.id, user.guid, &user.username),
        None => audit::Actor::of_gate(&event.actor),
    };
    let binding = event.binding.as_ref().map_or("", BindingName::as_str);
    let action = audit::Action::GateChanged { what: event.action.as_str(), binding, entry: entry.seq };
    crate::audit::append(tx, actor, &action).await.map(drop)
}

/// The newest `limit` entries that the filter finds, newest first.
pub async fn list(
    client: &impl GenericClient,
    filter: &HistoryFilter,
    limit: i64,
) -> Result<Vec<HistoryEntry>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM plugin_history h WHERE ($1::text IS NULL OR h.binding = $1) \
         AND ($2::text IS NULL OR h.plugin = $2) AND ($3::bigint IS NULL OR h.seq < $3) ORDER BY h.seq DESC LIMIT $4"
    );
    let (binding, plugin) =
        (filter.binding.as_ref().map(BindingName::as_str), filter.plugin.as_ref().map(PluginName::as_str));
    let rows = row::query(client, &sql, &[&binding, &plugin, &filter.before, &limit.max(0)]).await?;
    rows.iter().map(entry).collect()
}

/// Computes the hashes of all entries again, a page at a time, up to the end that the gate names.
pub async fn verify_chain(client: &impl GenericClient) -> Result<Chain, DbError> {
    // In one statement: entries may be added meanwhile, and these are not looked at.
    let sql = "SELECT history_seq, history_hash, (SELECT coalesce(max(seq), 0) FROM plugin_history) AS last FROM gate";
    let ends = row::query_one(client, sql, &[]).await?;
    let (end, last) = (head(&ends)?, row::get::<i64>(&ends, "last")?);
    let sql =
        format!("SELECT {COLUMNS} FROM plugin_history h WHERE h.seq > $1 AND h.seq <= $2 ORDER BY h.seq LIMIT $3");
    let next = |found: &Row, at| entry(found).ok().filter(|entry| entry.follows(at)).map(|entry| entry.head());
    let walk = chain::Walk { sql: &sql, empty: HistoryHead::EMPTY, end, last, seq: |head| head.seq, next };
    walk.verify(client).await
}

/// Reads the end of the history from the gate's row.
pub(super) fn head(row: &Row) -> Result<HistoryHead, DbError> {
    Ok(HistoryHead { seq: row::get(row, "history_seq")?, hash: HistoryHash(row::hash32(row, "history_hash")?) })
}

fn entry(row: &Row) -> Result<HistoryEntry, DbError> {
    Ok(HistoryEntry {
        seq: row::get(row, "seq")?,
        at: row::get(row, "made_at")?,
        event: HistoryEvent {
            actor: read::actor(row, "actor")?,
            action: read::word(row, "action", "action", Action::parse)?,
            binding: read::parsed_opt(row, "binding", "binding name")?,
            plugin: read::parsed_opt(row, "plugin", "plugin name")?,
            from_release: read::release_opt(row, "from_release")?,
            to_release: read::release_opt(row, "to_release")?,
            package: read::hash32_opt(row, "package")?.map(PackageDigest),
            reason: row::get(row, "reason")?,
            details: read::document(row, "details")?,
        },
        prev_hash: HistoryHash(row::hash32(row, "prev_hash")?),
        hash: HistoryHash(row::hash32(row, "hash")?),
    })
}
