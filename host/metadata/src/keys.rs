//! API keys: stored as the BLAKE3 hash of their text.

use lectern_domain::{KeyId, UserId, UserRole};
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::hidden::Hidden;
use crate::row;

/// One API key, without its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Row number.
    pub id: KeyId,
    /// Whose key it is.
    pub user: UserId,
    /// What the user calls it.
    pub name: String,
    /// The most it may do.
    pub role: UserRole,
    /// When it was created.
    pub created_at: OffsetDateTime,
}

const COLUMNS: &str = "id, user_id, name, role, created_at";

impl KeyRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: KeyId(row::get(row, "id")?),
            user: UserId(row::get(row, "user_id")?),
            name: row::get(row, "name")?,
            role: row::user_role(row, "role")?,
            created_at: row::get(row, "created_at")?,
        })
    }
}

/// Stores a key by the hash of its text. [`DbError::NotFound`] when there is no such user.
pub async fn create(
    client: &impl GenericClient,
    user: UserId,
    name: &str,
    role: UserRole,
    hash: &[u8; 32],
) -> Result<KeyRow, DbError> {
    let sql = format!("INSERT INTO api_keys (user_id, name, role, hash) VALUES ($1, $2, $3, $4) RETURNING {COLUMNS}");
    let row = row::query_one(client, &sql, &[&user.0, &name, &role.as_str(), &Hidden(hash.as_slice())]).await?;
    KeyRow::from_row(&row)
}

/// The user's keys that are not revoked, oldest first.
pub async fn list(client: &impl GenericClient, user: UserId) -> Result<Vec<KeyRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL ORDER BY id");
    row::query(client, &sql, &[&user.0]).await?.iter().map(KeyRow::from_row).collect()
}

/// Revokes one of the user's keys for good; `false` when the user has no such key or it was revoked before.
pub async fn revoke(client: &impl GenericClient, user: UserId, key: KeyId) -> Result<bool, DbError> {
    let sql = "UPDATE api_keys SET revoked_at = now(), stamp = nextval('record_stamps') \
               WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL";
    Ok(row::execute(client, sql, &[&key.0, &user.0]).await? > 0)
}
