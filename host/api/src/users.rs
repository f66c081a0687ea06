//! `/v1/user`, `/users/current`, `/me` and `/v1/users`: accounts.

use axum::Json;
use axum::extract::{Path, State};
use lectern_domain::ids::UserGuid;
use lectern_domain::user::{UserRole, check_username};
use lectern_metadata::users::{self, NewUser, PasswordHash, UserFilter, UserRow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::Services;
use crate::body::Object;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::{Account, Administrator};
use crate::query::Params;
use crate::services::{Part, PasswordError};
use crate::stamp::Stamp;

/// Most accounts on one page; clients ask for 500.
const MAX_PAGE: i64 = 500;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(current))
        .routes(routes!(current_legacy))
        .routes(routes!(me))
        .routes(routes!(list, create))
        .routes(routes!(get))
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserView {
    guid: String,
    email: String,
    username: String,
    first_name: String,
    last_name: String,
    #[schema(value_type = String, example = "publisher")]
    user_role: UserRole,
    created_time: Stamp,
    updated_time: Stamp,
    /// When it was last used; null: never.
    active_time: Option<Stamp>,
    confirmed: bool,
    locked: bool,
}

impl From<UserRow> for UserView {
    fn from(row: UserRow) -> Self {
        Self {
            guid: row.guid.to_string(),
            email: row.email,
            username: row.username,
            first_name: row.first_name,
            last_name: row.last_name,
            user_role: row.role,
            created_time: row.created_at.into(),
            updated_time: row.updated_at.into(),
            active_time: row.active_at.map(Stamp),
            confirmed: row.confirmed,
            locked: row.locked,
        }
    }
}

/// The caller's account, with the number that R clients remember it by.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NumberedUser {
    id: i64,
    #[serde(flatten)]
    user: UserView,
}

async fn account_of(services: &Services, guid: UserGuid) -> Result<UserRow, ApiError> {
    let client = services.database.client().await?;
    let row = users::get_by_guid(&client, guid).await?;
    row.ok_or_else(|| ApiError::new(Code::UserMissing, "there is no such user"))
}

/// The caller's account.
#[utoipa::path(get, path = "/v1/user", tag = "users",
    responses((status = 200, body = UserView), (status = 401, body = ErrorBody)))]
async fn current(State(services): State<Services>, Account(caller): Account) -> Result<Json<UserView>, ApiError> {
    Ok(Json(account_of(&services, caller.guid).await?.into()))
}

/// The caller's account, as R clients ask for it.
#[utoipa::path(get, path = "/users/current", tag = "legacy",
    responses((status = 200, body = NumberedUser), (status = 401, body = ErrorBody)))]
async fn current_legacy(
    State(services): State<Services>,
    Account(caller): Account,
) -> Result<Json<NumberedUser>, ApiError> {
    let row = account_of(&services, caller.guid).await?;
    Ok(Json(NumberedUser { id: row.id.0, user: row.into() }))
}

/// The caller's account, by its oldest address.
#[utoipa::path(get, path = "/me", tag = "legacy",
    responses((status = 200, body = NumberedUser), (status = 401, body = ErrorBody)))]
async fn me(state: State<Services>, account: Account) -> Result<Json<NumberedUser>, ApiError> {
    current_legacy(state, account).await
}

/// Which accounts, and which page of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct UserQuery {
    /// Beginning of a user name, first or last name.
    prefix: Option<String>,
    /// Roles, joined by `|`.
    user_role: Option<String>,
    /// `locked` or `licensed`.
    account_status: Option<String>,
    /// Counts from 1.
    page_number: Option<i64>,
    /// At most 500.
    page_size: Option<i64>,
}

/// One page. Clients take exactly these three fields.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserPageView {
    results: Vec<UserView>,
    current_page: i64,
    /// How many there are on all pages.
    total: i64,
}

/// Lists accounts by user name.
#[utoipa::path(get, path = "/v1/users", tag = "users", params(UserQuery),
    responses((status = 200, body = UserPageView), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)))]
