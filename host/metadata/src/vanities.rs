//! Vanity paths: addresses that publishers choose.

use lectern_domain::{ContentGuid, ContentId};
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;

/// The vanity path of one content item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VanityRow {
    /// The content item.
    pub content: ContentId,
    /// Its GUID.
    pub content_guid: ContentGuid,
    /// The path, with a leading and a trailing slash.
    pub path: String,
    /// When it was set.
    pub created_at: OffsetDateTime,
}

const SELECT: &str =
    "SELECT v.content_id, c.guid, v.path, v.created_at FROM vanities v JOIN content c ON c.id = v.content_id";

impl VanityRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            content: ContentId(row::get(row, "content_id")?),
            content_guid: ContentGuid(row::get(row, "guid")?),
            path: row::get(row, "path")?,
            created_at: row::get(row, "created_at")?,
        })
    }
}

/// The vanity path of a content item.
pub async fn get(client: &impl GenericClient, content: ContentId) -> Result<Option<VanityRow>, DbError> {
    let sql = format!("{SELECT} WHERE v.content_id = $1");
    row::query_opt(client, &sql, &[&content.0]).await?.as_ref().map(VanityRow::from_row).transpose()
}

/// All vanity paths, by path.
pub async fn list(client: &impl GenericClient) -> Result<Vec<VanityRow>, DbError> {
    let sql = format!("{SELECT} ORDER BY v.path");
    row::query(client, &sql, &[]).await?.iter().map(VanityRow::from_row).collect()
}

/// The vanity paths that are `path` or above it, letter case aside: those it may clash with.
pub async fn around(client: &impl GenericClient, path: &str) -> Result<Vec<VanityRow>, DbError> {
    let sql = format!("{SELECT} WHERE starts_with(lower($1), lower(v.path)) ORDER BY v.path");
    row::query(client, &sql, &[&path]).await?.iter().map(VanityRow::from_row).collect()
}

/// Keeps others from giving paths until the transaction ends, so that what [`around`] shows still holds when it commits.
pub async fn lock(tx: &Transaction<'_>) -> Result<(), DbError> {
    row::execute(tx, "LOCK TABLE vanities IN SHARE ROW EXCLUSIVE MODE", &[]).await.map(drop)
}

/// Gives `path` (normalised: leading and trailing slash) to a content item in place of the one it had, and takes the
/// paths of the items `losers`. [`DbError::VanityTaken`] when another item has it.
pub async fn set(
    tx: &Transaction<'_>,
    content: ContentId,
    path: &str,
    losers: &[ContentId],
) -> Result<VanityRow, DbError> {
    let losers: Vec<i64> = losers.iter().map(|loser| loser.0).collect();
    row::execute(tx, "DELETE FROM vanities WHERE content_id = ANY ($1)", &[&losers]).await?;
    let sql = "INSERT INTO vanities (content_id, path) VALUES ($1, $2) \
               ON CONFLICT (content_id) DO UPDATE SET path = $2, created_at = now()";
    row::execute(tx, sql, &[&content.0, &path]).await?;
    get(tx, content).await?.ok_or(DbError::NotFound("content"))
}

/// Removes the vanity path of a content item; `false` when it has none.
pub async fn delete(client: &impl GenericClient, content: ContentId) -> Result<bool, DbError> {
    Ok(row::execute(client, "DELETE FROM vanities WHERE content_id = $1", &[&content.0]).await? > 0)
}
