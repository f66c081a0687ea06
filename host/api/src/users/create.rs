//! New accounts.

use axum::Json;
use axum::extract::State;
use lectern_domain::access::Principal;
use lectern_domain::audit::Action;
use lectern_domain::ids::UserGuid;
use lectern_domain::user::{UserRole, check_username};
use lectern_metadata::users::{self, NewUser, PasswordHash, UserPage, UserRow};
use lectern_metadata::{Database, DbError};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{NumberedUser, UserPageView, UserView};
use crate::audit::record;
use crate::body::Object;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::{Account, Administrator};
use crate::page::{self, PageQuery};
use crate::query::Params;
use crate::services::{Backstage, Part};
use crate::{Services, login};

/// A new account.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"username": "ada", "email": "ada@example.org", "first_name": "Ada", "last_name": "Lovelace"}))]
pub(crate) struct UserFields {
    #[schema(required = true, value_type = String, min_length = 1)]
    username: Option<String>,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    /// Absent: nobody signs in with a password.
    #[schema(format = Password)]
    password: Option<String>,
    /// `viewer` when absent.
    #[schema(pattern = "^(viewer|publisher|administrator)$")]
    user_role: Option<String>,
    /// The user must choose a password first, by an administrator's link, and signs in with none until then.
    user_must_set_password: Option<bool>,
}

/// Makes an account; for administrators.
#[utoipa::path(post, path = "/v1/users", tag = "users", request_body = UserFields,
    responses((status = 200, body = UserView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub(super) async fn create(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Object(fields): Object<UserFields>,
) -> Result<Json<UserView>, ApiError> {
    Ok(Json(make(&services, &caller, fields).await?.into()))
}

/// Makes an account, as R clients before 1.0 ask for it; for administrators.
#[utoipa::path(post, path = "/users", tag = "legacy", request_body = UserFields,
    responses((status = 200, body = NumberedUser), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn create_legacy(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Object(fields): Object<UserFields>,
) -> Result<Json<NumberedUser>, ApiError> {
    Ok(Json(make(&services, &caller, fields).await?.into()))
}

async fn make(services: &Services, caller: &Principal, fields: UserFields) -> Result<UserRow, ApiError> {
    let username = fields
        .username
        .filter(|name| !name.is_empty())
        .ok_or_else(|| ApiError::new(Code::MissingParameter, "a user needs a username"))?;
    check_username(&username).map_err(|bad| ApiError::new(Code::BadField, bad.to_string()))?;
    let role = match fields.user_role.as_deref() {
        None | Some("") => UserRole::Viewer,
        Some(word) => role_of(word)?,
    };
    let password_hash = match fields.password.filter(|password| !password.is_empty()) {
        None => None,
        Some(password) => {
            Some(services.backstage.hash_password(Zeroizing::new(password)).await.map_err(login::refused)?)
        }
    };
    let user = NewUser {
        guid: UserGuid(Uuid::new_v4()),
        username,
        email: short(fields.email.unwrap_or_default(), "email")?,
        first_name: short(fields.first_name.unwrap_or_default(), "first_name")?,
        last_name: short(fields.last_name.unwrap_or_default(), "last_name")?,
        role,
        password_hash: password_hash.map(PasswordHash),
        confirmed: !fields.user_must_set_password.unwrap_or(false),
    };
    create_account(&services.database, &*services.backstage, caller, &user).await
}

/// Makes an account whose name was checked. Code 8: the name is another's.
async fn create_account(
    database: &Database,
    backstage: &dyn Backstage,
    caller: &Principal,
    user: &NewUser,
) -> Result<UserRow, ApiError> {
    let mut client = database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = users::create(&tx, user).await?;
    record(&tx, caller, &Action::UserMade { user: &row.username, role: row.role }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    backstage.refresh(Part::Users).await;
    Ok(row)
}

/// Makes an account that is not confirmed and has no password: its user chooses one by a link.
pub async fn invite(
    database: &Database,
    backstage: &dyn Backstage,
    caller: &Principal,
    username: &str,
    email: &str,
    role: UserRole,
) -> Result<UserRow, ApiError> {
    if caller.role < UserRole::Administrator {
        return Err(ApiError::new(Code::NotPermitted, "only administrators make accounts"));
    }
    check_username(username).map_err(|bad| ApiError::new(Code::BadField, bad.to_string()))?;
    let user = NewUser {
        guid: UserGuid(Uuid::new_v4()),
        username: username.to_owned(),
        email: short(email.to_owned(), "email")?,
        first_name: String::new(),
        last_name: String::new(),
        role,
        password_hash: None,
        confirmed: false,
    };
    create_account(database, backstage, caller, &user).await
}

/// A text of a profile, at most 255 characters.
pub(super) fn short(text: String, name: &str) -> Result<String, ApiError> {
    if text.chars().count() > 255 {
        return Err(ApiError::new(Code::BadField, format!("{name} must be at most 255 characters long")));
    }
    Ok(text)
}

/// A role by its word.
pub(super) fn role_of(word: &str) -> Result<UserRole, ApiError> {
    let refused = || ApiError::new(Code::BadField, "user_role must be viewer, publisher or administrator");
    UserRole::parse(word).ok_or_else(refused)
}

/// An account of another directory.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Ticket {
    /// What a search of that directory gave.
    #[schema(required = true, value_type = String, min_length = 1)]
    temp_ticket: Option<String>,
}

impl Ticket {
    /// The refusal of any ticket: this server searches no directory, so it has given none.
    pub(crate) fn refuse(&self, missing: Code) -> ApiError {
        match self.temp_ticket.as_deref() {
            None | Some("") => ApiError::new(Code::MissingParameter, "this needs a temp_ticket"),
            Some(_) => ApiError::new(missing, "no other directory is searched here, so there is no such ticket"),
        }
    }
}

/// Takes an account over from another directory. Accounts of other directories are made when their users sign in first, so
/// there is never a ticket.
#[utoipa::path(put, path = "/v1/users", tag = "users", request_body = Ticket,
    responses((status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(super) async fn take_over(_: Administrator, Object(ticket): Object<Ticket>) -> ApiError {
    ticket.refuse(Code::UserMissing)
}

/// Searches another directory; there is none to search, so nobody is found.
#[utoipa::path(get, path = "/v1/users/remote", tag = "users", params(PageQuery),
    responses((status = 200, body = UserPageView), (status = 401, body = ErrorBody)))]
pub(super) async fn remote(_: Account, Params(page): Params<PageQuery>) -> Json<UserPageView> {
    Json(UserPageView::of(UserPage { users: Vec::new(), total: 0 }, page.place(page::MAX)))
}
