//! Programs that people let act in their name: registrations, grants, codes and what waits for an answer.
//!
//! Secrets are known by the hashes of their texts only. Who decides on one of them locks its row first, so that of two requests with
//! the same secret one sees what the other did.

use lectern_domain::{UserId, UserRole};
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::hidden::Hidden;
use crate::row;

/// The hash of a secret.
pub type Hash = [u8; 32];

/// A registered program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRow {
    /// What names it.
    pub id: String,
    /// As it calls itself.
    pub name: String,
    /// Where its codes may go.
    pub redirect_uris: Vec<String>,
    /// What it may redeem (RFC 7591's words).
    pub grant_types: Vec<String>,
    /// From where it was registered.
    pub asked_from: String,
    /// When.
    pub created_at: OffsetDateTime,
}

/// How many wait for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// In all.
    pub total: i64,
    /// Asked for from one place.
    pub from_here: i64,
}

fn waiting(row: &Row) -> Result<Waiting, DbError> {
    Ok(Waiting { total: row::get(row, "total")?, from_here: row::get(row, "from_here")? })
}

/// Counts the registrations that nobody has allowed anything yet.
pub async fn unused_clients(client: &impl GenericClient, asked_from: &str) -> Result<Waiting, DbError> {
    let sql = "SELECT count(*) AS total, count(*) FILTER (WHERE asked_from = $1) AS from_here FROM oauth_clients \
               WHERE used_at IS NULL";
    waiting(&row::query_one(client, sql, &[&asked_from]).await?)
}

/// Stores a registration.
pub async fn create_client(client: &impl GenericClient, new: &ClientRow) -> Result<(), DbError> {
    let sql = "INSERT INTO oauth_clients (id, name, redirect_uris, grant_types, asked_from, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6)";
    let ClientRow { id, name, redirect_uris, grant_types, asked_from, created_at } = new;
    row::execute(client, sql, &[id, name, redirect_uris, grant_types, asked_from, created_at]).await.map(drop)
}

/// The program of this id.
pub async fn get_client(client: &impl GenericClient, id: &str) -> Result<Option<ClientRow>, DbError> {
    let sql = "SELECT id, name, redirect_uris, grant_types, asked_from, created_at FROM oauth_clients WHERE id = $1";
    let Some(row) = row::query_opt(client, sql, &[&id]).await? else { return Ok(None) };
    Ok(Some(ClientRow {
        id: row::get(&row, "id")?,
        name: row::get(&row, "name")?,
        redirect_uris: row::get(&row, "redirect_uris")?,
        grant_types: row::get(&row, "grant_types")?,
        asked_from: row::get(&row, "asked_from")?,
        created_at: row::get(&row, "created_at")?,
    }))
}

/// Has a program of this server's own registered; it has no address that a code could be sent to.
pub async fn keep_client(tx: &Transaction<'_>, id: &str, name: &str, grant_types: &[&str]) -> Result<(), DbError> {
    let sql = "INSERT INTO oauth_clients (id, name, redirect_uris, grant_types, asked_from, used_at) \
               VALUES ($1, $2, '{}', $3, 'this server', now()) ON CONFLICT (id) DO UPDATE SET used_at = now()";
    row::execute(tx, sql, &[&id, &name, &grant_types]).await.map(drop)
}

async fn note_use(client: &impl GenericClient, id: &str) -> Result<(), DbError> {
    row::execute(client, "UPDATE oauth_clients SET used_at = now() WHERE id = $1", &[&id]).await.map(drop)
}

/// What an authorization code stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeRow {
    /// Whose it is.
    pub client: String,
    /// Who allowed it.
    pub user: UserId,
    /// How much.
    pub role: UserRole,
    /// Where it was sent.
    pub redirect_uri: String,
    /// What its holder must prove to know.
    pub challenge: String,
    /// When it ends.
    pub expires_at: OffsetDateTime,
}

/// Stores a code, unless its user has `most` that have not ended: then `false`.
pub async fn create_code(client: &impl GenericClient, hash: &Hash, code: &CodeRow, most: i64) -> Result<bool, DbError> {
    let sql = "INSERT INTO oauth_codes (hash, client_id, user_id, role, redirect_uri, challenge, expires_at) \
               SELECT $1, $2, $3, $4, $5, $6, $7 \
               WHERE (SELECT count(*) FROM oauth_codes WHERE user_id = $3 AND expires_at > now()) < $8";
    let CodeRow { client: id, user, role, redirect_uri, challenge, expires_at } = code;
    let params: row::Params<'_> =
        &[&Hidden(hash.as_slice()), id, &user.0, &role.as_str(), redirect_uri, challenge, expires_at, &most];
    let stored = row::execute(client, sql, params).await? > 0;
    if stored {
        note_use(client, id).await?;
    }
    Ok(stored)
}