async fn list(
    State(services): State<Services>,
    _: Account,
    Params(query): Params<UserQuery>,
) -> Result<Json<UserPageView>, ApiError> {
    let filter = filter(&query)?;
    let page = query.page_number.unwrap_or(1).max(1);
    let size = query.page_size.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let client = services.database.client().await?;
    let found = users::list(&client, &filter, (page - 1).saturating_mul(size), size).await?;
    let results = found.users.into_iter().map(UserView::from).collect();
    Ok(Json(UserPageView { results, current_page: page, total: found.total }))
}

fn filter(query: &UserQuery) -> Result<UserFilter, ApiError> {
    let words = |list: &Option<String>| -> Vec<String> {
        list.iter().flat_map(|list| list.split('|')).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let roles = words(&query.user_role)
        .iter()
        .map(|word| UserRole::parse(word))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| ApiError::new(Code::BadParameter, "user_role must be viewer, publisher or administrator"))?;
    let (mut locked, mut licensed) = (false, false);
    for word in words(&query.account_status) {
        match word.as_str() {
            "locked" => locked = true,
            "licensed" => licensed = true,
            _ => return Err(ApiError::new(Code::BadParameter, "account_status must be locked or licensed")),
        }
    }
    let prefix = query.prefix.clone().filter(|prefix| !prefix.is_empty());
    Ok(UserFilter { prefix, roles, locked: (locked != licensed).then_some(locked) })
}

/// One account.
#[utoipa::path(get, path = "/v1/users/{guid}", tag = "users", params(("guid" = String, Path,)),
    responses((status = 200, body = UserView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn get(
    State(services): State<Services>,
    _: Account,
    Path(guid): Path<String>,
) -> Result<Json<UserView>, ApiError> {
    Ok(Json(account_of(&services, guid.parse()?).await?.into()))
}

/// A new account.
#[derive(Deserialize, ToSchema)]
pub(crate) struct UserFields {
    username: Option<String>,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    /// Absent: nobody signs in with a password.
    #[schema(format = Password)]
    password: Option<String>,
    /// `viewer` when absent.
    user_role: Option<String>,
}

/// Makes an account; for administrators.
#[utoipa::path(post, path = "/v1/users", tag = "users", request_body = UserFields,
    responses((status = 200, body = UserView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
async fn create(
    State(services): State<Services>,
    _: Administrator,
    Object(fields): Object<UserFields>,
) -> Result<Json<UserView>, ApiError> {
    let username = fields
        .username
        .filter(|name| !name.is_empty())
        .ok_or_else(|| ApiError::new(Code::MissingParameter, "a user needs a username"))?;
    check_username(&username).map_err(|bad| ApiError::new(Code::BadField, bad.to_string()))?;
    let role = match fields.user_role.as_deref() {
        None | Some("") => UserRole::Viewer,
        Some(word) => UserRole::parse(word)
            .ok_or_else(|| ApiError::new(Code::BadField, "user_role must be viewer, publisher or administrator"))?,
    };
    let short = |field: Option<String>, name: &str| match field.unwrap_or_default() {
        text if text.chars().count() <= 255 => Ok(text),
        _ => Err(ApiError::new(Code::BadField, format!("{name} must be at most 255 characters long"))),
    };
    let password_hash = match fields.password.filter(|password| !password.is_empty()) {
        None => None,
        Some(password) => {
            Some(services.backstage.hash_password(Zeroizing::new(password)).await.map_err(refused_password)?)
        }
    };
    let user = NewUser {
        guid: UserGuid(Uuid::new_v4()),
        username,
        email: short(fields.email, "email")?,
        first_name: short(fields.first_name, "first_name")?,
        last_name: short(fields.last_name, "last_name")?,
        role,
        password_hash: password_hash.map(PasswordHash),
        confirmed: true,
    };
    let row = users::create(&services.database.client().await?, &user).await?;
    services.backstage.refresh(Part::Users).await;
    Ok(Json(row.into()))
}

fn refused_password(error: PasswordError) -> ApiError {
    match error {
        PasswordError::Refused(rule) => ApiError::new(Code::BadField, rule),
        PasswordError::Failed(_) => ApiError::internal(error),
    }
}
