//! API keys: stored as the BLAKE3 hash of their text. Access tokens of programs and visitors' keys for content are keys too, but
//! not ones that people keep: see [`crate::oauth`] and [`crate::integrations`].

use lectern_domain::{KeyId, UserId, UserRole};
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::database::{GenericClient, Transaction};
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
    /// When it ends by itself.
    pub expires_at: Option<OffsetDateTime>,
    /// When it was used last, to the minute or so.
    pub last_used_at: Option<OffsetDateTime>,
}

const COLUMNS: &str = "id, user_id, name, role, created_at, expires_at, last_used_at";

/// True of the keys that people keep.
const KEPT: &str = "grant_id IS NULL AND association_id IS NULL";

impl KeyRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: KeyId(row::get(row, "id")?),
            user: UserId(row::get(row, "user_id")?),
            name: row::get(row, "name")?,
            role: row::user_role(row, "role")?,
            created_at: row::get(row, "created_at")?,
            expires_at: row::get(row, "expires_at")?,
            last_used_at: row::get(row, "last_used_at")?,
        })
    }
}

/// Stores a key by the hash of its text. [`DbError::NotFound`] when there is no such user, [`DbError::KeyNameTaken`] when the
/// user has a key of this name that is not revoked; letter case does not matter.
pub async fn create(
    client: &impl GenericClient,
    user: UserId,
    name: &str,
    role: UserRole,
    hash: &[u8; 32],
    expires_at: Option<OffsetDateTime>,
) -> Result<KeyRow, DbError> {
    let sql = format!(
        "INSERT INTO api_keys (user_id, name, role, hash, expires_at) VALUES ($1, $2, $3, $4, $5) RETURNING {COLUMNS}"
    );
    let params: row::Params<'_> = &[&user.0, &name, &role.as_str(), &Hidden(hash.as_slice()), &expires_at];
    let row = row::query_one(client, &sql, params).await?;
    KeyRow::from_row(&row)
}

/// The user's keys that are not revoked, oldest first.
pub async fn list(client: &impl GenericClient, user: UserId) -> Result<Vec<KeyRow>, DbError> {
    let sql =
        format!("SELECT {COLUMNS} FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL AND {KEPT} ORDER BY id");
    row::query(client, &sql, &[&user.0]).await?.iter().map(KeyRow::from_row).collect()
}

/// One of the user's keys, unless it is revoked.
pub async fn get(client: &impl GenericClient, user: UserId, key: KeyId) -> Result<Option<KeyRow>, DbError> {
    let sql =
        format!("SELECT {COLUMNS} FROM api_keys WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND {KEPT}");
    row::query_opt(client, &sql, &[&key.0, &user.0]).await?.as_ref().map(KeyRow::from_row).transpose()
}

/// Whether a key is the access token of a program, which ends with what its user allowed.
pub async fn is_of_program(client: &impl GenericClient, key: KeyId) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM api_keys WHERE id = $1 AND grant_id IS NOT NULL";
    Ok(row::query_opt(client, sql, &[&key.0]).await?.is_some())
}

/// Notes that these keys, and with them their users' accounts, were used just now.
pub async fn note_uses(tx: &Transaction<'_>, keys: &[KeyId]) -> Result<(), DbError> {
    let ids: Vec<i64> = keys.iter().map(|key| key.0).collect();
    row::execute(tx, "UPDATE api_keys SET last_used_at = now() WHERE id = ANY ($1)", &[&ids]).await?;
    let sql = "UPDATE users SET active_at = now() WHERE id IN (SELECT user_id FROM api_keys WHERE id = ANY ($1))";
    row::execute(tx, sql, &[&ids]).await.map(drop)
}

/// Revokes one of the user's keys for good; `false` when the user has no such key or it was revoked before.
pub async fn revoke(client: &impl GenericClient, user: UserId, key: KeyId) -> Result<bool, DbError> {
    let sql = format!(
        "UPDATE api_keys SET revoked_at = now(), stamp = nextval('record_stamps') \
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND {KEPT}"
    );
    Ok(row::execute(client, &sql, &[&key.0, &user.0]).await? > 0)
}
