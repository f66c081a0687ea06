//! `/v1/groups`: groups of accounts, their members, and the content that lists them.
//!
//! Every account may see them, as publishers choose among them. A group is changed by its owner and by administrators; who
//! belongs to a group of another directory is that directory's to say, when its people sign in.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use lectern_domain::access::{AccessType, PermissionRole, Principal};
use lectern_domain::audit::Action;
use lectern_domain::ids::{GroupGuid, UserGuid};
use lectern_domain::user::UserRole;
use lectern_metadata::groups::{self, GroupPage, GroupRow, NewGroup};
use lectern_metadata::{DbError, GenericClient, permissions, users};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::Services;
use crate::access::listed_visibly;
use crate::audit::record;
use crate::body::Object;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::{Account, Administrator, Publisher};
use crate::page::{self, PageQuery};
use crate::query::Params;
use crate::services::Part;
use crate::users::{Ticket, UserPageView};

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(list, create, take_over))
        .routes(routes!(remote))
        .routes(routes!(get, delete))
        .routes(routes!(members, add_member))
        .routes(routes!(remove_member))
        .routes(routes!(content))
}

/// A group.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupView {
    guid: String,
    name: String,
    /// Null: nobody's any more, or another directory's.
    owner_guid: Option<String>,
}

impl From<&GroupRow> for GroupView {
    fn from(row: &GroupRow) -> Self {
        let owner_guid = row.owner.map(|(_, guid)| guid.to_string());
        Self { guid: row.guid.to_string(), name: row.name.clone(), owner_guid }
    }
}

/// One page. Clients take exactly these three fields.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupPageView {
    results: Vec<GroupView>,
    current_page: i64,
    /// How many there are on all pages.
    total: i64,
}

impl GroupPageView {
    fn of(found: &GroupPage, page: page::Place) -> Self {
        let results = found.groups.iter().map(GroupView::from).collect();
        Self { results, current_page: page.number, total: found.total }
    }
}

/// Which groups, and which page of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct GroupQuery {
    /// Beginning of the name; letter case does not matter.
    prefix: Option<String>,
    /// Counts from 1.
    page_number: Option<i64>,
    /// At most 500.
    page_size: Option<i64>,
}

/// Lists groups by name.
#[utoipa::path(get, path = "/v1/groups", tag = "groups", params(GroupQuery),
    responses((status = 200, body = GroupPageView), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)))]
async fn list(
    State(services): State<Services>,
    _: Account,
    Params(query): Params<GroupQuery>,
) -> Result<Json<GroupPageView>, ApiError> {
    let page = page::bounded(query.page_number, query.page_size, page::MAX);
    let prefix = query.prefix.as_deref().filter(|prefix| !prefix.is_empty());
    let client = services.database.client().await?;
    let found = groups::list(&client, prefix, page.offset, page.size).await?;
    Ok(Json(GroupPageView::of(&found, page)))
}

/// A new group.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[schema(example = json!({"name": "analysts"}))]
pub(crate) struct GroupFields {
    #[schema(required = true, value_type = String, min_length = 1, max_length = 255)]
    name: Option<String>,
    /// What another directory calls it: then its members are those who that directory says belong to it. For administrators.
    #[schema(max_length = 1024)]
    unique_id: Option<String>,
}

