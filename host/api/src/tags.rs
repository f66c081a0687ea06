//! `/v1/tags` and `/v1/content/{guid}/tags`: the tree of tags, and which content bears which.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use http::StatusCode;
use http::request::Parts;
use lectern_domain::audit::Action;
use lectern_domain::ids::TagId;
use lectern_domain::tags::Tree;
use lectern_metadata::content::ContentFilter;
use lectern_metadata::tags::{self, TagRow};
use lectern_metadata::{Client, DbError, GenericClient};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::access::{Changeable, Readable};
use crate::audit::{item, record};
use crate::body::{Object, present};
use crate::content::{ContentView, IncludeQuery, views, visible_items};
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::{Account, Administrator, Base};
use crate::query::Params;
use crate::stamp::Stamp;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, change, delete))
        .routes(routes!(content))
        .routes(routes!(of_content, give))
        .routes(routes!(take))
}

/// One tag.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TagView {
    id: String,
    name: String,
    /// The tag it is below; null: it is a category, which no content bears.
    parent_id: Option<String>,
    created_time: Stamp,
    updated_time: Stamp,
}

impl From<TagRow> for TagView {
    fn from(row: TagRow) -> Self {
        Self {
            id: row.tag.id.to_string(),
            name: row.tag.name,
            parent_id: row.tag.parent.map(|parent| parent.to_string()),
            created_time: row.created_at.into(),
            updated_time: row.updated_at.into(),
        }
    }
}

/// A tag that the address names by its number, and who asks.
struct Named(TagId);

impl FromRequestParts<Services> for Named {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        // Who may not ask at all learns nothing of numbers.
        Account::from_request_parts(parts, services).await?;
        let Path(id) = Path::<String>::from_request_parts(parts, services)
            .await
            .map_err(|_| ApiError::new(Code::BadId, "the address is not valid text"))?;
        Ok(Self(id.parse()?))
    }
}

fn missing() -> ApiError {
    ApiError::new(Code::Missing, "there is no such tag")
}

async fn found(client: &impl GenericClient, id: TagId) -> Result<TagRow, ApiError> {
    tags::get(client, id).await?.ok_or_else(missing)
}

async fn tree(client: &impl GenericClient) -> Result<Tree, ApiError> {
    Ok(tags::all(client).await?.into_iter().map(|row| row.tag).collect())
}

/// Which tags.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct TagQuery {
    /// Exactly this name; letter case does not matter.
    name: Option<String>,
    /// Only those directly below this one.
    parent_id: Option<String>,
}

/// Lists tags in the order they were made.
#[utoipa::path(get, path = "/v1/tags", tag = "tags", params(TagQuery),
    responses((status = 200, body = Vec<TagView>), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)))]
async fn list(
    State(services): State<Services>,
    _: Account,
    Params(query): Params<TagQuery>,
) -> Result<Json<Vec<TagView>>, ApiError> {
    let name = query.name.filter(|name| !name.is_empty()).map(|name| name.to_lowercase());
    let parent = query.parent_id.filter(|id| !id.is_empty()).map(|id| id.parse::<TagId>()).transpose()?;
    let rows = tags::all(&services.database.client().await?).await?;
    let wanted = |row: &TagRow| {
        name.as_ref().is_none_or(|name| row.tag.name.to_lowercase() == *name)
            && parent.is_none_or(|parent| row.tag.parent == Some(parent))
    };
    Ok(Json(rows.into_iter().filter(wanted).map(TagView::from).collect()))
}

/// A tag to make, or what is to change of one.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[schema(example = json!({"name": "Sales"}))]
pub(crate) struct TagFields {
    name: Option<String>,
    /// The tag it is to be below; absent or null on creation: a category.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    parent_id: Option<Option<String>>,
}

impl TagFields {
    /// The parent asked for; `None`: not said.
    fn parent(&self) -> Result<Option<Option<TagId>>, ApiError> {
        let read = |id: &Option<String>| id.as_deref().filter(|id| !id.is_empty()).map(str::parse).transpose();
        Ok(self.parent_id.as_ref().map(read).transpose()?)
    }
}

