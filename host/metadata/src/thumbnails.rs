//! Pictures of content items.

use lectern_domain::ContentId;
use lectern_domain::picture::Kind;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// Its kind, as recognised when it was sent.
    pub kind: Kind,
    /// BLAKE3 of its bytes.
    pub hash: [u8; 32],
    /// Its bytes, at most [`lectern_domain::picture::MAX_BYTES`].
    pub bytes: Vec<u8>,
}

/// The picture of a content item.
pub async fn get(client: &impl GenericClient, content: ContentId) -> Result<Option<Thumbnail>, DbError> {
    let sql = "SELECT kind, hash, bytes FROM thumbnails WHERE content_id = $1";
    let Some(row) = row::query_opt(client, sql, &[&content.0]).await? else { return Ok(None) };
    let kind: String = row::get(&row, "kind")?;
    let kind = Kind::parse(&kind).ok_or(DbError::Corrupt { what: "kind of picture", value: kind })?;
    Ok(Some(Thumbnail { kind, hash: row::hash32(&row, "hash")?, bytes: row::get(&row, "bytes")? }))
}

/// Gives a content item a picture in place of the one it had. [`DbError::NotFound`] when there is no such item.
pub async fn set(client: &impl GenericClient, content: ContentId, picture: &Thumbnail) -> Result<(), DbError> {
    let sql = "INSERT INTO thumbnails (content_id, kind, hash, bytes) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (content_id) DO UPDATE SET kind = $2, hash = $3, bytes = $4, created_at = now()";
    let (kind, hash) = (picture.kind.as_str(), picture.hash.as_slice());
    row::execute(client, sql, &[&content.0, &kind, &hash, &picture.bytes]).await.map(drop)
}

/// Takes a content item's picture away; `false` when it has none.
pub async fn delete(client: &impl GenericClient, content: ContentId) -> Result<bool, DbError> {
    Ok(row::execute(client, "DELETE FROM thumbnails WHERE content_id = $1", &[&content.0]).await? > 0)
}
