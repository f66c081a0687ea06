//! Accounts.

use std::fmt;

use lectern_domain::{UserGuid, UserId, UserRole};
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::hidden::Hidden;
use crate::row;

/// One account, without what proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// Row number.
    pub id: UserId,
    /// GUID.
    pub guid: UserGuid,
    /// Name to sign in with, in the letter case chosen first.
    pub username: String,
    /// E-mail address; may be empty.
    pub email: String,
    /// First name; may be empty.
    pub first_name: String,
    /// Last name; may be empty.
    pub last_name: String,
    /// What the account may do.
    pub role: UserRole,
    /// A locked account proves nobody.
    pub locked: bool,
    /// Whether the account is confirmed.
    pub confirmed: bool,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When its role, profile or password last changed. Locking is no change of it: clients compare accounts whole.
    pub updated_at: OffsetDateTime,
    /// When it was last used.
    pub active_at: Option<OffsetDateTime>,
}

pub(crate) const COLUMNS: &str = "u.id, u.guid, u.username, u.email, u.first_name, u.last_name, u.role, u.locked, u.confirmed, \
                       u.created_at, u.updated_at, u.active_at";

impl UserRow {
    pub(crate) fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: UserId(row::get(row, "id")?),
            guid: UserGuid(row::get(row, "guid")?),
            username: row::get(row, "username")?,
            email: row::get(row, "email")?,
            first_name: row::get(row, "first_name")?,
            last_name: row::get(row, "last_name")?,
            role: row::user_role(row, "role")?,
            locked: row::get(row, "locked")?,
            confirmed: row::get(row, "confirmed")?,
            created_at: row::get(row, "created_at")?,
            updated_at: row::get(row, "updated_at")?,
            active_at: row::get(row, "active_at")?,
        })
    }
}

/// A password hash in PHC form. Not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(<hidden>)")
    }
}

/// An account to create. The name is checked by [`lectern_domain::user::check_username`] before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// GUID, made by the caller.
    pub guid: UserGuid,
    /// Name to sign in with.
    pub username: String,
    /// E-mail address; may be empty.
    pub email: String,
    /// First name; may be empty.
    pub first_name: String,
    /// Last name; may be empty.
    pub last_name: String,
    /// What the account may do.
    pub role: UserRole,
    /// `None`: no password signs in.
    pub password_hash: Option<PasswordHash>,
    /// Whether the account is confirmed.
    pub confirmed: bool,
}

/// Changes of a profile; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfilePatch {
    /// New user name.
    pub username: Option<String>,
    /// New e-mail address.
    pub email: Option<String>,
    /// New first name.
    pub first_name: Option<String>,
    /// New last name.
    pub last_name: Option<String>,
}

/// The state of an account, as lists tell them apart: each account is in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountStatus {
    /// Locked.
    Locked,
    /// Used, or made, within the last year.
    Licensed,
    /// Neither.
    Inactive,
}

impl AccountStatus {
    /// The word the protocol uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Licensed => "licensed",
            Self::Inactive => "inactive",
        }
    }

    /// Parses the protocol's word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Locked, Self::Licensed, Self::Inactive].into_iter().find(|status| status.as_str() == text)
    }
}

/// Which accounts to list; empty lists all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// Beginning of the user name, first or last name; letter case does not matter.
    pub prefix: Option<String>,
    /// Any of these roles; empty: all.
    pub roles: Vec<UserRole>,
    /// Any of these states; empty: all.
    pub statuses: Vec<AccountStatus>,
}

/// One page of accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPage {
    /// The accounts, by user name.
    pub users: Vec<UserRow>,
    /// How many the filter finds on all pages.
    pub total: i64,
}

/// Creates an account. [`DbError::UsernameTaken`] when the name is in use.
pub async fn create(client: &impl GenericClient, user: &NewUser) -> Result<UserRow, DbError> {
    let sql = format!(
        "INSERT INTO users AS u (guid, username, email, first_name, last_name, role, password_hash, confirmed) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING {COLUMNS}"
    );
    let password = Hidden(user.password_hash.as_ref().map(|hash| hash.0.as_str()));
    let row = row::query_one(
        client,
        &sql,
        &[
            &user.guid.0,
            &user.username,
            &user.email,
            &user.first_name,
            &user.last_name,
            &user.role.as_str(),
            &password,
            &user.confirmed,
        ],
    )
    .await?;
    UserRow::from_row(&row)
}

