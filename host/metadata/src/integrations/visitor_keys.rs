//! Visitors' keys for content. The database knows what their texts are computed from, and not the secret that this takes.

use lectern_domain::{KeyId, UserId, UserRole};
use time::OffsetDateTime;

use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::hidden::Hidden;
use crate::row;

/// A key that can be given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisitorKey {
    /// What its text is computed from.
    pub seed: [u8; 16],
    /// BLAKE3 of its text.
    pub hash: [u8; 32],
    /// When it ends.
    pub expires_at: OffsetDateTime,
}

/// The key of a visitor for an association, of this role, that lasts longest: only if it lasts beyond `until`.
pub async fn find(
    client: &impl GenericClient,
    association: i64,
    user: UserId,
    role: UserRole,
    until: OffsetDateTime,
) -> Result<Option<VisitorKey>, DbError> {
    let sql = "SELECT seed, hash, expires_at FROM api_keys WHERE association_id = $1 AND user_id = $2 AND role = $3 \
               AND revoked_at IS NULL AND expires_at > $4 ORDER BY expires_at DESC, id DESC LIMIT 1";
    let params: row::Params<'_> = &[&association, &user.0, &role.as_str(), &until];
    let Some(row) = row::query_opt(client, sql, params).await? else { return Ok(None) };
    let seed: &[u8] = row::get(&row, "seed")?;
    let seed =
        seed.try_into().map_err(|_| DbError::Corrupt { what: "seed of length", value: seed.len().to_string() })?;
    Ok(Some(VisitorKey { seed, hash: row::hash32(&row, "hash")?, expires_at: row::get(&row, "expires_at")? }))
}

/// Whether a key is one that content got for a visitor.
pub async fn is_one(client: &impl GenericClient, key: KeyId) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM api_keys WHERE id = $1 AND association_id IS NOT NULL";
    Ok(row::query_opt(client, sql, &[&key.0]).await?.is_some())
}

/// Has others who make a key for the same visitor and association wait until this transaction ends. [`DbError::NotFound`] when the
/// association is gone.
pub async fn lock(tx: &Transaction<'_>, association: i64, user: UserId) -> Result<(), DbError> {
    // The association may not go meanwhile; keys of one visitor are made one after another.
    let sql = "SELECT id FROM oauth_associations WHERE id = $1 FOR KEY SHARE";
    row::query_opt(tx, sql, &[&association]).await?.ok_or(DbError::NotFound("association"))?;
    // Two numbers of 32 bits name a lock of this kind; another visitor's of the same remainder only waits a moment.
    let sql = "SELECT pg_advisory_xact_lock(($1::bigint % 2147483647)::integer, ($2::bigint % 2147483647)::integer)";
    row::query_one(tx, sql, &[&association, &user.0]).await.map(drop)
}

/// Stores a key, and removes those of the same visitor and association that have ended.
pub async fn create(
    tx: &Transaction<'_>,
    association: i64,
    user: UserId,
    role: UserRole,
    name: &str,
    key: &VisitorKey,
) -> Result<(), DbError> {
    let sql = "DELETE FROM api_keys WHERE association_id = $1 AND user_id = $2 AND expires_at < now()";
    row::execute(tx, sql, &[&association, &user.0]).await?;
    let sql = "INSERT INTO api_keys (user_id, name, role, hash, expires_at, association_id, seed) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let VisitorKey { seed, hash, expires_at } = key;
    let (hash, seed) = (Hidden(hash.as_slice()), Hidden(seed.as_slice()));
    let params: row::Params<'_> = &[&user.0, &name, &role.as_str(), &hash, expires_at, &association, &seed];
    row::execute(tx, sql, params).await.map(drop)
}

/// Removes what has ended: visitors' keys, and ways to providers that nobody came back from. Answers how many rows.
pub async fn sweep(client: &impl GenericClient) -> Result<u64, DbError> {
    let keys = "DELETE FROM api_keys WHERE association_id IS NOT NULL AND expires_at < now()";
    let logins = "DELETE FROM oauth_logins WHERE expires_at < now()";
    Ok(row::execute(client, keys, &[]).await? + row::execute(client, logins, &[]).await?)
}
