//! `/v1/content/{guid}/permission_requests`: accounts without access ask for it, and who may change the content decides.

use axum::Json;
use axum::extract::{FromRequestParts, Path, RawPathParams, State};
use http::StatusCode;
use http::request::Parts;
use lectern_domain::access::{Action, AppRole, PermissionRole, Principal};
use lectern_domain::audit;
use lectern_domain::ids::{ContentGuid, PermissionRequestId};
use lectern_domain::user::UserRole;
use lectern_metadata::content::{self, ContentRow};
use lectern_metadata::permission_requests::{self as requests, RequestRow};
use lectern_metadata::permissions::Grantee;
use lectern_metadata::{DbError, permissions, users};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::access::{Changeable, permit, standing};
use crate::audit::{item, record};
use crate::body::Object;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Account;
use crate::services::Part;
use crate::stamp::Stamp;

/// Longest reason, in characters: a few sentences.
const MAX_REASON: usize = 1000;

/// Most open requests of one account: nobody has that many to make by hand, and an account that makes them by a program
/// shall not fill the database.
const MAX_OPEN: i64 = 100;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, ask, withdraw)).routes(routes!(grant, refuse))
}

/// A request for access.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RequestView {
    id: String,
    content_guid: String,
    user_guid: String,
    username: String,
    /// `viewer`: to open it; `owner`: to change it, too.
    #[schema(value_type = String, example = "viewer")]
    role: PermissionRole,
    reason: String,
    created_time: Stamp,
}

fn view(row: RequestRow, content: ContentGuid) -> RequestView {
    RequestView {
        id: row.id.to_string(),
        content_guid: content.to_string(),
        user_guid: row.user_guid.to_string(),
        username: row.username,
        role: row.role,
        reason: row.reason,
        created_time: row.created_at.into(),
    }
}

/// What is asked for, or granted.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[schema(example = json!({"role": "viewer", "reason": "for the report"}))]
pub(crate) struct Wanted {
    /// `viewer`, also when absent, or `owner`.
    #[schema(pattern = "^(viewer|owner)$")]
    role: Option<String>,
    /// Shown to who decides; at most 1000 characters.
    #[schema(max_length = 1000)]
    reason: Option<String>,
}

impl Wanted {
    fn role(&self) -> Result<Option<PermissionRole>, ApiError> {
        match self.role.as_deref() {
            None => Ok(None),
            Some("viewer") => Ok(Some(PermissionRole::Viewer)),
            Some("owner") => Ok(Some(PermissionRole::Owner)),
            Some(_) => Err(ApiError::new(Code::BadField, "role must be viewer or owner")),
        }
    }
}

/// An item by its GUID, for an account that may have no access to it. That it exists is no secret: its address tells that
/// to everybody who has it.
struct Sought {
    row: ContentRow,
    caller: Principal,
    services: Services,
}

impl FromRequestParts<Services> for Sought {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        let Account(caller) = Account::from_request_parts(parts, services).await?;
        let params = RawPathParams::from_request_parts(parts, services)
            .await
            .map_err(|_| ApiError::new(Code::BadId, "the address is not valid text"))?;
        let guid: ContentGuid = params.iter().find(|(name, _)| *name == "guid").map_or("", |(_, guid)| guid).parse()?;
        let row = content::get_by_guid(&services.database.client().await?, guid).await?;
        let row = row.ok_or_else(|| ApiError::new(Code::Missing, "there is no such content"))?;
        Ok(Self { row, caller, services: services.clone() })
    }
}

/// Lists the open requests, oldest first.
#[utoipa::path(get, path = "/v1/content/{guid}/permission_requests", tag = "content", params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<RequestView>), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn list(at: Changeable) -> Result<Json<Vec<RequestView>>, ApiError> {
    let rows = requests::list(&at.client().await?, at.row.id).await?;
    Ok(Json(rows.into_iter().map(|row| view(row, at.row.guid)).collect()))
}

/// Asks for access. Asking again replaces what was asked before.
#[utoipa::path(post, path = "/v1/content/{guid}/permission_requests", tag = "content", params(("guid" = String, Path,)),
    request_body = Wanted,
    responses((status = 200, body = RequestView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, description = "the caller has this access", body = ErrorBody)))]
