//! Tokens whose holders sign their requests: the public key of each, who confirmed it, and which signatures were used.

use lectern_domain::UserId;
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Chosen by the client.
    pub id: String,
    /// The RSA key as PKCS#1 `RSAPublicKey`, DER.
    pub public_key: Vec<u8>,
    /// From where it was asked for.
    pub asked_from: String,
    /// When it was asked for.
    pub created_at: OffsetDateTime,
    /// Whether the time to claim it is over.
    pub late: bool,
    /// Who confirmed it, if somebody has.
    pub user: Option<UserId>,
    /// When.
    pub claimed_at: Option<OffsetDateTime>,
    /// When it was used last, to the minute.
    pub last_used_at: Option<OffsetDateTime>,
}

const COLUMNS: &str = "t.id, t.public_key, t.asked_from, t.created_at, t.expires_at <= now() AS late, t.user_id, \
                       t.claimed_at, t.last_used_at";

impl TokenRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row::get(row, "id")?,
            public_key: row::get(row, "public_key")?,
            asked_from: row::get(row, "asked_from")?,
            created_at: row::get(row, "created_at")?,
            late: row::get(row, "late")?,
            user: row::get::<Option<i64>>(row, "user_id")?.map(UserId),
            claimed_at: row::get(row, "claimed_at")?,
            last_used_at: row::get(row, "last_used_at")?,
        })
    }
}

/// How many tokens wait to be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// In all.
    pub total: i64,
    /// Asked for from one place.
    pub from_here: i64,
}

/// Forgets the tokens that nobody claimed in time, a day after, so that who comes late is told why; then counts those that wait.
pub async fn waiting(client: &impl GenericClient, asked_from: &str) -> Result<Waiting, DbError> {
    let sql = "DELETE FROM signed_tokens WHERE user_id IS NULL AND expires_at < now() - interval '1 day'";
    row::execute(client, sql, &[]).await?;
    let sql = "SELECT count(*) AS total, count(*) FILTER (WHERE asked_from = $1) AS from_here FROM signed_tokens \
               WHERE user_id IS NULL AND expires_at > now()";
    let row = row::query_one(client, sql, &[&asked_from]).await?;
    Ok(Waiting { total: row::get(&row, "total")?, from_here: row::get(&row, "from_here")? })
}

/// Stores a token that waits to be claimed until `expires_at`. [`DbError::TokenTaken`] when there is one of this id.
pub async fn create(
    client: &impl GenericClient,
    id: &str,
    public_key: &[u8],
    asked_from: &str,
    expires_at: OffsetDateTime,
) -> Result<(), DbError> {
    let sql = "INSERT INTO signed_tokens (id, public_key, asked_from, expires_at) VALUES ($1, $2, $3, $4)";
    row::execute(client, sql, &[&id, &public_key, &asked_from, &expires_at]).await.map(drop)
}

/// The token of this id.
pub async fn get(client: &impl GenericClient, id: &str) -> Result<Option<TokenRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM signed_tokens t WHERE t.id = $1");
    row::query_opt(client, &sql, &[&id]).await?.as_ref().map(TokenRow::from_row).transpose()
}

/// Confirms a token for a user; `false` when it is gone, late, or was claimed before. Of two at the same time one claims it.
pub async fn claim(client: &impl GenericClient, id: &str, user: UserId) -> Result<bool, DbError> {
    let sql = "UPDATE signed_tokens SET user_id = $2, claimed_at = now() \
               WHERE id = $1 AND user_id IS NULL AND expires_at > now()";
    Ok(row::execute(client, sql, &[&id, &user.0]).await? > 0)
}

/// The user's tokens, youngest first; at most `limit`.
pub async fn list(client: &impl GenericClient, user: UserId, limit: i64) -> Result<Vec<TokenRow>, DbError> {
    let sql =
        format!("SELECT {COLUMNS} FROM signed_tokens t WHERE t.user_id = $1 ORDER BY t.claimed_at DESC, t.id LIMIT $2");
    row::query(client, &sql, &[&user.0, &limit]).await?.iter().map(TokenRow::from_row).collect()
}

/// Ends one of the user's tokens; `false` when the user has no such token.
pub async fn delete(client: &impl GenericClient, user: UserId, id: &str) -> Result<bool, DbError> {
    let sql = "DELETE FROM signed_tokens WHERE id = $1 AND user_id = $2";
    Ok(row::execute(client, sql, &[&id, &user.0]).await? > 0)
}

/// Notes that a token, and with it its user's account, was used; at most one write per token and minute.
pub async fn touch(client: &impl GenericClient, id: &str) -> Result<(), DbError> {
    let sql = "WITH used AS (UPDATE signed_tokens SET last_used_at = now() \
               WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute') RETURNING user_id) \
               UPDATE users SET active_at = now() WHERE id IN (SELECT user_id FROM used)";
    row::execute(client, sql, &[&id]).await.map(drop)
}

/// Uses a signature, named by its hash, up; `false` when it was used before. It is remembered until `expires_at`.
pub async fn use_signature(
    client: &impl GenericClient,
    hash: &[u8; 32],
    expires_at: OffsetDateTime,
) -> Result<bool, DbError> {
    row::execute(client, "DELETE FROM used_signatures WHERE expires_at < now()", &[]).await?;
    let sql = "INSERT INTO used_signatures (hash, expires_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING";
    Ok(row::execute(client, sql, &[&hash.as_slice(), &expires_at]).await? > 0)
}
