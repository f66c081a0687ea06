//! Changes of accounts: profile, role, lock, confirmation.

use axum::Json;
use axum::extract::{Path, State};
use lectern_domain::access::Principal;
use lectern_domain::audit::Action;
use lectern_domain::user::{UserRole, check_username};
use lectern_metadata::users::{self, ProfilePatch, UserRow};
use lectern_metadata::{Database, DbError, Transaction, sessions};
use serde::Deserialize;
use utoipa::ToSchema;

use super::create::{role_of, short};
use super::{UserView, somebody};
use crate::Services;
use crate::audit::record;
use crate::body::Object;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::{Account, Administrator};
use crate::services::{Backstage, Part};

/// What may be changed of an account. What is absent or null stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct UserChange {
    /// For administrators.
    username: Option<String>,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    /// For administrators.
    #[schema(pattern = "^(viewer|publisher|administrator)$")]
    user_role: Option<String>,
}

/// Changes an account: one's own profile, or, for administrators, anybody's profile, name and role.
#[utoipa::path(put, path = "/v1/users/{guid}", tag = "users", params(("guid" = String, Path,)),
    request_body = UserChange,
    responses((status = 200, body = UserView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn change(
    State(services): State<Services>,
    Account(caller): Account,
    Path(guid): Path<String>,
    Object(wanted): Object<UserChange>,
) -> Result<Json<UserView>, ApiError> {
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let mut row = somebody(&tx, &caller, &guid, Code::CannotChange).await?;
    // Some clients send the whole account back: what is the same is no change.
    let username = wanted.username.filter(|name| *name != row.username);
    let role = wanted.user_role.as_deref().map(role_of).transpose()?.filter(|role| *role != row.role);
    if (username.is_some() || role.is_some()) && caller.role != UserRole::Administrator {
        return Err(ApiError::new(Code::NotPermitted, "only administrators change user names and roles"));
    }
    if let Some(name) = &username {
        check_username(name).map_err(|bad| ApiError::new(Code::BadField, bad.to_string()))?;
    }
    let text = |field: Option<String>, name| field.map(|text| short(text, name)).transpose();
    let patch = ProfilePatch {
        username,
        email: text(wanted.email, "email")?,
        first_name: text(wanted.first_name, "first_name")?,
        last_name: text(wanted.last_name, "last_name")?,
    };
    let old = row.clone();
    if patch != ProfilePatch::default() {
        row = users::update_profile(&tx, row.id, &patch).await?;
    }
    if let Some(role) = role {
        keep_an_administrator(&tx, &row, role < UserRole::Administrator).await?;
        row = users::set_role(&tx, row.id, role).await?;
    }
    record_changes(&tx, &caller, &old, &row).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    services.backstage.refresh(Part::Users).await;
    Ok(Json(row.into()))
}

/// Writes down what differs between an account and what became of it.
async fn record_changes(tx: &Transaction<'_>, caller: &Principal, old: &UserRow, new: &UserRow) -> Result<(), DbError> {
    let profile = |row: &UserRow| (row.email.clone(), row.first_name.clone(), row.last_name.clone());
    let user = &new.username;
    if old.username != *user {
        record(tx, caller, &Action::UserRenamed { from: &old.username, to: user }).await?;
    }
    if profile(old) != profile(new) {
        record(tx, caller, &Action::UserChanged { user }).await?;
    }
    if old.role != new.role {
        record(tx, caller, &Action::UserRoleSet { user, role: new.role }).await?;
    }
    Ok(())
}

/// Refuses to take the last administrator's role or access.
async fn keep_an_administrator(tx: &Transaction<'_>, row: &UserRow, goes: bool) -> Result<(), ApiError> {
    let administers = row.role == UserRole::Administrator && !row.locked;
    if goes && administers && !users::another_administrator(tx, row.id).await? {
        let text = "this is the last administrator: make another one first";
        return Err(ApiError::new(Code::NotPermitted, text));
    }
    Ok(())
}

/// Whether an account shall be locked.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Lock {
    #[schema(required = true, value_type = bool)]
    locked: Option<bool>,
}

/// Locks or unlocks an account; for administrators, and never one's own. Keys and tokens of a locked account prove nobody until it
/// is unlocked; its sessions end.
#[utoipa::path(post, path = "/v1/users/{guid}/lock", tag = "users", params(("guid" = String, Path,)), request_body = Lock,
    responses((status = 200, body = UserView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(super) async fn lock(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Path(guid): Path<String>,
    Object(wanted): Object<Lock>,
) -> Result<Json<UserView>, ApiError> {
    let locked = wanted.locked.ok_or_else(|| ApiError::new(Code::MissingParameter, "say locked: true or false"))?;
    let row = set_locked(&services.database, &*services.backstage, &caller, &guid, locked).await?;
    Ok(Json(row.into()))
}

/// Locks or unlocks an account as an administrator. Code 22: it is the caller's own, or the last administrator's.
pub async fn set_locked(
    database: &Database,
    backstage: &dyn Backstage,
    caller: &Principal,
    guid: &str,
    locked: bool,
) -> Result<UserRow, ApiError> {
    let mut client = database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = administered(&tx, caller, guid).await?;
    if locked && row.guid == caller.guid {
        return Err(ApiError::new(Code::NotPermitted, "nobody locks their own account"));
    }
    keep_an_administrator(&tx, &row, locked).await?;
    let row = users::set_locked(&tx, row.id, locked).await?;
    let ended = if locked { sessions::delete_of_user(&tx, row.id).await? } else { 0 };
    let user = &row.username;
    record(&tx, caller, &if locked { Action::UserLocked { user } } else { Action::UserUnlocked { user } }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    backstage.refresh(Part::Users).await;
    if ended > 0 {
        backstage.refresh(Part::Sessions).await;
    }
    Ok(row)
}

/// Changes what an account may do, as an administrator. Code 22: it is the last administrator's.
pub async fn set_role(
    database: &Database,
    backstage: &dyn Backstage,
    caller: &Principal,
    guid: &str,
    role: UserRole,
) -> Result<UserRow, ApiError> {
    let mut client = database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = administered(&tx, caller, guid).await?;
    keep_an_administrator(&tx, &row, role < UserRole::Administrator).await?;
    let old = row;
    let row = users::set_role(&tx, old.id, role).await?;
    record_changes(&tx, caller, &old, &row).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    backstage.refresh(Part::Users).await;
    Ok(row)
}

/// An account that the caller administers.
async fn administered(tx: &Transaction<'_>, caller: &Principal, guid: &str) -> Result<UserRow, ApiError> {
    if caller.role < UserRole::Administrator {
        return Err(ApiError::new(Code::NotPermitted, "only administrators change accounts"));
    }
    somebody(tx, caller, guid, Code::CannotChange).await
}

/// Confirms an account whose user was to choose a password first; for administrators.
#[utoipa::path(post, path = "/v1/users/{guid}/confirm", tag = "users", params(("guid" = String, Path,)),
    responses((status = 200, body = UserView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(super) async fn confirm(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Path(guid): Path<String>,
) -> Result<Json<UserView>, ApiError> {
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = somebody(&tx, &caller, &guid, Code::CannotChange).await?;
    let row = users::confirm(&tx, row.id).await?;
    record(&tx, &caller, &Action::UserConfirmed { user: &row.username }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    services.backstage.refresh(Part::Users).await;
    Ok(Json(row.into()))
}
