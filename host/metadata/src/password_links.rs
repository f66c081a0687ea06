//! Links by which somebody chooses a password, made by an administrator: stored as the BLAKE3 hash of the secret in them.

use lectern_domain::UserId;
use time::OffsetDateTime;

use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::hidden::Hidden;
use crate::row;
use crate::users::{self, UserRow};

/// Stores a link that ends at `expires_at`; the account's link before ends now. [`DbError::NotFound`] when there is no such user.
pub async fn create(
    client: &impl GenericClient,
    hash: &[u8; 32],
    user: UserId,
    expires_at: OffsetDateTime,
) -> Result<(), DbError> {
    let sql = "INSERT INTO password_links (hash, user_id, expires_at) VALUES ($1, $2, $3) \
               ON CONFLICT (user_id) DO UPDATE \
               SET hash = excluded.hash, created_at = now(), expires_at = excluded.expires_at";
    row::execute(client, sql, &[&Hidden(hash.as_slice()), &user.0, &expires_at]).await.map(drop)
}

/// Whose link this is, while it can be used.
pub async fn find(client: &impl GenericClient, hash: &[u8; 32]) -> Result<Option<UserRow>, DbError> {
    let sql = "SELECT user_id FROM password_links WHERE hash = $1 AND expires_at > now()";
    let Some(row) = row::query_opt(client, sql, &[&Hidden(hash.as_slice())]).await? else { return Ok(None) };
    users::get(client, UserId(row::get(&row, "user_id")?)).await
}

/// Uses the link up; `None` when there is none that can be used. Of two at the same time one gets it.
pub async fn take(tx: &Transaction<'_>, hash: &[u8; 32]) -> Result<Option<UserId>, DbError> {
    let sql = "DELETE FROM password_links WHERE hash = $1 AND expires_at > now() RETURNING user_id";
    let row = row::query_opt(tx, sql, &[&Hidden(hash.as_slice())]).await?;
    row.map(|row| Ok(UserId(row::get(&row, "user_id")?))).transpose()
}

/// Ends the account's link, if there is one.
pub async fn delete_of_user(client: &impl GenericClient, user: UserId) -> Result<(), DbError> {
    row::execute(client, "DELETE FROM password_links WHERE user_id = $1", &[&user.0]).await.map(drop)
}
