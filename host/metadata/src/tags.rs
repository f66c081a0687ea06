//! The tree of tags, and which content bears which. Its rules are `lectern_domain::tags`; who changes the tree reads it
//! whole under [`lock`] first.

use std::collections::HashMap;

use lectern_domain::tags::Tag;
use lectern_domain::{ContentId, TagId};
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;

/// One tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRow {
    /// Number, name and parent.
    pub tag: Tag,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it was last renamed or moved.
    pub updated_at: OffsetDateTime,
}

const COLUMNS: &str = "t.id, t.name, t.parent_id, t.created_at, t.updated_at";

impl TagRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        let tag = Tag {
            id: TagId(row::get(row, "id")?),
            parent: row::get::<Option<i64>>(row, "parent_id")?.map(TagId),
            name: row::get(row, "name")?,
        };
        Ok(Self { tag, created_at: row::get(row, "created_at")?, updated_at: row::get(row, "updated_at")? })
    }
}

/// Keeps others from changing the tree until the transaction ends, so that what was decided on it still holds.
pub async fn lock(tx: &Transaction<'_>) -> Result<(), DbError> {
    row::execute(tx, "LOCK TABLE tags IN SHARE ROW EXCLUSIVE MODE", &[]).await.map(drop)
}

/// All tags in the order they were made; at most [`lectern_domain::tags::MAX_TAGS`].
pub async fn all(client: &impl GenericClient) -> Result<Vec<TagRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM tags t ORDER BY t.id");
    row::query(client, &sql, &[]).await?.iter().map(TagRow::from_row).collect()
}

/// One tag.
pub async fn get(client: &impl GenericClient, id: TagId) -> Result<Option<TagRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM tags t WHERE t.id = $1");
    row::query_opt(client, &sql, &[&id.0]).await?.as_ref().map(TagRow::from_row).transpose()
}

/// Makes a tag. [`DbError::TagTaken`] when a sibling has the name.
pub async fn create(client: &impl GenericClient, name: &str, parent: Option<TagId>) -> Result<TagRow, DbError> {
    let sql =
        format!("WITH t AS (INSERT INTO tags (name, parent_id) VALUES ($1, $2) RETURNING *) SELECT {COLUMNS} FROM t");
    let parent = parent.map(|parent| parent.0);
    TagRow::from_row(&row::query_one(client, &sql, &[&name, &parent]).await?)
}

/// Renames and moves a tag. Content that bears it or a tag below it gets the tags that are above it then; `above` lists
/// them. [`DbError::TagTaken`] when a sibling has the name, [`DbError::NotFound`] when there is no such tag.
pub async fn change(
    tx: &Transaction<'_>,
    id: TagId,
    name: &str,
    parent: Option<TagId>,
    above: &[TagId],
) -> Result<TagRow, DbError> {
    let sql = format!(
        "WITH t AS (UPDATE tags SET name = $2, parent_id = $3, updated_at = now() WHERE id = $1 RETURNING *) \
         SELECT {COLUMNS} FROM t"
    );
    let parent = parent.map(|parent| parent.0);
    let changed = row::query_opt(tx, &sql, &[&id.0, &name, &parent]).await?.ok_or(DbError::NotFound("tag"))?;
    // Whoever bears a tag below bears this one already.
    let sql = "INSERT INTO content_tags (content_id, tag_id) \
               SELECT c.content_id, above FROM content_tags c, unnest($2::bigint[]) AS above WHERE c.tag_id = $1 \
               ON CONFLICT DO NOTHING";
    row::execute(tx, sql, &[&id.0, &numbers(above)]).await?;
    TagRow::from_row(&changed)
}

/// Deletes a tag with all below it, from all content; `false` when there is none.
pub async fn delete(client: &impl GenericClient, id: TagId) -> Result<bool, DbError> {
    Ok(row::execute(client, "DELETE FROM tags WHERE id = $1", &[&id.0]).await? > 0)
}

/// The tags of content items, of each in the order the tags were made. One query, however many items.
pub async fn of_content(
    client: &impl GenericClient,
    items: &[ContentId],
) -> Result<HashMap<ContentId, Vec<TagRow>>, DbError> {
    let sql = format!(
        "SELECT c.content_id, {COLUMNS} FROM content_tags c JOIN tags t ON t.id = c.tag_id \
         WHERE c.content_id = ANY ($1) ORDER BY t.id"
    );
    let items: Vec<i64> = items.iter().map(|item| item.0).collect();
    let mut found: HashMap<ContentId, Vec<TagRow>> = HashMap::new();
    for row in row::query(client, &sql, &[&items]).await? {
        found.entry(ContentId(row::get(&row, "content_id")?)).or_default().push(TagRow::from_row(&row)?);
    }
    Ok(found)
}

/// Gives tags to a content item; those it bears stay. [`DbError::NotFound`] when the item or a tag is gone.
pub async fn give(client: &impl GenericClient, content: ContentId, tags: &[TagId]) -> Result<(), DbError> {
    let sql = "INSERT INTO content_tags (content_id, tag_id) SELECT $1, tag FROM unnest($2::bigint[]) AS tag \
               ON CONFLICT DO NOTHING";
    row::execute(client, sql, &[&content.0, &numbers(tags)]).await.map(drop)
}

/// Takes tags from a content item; the number it bore.
pub async fn take(client: &impl GenericClient, content: ContentId, tags: &[TagId]) -> Result<u64, DbError> {
    let sql = "DELETE FROM content_tags WHERE content_id = $1 AND tag_id = ANY ($2)";
    row::execute(client, sql, &[&content.0, &numbers(tags)]).await
}

fn numbers(tags: &[TagId]) -> Vec<i64> {
    tags.iter().map(|tag| tag.0).collect()
}
