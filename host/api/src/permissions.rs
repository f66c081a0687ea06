//! `/v1/content/{guid}/permissions`: who is listed besides the owner.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use lectern_domain::access::PermissionRole;
use lectern_domain::audit::Action;
use lectern_domain::ids::{ContentGuid, PermissionId, UserGuid};
use lectern_domain::user::UserRole;
use lectern_metadata::DbError;
use lectern_metadata::permissions::{self, Grantee, PermissionRow};
use lectern_metadata::users::{self, UserRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::access::Changeable;
use crate::audit::{item, record};
use crate::body::Object;
use crate::error::{ApiError, Code, ErrorBody};
use crate::groups::group_of;
use crate::services::Part;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(get, change, remove))
}

/// One entry of the list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PermissionView {
    id: String,
    content_guid: String,
    principal_guid: String,
    principal_type: &'static str,
    /// `viewer`: may open; `owner`: may also change.
    #[schema(value_type = String, example = "viewer")]
    role: PermissionRole,
}

fn view(row: &PermissionRow, content: ContentGuid) -> PermissionView {
    PermissionView {
        id: row.id.to_string(),
        content_guid: content.to_string(),
        principal_guid: row.grantee.guid().to_string(),
        principal_type: match row.grantee {
            Grantee::User(..) => "user",
            Grantee::Group(..) => "group",
        },
        role: row.role,
    }
}

/// An entry to make.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Entry {
    #[schema(format = Uuid)]
    principal_guid: Option<String>,
    /// `user`, also when absent, or `group`.
    #[schema(pattern = "^(user|group)$")]
    principal_type: Option<String>,
    /// `viewer` or `owner`.
    #[schema(required = true, value_type = String, pattern = "^(viewer|owner)$")]
    role: Option<String>,
}

impl Entry {
    /// Whether it names a group; `None`: it does not say.
    fn is_group(&self) -> Result<Option<bool>, ApiError> {
        match self.principal_type.as_deref() {
            None => Ok(None),
            Some("user") => Ok(Some(false)),
            Some("group") => Ok(Some(true)),
            Some(_) => Err(ApiError::new(Code::BadField, "principal_type must be user or group")),
        }
    }

    fn role(&self) -> Result<PermissionRole, ApiError> {
        match self.role.as_deref() {
            Some("viewer") => Ok(PermissionRole::Viewer),
            Some("owner") => Ok(PermissionRole::Owner),
            Some(_) => Err(ApiError::new(Code::BadField, "role must be viewer or owner")),
            None => Err(ApiError::new(Code::MissingParameter, "a permission needs a role: viewer or owner")),
        }
    }
}

fn may_have(user: &UserRow, role: PermissionRole) -> Result<(), ApiError> {
    if role == PermissionRole::Owner && user.role < UserRole::Publisher {
        return Err(ApiError::new(Code::CannotCollaborate, "a viewer's account cannot be a collaborator"));
    }
    Ok(())
}

fn read_id(id: &str) -> Result<i64, ApiError> {
    Ok(id.parse::<PermissionId>()?.0)
}

async fn entry(at: &Changeable, id: &str, missing: Code) -> Result<PermissionRow, ApiError> {
    let row = permissions::get(&at.client().await?, at.row.id, read_id(id)?).await?;
    row.ok_or_else(|| ApiError::new(missing, "this content has no such permission"))
}

/// Lists the entries in the order they were made.
#[utoipa::path(get, path = "/v1/content/{guid}/permissions", tag = "content", params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<PermissionView>), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn list(at: Changeable) -> Result<Json<Vec<PermissionView>>, ApiError> {
    let rows = permissions::list(&at.client().await?, at.row.id).await?;
    Ok(Json(rows.iter().map(|row| view(row, at.row.guid)).collect()))
}

/// Lists a user or a group.
#[utoipa::path(post, path = "/v1/content/{guid}/permissions", tag = "content", params(("guid" = String, Path,)),
    request_body = Entry,
    responses((status = 200, body = PermissionView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, description = "listed already", body = ErrorBody)))]