/// A code that was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeHeld {
    /// What it stands for.
    pub code: CodeRow,
    /// Whether it was presented before.
    pub used: bool,
    /// What it was redeemed for, unless that has ended.
    pub grant: Option<i64>,
}

/// The code of this hash, locked until the transaction ends.
pub async fn lock_code(tx: &Transaction<'_>, hash: &Hash) -> Result<Option<CodeHeld>, DbError> {
    let sql = "SELECT client_id, user_id, role, redirect_uri, challenge, expires_at, used_at IS NOT NULL AS used, grant_id \
               FROM oauth_codes WHERE hash = $1 FOR UPDATE";
    let Some(row) = row::query_opt(tx, sql, &[&Hidden(hash.as_slice())]).await? else { return Ok(None) };
    let code = CodeRow {
        client: row::get(&row, "client_id")?,
        user: UserId(row::get(&row, "user_id")?),
        role: row::user_role(&row, "role")?,
        redirect_uri: row::get(&row, "redirect_uri")?,
        challenge: row::get(&row, "challenge")?,
        expires_at: row::get(&row, "expires_at")?,
    };
    Ok(Some(CodeHeld { code, used: row::get(&row, "used")?, grant: row::get(&row, "grant_id")? }))
}

/// Marks a code as used, for `grant` or for nothing.
pub async fn use_code(tx: &Transaction<'_>, hash: &Hash, grant: Option<i64>) -> Result<(), DbError> {
    let sql = "UPDATE oauth_codes SET used_at = now(), grant_id = $2 WHERE hash = $1";
    row::execute(tx, sql, &[&Hidden(hash.as_slice()), &grant]).await.map(drop)
}

/// A program that waits, or shall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    /// Which program.
    pub client: String,
    /// The most it asks for; `None`: all that its user may.
    pub asked: Option<UserRole>,
    /// From where it asked.
    pub asked_from: String,
    /// When.
    pub created_at: OffsetDateTime,
    /// Until when its code can be entered.
    pub expires_at: OffsetDateTime,
    /// When it last asked whether it was.
    pub polled_at: Option<OffsetDateTime>,
    /// How long it must wait between.
    pub wait_seconds: i32,
    /// Whether a user said no.
    pub denied: bool,
    /// Who said yes, and to how much.
    pub allowed: Option<(UserId, UserRole)>,
}

const DEVICE: &str =
    "client_id, asked_role, asked_from, created_at, expires_at, polled_at, wait_seconds, denied, user_id, role";

impl DeviceRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        let asked: Option<String> = row::get(row, "asked_role")?;
        let user: Option<i64> = row::get(row, "user_id")?;
        let allowed = user.map(|user| Ok::<_, DbError>((UserId(user), row::user_role(row, "role")?))).transpose()?;
        Ok(Self {
            client: row::get(row, "client_id")?,
            asked: asked.map(|_| row::user_role(row, "asked_role")).transpose()?,
            asked_from: row::get(row, "asked_from")?,
            created_at: row::get(row, "created_at")?,
            expires_at: row::get(row, "expires_at")?,
            polled_at: row::get(row, "polled_at")?,
            wait_seconds: row::get(row, "wait_seconds")?,
            denied: row::get(row, "denied")?,
            allowed,
        })
    }
}

/// Counts the programs that wait for their code to be entered.
pub async fn waiting_devices(client: &impl GenericClient, asked_from: &str) -> Result<Waiting, DbError> {
    let sql = "SELECT count(*) AS total, count(*) FILTER (WHERE asked_from = $1) AS from_here FROM oauth_devices \
               WHERE expires_at > now()";
    waiting(&row::query_one(client, sql, &[&asked_from]).await?)
}

