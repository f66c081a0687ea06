//! Visits of content: written in batches, listed, and forgotten after a while.

use std::time::Duration;

use lectern_domain::{BundleId, ContentGuid, ContentId, UserGuid, UserId};
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

/// Most bytes of a path that are kept.
pub const MOST_PATH: usize = 1024;

/// Most bytes of a client's description of itself that are kept.
pub const MOST_USER_AGENT: usize = 512;

/// A visit to write down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHit {
    /// What was visited.
    pub content: ContentId,
    /// Who came; `None`: nobody in particular.
    pub user: Option<UserId>,
    /// What was shown.
    pub bundle: BundleId,
    /// When.
    pub at: OffsetDateTime,
    /// The path inside the content, at most [`MOST_PATH`] bytes.
    pub path: String,
    /// How the client calls itself, at most [`MOST_USER_AGENT`] bytes; may be empty.
    pub user_agent: String,
}

/// A visit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HitRow {
    /// Row number.
    pub id: i64,
    /// What was visited.
    pub content: ContentGuid,
    /// Who came.
    pub user: Option<UserGuid>,
    /// What was shown.
    pub bundle: BundleId,
    /// When.
    pub at: OffsetDateTime,
    /// The path inside the content.
    pub path: String,
    /// How the client called itself; may be empty.
    pub user_agent: String,
}

/// Which visits to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HitFilter {
    /// Of any of these items; empty: of all.
    pub content: Vec<ContentGuid>,
    /// Only of items that this user owns or may change; `None`: of all.
    pub for_editor: Option<UserId>,
    /// Not earlier.
    pub from: Option<OffsetDateTime>,
    /// Not later.
    pub to: Option<OffsetDateTime>,
}

/// Writes visits down, in the order given. Those of items that are gone are left out.
pub async fn add(client: &impl GenericClient, hits: &[NewHit]) -> Result<(), DbError> {
    let sql = "INSERT INTO hits (content_id, user_id, bundle_id, at, path, user_agent) \
               SELECT c.id, u.id, h.bundle, h.at, h.path, h.agent \
               FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::text[], $6::text[]) \
               WITH ORDINALITY AS h (content, usr, bundle, at, path, agent, place) \
               JOIN content c ON c.id = h.content LEFT JOIN users u ON u.id = h.usr ORDER BY h.place";
    let content: Vec<i64> = hits.iter().map(|hit| hit.content.0).collect();
    let users: Vec<Option<i64>> = hits.iter().map(|hit| hit.user.map(|user| user.0)).collect();
    let bundles: Vec<i64> = hits.iter().map(|hit| hit.bundle.0).collect();
    let at: Vec<OffsetDateTime> = hits.iter().map(|hit| hit.at).collect();
    let paths: Vec<&str> = hits.iter().map(|hit| hit.path.as_str()).collect();
    let agents: Vec<&str> = hits.iter().map(|hit| hit.user_agent.as_str()).collect();
    row::execute(client, sql, &[&content, &users, &bundles, &at, &paths, &agents]).await.map(drop)
}

/// Which items `c` a list is of: those with the GUIDs `$1`, or all; and of these what the user `$2` owns or may change, or all.
pub(crate) const OF_ITEMS: &str = "(cardinality($1::uuid[]) = 0 OR c.guid = ANY ($1)) \
    AND ($2::bigint IS NULL OR c.owner_id = $2 OR EXISTS (SELECT 1 FROM permissions p WHERE p.content_id = c.id \
    AND p.role = 'owner' AND (p.user_id = $2 \
    OR p.group_id IN (SELECT m.group_id FROM group_members m WHERE m.user_id = $2))))";

/// The first `limit` visits that the filter finds beyond row number `from`: to greater numbers when `upwards`, else to lesser
/// ones, nearest first. `None` begins where the walk comes from.
pub async fn list(
    client: &impl GenericClient,
    filter: &HitFilter,
    from: Option<i64>,
    upwards: bool,
    limit: i64,
) -> Result<Vec<HitRow>, DbError> {
    let what = Walked { table: "hits", time: "at", columns: "h.bundle_id, h.path, h.user_agent" };
    walk(client, what, filter, (from, upwards, limit)).await?.iter().map(hit).collect()
}

/// A table with a row for each time that somebody used an item.
pub(crate) struct Walked {
    /// Its name.
    pub(crate) table: &'static str,
    /// Its column of the time that a filter is about.
    pub(crate) time: &'static str,
    /// What is read besides number, item, user and that time, of `h`.
    pub(crate) columns: &'static str,
}

/// Rows of `what` that the filter finds, as [`list`] says of visits.
pub(crate) async fn walk(
    client: &impl GenericClient,
    what: Walked,
    filter: &HitFilter,
    (from, upwards, limit): (Option<i64>, bool, i64),
) -> Result<Vec<Row>, DbError> {
    let Walked { table, time, columns } = what;
    let (beyond, order) = if upwards { ("h.id > $5", "h.id") } else { ("h.id < $5", "h.id DESC") };
    let sql = format!(
        "SELECT h.id, c.guid AS content_guid, u.guid AS user_guid, h.{time}, {columns} FROM {table} h \
         JOIN content c ON c.id = h.content_id LEFT JOIN users u ON u.id = h.user_id \
         WHERE {OF_ITEMS} \
         AND ($3::timestamptz IS NULL OR h.{time} >= $3) AND ($4::timestamptz IS NULL OR h.{time} <= $4) \
         AND {beyond} ORDER BY {order} LIMIT $6"
    );
    let content: Vec<Uuid> = filter.content.iter().map(|guid| guid.0).collect();
    let editor = filter.for_editor.map(|user| user.0);
    let from = from.unwrap_or(if upwards { 0 } else { i64::MAX });
    let params: row::Params<'_> = &[&content, &editor, &filter.from, &filter.to, &from, &limit.max(0)];
    row::query(client, &sql, params).await
}

/// Removes at most `most` visits that are older than `age`, oldest first; answers how many.
pub async fn prune(client: &impl GenericClient, age: Duration, most: i64) -> Result<u64, DbError> {
    let sql = "DELETE FROM hits WHERE id IN (SELECT id FROM hits WHERE at < now() - make_interval(secs => $1) \
               ORDER BY at LIMIT $2)";
    row::execute(client, sql, &[&age.as_secs_f64(), &most]).await
}

fn hit(row: &Row) -> Result<HitRow, DbError> {
    Ok(HitRow {
        id: row::get(row, "id")?,
        content: ContentGuid(row::get(row, "content_guid")?),
        user: row::get::<Option<Uuid>>(row, "user_guid")?.map(UserGuid),
        bundle: BundleId(row::get(row, "bundle_id")?),
        at: row::get(row, "at")?,
        path: row::get(row, "path")?,
        user_agent: row::get(row, "user_agent")?,
    })
}
