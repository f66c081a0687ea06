//! Who renews tokens: one at a time for each session, by a lease that ends by itself.

use lectern_domain::OAuthSessionGuid;
use time::OffsetDateTime;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::hidden::Hidden;
use crate::row;

/// Takes the lease of a session whose tokens have not changed since `updated_at`; `false`: another has it, or was faster, or the
/// session is gone.
pub async fn claim(
    client: &impl GenericClient,
    guid: OAuthSessionGuid,
    updated_at: OffsetDateTime,
    now: OffsetDateTime,
    until: OffsetDateTime,
) -> Result<bool, DbError> {
    let sql = "UPDATE oauth_sessions SET renewing_until = $4 \
               WHERE guid = $1 AND updated_at = $2 AND (renewing_until IS NULL OR renewing_until < $3)";
    Ok(row::execute(client, sql, &[&guid.0, &updated_at, &now, &until]).await? > 0)
}

/// Stores renewed tokens and gives the lease back, where the session is still there; answers whether it is. `updated_at` counts as
/// the time they were got.
pub async fn finish(
    client: &impl GenericClient,
    guid: OAuthSessionGuid,
    sealed: &[u8],
    has_refresh_token: bool,
    expires_at: Option<OffsetDateTime>,
) -> Result<bool, DbError> {
    let sql = "UPDATE oauth_sessions SET sealed = $2, has_refresh_token = $3, expires_at = $4, updated_at = now(), \
               renewing_until = NULL WHERE guid = $1";
    let params: row::Params<'_> = &[&guid.0, &Hidden(sealed), &has_refresh_token, &expires_at];
    Ok(row::execute(client, sql, params).await? > 0)
}

/// Gives the lease back without new tokens.
pub async fn release(client: &impl GenericClient, guid: OAuthSessionGuid) -> Result<(), DbError> {
    let sql = "UPDATE oauth_sessions SET renewing_until = NULL WHERE guid = $1";
    row::execute(client, sql, &[&guid.0]).await.map(drop)
}
