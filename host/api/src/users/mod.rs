//! `/v1/user`, `/users/current`, `/me` and `/v1/users`: accounts.

mod change;
mod create;
mod password;
mod sessions;

use axum::Json;
use axum::extract::{Path, State};
use lectern_domain::access::Principal;
use lectern_domain::ids::UserGuid;
use lectern_domain::user::UserRole;
use lectern_metadata::GenericClient;
use lectern_metadata::users::{self, AccountStatus, UserFilter, UserRow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use change::{set_locked, set_role};
pub(crate) use create::Ticket;
pub use create::invite;
pub use password::{change_password, make_password_link, set_password_by_link};

use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Account;
use crate::query::Params;
use crate::stamp::Stamp;
use crate::{Services, page};

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(current))
        .routes(routes!(current_legacy))
        .routes(routes!(me))
        .routes(routes!(create::create_legacy))
        .routes(routes!(get_by_number))
        .routes(routes!(list, create::create, create::take_over))
        .routes(routes!(create::remote))
        .routes(routes!(get, change::change))
        .routes(routes!(change::lock))
        .routes(routes!(change::confirm))
        .routes(routes!(password::change))
        .routes(routes!(password::make_link))
        .routes(routes!(sessions::list, sessions::end_all))
        .routes(routes!(sessions::end))
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

impl From<UserRow> for NumberedUser {
    fn from(row: UserRow) -> Self {
        Self { id: row.id.0, user: row.into() }
    }
}

/// Whether an account proves somebody: whoever lets it act asks.
pub(crate) struct Standing;

impl Standing {
    /// Refuses a locked account with code 50, one that is not confirmed with code 40.
    pub(crate) fn check(account: &UserRow) -> Result<(), ApiError> {
        if account.locked {
            return Err(ApiError::new(Code::UserLocked, "the account is locked; an administrator can unlock it"));
        }
        if !account.confirmed {
            let text =
                "the account is not confirmed: its user must choose a password first, by an administrator's link";
            return Err(ApiError::new(Code::NotConfirmed, text));
        }
        Ok(())
    }
}

/// The account an address names, for itself and for administrators; others are refused with `refusal`.
pub(crate) async fn somebody(
    client: &impl GenericClient,
    caller: &Principal,
    guid: &str,
    refusal: Code,
) -> Result<UserRow, ApiError> {
    let guid: UserGuid = guid.parse()?;
    let row = users::get_by_guid(client, guid).await?;
    let row = row.ok_or_else(|| ApiError::new(Code::UserMissing, "there is no such user"))?;
    if row.guid == caller.guid || caller.role == UserRole::Administrator {
        return Ok(row);
    }
    Err(ApiError::new(refusal, "this is for the user and for administrators"))
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
    Ok(Json(account_of(&services, caller.guid).await?.into()))
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
    /// `locked`, `licensed` (used within the last year) or `inactive`, joined by `|`.
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

impl UserPageView {
    /// A page that was found.
    pub(crate) fn of(found: users::UserPage, page: page::Place) -> Self {
        let results = found.users.into_iter().map(UserView::from).collect();
        Self { results, current_page: page.number, total: found.total }
    }
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
    let page = page::bounded(query.page_number, query.page_size, page::MAX);
    let client = services.database.client().await?;
    let found = users::list(&client, &filter, page.offset, page.size).await?;
    Ok(Json(UserPageView::of(found, page)))
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
    let statuses = words(&query.account_status)
        .iter()
        .map(|word| AccountStatus::parse(word))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| ApiError::new(Code::BadParameter, "account_status must be locked, licensed or inactive"))?;
    let prefix = query.prefix.clone().filter(|prefix| !prefix.is_empty());
    Ok(UserFilter { prefix, roles, statuses })
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

/// One account, by the number that R clients before 1.0 remember.
#[utoipa::path(get, path = "/users/{id}", tag = "legacy", params(("id" = i64, Path,)),
    responses((status = 200, body = NumberedUser), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn get_by_number(
    State(services): State<Services>,
    _: Account,
    Path(id): Path<String>,
) -> Result<Json<NumberedUser>, ApiError> {
    let row = users::get(&services.database.client().await?, id.parse()?).await?;
    Ok(Json(row.ok_or_else(|| ApiError::new(Code::UserMissing, "there is no such user"))?.into()))
}
