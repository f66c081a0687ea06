//! The audit log: appended to, listed, and checked.

use lectern_domain::audit::{Action, Actor, Entry, EntryHash, Head};
use lectern_domain::{UserGuid, UserId};
use tokio_postgres::Row;

use crate::chain;
use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;

const COLUMNS: &str = "seq, made_at, user_id, user_guid, actor, action, description, prev_hash, hash";

/// What checking the chain found.
pub type Chain = chain::Chain<Head>;

/// Which way a list goes from where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To greater numbers.
    Up,
    /// To lesser numbers.
    Down,
}

/// Adds an entry. Entries of other transactions wait until this one ends: make it the last thing that the transaction does.
pub async fn append(tx: &Transaction<'_>, actor: Actor, action: &Action<'_>) -> Result<Entry, DbError> {
    // The time is taken after the lock: times of entries have their order too.
    let sql = "WITH h AS MATERIALIZED (SELECT seq, hash FROM audit_head FOR UPDATE) \
               SELECT seq, hash, clock_timestamp() AS at FROM h";
    let found = row::query_one(tx, sql, &[]).await?;
    let entry = Entry::after(head(&found)?, row::get(&found, "at")?, actor, action);
    let sql = format!("INSERT INTO audit_log ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    let (user, guid) = entry.actor.user.map(|(id, guid)| (id.0, guid.0)).unzip();
    let params: row::Params<'_> = &[
        &entry.seq,
        &entry.at,
        &user,
        &guid,
        &entry.actor.description,
        &entry.action,
        &entry.text,
        &entry.prev_hash.0.as_slice(),
        &entry.hash.0.as_slice(),
    ];
    row::execute(tx, &sql, params).await?;
    Ok(entry)
}

/// At most `limit` entries beyond the one numbered `from`, nearest first; `None` begins at the end that `way` comes from.
pub async fn list(client: &impl GenericClient, from: Option<i64>, way: Way, limit: i64) -> Result<Vec<Entry>, DbError> {
    let sql = match way {
        Way::Up => format!("SELECT {COLUMNS} FROM audit_log WHERE seq > $1 ORDER BY seq LIMIT $2"),
        Way::Down => format!("SELECT {COLUMNS} FROM audit_log WHERE seq < $1 ORDER BY seq DESC LIMIT $2"),
    };
    let from = from.unwrap_or(match way {
        Way::Up => 0,
        Way::Down => i64::MAX,
    });
    row::query(client, &sql, &[&from, &limit.max(0)]).await?.iter().map(entry).collect()
}

/// Computes the hashes of all entries again, a page at a time, up to the end that the log's head names.
pub async fn verify(client: &impl GenericClient) -> Result<Chain, DbError> {
    // In one statement: entries may be added meanwhile, and these are not looked at.
    let sql = "SELECT seq, hash, (SELECT coalesce(max(seq), 0) FROM audit_log) AS last FROM audit_head";
    let ends = row::query_one(client, sql, &[]).await?;
    let (end, last) = (head(&ends)?, row::get::<i64>(&ends, "last")?);
    let sql = format!("SELECT {COLUMNS} FROM audit_log WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3");
    let next = |found: &Row, at| entry(found).ok().filter(|entry| entry.follows(at)).map(|entry| entry.head());
    let walk = chain::Walk { sql: &sql, empty: Head::EMPTY, end, last, seq: |head| head.seq, next };
    walk.verify(client).await
}

fn head(row: &Row) -> Result<Head, DbError> {
    Ok(Head { seq: row::get(row, "seq")?, hash: EntryHash(row::hash32(row, "hash")?) })
}

fn entry(row: &Row) -> Result<Entry, DbError> {
    let user = row::get::<Option<i64>>(row, "user_id")?.map(UserId);
    let guid = row::get::<Option<uuid::Uuid>>(row, "user_guid")?.map(UserGuid);
    Ok(Entry {
        seq: row::get(row, "seq")?,
        at: row::get(row, "made_at")?,
        actor: Actor { user: user.zip(guid), description: row::get(row, "actor")? },
        action: row::get(row, "action")?,
        text: row::get(row, "description")?,
        prev_hash: EntryHash(row::hash32(row, "prev_hash")?),
        hash: EntryHash(row::hash32(row, "hash")?),
    })
}
