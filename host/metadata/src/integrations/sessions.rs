//! What users got by signing in to integrations, and who is on the way to it. Tokens and verifiers are sealed before they come here.

use lectern_domain::{IntegrationGuid, IntegrationId, OAuthSessionGuid, UserGuid, UserId};
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::hidden::Hidden;
use crate::row;

/// Most sessions that a list shows.
const MOST_LISTED: i64 = 10_000;

/// What a user got from a provider.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Row number.
    pub id: i64,
    /// GUID.
    pub guid: OAuthSessionGuid,
    /// Who signed in.
    pub user: UserId,
    /// The same.
    pub user_guid: UserGuid,
    /// Where to.
    pub integration: IntegrationId,
    /// The same.
    pub integration_guid: IntegrationGuid,
    /// The tokens, sealed for [`lectern_domain::integrations::Place::Session`].
    pub sealed: Vec<u8>,
    /// Whether the tokens can be renewed without the user.
    pub has_refresh_token: bool,
    /// When the access token ends; `None`: nobody said.
    pub expires_at: Option<OffsetDateTime>,
    /// When the user first signed in.
    pub created_at: OffsetDateTime,
    /// When the tokens last changed.
    pub updated_at: OffsetDateTime,
}

impl std::fmt::Debug for SessionRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionRow").field("guid", &self.guid).field("user", &self.user).finish_non_exhaustive()
    }
}

const SELECT: &str = "SELECT s.id, s.guid, s.user_id, u.guid AS user_guid, s.integration_id, i.guid AS integration_guid, s.sealed, \
                      s.has_refresh_token, s.expires_at, s.created_at, s.updated_at FROM oauth_sessions s \
                      JOIN users u ON u.id = s.user_id JOIN oauth_integrations i ON i.id = s.integration_id";

impl SessionRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row::get(row, "id")?,
            guid: OAuthSessionGuid(row::get(row, "guid")?),
            user: UserId(row::get(row, "user_id")?),
            user_guid: UserGuid(row::get(row, "user_guid")?),
            integration: IntegrationId(row::get(row, "integration_id")?),
            integration_guid: IntegrationGuid(row::get(row, "integration_guid")?),
            sealed: row::get(row, "sealed")?,
            has_refresh_token: row::get(row, "has_refresh_token")?,
            expires_at: row::get(row, "expires_at")?,
            created_at: row::get(row, "created_at")?,
            updated_at: row::get(row, "updated_at")?,
        })
    }
}

/// Sessions in the order they began: of one user, or of all.
pub async fn list(client: &impl GenericClient, user: Option<UserId>) -> Result<Vec<SessionRow>, DbError> {
    let sql = format!("{SELECT} WHERE $1::bigint IS NULL OR s.user_id = $1 ORDER BY s.id LIMIT $2");
    let user = user.map(|user| user.0);
    row::query(client, &sql, &[&user, &MOST_LISTED]).await?.iter().map(SessionRow::from_row).collect()
}

/// One session.
pub async fn get(client: &impl GenericClient, guid: OAuthSessionGuid) -> Result<Option<SessionRow>, DbError> {
    let sql = format!("{SELECT} WHERE s.guid = $1");
    row::query_opt(client, &sql, &[&guid.0]).await?.as_ref().map(SessionRow::from_row).transpose()
}

/// The session of a user with an integration.
pub async fn of_user(
    client: &impl GenericClient,
    user: UserId,
    integration: IntegrationId,
) -> Result<Option<SessionRow>, DbError> {
    let sql = format!("{SELECT} WHERE s.user_id = $1 AND s.integration_id = $2");
    row::query_opt(client, &sql, &[&user.0, &integration.0]).await?.as_ref().map(SessionRow::from_row).transpose()
}

/// The same, locked until the transaction ends.
pub async fn lock_of_user(
    tx: &Transaction<'_>,
    user: UserId,
    integration: IntegrationId,
) -> Result<Option<SessionRow>, DbError> {
    let sql = format!("{SELECT} WHERE s.user_id = $1 AND s.integration_id = $2 FOR UPDATE OF s");
    row::query_opt(tx, &sql, &[&user.0, &integration.0]).await?.as_ref().map(SessionRow::from_row).transpose()
}

/// Stores what a user got by signing in, in place of what was there. `guid` is what `sealed` is bound to: the session has it from
/// now on.
pub async fn put(
    client: &impl GenericClient,
    guid: OAuthSessionGuid,
    user: UserId,
    integration: IntegrationId,
    sealed: &[u8],
    has_refresh_token: bool,
    expires_at: Option<OffsetDateTime>,
) -> Result<(), DbError> {
    let sql = "INSERT INTO oauth_sessions (guid, user_id, integration_id, sealed, has_refresh_token, expires_at) \
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (user_id, integration_id) DO UPDATE SET guid = excluded.guid, \
               sealed = excluded.sealed, has_refresh_token = excluded.has_refresh_token, \
               expires_at = excluded.expires_at, updated_at = now()";
    let params: row::Params<'_> = &[&guid.0, &user.0, &integration.0, &Hidden(sealed), &has_refresh_token, &expires_at];
    row::execute(client, sql, params).await.map(drop)
}