async fn add(
    State(services): State<Services>,
    at: Changeable,
    Object(wanted): Object<Entry>,
) -> Result<Json<PermissionView>, ApiError> {
    let is_group = wanted.is_group()?.unwrap_or(false);
    let role = wanted.role()?;
    let guid = wanted.principal_guid.as_deref().filter(|guid| !guid.is_empty());
    let guid = guid.ok_or_else(|| ApiError::new(Code::MissingParameter, "a permission needs a principal_guid"))?;
    let grantee = if is_group {
        let group = group_of(&at.client().await?, guid).await?;
        Grantee::Group(group.id, group.guid)
    } else {
        let guid: UserGuid = guid.parse()?;
        if guid == at.row.owner.guid {
            return Err(ApiError::new(Code::IsOwner, "this user owns the content and needs no permission"));
        }
        let user = users::get_by_guid(&at.client().await?, guid).await?;
        let user = user.ok_or_else(|| ApiError::new(Code::UserMissing, "there is no such user"))?;
        may_have(&user, role)?;
        Grantee::User(user.id, user.guid)
    };
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = permissions::add(&tx, at.row.id, &grantee, role).await?;
    record(&tx, &at.caller, &Action::PermissionAdded { item: item(&at.row), to: &row.name, role }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    services.backstage.refresh(Part::Content(at.row.guid)).await;
    Ok(Json(view(&row, at.row.guid)))
}

/// One entry.
#[utoipa::path(get, path = "/v1/content/{guid}/permissions/{id}", tag = "content",
    params(("guid" = String, Path,), ("id" = String, Path,)),
    responses((status = 200, body = PermissionView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn get(at: Changeable, Path((_guid, id)): Path<(String, String)>) -> Result<Json<PermissionView>, ApiError> {
    Ok(Json(view(&entry(&at, &id, Code::Missing).await?, at.row.guid)))
}

/// Changes what an entry gives.
#[utoipa::path(put, path = "/v1/content/{guid}/permissions/{id}", tag = "content",
    params(("guid" = String, Path,), ("id" = String, Path,)), request_body = Entry,
    responses((status = 200, body = PermissionView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn change(
    State(services): State<Services>,
    at: Changeable,
    Path((_guid, id)): Path<(String, String)>,
    Object(wanted): Object<Entry>,
) -> Result<Json<PermissionView>, ApiError> {
    let old = entry(&at, &id, Code::MissingToChange).await?;
    let role = wanted.role()?;
    let other_kind = wanted.is_group()?.is_some_and(|group| group != matches!(old.grantee, Grantee::Group(..)));
    let other = wanted.principal_guid.as_deref().is_some_and(|guid| guid.parse() != Ok(old.grantee.guid()));
    if other || other_kind {
        return Err(ApiError::new(Code::BadField, "a permission keeps its principal: delete it and make another"));
    }
    if let Grantee::User(user, _) = old.grantee {
        let user = users::get(&at.client().await?, user).await?;
        let user = user.ok_or_else(|| ApiError::new(Code::UserMissing, "there is no such user any more"))?;
        may_have(&user, role)?;
    }
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = permissions::set_role(&tx, at.row.id, old.id, role).await?;
    record(&tx, &at.caller, &Action::PermissionChanged { item: item(&at.row), to: &row.name, role }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    services.backstage.refresh(Part::Content(at.row.guid)).await;
    Ok(Json(view(&row, at.row.guid)))
}

/// Removes an entry.
#[utoipa::path(delete, path = "/v1/content/{guid}/permissions/{id}", tag = "content",
    params(("guid" = String, Path,), ("id" = String, Path,)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn remove(
    State(services): State<Services>,
    at: Changeable,
    Path((_guid, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let absent = || ApiError::new(Code::CannotRemove, "this content has no such permission");
    let id = read_id(&id)?;
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = permissions::get(&tx, at.row.id, id).await?.ok_or_else(absent)?;
    if !permissions::remove(&tx, at.row.id, id).await? {
        return Err(absent());
    }
    record(&tx, &at.caller, &Action::PermissionRemoved { item: item(&at.row), to: &row.name }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    services.backstage.refresh(Part::Content(at.row.guid)).await;
    Ok(StatusCode::NO_CONTENT)
}