/// Creates the first account, always as administrator. [`DbError::UsersExist`] when there is any account.
///
/// Of two calls at the same time one wins: the table is locked against other writers until the transaction ends.
pub async fn create_first_administrator(tx: &Transaction<'_>, user: &NewUser) -> Result<UserRow, DbError> {
    tx.batch_execute("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE").await?;
    if count(tx).await? > 0 {
        return Err(DbError::UsersExist);
    }
    create(tx, &NewUser { role: UserRole::Administrator, ..user.clone() }).await
}

/// The account with this row number.
pub async fn get(client: &impl GenericClient, id: UserId) -> Result<Option<UserRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM users u WHERE u.id = $1");
    row::query_opt(client, &sql, &[&id.0]).await?.as_ref().map(UserRow::from_row).transpose()
}

/// The account with this GUID.
pub async fn get_by_guid(client: &impl GenericClient, guid: UserGuid) -> Result<Option<UserRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM users u WHERE u.guid = $1");
    row::query_opt(client, &sql, &[&guid.0]).await?.as_ref().map(UserRow::from_row).transpose()
}

/// The account with this name; letter case does not matter.
pub async fn get_by_username(client: &impl GenericClient, username: &str) -> Result<Option<UserRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM users u WHERE lower(u.username) = lower($1)");
    row::query_opt(client, &sql, &[&username]).await?.as_ref().map(UserRow::from_row).transpose()
}

/// Lists accounts by user name: `limit` of them after skipping `offset`, and the number of all that match.
pub async fn list(
    client: &impl GenericClient,
    filter: &UserFilter,
    offset: i64,
    limit: i64,
) -> Result<UserPage, DbError> {
    const MATCHES: &str = "($1::text IS NULL OR starts_with(lower(u.username), lower($1)) \
                           OR starts_with(lower(u.first_name), lower($1)) OR starts_with(lower(u.last_name), lower($1))) \
                           AND (cardinality($2::text[]) = 0 OR u.role = ANY ($2)) \
                           AND (cardinality($3::text[]) = 0 OR CASE WHEN u.locked THEN 'locked' \
                           WHEN coalesce(u.active_at, u.created_at) > now() - interval '1 year' THEN 'licensed' \
                           ELSE 'inactive' END = ANY ($3))";
    let roles: Vec<&str> = filter.roles.iter().map(|role| role.as_str()).collect();
    let statuses: Vec<&str> = filter.statuses.iter().map(|status| status.as_str()).collect();
    let total = format!("SELECT count(*) AS total FROM users u WHERE {MATCHES}");
    let total = row::query_one(client, &total, &[&filter.prefix, &roles, &statuses]).await?;
    let page = format!("SELECT {COLUMNS} FROM users u WHERE {MATCHES} ORDER BY lower(u.username) OFFSET $4 LIMIT $5");
    let rows = row::query(client, &page, &[&filter.prefix, &roles, &statuses, &offset.max(0), &limit.max(0)]).await?;
    let users = rows.iter().map(UserRow::from_row).collect::<Result<_, _>>()?;
    Ok(UserPage { users, total: row::get(&total, "total")? })
}

/// The number of accounts.
pub async fn count(client: &impl GenericClient) -> Result<i64, DbError> {
    row::get(&row::query_one(client, "SELECT count(*) AS total FROM users", &[]).await?, "total")
}

/// Changes what the account may do. [`DbError::NotFound`] when there is none.
pub async fn set_role(client: &impl GenericClient, id: UserId, role: UserRole) -> Result<UserRow, DbError> {
    let sql = format!("UPDATE users u SET role = $2, updated_at = now() WHERE u.id = $1 RETURNING {COLUMNS}");
    found(row::query_opt(client, &sql, &[&id.0, &role.as_str()]).await?)
}