/// Stores a program that waits; `false`: another one has this user code.
pub async fn create_device(
    client: &impl GenericClient,
    hash: &Hash,
    user_code: &Hash,
    device: &DeviceRow,
) -> Result<bool, DbError> {
    let sql = "INSERT INTO oauth_devices (hash, user_code_hash, client_id, asked_role, asked_from, created_at, expires_at, \
               wait_seconds) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (user_code_hash) DO NOTHING";
    let asked = device.asked.map(UserRole::as_str);
    let params: row::Params<'_> = &[
        &Hidden(hash.as_slice()),
        &Hidden(user_code.as_slice()),
        &device.client,
        &asked,
        &device.asked_from,
        &device.created_at,
        &device.expires_at,
        &device.wait_seconds,
    ];
    Ok(row::execute(client, sql, params).await? > 0)
}

/// The program that keeps this code, locked until the transaction ends.
pub async fn lock_device(tx: &Transaction<'_>, hash: &Hash) -> Result<Option<DeviceRow>, DbError> {
    let sql = format!("SELECT {DEVICE} FROM oauth_devices WHERE hash = $1 FOR UPDATE");
    row::query_opt(tx, &sql, &[&Hidden(hash.as_slice())]).await?.as_ref().map(DeviceRow::from_row).transpose()
}

/// Notes that a program asked, and how long it must wait from now on.
pub async fn note_poll(
    tx: &Transaction<'_>,
    hash: &Hash,
    at: OffsetDateTime,
    wait_seconds: i32,
) -> Result<(), DbError> {
    let sql = "UPDATE oauth_devices SET polled_at = $2, wait_seconds = $3 WHERE hash = $1";
    row::execute(tx, sql, &[&Hidden(hash.as_slice()), &at, &wait_seconds]).await.map(drop)
}

/// Forgets a program that waited.
pub async fn delete_device(tx: &Transaction<'_>, hash: &Hash) -> Result<(), DbError> {
    row::execute(tx, "DELETE FROM oauth_devices WHERE hash = $1", &[&Hidden(hash.as_slice())]).await.map(drop)
}

/// The program that waits for this code to be entered, and has no answer yet.
pub async fn device_of_code(client: &impl GenericClient, user_code: &Hash) -> Result<Option<DeviceRow>, DbError> {
    let sql = format!(
        "SELECT {DEVICE} FROM oauth_devices WHERE user_code_hash = $1 AND expires_at > now() AND user_id IS NULL AND NOT denied"
    );
    row::query_opt(client, &sql, &[&Hidden(user_code.as_slice())]).await?.as_ref().map(DeviceRow::from_row).transpose()
}

/// Answers a program that waits: with who allows it and how much, or no. `false`: it has an answer, or waits no more.
pub async fn answer_device(
    client: &impl GenericClient,
    user_code: &Hash,
    allowed: Option<(UserId, UserRole)>,
) -> Result<bool, DbError> {
    let sql = "UPDATE oauth_devices SET user_id = $2, role = $3, denied = $2::bigint IS NULL \
               WHERE user_code_hash = $1 AND expires_at > now() AND user_id IS NULL AND NOT denied RETURNING client_id";
    let (user, role) = (allowed.map(|(user, _)| user.0), allowed.map(|(_, role)| role.as_str()));
    let Some(row) = row::query_opt(client, sql, &[&Hidden(user_code.as_slice()), &user, &role]).await? else {
        return Ok(false);
    };
    if user.is_some() {
        note_use(client, &row::get::<String>(&row, "client_id")?).await?;
    }
    Ok(true)
}

/// Counts another code that a user is about to enter; from one on again when those counted are from before `forget`. Counted before
/// the code is looked up, so that many at the same time are counted too. Answers how many there are now.
pub async fn count_guess(client: &impl GenericClient, user: UserId, forget: OffsetDateTime) -> Result<i32, DbError> {
    let sql = "INSERT INTO oauth_guesses AS g (user_id, failures) VALUES ($1, 1) ON CONFLICT (user_id) DO UPDATE SET \
               failures = CASE WHEN g.since < $2 THEN 1 ELSE least(g.failures, 1000000) + 1 END, \
               since = CASE WHEN g.since < $2 THEN now() ELSE g.since END RETURNING failures";
    row::get(&row::query_one(client, sql, &[&user.0, &forget]).await?, "failures")
}

/// Takes one off the count: the code was right.
pub async fn uncount_guess(client: &impl GenericClient, user: UserId) -> Result<(), DbError> {
    let sql = "UPDATE oauth_guesses SET failures = greatest(failures - 1, 0) WHERE user_id = $1";
    row::execute(client, sql, &[&user.0]).await.map(drop)
}

