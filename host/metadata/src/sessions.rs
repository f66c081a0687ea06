//! Browser sessions: stored as the BLAKE3 hash of the token in the cookie.

use lectern_domain::UserId;
use lectern_domain::plugin::PluginName;
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::hidden::Hidden;
use crate::row;

/// Most groups of one session: all sessions are in the memory of each server.
pub const MOST_GROUPS: usize = 500;

/// Stores a session that ends at `expires_at`, with the groups that `source`, the plugin that signed the visitor in, says
/// the visitor belongs to; at most [`MOST_GROUPS`]. [`DbError::NotFound`] when there is no such user.
pub async fn create(
    client: &impl GenericClient,
    hash: &[u8; 32],
    user: UserId,
    expires_at: OffsetDateTime,
    groups: &[String],
    source: Option<&PluginName>,
) -> Result<(), DbError> {
    let sql = "INSERT INTO sessions (hash, user_id, expires_at, groups, source) VALUES ($1, $2, $3, $4, $5)";
    let source = source.map(PluginName::as_str);
    row::execute(client, sql, &[&Hidden(hash.as_slice()), &user.0, &expires_at, &groups, &source]).await.map(drop)
}

/// A session that has not ended, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Names it in lists; opens nothing.
    pub guid: Uuid,
    /// The plugin that signed the visitor in; `None`: the protocol's own sign-in, or an older version of this server.
    pub source: Option<String>,
    /// When it began.
    pub created_at: OffsetDateTime,
    /// When it ends by itself.
    pub expires_at: OffsetDateTime,
}

fn from_row(row: &Row) -> Result<SessionRow, DbError> {
    Ok(SessionRow {
        guid: row::get(row, "guid")?,
        source: row::get(row, "source")?,
        created_at: row::get(row, "created_at")?,
        expires_at: row::get(row, "expires_at")?,
    })
}

/// The user's sessions that have not ended, youngest first; at most `limit`.
pub async fn list(client: &impl GenericClient, user: UserId, limit: i64) -> Result<Vec<SessionRow>, DbError> {
    let sql = "SELECT guid, source, created_at, expires_at FROM sessions WHERE user_id = $1 AND expires_at > now() \
               ORDER BY created_at DESC, guid LIMIT $2";
    row::query(client, sql, &[&user.0, &limit]).await?.iter().map(from_row).collect()
}

/// Ends one of the user's sessions by its name in lists; `false` when the user has no such session.
pub async fn delete_by_guid(client: &impl GenericClient, user: UserId, guid: Uuid) -> Result<bool, DbError> {
    let sql = "DELETE FROM sessions WHERE user_id = $1 AND guid = $2";
    Ok(row::execute(client, sql, &[&user.0, &guid]).await? > 0)
}

/// Gives a session the secret that lets a client make an API key with it, by its hash.
pub async fn set_xsrf_hash(client: &impl GenericClient, hash: &[u8; 32], xsrf: &[u8; 32]) -> Result<(), DbError> {
    let sql = "UPDATE sessions SET xsrf_hash = $2 WHERE hash = $1";
    row::execute(client, sql, &[&Hidden(hash.as_slice()), &Hidden(xsrf.as_slice())]).await.map(drop)
}

/// Whether a session of the user that has not ended was given this secret.
pub async fn knows_xsrf(client: &impl GenericClient, user: UserId, xsrf: &[u8; 32]) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM sessions WHERE user_id = $1 AND xsrf_hash = $2 AND expires_at > now() LIMIT 1";
    Ok(row::query_opt(client, sql, &[&user.0, &Hidden(xsrf.as_slice())]).await?.is_some())
}

/// Ends a session; `false` when there is none.
pub async fn delete(client: &impl GenericClient, hash: &[u8; 32]) -> Result<bool, DbError> {
    Ok(row::execute(client, "DELETE FROM sessions WHERE hash = $1", &[&Hidden(hash.as_slice())]).await? > 0)
}

/// Ends all sessions of a user, after a new password for instance; answers how many there were.
pub async fn delete_of_user(client: &impl GenericClient, user: UserId) -> Result<u64, DbError> {
    row::execute(client, "DELETE FROM sessions WHERE user_id = $1", &[&user.0]).await
}

/// Removes sessions that have ended; answers how many.
pub async fn delete_expired(client: &impl GenericClient) -> Result<u64, DbError> {
    row::execute(client, "DELETE FROM sessions WHERE expires_at <= now()", &[]).await
}
