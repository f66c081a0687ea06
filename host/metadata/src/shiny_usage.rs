//! Uses of Shiny applications: begun, ended, listed, and forgotten after a while.

use std::time::Duration;

use lectern_domain::{ContentGuid, ContentId, UserGuid, UserId};
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::hits::{HitFilter, Walked, walk};
use crate::row;

/// A beginning or an end to write down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewUsage {
    /// A WebSocket was opened.
    Started {
        /// Names it.
        key: Uuid,
        /// What is used.
        content: ContentId,
        /// By whom; `None`: nobody in particular.
        user: Option<UserId>,
        /// When.
        at: OffsetDateTime,
    },
    /// It was closed.
    Ended {
        /// Names it.
        key: Uuid,
        /// When.
        at: OffsetDateTime,
    },
}

/// A use of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// Row number.
    pub id: i64,
    /// What was used.
    pub content: ContentGuid,
    /// By whom.
    pub user: Option<UserGuid>,
    /// Since when.
    pub started_at: OffsetDateTime,
    /// Until when; `None`: it goes on, or its server was killed.
    pub ended_at: Option<OffsetDateTime>,
}

/// Writes beginnings down, and then ends. Those of items that are gone are left out.
pub async fn add(tx: &Transaction<'_>, events: &[NewUsage]) -> Result<(), DbError> {
    let (mut keys, mut content, mut users, mut started) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut closed, mut ended) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            NewUsage::Started { key, content: item, user, at } => {
                keys.push(*key);
                content.push(item.0);
                users.push(user.map(|user| user.0));
                started.push(*at);
            }
            NewUsage::Ended { key, at } => {
                closed.push(*key);
                ended.push(*at);
            }
        }
    }
    let sql = "INSERT INTO shiny_usage (key, content_id, user_id, started_at) SELECT s.key, c.id, u.id, s.at \
               FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::timestamptz[]) WITH ORDINALITY \
               AS s (key, content, usr, at, place) JOIN content c ON c.id = s.content LEFT JOIN users u ON u.id = s.usr \
               ORDER BY s.place ON CONFLICT (key) DO NOTHING";
    row::execute(tx, sql, &[&keys, &content, &users, &started]).await?;
    let sql = "UPDATE shiny_usage s SET ended_at = greatest(e.at, s.started_at) \
               FROM unnest($1::uuid[], $2::timestamptz[]) AS e (key, at) WHERE s.key = e.key";
    row::execute(tx, sql, &[&closed, &ended]).await.map(drop)
}

/// The first `limit` uses that the filter finds beyond row number `from`, as [`crate::hits::list`] does; times are those of
/// beginnings.
pub async fn list(
    client: &impl GenericClient,
    filter: &HitFilter,
    from: Option<i64>,
    upwards: bool,
    limit: i64,
) -> Result<Vec<UsageRow>, DbError> {
    let what = Walked { table: "shiny_usage", time: "started_at", columns: "h.ended_at" };
    walk(client, what, filter, (from, upwards, limit)).await?.iter().map(usage).collect()
}

/// Removes at most `most` uses that began more than `age` ago, oldest first; answers how many.
pub async fn prune(client: &impl GenericClient, age: Duration, most: i64) -> Result<u64, DbError> {
    let sql = "DELETE FROM shiny_usage WHERE id IN (SELECT id FROM shiny_usage \
               WHERE started_at < now() - make_interval(secs => $1) ORDER BY started_at LIMIT $2)";
    row::execute(client, sql, &[&age.as_secs_f64(), &most]).await
}

fn usage(row: &Row) -> Result<UsageRow, DbError> {
    Ok(UsageRow {
        id: row::get(row, "id")?,
        content: ContentGuid(row::get(row, "content_guid")?),
        user: row::get::<Option<Uuid>>(row, "user_guid")?.map(UserGuid),
        started_at: row::get(row, "started_at")?,
        ended_at: row::get(row, "ended_at")?,
    })
}