/// What a user allowed a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRow {
    /// Row number.
    pub id: i64,
    /// Which program.
    pub client: String,
    /// What the program calls itself.
    pub client_name: String,
    /// Who allowed it.
    pub user: UserId,
    /// How much.
    pub role: UserRole,
    /// When it was first redeemed.
    pub created_at: OffsetDateTime,
    /// When the last token was issued.
    pub renewed_at: OffsetDateTime,
    /// When it ends unless it is refreshed.
    pub expires_at: OffsetDateTime,
}

const GRANT: &str = "g.id, g.client_id, c.name, g.user_id, g.role, g.created_at, g.renewed_at, g.expires_at";

impl GrantRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row::get(row, "id")?,
            client: row::get(row, "client_id")?,
            client_name: row::get(row, "name")?,
            user: UserId(row::get(row, "user_id")?),
            role: row::user_role(row, "role")?,
            created_at: row::get(row, "created_at")?,
            renewed_at: row::get(row, "renewed_at")?,
            expires_at: row::get(row, "expires_at")?,
        })
    }
}

/// Stores a grant and ends the oldest of its user's beyond `most`. `family` and `latest` are the hashes of its first refresh
/// token's parts.
#[allow(clippy::too_many_arguments, reason = "one call; a struct for it would be this list again")]
pub async fn create_grant(
    tx: &Transaction<'_>,
    client: &str,
    user: UserId,
    role: UserRole,
    family: &Hash,
    latest: &Hash,
    expires_at: OffsetDateTime,
    most: i64,
) -> Result<i64, DbError> {
    let sql = "INSERT INTO oauth_grants (client_id, user_id, role, family, latest, expires_at) VALUES ($1, $2, $3, $4, $5, $6) \
               RETURNING id";
    let params: row::Params<'_> =
        &[&client, &user.0, &role.as_str(), &Hidden(family.as_slice()), &Hidden(latest.as_slice()), &expires_at];
    let id = row::get(&row::query_one(tx, sql, params).await?, "id")?;
    let sql = "DELETE FROM oauth_grants WHERE id IN \
               (SELECT id FROM oauth_grants WHERE user_id = $1 ORDER BY renewed_at DESC, id DESC OFFSET $2)";
    row::execute(tx, sql, &[&user.0, &most]).await?;
    Ok(id)
}

/// The same for a program many grants of which come and go: it ends the oldest of its own only.
#[allow(clippy::too_many_arguments, reason = "one call; a struct for it would be this list again")]
pub async fn create_grant_apart(
    tx: &Transaction<'_>,
    client: &str,
    user: UserId,
    role: UserRole,
    family: &Hash,
    latest: &Hash,
    expires_at: OffsetDateTime,
    most: i64,
) -> Result<i64, DbError> {
    let id = create_grant(tx, client, user, role, family, latest, expires_at, i64::MAX).await?;
    let sql = "DELETE FROM oauth_grants WHERE id IN (SELECT id FROM oauth_grants \
               WHERE user_id = $1 AND client_id = $2 ORDER BY renewed_at DESC, id DESC OFFSET $3)";
    row::execute(tx, sql, &[&user.0, &client, &most]).await?;
    Ok(id)
}

/// The grant of this family, locked until the transaction ends, and whether `latest` belongs to its last refresh token.
pub async fn lock_grant(
    tx: &Transaction<'_>,
    family: &Hash,
    latest: &Hash,
) -> Result<Option<(GrantRow, bool)>, DbError> {
    let sql = format!(
        "SELECT {GRANT}, g.latest = $2 AS is_latest FROM oauth_grants g JOIN oauth_clients c ON c.id = g.client_id \
         WHERE g.family = $1 FOR UPDATE OF g"
    );
    let params: row::Params<'_> = &[&Hidden(family.as_slice()), &Hidden(latest.as_slice())];
    let Some(row) = row::query_opt(tx, &sql, params).await? else { return Ok(None) };
    Ok(Some((GrantRow::from_row(&row)?, row::get(&row, "is_latest")?)))
}

/// Puts the next refresh token in the last one's place.
pub async fn rotate(
    tx: &Transaction<'_>,
    grant: i64,
    latest: &Hash,
    expires_at: OffsetDateTime,
) -> Result<(), DbError> {
    let sql = "UPDATE oauth_grants SET latest = $2, expires_at = $3, renewed_at = now() WHERE id = $1";
    row::execute(tx, sql, &[&grant, &Hidden(latest.as_slice()), &expires_at]).await?;
    let sql = "UPDATE oauth_clients SET used_at = now() WHERE id = (SELECT client_id FROM oauth_grants WHERE id = $1)";
    row::execute(tx, sql, &[&grant]).await.map(drop)
}