async fn ask(at: Sought, Object(wanted): Object<Wanted>) -> Result<Json<RequestView>, ApiError> {
    let role = wanted.role()?.unwrap_or(PermissionRole::Viewer);
    let reason = wanted.reason.unwrap_or_default();
    if reason.chars().count() > MAX_REASON {
        return Err(ApiError::new(Code::BadField, format!("the reason must be at most {MAX_REASON} characters long")));
    }
    if role == PermissionRole::Owner && at.caller.role < UserRole::Publisher {
        return Err(ApiError::new(Code::CannotCollaborate, "a viewer's account cannot be a collaborator"));
    }
    let client = at.services.database.client().await?;
    let entries = permissions::of_user(&client, at.caller.user).await?;
    let enough = if role == PermissionRole::Owner { AppRole::Editor } else { AppRole::Viewer };
    if standing(&at.row, &at.caller, &entries) >= enough {
        return Err(ApiError::new(Code::AlreadyListed, "this account has that access already"));
    }
    let row = requests::ask(&client, at.row.id, at.caller.user, role, &reason, MAX_OPEN).await?;
    let full = || {
        let text = format!("this account has {MAX_OPEN} open requests; withdraw some, or wait until they are decided");
        ApiError::new(Code::NotPermitted, text)
    };
    Ok(Json(view(row.ok_or_else(full)?, at.row.guid)))
}

/// Withdraws the caller's own request.
#[utoipa::path(delete, path = "/v1/content/{guid}/permission_requests", tag = "content",
    params(("guid" = String, Path,)),
    responses((status = 204), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn withdraw(at: Sought) -> Result<StatusCode, ApiError> {
    if !requests::withdraw(&at.services.database.client().await?, at.row.id, at.caller.user).await? {
        return Err(missing());
    }
    Ok(StatusCode::NO_CONTENT)
}

fn read_id(id: &str) -> Result<i64, ApiError> {
    Ok(id.parse::<PermissionRequestId>()?.0)
}

fn missing() -> ApiError {
    ApiError::new(Code::CannotRemove, "this content has no such request")
}

/// Grants a request: the account is listed with what it asked for, or with the role given here.
#[utoipa::path(put, path = "/v1/content/{guid}/permission_requests/{id}", tag = "content",
    params(("guid" = String, Path,), ("id" = String, Path,)), request_body = Wanted,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn grant(
    State(services): State<Services>,
    at: Changeable,
    Path((_guid, id)): Path<(String, String)>,
    Object(given): Object<Wanted>,
) -> Result<StatusCode, ApiError> {
    let (id, given) = (read_id(&id)?, given.role()?);
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    // Who decides may have lost the right while others changed the item.
    let row = content::lock(&tx, at.row.id).await?;
    permit(&tx, &at.caller, &row, Action::Change).await?;
    let request = requests::take(&tx, row.id, id).await?.ok_or_else(missing)?;
    let role = given.unwrap_or(request.role);
    let user = users::get(&tx, request.user).await?.ok_or_else(missing)?;
    if role == PermissionRole::Owner && user.role < UserRole::Publisher {
        return Err(ApiError::new(Code::CannotCollaborate, "a viewer's account cannot be a collaborator"));
    }
    if user.id != row.owner.id {
        let grantee = Grantee::User(user.id, user.guid);
        let listed = permissions::list(&tx, row.id).await?.into_iter().find(|entry| entry.grantee == grantee);
        match listed {
            Some(entry) => drop(permissions::set_role(&tx, row.id, entry.id, role).await?),
            None => drop(permissions::add(&tx, row.id, &grantee, role).await?),
        }
        let granted = audit::Action::PermissionAdded { item: item(&row), to: &user.username, role };
        record(&tx, &at.caller, &granted).await?;
    }
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    services.backstage.refresh(Part::Content(at.row.guid)).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses a request.
#[utoipa::path(delete, path = "/v1/content/{guid}/permission_requests/{id}", tag = "content",
    params(("guid" = String, Path,), ("id" = String, Path,)),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn refuse(at: Changeable, Path((_guid, id)): Path<(String, String)>) -> Result<StatusCode, ApiError> {
    requests::take(&at.client().await?, at.row.id, read_id(&id)?).await?.ok_or_else(missing)?;
    Ok(StatusCode::NO_CONTENT)
}
