//! Who is listed for a content item besides its owner.

use std::collections::HashMap;

use lectern_domain::access::PermissionRole;
use lectern_domain::{ContentId, UserGuid, UserId};
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

/// One entry of a content item's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionRow {
    /// Row number.
    pub id: i64,
    /// The content item.
    pub content: ContentId,
    /// The user listed.
    pub user: UserId,
    /// The user's GUID.
    pub user_guid: UserGuid,
    /// The user's name.
    pub username: String,
    /// What the entry gives.
    pub role: PermissionRole,
    /// When it was added.
    pub created_at: OffsetDateTime,
}

const COLUMNS: &str = "p.id, p.content_id, p.user_id, u.guid, u.username, p.role, p.created_at";

impl PermissionRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row::get(row, "id")?,
            content: ContentId(row::get(row, "content_id")?),
            user: UserId(row::get(row, "user_id")?),
            user_guid: UserGuid(row::get(row, "guid")?),
            username: row::get(row, "username")?,
            role: row::permission_role(row, "role")?,
            created_at: row::get(row, "created_at")?,
        })
    }
}

/// Lists a user. [`DbError::AlreadyListed`] when there is an entry, [`DbError::NotFound`] when the user or the content
/// does not exist. That the owner is not listed is the caller's rule.
pub async fn add(
    client: &impl GenericClient,
    content: ContentId,
    user: UserId,
    role: PermissionRole,
) -> Result<PermissionRow, DbError> {
    let sql = format!(
        "WITH p AS (INSERT INTO permissions (content_id, user_id, role) VALUES ($1, $2, $3) RETURNING *) \
         SELECT {COLUMNS} FROM p JOIN users u ON u.id = p.user_id"
    );
    let word = row::permission_word(role);
    // The foreign key is checked when the statement ends; a user that is gone makes the join empty before that.
    let row = row::query_opt(client, &sql, &[&content.0, &user.0, &word]).await?;
    PermissionRow::from_row(&row.ok_or(DbError::NotFound("user"))?)
}

/// The entries of a content item, in the order they were added.
pub async fn list(client: &impl GenericClient, content: ContentId) -> Result<Vec<PermissionRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM permissions p JOIN users u ON u.id = p.user_id WHERE p.content_id = $1 ORDER BY p.id"
    );
    row::query(client, &sql, &[&content.0]).await?.iter().map(PermissionRow::from_row).collect()
}

/// What the entries of one user give, by content item.
pub async fn of_user(client: &impl GenericClient, user: UserId) -> Result<HashMap<ContentId, PermissionRole>, DbError> {
    let sql = "SELECT content_id, role FROM permissions WHERE user_id = $1";
    let rows = row::query(client, sql, &[&user.0]).await?;
    rows.iter().map(|row| Ok((ContentId(row::get(row, "content_id")?), row::permission_role(row, "role")?))).collect()
}

/// One entry of a content item.
pub async fn get(client: &impl GenericClient, content: ContentId, id: i64) -> Result<Option<PermissionRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM permissions p JOIN users u ON u.id = p.user_id WHERE p.content_id = $1 AND p.id = $2"
    );
    row::query_opt(client, &sql, &[&content.0, &id]).await?.as_ref().map(PermissionRow::from_row).transpose()
}

/// Changes what an entry gives. [`DbError::NotFound`] when the content item has no such entry.
pub async fn set_role(
    client: &impl GenericClient,
    content: ContentId,
    id: i64,
    role: PermissionRole,
) -> Result<PermissionRow, DbError> {
    let sql = format!(
        "WITH p AS (UPDATE permissions SET role = $3 WHERE content_id = $1 AND id = $2 RETURNING *) \
         SELECT {COLUMNS} FROM p JOIN users u ON u.id = p.user_id"
    );
    let row = row::query_opt(client, &sql, &[&content.0, &id, &row::permission_word(role)]).await?;
    PermissionRow::from_row(&row.ok_or(DbError::NotFound("permission"))?)
}

/// Removes an entry; `false` when the content item has no such entry.
pub async fn remove(client: &impl GenericClient, content: ContentId, id: i64) -> Result<bool, DbError> {
    let sql = "DELETE FROM permissions WHERE content_id = $1 AND id = $2";
    Ok(row::execute(client, sql, &[&content.0, &id]).await? > 0)
}
