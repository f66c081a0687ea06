//! Accounts of people whom another directory vouches for: found, or made, by what they are called there.

use lectern_domain::audit::{Action, Actor};
use lectern_domain::{UserGuid, UserId, UserRole};
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::audit;
use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;
use crate::users::{self, NewUser, ProfilePatch, UserRow};

/// What the other directory says of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The name of the account, should it be made; checked by [`lectern_domain::user::check_username`] before.
    pub username: String,
    /// E-mail address; may be empty.
    pub email: String,
    /// First name; may be empty.
    pub first_name: String,
    /// Last name; may be empty.
    pub last_name: String,
}

/// Somebody who signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// Names the other directory.
    pub issuer: String,
    /// Names the person there, for good.
    pub subject: String,
    /// What it says of them.
    pub profile: Profile,
    /// The role that it gives them; `None`: it leaves that to this server.
    pub role: Option<UserRole>,
    /// `Some`: an account may be made, with this GUID.
    pub create: Option<UserGuid>,
}

/// An identity of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRow {
    /// Names the other directory.
    pub issuer: String,
    /// Names the person there.
    pub subject: String,
    /// The account.
    pub user: UserId,
    /// Whether the account exists because of the identity.
    pub made_account: bool,
    /// When they were linked.
    pub linked_at: OffsetDateTime,
    /// When it was used last.
    pub signed_in_at: Option<OffsetDateTime>,
}

const COLUMNS: &str = "l.issuer, l.subject, l.user_id, l.made_account, l.linked_at, l.signed_in_at";

/// Finds the account of an identity, or makes one.
///
/// Profile and role follow the other directory only where it made the account. [`DbError::NotFound`] when there is no
/// account and none may be made, [`DbError::UsernameTaken`] when the name is another account's: a name there proves nothing
/// about one here. [`DbError::AccountLocked`] when the account is locked.
pub async fn sign_in(tx: &Transaction<'_>, who: &SignIn) -> Result<UserRow, DbError> {
    if let Some(user) = known(tx, who).await? {
        return Ok(user);
    }
    let Some(guid) = who.create else { return Err(DbError::NotFound("user")) };
    // Of several first visits of one person at once one makes the account; the others wait here and find it.
    let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, hashtextextended($2, 0)))";
    row::query_one(tx, sql, &[&who.subject, &who.issuer]).await?;
    if let Some(user) = known(tx, who).await? {
        return Ok(user);
    }
    let Profile { username, email, first_name, last_name } = who.profile.clone();
    let role = who.role.unwrap_or(UserRole::Viewer);
    let new = NewUser { guid, username, email, first_name, last_name, role, password_hash: None, confirmed: true };
    let user = users::create(tx, &new).await?;
    insert(tx, &who.issuer, &who.subject, user.id, true).await?;
    record(tx, who, &Action::UserMade { user: &user.username, role: user.role }).await?;
    Ok(user)
}

/// The account of an identity that is linked, brought up to date.
async fn known(tx: &Transaction<'_>, who: &SignIn) -> Result<Option<UserRow>, DbError> {
    let sql = format!(
        "UPDATE linked_identities l SET signed_in_at = now() WHERE l.issuer = $1 AND l.subject = $2 RETURNING {COLUMNS}"
    );
    let Some(row) = row::query_opt(tx, &sql, &[&who.issuer, &who.subject]).await? else { return Ok(None) };
    let link = from_row(&row)?;
    let user = users::get(tx, link.user).await?.ok_or(DbError::NotFound("user"))?;
    if user.locked {
        return Err(DbError::AccountLocked);
    }
    if !link.made_account {
        return Ok(Some(user));
    }
    let Profile { email, first_name, last_name, .. } = &who.profile;
    let mut user = user;
    if (&user.email, &user.first_name, &user.last_name) != (email, first_name, last_name) {
        let (email, first_name, last_name) = (email.clone(), first_name.clone(), last_name.clone());
        let patch = ProfilePatch {
            username: None,
            email: Some(email),
            first_name: Some(first_name),
            last_name: Some(last_name),
        };
        user = users::update_profile(tx, user.id, &patch).await?;
        record(tx, who, &Action::UserChanged { user: &user.username }).await?;
    }
    if let Some(role) = who.role.filter(|role| *role != user.role) {
        user = users::set_role(tx, user.id, role).await?;
        record(tx, who, &Action::UserRoleSet { user: &user.username, role }).await?;
    }
    Ok(Some(user))
}

/// Writes down what another directory did here.
async fn record(tx: &Transaction<'_>, who: &SignIn, action: &Action<'_>) -> Result<(), DbError> {
    audit::append(tx, Actor::directory(&who.issuer), action).await.map(drop)
}

/// The account of an identity, whatever state it is in, and notes that the identity was used. Makes and changes nothing else.
pub async fn find(client: &impl GenericClient, issuer: &str, subject: &str) -> Result<Option<UserRow>, DbError> {
    let sql = format!(
        "UPDATE linked_identities l SET signed_in_at = now() WHERE l.issuer = $1 AND l.subject = $2 RETURNING {COLUMNS}"
    );
    match row::query_opt(client, &sql, &[&issuer, &subject]).await? {
        Some(row) => users::get(client, from_row(&row)?.user).await,
        None => Ok(None),
    }
}

/// Links an identity to an account that exists. [`DbError::AlreadyLinked`] when it is linked to any.
pub async fn link(client: &impl GenericClient, issuer: &str, subject: &str, user: UserId) -> Result<LinkRow, DbError> {
    insert(client, issuer, subject, user, false).await
}

/// Ends a link; the account stays. `false` when there is none.
pub async fn unlink(client: &impl GenericClient, issuer: &str, subject: &str) -> Result<bool, DbError> {
    let sql = "DELETE FROM linked_identities WHERE issuer = $1 AND subject = $2";
    Ok(row::execute(client, sql, &[&issuer, &subject]).await? > 0)
}

/// The identities of an account, oldest first.
pub async fn list(client: &impl GenericClient, user: UserId) -> Result<Vec<LinkRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM linked_identities l WHERE l.user_id = $1 ORDER BY l.linked_at, l.issuer, l.subject"
    );
    row::query(client, &sql, &[&user.0]).await?.iter().map(from_row).collect()
}

async fn insert(
    client: &impl GenericClient,
    issuer: &str,
    subject: &str,
    user: UserId,
    made_account: bool,
) -> Result<LinkRow, DbError> {
    let sql = format!(
        "INSERT INTO linked_identities AS l (issuer, subject, user_id, made_account, signed_in_at) \
         VALUES ($1, $2, $3, $4, CASE WHEN $4 THEN now() END) RETURNING {COLUMNS}"
    );
    from_row(&row::query_one(client, &sql, &[&issuer, &subject, &user.0, &made_account]).await?)
}

fn from_row(row: &Row) -> Result<LinkRow, DbError> {
    Ok(LinkRow {
        issuer: row::get(row, "issuer")?,
        subject: row::get(row, "subject")?,
        user: UserId(row::get(row, "user_id")?),
        made_account: row::get(row, "made_account")?,
        linked_at: row::get(row, "linked_at")?,
        signed_in_at: row::get(row, "signed_in_at")?,
    })
}