/// Stores renewed tokens where the session is still there; answers whether it is.
pub async fn renew(
    client: &impl GenericClient,
    guid: OAuthSessionGuid,
    sealed: &[u8],
    has_refresh_token: bool,
    expires_at: Option<OffsetDateTime>,
) -> Result<bool, DbError> {
    let sql = "UPDATE oauth_sessions SET sealed = $2, has_refresh_token = $3, expires_at = $4, updated_at = now() \
               WHERE guid = $1";
    let params: row::Params<'_> = &[&guid.0, &Hidden(sealed), &has_refresh_token, &expires_at];
    Ok(row::execute(client, sql, params).await? > 0)
}

/// Ends a session; `false` when there is none.
pub async fn delete(client: &impl GenericClient, guid: OAuthSessionGuid) -> Result<bool, DbError> {
    Ok(row::execute(client, "DELETE FROM oauth_sessions WHERE guid = $1", &[&guid.0]).await? > 0)
}

/// Ends the session of a user with an integration; `false` when there is none.
pub async fn delete_of_user(
    client: &impl GenericClient,
    user: UserId,
    integration: IntegrationId,
) -> Result<bool, DbError> {
    let sql = "DELETE FROM oauth_sessions WHERE user_id = $1 AND integration_id = $2";
    Ok(row::execute(client, sql, &[&user.0, &integration.0]).await? > 0)
}

/// Somebody who is signing in to an integration.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginRow {
    /// What `sealed` is bound to ([`lectern_domain::integrations::Place::Login`]).
    pub guid: Uuid,
    /// Who.
    pub user: UserId,
    /// Where to.
    pub integration: IntegrationId,
    /// The same.
    pub integration_guid: IntegrationGuid,
    /// The PKCE verifier, sealed.
    pub sealed: Vec<u8>,
    /// A path of this server to go to in the end.
    pub return_to: String,
    /// Until when the provider may hand the state back.
    pub expires_at: OffsetDateTime,
}

impl std::fmt::Debug for LoginRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginRow").field("user", &self.user).field("return_to", &self.return_to).finish_non_exhaustive()
    }
}

/// Notes that a user is on the way to a provider, unless the user has `most` such ways open: then `false`.
pub async fn begin_login(
    client: &impl GenericClient,
    state_hash: &[u8; 32],
    login: &LoginRow,
    most: i64,
) -> Result<bool, DbError> {
    let sql = "INSERT INTO oauth_logins (guid, state_hash, user_id, integration_id, sealed, return_to, expires_at) \
               SELECT $1, $2, $3, $4, $5, $6, $7 \
               WHERE (SELECT count(*) FROM oauth_logins WHERE user_id = $3 AND expires_at > now()) < $8";
    let LoginRow { guid, user, integration, sealed, return_to, expires_at, .. } = login;
    let (state, sealed) = (Hidden(state_hash.as_slice()), Hidden(sealed.as_slice()));
    let params: row::Params<'_> = &[guid, &state, &user.0, &integration.0, &sealed, return_to, expires_at, &most];
    Ok(row::execute(client, sql, params).await? > 0)
}

/// Takes away and answers who came back with a state: it counts once. `None` when it is none, or too late.
pub async fn take_login(client: &impl GenericClient, state_hash: &[u8; 32]) -> Result<Option<LoginRow>, DbError> {
    let sql = "WITH gone AS (DELETE FROM oauth_logins WHERE state_hash = $1 RETURNING *) \
               SELECT g.guid, g.user_id, g.integration_id, i.guid AS integration_guid, g.sealed, g.return_to, g.expires_at \
               FROM gone g JOIN oauth_integrations i ON i.id = g.integration_id WHERE g.expires_at > now()";
    let Some(row) = row::query_opt(client, sql, &[&Hidden(state_hash.as_slice())]).await? else { return Ok(None) };
    Ok(Some(LoginRow {
        guid: row::get(&row, "guid")?,
        user: UserId(row::get(&row, "user_id")?),
        integration: IntegrationId(row::get(&row, "integration_id")?),
        integration_guid: IntegrationGuid(row::get(&row, "integration_guid")?),
        sealed: row::get(&row, "sealed")?,
        return_to: row::get(&row, "return_to")?,
        expires_at: row::get(&row, "expires_at")?,
    }))
}