/// Stores an access token of a grant as a key, by its hash. Of those before it the last goes on until it ends: requests that are under
/// way bear it.
pub async fn create_access(
    tx: &Transaction<'_>,
    grant: i64,
    role: UserRole,
    hash: &Hash,
    expires_at: OffsetDateTime,
) -> Result<(), DbError> {
    let sql = "DELETE FROM api_keys WHERE grant_id = $1 AND id NOT IN \
               (SELECT id FROM api_keys WHERE grant_id = $1 ORDER BY id DESC LIMIT 1)";
    row::execute(tx, sql, &[&grant]).await?;
    let sql = "INSERT INTO api_keys (user_id, name, role, hash, expires_at, grant_id) \
               SELECT g.user_id, c.name, $2, $3, $4, g.id FROM oauth_grants g JOIN oauth_clients c ON c.id = g.client_id \
               WHERE g.id = $1";
    row::execute(tx, sql, &[&grant, &role.as_str(), &Hidden(hash.as_slice()), &expires_at]).await.map(drop)
}

/// Ends a grant and its keys.
pub async fn delete_grant(client: &impl GenericClient, grant: i64) -> Result<(), DbError> {
    row::execute(client, "DELETE FROM oauth_grants WHERE id = $1", &[&grant]).await.map(drop)
}

/// Ends one of the user's grants; `false` when the user has no such grant.
pub async fn delete_grant_of(client: &impl GenericClient, user: UserId, grant: i64) -> Result<bool, DbError> {
    let sql = "DELETE FROM oauth_grants WHERE id = $1 AND user_id = $2";
    Ok(row::execute(client, sql, &[&grant, &user.0]).await? > 0)
}

/// The user's grants, those used last first; at most `limit`.
pub async fn grants(client: &impl GenericClient, user: UserId, limit: i64) -> Result<Vec<GrantRow>, DbError> {
    let sql = format!(
        "SELECT {GRANT} FROM oauth_grants g JOIN oauth_clients c ON c.id = g.client_id \
         WHERE g.user_id = $1 AND g.expires_at > now() ORDER BY g.renewed_at DESC, g.id DESC LIMIT $2"
    );
    row::query(client, &sql, &[&user.0, &limit]).await?.iter().map(GrantRow::from_row).collect()
}

/// Ends the grant whose refresh token has this family, or one of whose access tokens has this hash; only where it is the client's.
/// Answers whether there was one.
pub async fn revoke_token(
    client: &impl GenericClient,
    id: &str,
    family: Option<&Hash>,
    access: &Hash,
) -> Result<bool, DbError> {
    let sql = "DELETE FROM oauth_grants WHERE client_id = $1 AND \
               (family = $2 OR id = (SELECT grant_id FROM api_keys WHERE hash = $3))";
    let family = family.map(Hash::as_slice);
    let params: row::Params<'_> = &[&id, &Hidden(family), &Hidden(access.as_slice())];
    Ok(row::execute(client, sql, params).await? > 0)
}

/// Removes what has ended: codes, programs that waited, grants, access tokens, and registrations that nobody used within a day or
/// since `idle_since`. Answers how many rows.
pub async fn sweep(client: &impl GenericClient, idle_since: OffsetDateTime) -> Result<u64, DbError> {
    let mut removed = 0;
    for sql in [
        "DELETE FROM oauth_codes WHERE expires_at < now()",
        "DELETE FROM oauth_devices WHERE expires_at < now()",
        "DELETE FROM oauth_grants WHERE expires_at < now()",
        "DELETE FROM api_keys WHERE grant_id IS NOT NULL AND expires_at < now()",
        "DELETE FROM oauth_guesses WHERE since < now() - interval '1 day'",
        "DELETE FROM oauth_clients WHERE used_at IS NULL AND created_at < now() - interval '1 day'",
    ] {
        removed += row::execute(client, sql, &[]).await?;
    }
    let sql = "DELETE FROM oauth_clients c WHERE c.used_at < $1 \
               AND NOT EXISTS (SELECT 1 FROM oauth_grants g WHERE g.client_id = c.id)";
    removed += row::execute(client, sql, &[&idle_since]).await?;
    Ok(removed)
}