/// Locks or unlocks the account. [`DbError::NotFound`] when there is none.
pub async fn set_locked(client: &impl GenericClient, id: UserId, locked: bool) -> Result<UserRow, DbError> {
    let sql = format!("UPDATE users u SET locked = $2 WHERE u.id = $1 RETURNING {COLUMNS}");
    found(row::query_opt(client, &sql, &[&id.0, &locked]).await?)
}

/// Whether there is an administrator who is not locked, besides `id`. Until the transaction ends no other one can be demoted or
/// locked: of two who do it to each other at the same time, one waits and then finds the other's change.
pub async fn another_administrator(tx: &Transaction<'_>, id: UserId) -> Result<bool, DbError> {
    let sql = "SELECT id FROM users WHERE role = 'administrator' AND NOT locked ORDER BY id FOR UPDATE";
    let rows = row::query(tx, sql, &[]).await?;
    let ids = rows.iter().map(|row| row::get::<i64>(row, "id")).collect::<Result<Vec<_>, _>>()?;
    Ok(ids.iter().any(|other| *other != id.0))
}

/// Confirms the account. [`DbError::NotFound`] when there is none.
pub async fn confirm(client: &impl GenericClient, id: UserId) -> Result<UserRow, DbError> {
    let sql = format!("UPDATE users u SET confirmed = true WHERE u.id = $1 RETURNING {COLUMNS}");
    found(row::query_opt(client, &sql, &[&id.0]).await?)
}

/// Sets or removes the password. [`DbError::NotFound`] when there is no such account.
pub async fn set_password_hash(
    client: &impl GenericClient,
    id: UserId,
    hash: Option<&PasswordHash>,
) -> Result<UserRow, DbError> {
    let sql = format!("UPDATE users u SET password_hash = $2, updated_at = now() WHERE u.id = $1 RETURNING {COLUMNS}");
    found(row::query_opt(client, &sql, &[&id.0, &Hidden(hash.map(|hash| hash.0.as_str()))]).await?)
}

/// Changes name and profile. [`DbError::NotFound`] when there is no such account, [`DbError::UsernameTaken`] when the
/// new name is another's.
pub async fn update_profile(client: &impl GenericClient, id: UserId, patch: &ProfilePatch) -> Result<UserRow, DbError> {
    let sql = format!(
        "UPDATE users u SET username = coalesce($2, u.username), email = coalesce($3, u.email), \
         first_name = coalesce($4, u.first_name), last_name = coalesce($5, u.last_name), updated_at = now() \
         WHERE u.id = $1 RETURNING {COLUMNS}"
    );
    let params: row::Params<'_> = &[&id.0, &patch.username, &patch.email, &patch.first_name, &patch.last_name];
    found(row::query_opt(client, &sql, params).await?)
}

/// Notes that the account was used; at most one write per account and minute.
pub async fn touch_active(client: &impl GenericClient, id: UserId) -> Result<(), DbError> {
    let sql = "UPDATE users SET active_at = now() \
               WHERE id = $1 AND (active_at IS NULL OR active_at < now() - interval '1 minute')";
    row::execute(client, sql, &[&id.0]).await.map(drop)
}

/// The account of this name with its password hash (`None`: no password signs in); letter case does not matter.
pub async fn password_hash_of(
    client: &impl GenericClient,
    username: &str,
) -> Result<Option<(UserRow, Option<PasswordHash>)>, DbError> {
    let sql = format!("SELECT {COLUMNS}, u.password_hash FROM users u WHERE lower(u.username) = lower($1)");
    let Some(row) = row::query_opt(client, &sql, &[&username]).await? else { return Ok(None) };
    let hash: Option<String> = row::get(&row, "password_hash")?;
    Ok(Some((UserRow::from_row(&row)?, hash.map(PasswordHash))))
}

/// The accounts with these GUIDs, in no order; unknown GUIDs are left out.
pub async fn get_many(client: &impl GenericClient, guids: &[UserGuid]) -> Result<Vec<UserRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM users u WHERE u.guid = ANY ($1)");
    let guids: Vec<Uuid> = guids.iter().map(|guid| guid.0).collect();
    row::query(client, &sql, &[&guids]).await?.iter().map(UserRow::from_row).collect()
}

fn found(row: Option<Row>) -> Result<UserRow, DbError> {
    UserRow::from_row(&row.ok_or(DbError::NotFound("user"))?)
}
