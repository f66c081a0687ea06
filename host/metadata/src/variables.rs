//! Environment variables of content items. Values are sealed before they come here; the database never sees them.

use lectern_domain::ContentId;

use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::hidden::Hidden;
use crate::row;

/// A variable's name and its sealed value.
pub type Sealed = (String, Vec<u8>);

/// The names, sorted by their bytes.
pub async fn names(client: &impl GenericClient, content: ContentId) -> Result<Vec<String>, DbError> {
    let sql = "SELECT name FROM content_variables WHERE content_id = $1 ORDER BY name COLLATE \"C\"";
    row::query(client, sql, &[&content.0]).await?.iter().map(|row| row::get(row, "name")).collect()
}

/// The names with their sealed values, sorted by name.
pub async fn all_sealed(client: &impl GenericClient, content: ContentId) -> Result<Vec<Sealed>, DbError> {
    let sql = "SELECT name, sealed FROM content_variables WHERE content_id = $1 ORDER BY name COLLATE \"C\"";
    let rows = row::query(client, sql, &[&content.0]).await?;
    rows.iter().map(|row| Ok((row::get(row, "name")?, row::get(row, "sealed")?))).collect()
}

/// Deletes the variables of `deletes`, then sets those of `upserts`; others stay. Names are distinct.
pub async fn patch(
    tx: &Transaction<'_>,
    content: ContentId,
    upserts: &[Sealed],
    deletes: &[String],
) -> Result<(), DbError> {
    let sql = "DELETE FROM content_variables WHERE content_id = $1 AND name = ANY ($2)";
    row::execute(tx, sql, &[&content.0, &deletes]).await?;
    upsert(tx, content, upserts).await
}

/// Makes `variables` the only ones. Names are distinct.
pub async fn replace_all(tx: &Transaction<'_>, content: ContentId, variables: &[Sealed]) -> Result<(), DbError> {
    row::execute(tx, "DELETE FROM content_variables WHERE content_id = $1", &[&content.0]).await?;
    upsert(tx, content, variables).await
}

async fn upsert(tx: &Transaction<'_>, content: ContentId, variables: &[Sealed]) -> Result<(), DbError> {
    if variables.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO content_variables (content_id, name, sealed) \
               SELECT $1, name, sealed FROM unnest($2::text[], $3::bytea[]) AS new (name, sealed) \
               ON CONFLICT (content_id, name) DO UPDATE SET sealed = excluded.sealed";
    let (names, values): (Vec<&str>, Vec<&[u8]>) =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_slice())).unzip();
    row::execute(tx, sql, &[&content.0, &names, &Hidden(values)]).await.map(drop)
}