/// Makes a tag, or a category when it has no parent. For administrators.
#[utoipa::path(post, path = "/v1/tags", tag = "tags", request_body = TagFields,
    responses((status = 200, body = TagView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
async fn create(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Object(fields): Object<TagFields>,
) -> Result<Json<TagView>, ApiError> {
    let parent = fields.parent()?.flatten();
    let name = fields.name.ok_or_else(|| ApiError::new(Code::MissingParameter, "a tag needs a name"))?;
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    tags::lock(&tx).await?;
    tree(&tx).await?.check_new(&name, parent)?;
    let row = tags::create(&tx, &name, parent).await?;
    record(&tx, &caller, &Action::TagMade { tag: &name }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Json(row.into()))
}

/// One tag.
#[utoipa::path(get, path = "/v1/tags/{id}", tag = "tags", params(("id" = String, Path,)),
    responses((status = 200, body = TagView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn get(State(services): State<Services>, Named(id): Named) -> Result<Json<TagView>, ApiError> {
    Ok(Json(found(&services.database.client().await?, id).await?.into()))
}

/// Renames a tag or moves it below another one. For administrators.
#[utoipa::path(patch, path = "/v1/tags/{id}", tag = "tags", params(("id" = String, Path,)), request_body = TagFields,
    responses((status = 200, body = TagView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn change(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Named(id): Named,
    Object(fields): Object<TagFields>,
) -> Result<Json<TagView>, ApiError> {
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    tags::lock(&tx).await?;
    let old = found(&tx, id).await?.tag;
    let parent = fields.parent()?.unwrap_or(old.parent);
    let name = fields.name.filter(|name| !name.is_empty()).unwrap_or_else(|| old.name.clone());
    let tree = tree(&tx).await?;
    tree.check_change(id, &name, parent)?;
    // What bears the tag has to bear those above its new place. Directly below a category there are none.
    let above = parent.map(|parent| tree.given_with(parent).unwrap_or_default()).unwrap_or_default();
    let row = tags::change(&tx, id, &name, parent, &above).await?;
    record(&tx, &caller, &Action::TagChanged { from: &old.name, to: &name }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Json(row.into()))
}

/// Deletes a tag with all below it. For administrators.
#[utoipa::path(delete, path = "/v1/tags/{id}", tag = "tags", params(("id" = String, Path,)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn delete(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Named(id): Named,
) -> Result<StatusCode, ApiError> {
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let old = found(&tx, id).await?.tag;
    if !tags::delete(&tx, id).await? {
        return Err(missing());
    }
    record(&tx, &caller, &Action::TagDeleted { tag: &old.name }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the content that bears a tag, as far as the caller may see it.
#[utoipa::path(get, path = "/v1/tags/{id}/content", tag = "tags", params(("id" = String, Path,), IncludeQuery),
    responses((status = 200, body = Vec<ContentView>), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn content(
    State(services): State<Services>,
    Account(caller): Account,
    Named(id): Named,
    base: Base,
    Params(query): Params<IncludeQuery>,
) -> Result<Json<Vec<ContentView>>, ApiError> {
    let include = query.read()?;
    let client = services.database.client().await?;
    found(&client, id).await?;
    let items = visible_items(&client, &caller, ContentFilter { tag: Some(id), ..ContentFilter::default() }).await?;
    Ok(Json(views(&client, &items, &base, include).await?))
}

async fn borne(client: &Client, at: lectern_domain::ContentId) -> Result<Vec<TagView>, ApiError> {
    let mut found = tags::of_content(client, &[at]).await?;
    Ok(found.remove(&at).unwrap_or_default().into_iter().map(TagView::from).collect())
}

/// Lists the tags of an item, in the order the tags were made.
#[utoipa::path(get, path = "/v1/content/{guid}/tags", tag = "tags", params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<TagView>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn of_content(at: Readable) -> Result<Json<Vec<TagView>>, ApiError> {
    Ok(Json(borne(&at.client().await?, at.row.id).await?))
}

/// The tag to give.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct TagChoice {
    #[schema(required = true, value_type = String, pattern = "^[1-9][0-9]{0,17}$")]
    tag_id: Option<String>,
}

/// Gives an item a tag, and those above it. Answers the tags that it bears then.
#[utoipa::path(post, path = "/v1/content/{guid}/tags", tag = "tags", params(("guid" = String, Path,)),
    request_body = TagChoice,
    responses((status = 200, body = Vec<TagView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn give(at: Changeable, Object(wanted): Object<TagChoice>) -> Result<Json<Vec<TagView>>, ApiError> {
    let id = wanted.tag_id.filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| ApiError::new(Code::MissingParameter, "say which tag: tag_id"))?.parse()?;
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let tag = found(&tx, id).await?.tag;
    let given = tree(&tx).await?.given_with(id)?;
    tags::give(&tx, at.row.id, &given).await?;
    record(&tx, &at.caller, &Action::ContentTagged { item: item(&at.row), tag: &tag.name }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Json(borne(&client, at.row.id).await?))
}

/// Takes a tag from an item, and those below it.
#[utoipa::path(delete, path = "/v1/content/{guid}/tags/{id}", tag = "tags",
    params(("guid" = String, Path,), ("id" = String, Path,)),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn take(at: Changeable, Path((_guid, id)): Path<(String, String)>) -> Result<StatusCode, ApiError> {
    let id: TagId = id.parse()?;
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let mut taken: Vec<TagId> = tree(&tx).await?.descendants(id).into_iter().collect();
    taken.push(id);
    let tag = tags::get(&tx, id).await?.map(|row| row.tag.name).unwrap_or_default();
    if tags::take(&tx, at.row.id, &taken).await? == 0 {
        return Err(ApiError::new(Code::CannotRemove, "this content does not bear this tag"));
    }
    record(&tx, &at.caller, &Action::ContentUntagged { item: item(&at.row), tag: &tag }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(StatusCode::NO_CONTENT)
}
