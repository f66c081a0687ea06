//! Browser sessions: stored as the BLAKE3 hash of the token in the cookie.

use lectern_domain::UserId;
use lectern_domain::plugin::PluginName;
use time::OffsetDateTime;

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