/// Makes a group, which is the caller's; for publishers.
#[utoipa::path(post, path = "/v1/groups", tag = "groups", request_body = GroupFields,
    responses((status = 200, body = GroupView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
async fn create(
    State(services): State<Services>,
    Publisher(caller): Publisher,
    Object(fields): Object<GroupFields>,
) -> Result<Json<GroupView>, ApiError> {
    let name = fields.name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| ApiError::new(Code::MissingParameter, "a group needs a name"))?;
    if name.chars().count() > 255 || name.chars().any(char::is_control) {
        return Err(ApiError::new(Code::BadField, "a group's name has at most 255 characters, none of them a control"));
    }
    let unique_id = fields.unique_id.filter(|id| !id.is_empty());
    if unique_id.is_some() && caller.role != UserRole::Administrator {
        return Err(ApiError::new(Code::NotPermitted, "only administrators make groups of another directory"));
    }
    if unique_id.as_ref().is_some_and(|id| id.chars().count() > 1024) {
        return Err(ApiError::new(Code::BadField, "unique_id has at most 1024 characters"));
    }
    let owner = unique_id.is_none().then_some(caller.user);
    let group = NewGroup { guid: GroupGuid(Uuid::new_v4()), name, owner, unique_id };
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = groups::create(&tx, &group).await?;
    record(&tx, &caller, &Action::GroupMade { group: &row.name }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Json(GroupView::from(&row)))
}

/// Takes a group over from another directory. There is never a ticket, as none is searched: give `unique_id` instead.
#[utoipa::path(put, path = "/v1/groups", tag = "groups", request_body = Ticket,
    responses((status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn take_over(_: Administrator, Object(ticket): Object<Ticket>) -> ApiError {
    ticket.refuse(Code::GroupMissing)
}

/// Searches another directory; there is none to search, so nothing is found.
#[utoipa::path(get, path = "/v1/groups/remote", tag = "groups", params(PageQuery),
    responses((status = 200, body = GroupPageView), (status = 401, body = ErrorBody)))]
async fn remote(_: Account, Params(page): Params<PageQuery>) -> Json<GroupPageView> {
    Json(GroupPageView::of(&GroupPage { groups: Vec::new(), total: 0 }, page.place(page::MAX)))
}

/// The group that an address or a body names.
pub(crate) async fn group_of(client: &impl GenericClient, guid: &str) -> Result<GroupRow, ApiError> {
    let guid: GroupGuid = guid.parse()?;
    let row = groups::get_by_guid(client, guid).await?;
    row.ok_or_else(|| ApiError::new(Code::GroupMissing, "there is no such group"))
}

/// Refuses who may not change the group, with `refusal`.
fn may_change(caller: &Principal, group: &GroupRow, refusal: Code) -> Result<(), ApiError> {
    let owns = group.owner.is_some_and(|(owner, _)| owner == caller.user) && caller.role >= UserRole::Publisher;
    if owns || caller.role == UserRole::Administrator {
        return Ok(());
    }
    Err(ApiError::new(refusal, "only a group's owner and administrators change it"))
}

/// Refuses to change who belongs to another directory's group.
fn kept_here(group: &GroupRow) -> Result<(), ApiError> {
    match group.unique_id {
        None => Ok(()),
        Some(_) => Err(ApiError::new(Code::NotPermitted, "another directory says who belongs to this group")),
    }
}

/// One group.
#[utoipa::path(get, path = "/v1/groups/{guid}", tag = "groups", params(("guid" = String, Path,)),
    responses((status = 200, body = GroupView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn get(
    State(services): State<Services>,
    _: Account,
    Path(guid): Path<String>,
) -> Result<Json<GroupView>, ApiError> {
    Ok(Json(GroupView::from(&group_of(&services.database.client().await?, &guid).await?)))
}

/// Deletes a group; what it gave its members ends.
#[utoipa::path(delete, path = "/v1/groups/{guid}", tag = "groups", params(("guid" = String, Path,)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn delete(
    State(services): State<Services>,
    Account(caller): Account,
    Path(guid): Path<String>,
) -> Result<StatusCode, ApiError> {
    let mut client = services.database.client().await?;
    let group = group_of(&client, &guid).await?;
    may_change(&caller, &group, Code::MayNotRemove)?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    if groups::delete(&tx, group.id).await? {
        record(&tx, &caller, &Action::GroupDeleted { group: &group.name }).await?;
    }
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    services.backstage.refresh(Part::Groups).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the members in the order they were added.
#[utoipa::path(get, path = "/v1/groups/{guid}/members", tag = "groups", params(("guid" = String, Path,), PageQuery),
    responses((status = 200, body = UserPageView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn members(
    State(services): State<Services>,
    _: Account,
    Path(guid): Path<String>,
    Params(page): Params<PageQuery>,
) -> Result<Json<UserPageView>, ApiError> {
    let page = page.place(page::MAX);
    let client = services.database.client().await?;
    let group = group_of(&client, &guid).await?;
    let found = groups::members(&client, group.id, page.offset, page.size).await?;
    Ok(Json(UserPageView::of(found, page)))
}

/// A member to add.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct NewMember {
    #[schema(required = true, value_type = String, format = Uuid)]
    user_guid: Option<String>,
}

/// Adds a member.
#[utoipa::path(post, path = "/v1/groups/{guid}/members", tag = "groups", params(("guid" = String, Path,)),
    request_body = NewMember,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
async fn add_member(
    State(services): State<Services>,
    Account(caller): Account,
    Path(guid): Path<String>,
    Object(wanted): Object<NewMember>,
) -> Result<StatusCode, ApiError> {
    let mut client = services.database.client().await?;
    let group = group_of(&client, &guid).await?;
    may_change(&caller, &group, Code::CannotChange)?;
    kept_here(&group)?;
    let user = wanted.user_guid.filter(|guid| !guid.is_empty());
    let user: UserGuid = user.ok_or_else(|| ApiError::new(Code::MissingParameter, "say user_guid"))?.parse()?;
    let user = users::get_by_guid(&client, user).await?;
    let user = user.ok_or_else(|| ApiError::new(Code::UserMissing, "there is no such user"))?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    groups::add_member(&tx, group.id, user.id).await?;
    record(&tx, &caller, &Action::MemberAdded { group: &group.name, user: &user.username }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    services.backstage.refresh(Part::Groups).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a member.
#[utoipa::path(delete, path = "/v1/groups/{guid}/members/{user}", tag = "groups",
    params(("guid" = String, Path,), ("user" = String, Path,)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn remove_member(
    State(services): State<Services>,
    Account(caller): Account,
    Path((guid, user)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let mut client = services.database.client().await?;
    let group = group_of(&client, &guid).await?;
    may_change(&caller, &group, Code::MayNotRemove)?;
    kept_here(&group)?;
    let user = users::get_by_guid(&client, user.parse()?).await?;
    let absent = || ApiError::new(Code::CannotRemove, "this user does not belong to the group");
    let user = user.ok_or_else(absent)?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    if !groups::remove_member(&tx, group.id, user.id).await? {
        return Err(absent());
    }
    record(&tx, &caller, &Action::MemberRemoved { group: &group.name, user: &user.username }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    services.backstage.refresh(Part::Groups).await;
    Ok(StatusCode::NO_CONTENT)
}

/// A content item that lists the group.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupContentView {
    content_guid: String,
    content_name: String,
    content_title: Option<String>,
    #[schema(value_type = String, example = "acl")]
    access_type: AccessType,
    permissions: Vec<GroupPermissionView>,
}

/// The group's entry there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupPermissionView {
    principal_guid: String,
    principal_name: String,
    #[schema(value_type = String, example = "viewer")]
    principal_role: PermissionRole,
    principal_type: &'static str,
}

/// Lists the content that lists the group, as far as the caller may see it.
#[utoipa::path(get, path = "/v1/experimental/groups/{guid}/content", tag = "groups", params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<GroupContentView>), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn content(
    State(services): State<Services>,
    Account(caller): Account,
    Path(guid): Path<String>,
) -> Result<Json<Vec<GroupContentView>>, ApiError> {
    let client = services.database.client().await?;
    let group = group_of(&client, &guid).await?;
    let entries = permissions::of_user(&client, caller.user).await?;
    let rows = groups::content(&client, group.id).await?;
    let seen = rows.into_iter().filter(|row| listed_visibly(row, &caller, &entries));
    let view = |row: groups::ListingRow| GroupContentView {
        content_guid: row.guid.to_string(),
        content_name: row.name,
        content_title: row.title,
        access_type: row.access_type,
        permissions: vec![GroupPermissionView {
            principal_guid: group.guid.to_string(),
            principal_name: group.name.clone(),
            principal_role: row.role,
            principal_type: "group",
        }],
    };
    Ok(Json(seen.map(view).collect()))
}
