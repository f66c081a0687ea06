//! Requests for access: who asked for which content, until somebody who may change it has decided.

use lectern_domain::access::PermissionRole;
use lectern_domain::{ContentId, UserGuid, UserId};
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    /// Row number.
    pub id: i64,
    /// The content item.
    pub content: ContentId,
    /// Who asks.
    pub user: UserId,
    /// Their GUID.
    pub user_guid: UserGuid,
    /// Their name.
    pub username: String,
    /// What is asked for.
    pub role: PermissionRole,
    /// Why, in the words of who asks; may be empty, at most 1000 characters.
    pub reason: String,
    /// When it was last asked.
    pub created_at: OffsetDateTime,
}

const COLUMNS: &str = "r.id, r.content_id, r.user_id, u.guid, u.username, r.role, r.reason, r.created_at";

impl RequestRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row::get(row, "id")?,
            content: ContentId(row::get(row, "content_id")?),
            user: UserId(row::get(row, "user_id")?),
            user_guid: UserGuid(row::get(row, "guid")?),
            username: row::get(row, "username")?,
            role: row::permission_role(row, "role")?,
            reason: row::get(row, "reason")?,
            created_at: row::get(row, "created_at")?,
        })
    }
}

/// Asks for access; a request that is there already gets the new role and reason. `None` when the user has `most` open
/// requests for other items.
pub async fn ask(
    client: &impl GenericClient,
    content: ContentId,
    user: UserId,
    role: PermissionRole,
    reason: &str,
    most: i64,
) -> Result<Option<RequestRow>, DbError> {
    let sql = format!(
        "WITH r AS (INSERT INTO permission_requests (content_id, user_id, role, reason) SELECT $1, $2, $3, $4 \
           WHERE (SELECT count(*) FROM permission_requests WHERE user_id = $2 AND content_id <> $1) < $5 \
           ON CONFLICT (content_id, user_id) DO UPDATE SET role = $3, reason = $4, created_at = now() RETURNING *) \
         SELECT {COLUMNS} FROM r JOIN users u ON u.id = r.user_id"
    );
    let word = row::permission_word(role);
    let row = row::query_opt(client, &sql, &[&content.0, &user.0, &word, &reason, &most]).await?;
    row.as_ref().map(RequestRow::from_row).transpose()
}

/// The open requests for a content item, oldest first.
pub async fn list(client: &impl GenericClient, content: ContentId) -> Result<Vec<RequestRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM permission_requests r JOIN users u ON u.id = r.user_id WHERE r.content_id = $1 ORDER BY r.id"
    );
    row::query(client, &sql, &[&content.0]).await?.iter().map(RequestRow::from_row).collect()
}

/// Takes a request away and answers it; `None` when the content item has no such request.
pub async fn take(client: &impl GenericClient, content: ContentId, id: i64) -> Result<Option<RequestRow>, DbError> {
    let sql = format!(
        "WITH r AS (DELETE FROM permission_requests WHERE content_id = $1 AND id = $2 RETURNING *) \
         SELECT {COLUMNS} FROM r JOIN users u ON u.id = r.user_id"
    );
    row::query_opt(client, &sql, &[&content.0, &id]).await?.as_ref().map(RequestRow::from_row).transpose()
}

/// Takes a user's own request away; `false` when there is none.
pub async fn withdraw(client: &impl GenericClient, content: ContentId, user: UserId) -> Result<bool, DbError> {
    let sql = "DELETE FROM permission_requests WHERE content_id = $1 AND user_id = $2";
    Ok(row::execute(client, sql, &[&content.0, &user.0]).await? > 0)
}
