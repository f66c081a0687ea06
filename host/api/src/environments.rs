//! `/v1/environments`: execution environments of other executors, described by administrators. They are kept and shown;
//! everything runs on this host.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use http::StatusCode;
use http::request::Parts;
use lectern_domain::audit::Action;
use lectern_domain::ids::{EnvironmentGuid, EnvironmentPermissionGuid};
use lectern_metadata::environments::{self, EnvironmentFields, EnvironmentPermission, EnvironmentRow};
use lectern_metadata::permissions::Grantee;
use lectern_metadata::{DbError, users};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::Services;
use crate::audit::record;
use crate::body::{Object, present};
use crate::error::{ApiError, Code, ErrorBody};
use crate::groups::group_of;
use crate::guard::{Administrator, Publisher};
use crate::stamp::Stamp;

/// Longest text of any field, in characters.
const MAX_TEXT: usize = 1024;

/// Most installations of a language, and most mounts.
const MAX_ENTRIES: usize = 100;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, change, delete))
        .routes(routes!(permissions, permit))
        .routes(routes!(permission, forbid))
}

/// An interpreter in an environment.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct EnvironmentInstallation {
    version: String,
    path: String,
}

/// The interpreters of one language.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct EnvironmentInstallations {
    installations: Vec<EnvironmentInstallation>,
}

/// An execution environment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnvironmentView {
    id: String,
    guid: String,
    created_time: Stamp,
    updated_time: Stamp,
    title: Option<String>,
    description: Option<String>,
    cluster_name: String,
    /// The image.
    name: String,
    /// The same as `cluster_name`.
    environment_type: String,
    /// `any`, `exact` or `none`.
    matching: String,
    supervisor: Option<String>,
    managed_by: Option<String>,
    #[schema(value_type = Option<EnvironmentInstallations>)]
    python: Option<Value>,
    #[schema(value_type = Option<EnvironmentInstallations>)]
    quarto: Option<Value>,
    #[schema(value_type = Option<EnvironmentInstallations>)]
    r: Option<Value>,
    #[schema(value_type = Option<EnvironmentInstallations>)]
    tensorflow: Option<Value>,
    #[schema(value_type = Vec<Object>)]
    volume_mounts: Value,
}

impl From<EnvironmentRow> for EnvironmentView {
    fn from(row: EnvironmentRow) -> Self {
        let [python, quarto, r, tensorflow] = row.fields.languages;
        Self {
            id: row.id.to_string(),
            guid: row.guid.to_string(),
            created_time: row.created_at.into(),
            updated_time: row.updated_at.into(),
            title: row.fields.title,
            description: row.fields.description,
            environment_type: row.cluster_name.clone(),
            cluster_name: row.cluster_name,
            name: row.name,
            matching: row.fields.matching,
            supervisor: row.fields.supervisor,
            managed_by: None,
            python,
            quarto,
            r,
            tensorflow,
            volume_mounts: row.fields.volume_mounts,
        }
    }
}

/// What is said of an environment. Absent fields stay as they are; null clears.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[schema(example = json!({"title": "Standard", "name": "standard", "cluster_name": "Kubernetes"}))]
pub(crate) struct EnvironmentRequest {
    /// Required on creation, fixed then.
    #[schema(max_length = 1024)]
    cluster_name: Option<String>,
    /// Required on creation, fixed then.
    #[schema(max_length = 1024)]
    name: Option<String>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    title: Option<Option<String>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    /// `any`, also when null, `exact` or `none`.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    matching: Option<Option<String>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    supervisor: Option<Option<String>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<EnvironmentInstallations>)]
    python: Option<Option<EnvironmentInstallations>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<EnvironmentInstallations>)]
    quarto: Option<Option<EnvironmentInstallations>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<EnvironmentInstallations>)]
    r: Option<Option<EnvironmentInstallations>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<EnvironmentInstallations>)]
    tensorflow: Option<Option<EnvironmentInstallations>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<Vec<Object>>)]
    volume_mounts: Option<Option<Vec<Value>>>,
}

fn bad(text: String) -> ApiError {
    ApiError::new(Code::BadField, text)
}

fn short(key: &str, text: &str) -> Result<(), ApiError> {
    if text.chars().count() <= MAX_TEXT {
        Ok(())
    } else {
        Err(bad(format!("{key} is longer than {MAX_TEXT} characters")))
    }
}

fn installed(key: &str, given: Option<EnvironmentInstallations>) -> Result<Option<Value>, ApiError> {
    let Some(given) = given else { return Ok(None) };
    if given.installations.len() > MAX_ENTRIES {
        return Err(bad(format!("{key} has more than {MAX_ENTRIES} installations")));
    }
    for one in &given.installations {
        short(key, &one.version)?;
        short(key, &one.path)?;
    }
    serde_json::to_value(given).map(Some).map_err(ApiError::internal)
}

impl EnvironmentRequest {
    /// What becomes of `fields`.
    fn apply(self, fields: &mut EnvironmentFields) -> Result<(), ApiError> {
        // Fixed, and judged even so: what breaks a bound is a mistake.
        short("cluster_name", self.cluster_name.as_deref().unwrap_or_default())?;
        short("name", self.name.as_deref().unwrap_or_default())?;
        for (key, given, field) in [
            ("title", self.title, &mut fields.title),
            ("description", self.description, &mut fields.description),
            ("supervisor", self.supervisor, &mut fields.supervisor),
        ] {
            if let Some(given) = given {
                short(key, given.as_deref().unwrap_or_default())?;
                *field = given;
            }
        }
        if let Some(matching) = self.matching {
            let matching = matching.unwrap_or_else(|| "any".into());
            if !["any", "exact", "none"].contains(&matching.as_str()) {
                return Err(bad("matching must be any, exact or none".into()));
            }
            fields.matching = matching;
        }
        let languages =
            [("python", self.python), ("quarto", self.quarto), ("r", self.r), ("tensorflow", self.tensorflow)];
        for ((key, given), field) in languages.into_iter().zip(&mut fields.languages) {
            if let Some(given) = given {
                *field = installed(key, given)?;
            }
        }
        if let Some(mounts) = self.volume_mounts {
            let mounts = mounts.unwrap_or_default();
            if mounts.len() > MAX_ENTRIES || !mounts.iter().all(Value::is_object) {
                return Err(bad(format!("volume_mounts must be at most {MAX_ENTRIES} objects")));
            }
            fields.volume_mounts = Value::Array(mounts);
        }
        Ok(())
    }
}

/// An environment that the address names.
struct Named(EnvironmentRow);

impl FromRequestParts<Services> for Named {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        // Who may not ask at all learns nothing of GUIDs.
        Publisher::from_request_parts(parts, services).await?;
        let params = axum::extract::RawPathParams::from_request_parts(parts, services)
            .await
            .map_err(|_| ApiError::new(Code::BadId, "the address is not valid text"))?;
        let guid: EnvironmentGuid =
            params.iter().find(|(name, _)| *name == "guid").map_or("", |(_, guid)| guid).parse()?;
        let row = environments::get(&services.database.client().await?, guid).await?;
        Ok(Self(row.ok_or_else(missing)?))
    }
}

fn missing() -> ApiError {
    ApiError::new(Code::Missing, "there is no such environment")
}

/// Lists the environments in the order they were made. For publishers and administrators.
#[utoipa::path(get, path = "/v1/environments", tag = "environments",
    responses((status = 200, body = Vec<EnvironmentView>), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
async fn list(State(services): State<Services>, _: Publisher) -> Result<Json<Vec<EnvironmentView>>, ApiError> {
    let rows = environments::list(&services.database.client().await?).await?;
    Ok(Json(rows.into_iter().map(EnvironmentView::from).collect()))
}

/// Describes an environment. For administrators.
#[utoipa::path(post, path = "/v1/environments", tag = "environments", request_body = EnvironmentRequest,
    responses((status = 200, body = EnvironmentView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, description = "the cluster has one of this name", body = ErrorBody)))]
async fn create(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Object(mut given): Object<EnvironmentRequest>,
) -> Result<Json<EnvironmentView>, ApiError> {
    let take = |value: Option<String>, key: &str| {
        let value = value.filter(|value| !value.is_empty());
        let value =
            value.ok_or_else(|| ApiError::new(Code::MissingParameter, format!("an environment needs a {key}")))?;
        short(key, &value).map(|()| value)
    };
    let (cluster, name) = (take(given.cluster_name.take(), "cluster_name")?, take(given.name.take(), "name")?);
    let mut fields = EnvironmentFields {
        title: None,
        description: None,
        matching: "any".into(),
        supervisor: None,
        languages: [const { None }; 4],
        volume_mounts: Value::Array(Vec::new()),
    };
    given.apply(&mut fields)?;
    let guid = EnvironmentGuid(Uuid::new_v4());
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = environments::create(&tx, guid, &cluster, &name, &fields).await?;
    record(&tx, &caller, &Action::EnvironmentMade { environment: &row.name }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Json(row.into()))
}

/// One environment.
#[utoipa::path(get, path = "/v1/environments/{guid}", tag = "environments", params(("guid" = String, Path,)),
    responses((status = 200, body = EnvironmentView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn get(Named(row): Named) -> Json<EnvironmentView> {
    Json(row.into())
}

/// Changes an environment. For administrators.
#[utoipa::path(put, path = "/v1/environments/{guid}", tag = "environments", params(("guid" = String, Path,)),
    request_body = EnvironmentRequest,
    responses((status = 200, body = EnvironmentView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn change(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Named(mut row): Named,
    Object(given): Object<EnvironmentRequest>,
) -> Result<Json<EnvironmentView>, ApiError> {
    given.apply(&mut row.fields)?;
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = environments::change(&tx, row.guid, &row.fields).await?;
    record(&tx, &caller, &Action::EnvironmentChanged { environment: &row.name }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Json(row.into()))
}

/// Deletes an environment. For administrators.
#[utoipa::path(delete, path = "/v1/environments/{guid}", tag = "environments", params(("guid" = String, Path,)),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn delete(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Named(row): Named,
) -> Result<StatusCode, ApiError> {
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    if !environments::delete(&tx, row.guid).await? {
        return Err(missing());
    }
    record(&tx, &caller, &Action::EnvironmentDeleted { environment: &row.name }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// An account or a group that may use an environment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnvironmentPermissionView {
    id: String,
    guid: String,
    environment_guid: String,
    user_guid: Option<String>,
    group_guid: Option<String>,
}

fn view(row: EnvironmentPermission, environment: EnvironmentGuid) -> EnvironmentPermissionView {
    let (user_guid, group_guid) = match row.grantee {
        Grantee::User(_, guid) => (Some(guid.to_string()), None),
        Grantee::Group(_, guid) => (None, Some(guid.to_string())),
    };
    EnvironmentPermissionView {
        id: row.id.to_string(),
        guid: row.guid.to_string(),
        environment_guid: environment.to_string(),
        user_guid,
        group_guid,
    }
}

/// Who is to be listed.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct EnvironmentPrincipal {
    #[schema(format = Uuid)]
    user_guid: Option<String>,
    #[schema(format = Uuid)]
    group_guid: Option<String>,
}

/// Lists who may use an environment. For administrators.
#[utoipa::path(get, path = "/v1/environments/{guid}/permissions", tag = "environments", params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<EnvironmentPermissionView>), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn permissions(
    State(services): State<Services>,
    _: Administrator,
    Named(row): Named,
) -> Result<Json<Vec<EnvironmentPermissionView>>, ApiError> {
    let listed = environments::permissions(&services.database.client().await?, row.id).await?;
    Ok(Json(listed.into_iter().map(|entry| view(entry, row.guid)).collect()))
}

/// Lists an account or a group for an environment. For administrators.
#[utoipa::path(post, path = "/v1/environments/{guid}/permissions", tag = "environments", params(("guid" = String, Path,)),
    request_body = EnvironmentPrincipal,
    responses((status = 200, body = EnvironmentPermissionView), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
async fn permit(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Named(row): Named,
    Object(who): Object<EnvironmentPrincipal>,
) -> Result<Json<EnvironmentPermissionView>, ApiError> {
    let mut client = services.database.client().await?;
    let grantee = match (who.user_guid.as_deref(), who.group_guid.as_deref()) {
        (Some(user), None) => {
            let user = users::get_by_guid(&client, user.parse()?).await?;
            let user = user.ok_or_else(|| ApiError::new(Code::UserMissing, "there is no such user"))?;
            Grantee::User(user.id, user.guid)
        }
        (None, Some(group)) => {
            let group = group_of(&client, group).await?;
            Grantee::Group(group.id, group.guid)
        }
        _ => return Err(ApiError::new(Code::MissingParameter, "give either a user_guid or a group_guid")),
    };
    let guid = EnvironmentPermissionGuid(Uuid::new_v4());
    let tx = client.transaction().await.map_err(DbError::from)?;
    let listed = environments::permit(&tx, row.id, guid, &grantee).await?;
    record(&tx, &caller, &Action::EnvironmentPermitted { environment: &row.name, to: &listed.name }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Json(view(listed, row.guid)))
}

async fn listed(services: &Services, row: &EnvironmentRow, id: &str) -> Result<EnvironmentPermission, ApiError> {
    let guid: EnvironmentPermissionGuid = id.parse()?;
    let listed = environments::permissions(&services.database.client().await?, row.id).await?;
    let entry = listed.into_iter().find(|entry| entry.guid == guid);
    entry.ok_or_else(|| ApiError::new(Code::Missing, "this environment has no such permission"))
}

/// One permission of an environment. For administrators.
#[utoipa::path(get, path = "/v1/environments/{guid}/permissions/{id}", tag = "environments",
    params(("guid" = String, Path,), ("id" = String, Path,)),
    responses((status = 200, body = EnvironmentPermissionView), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn permission(
    State(services): State<Services>,
    _: Administrator,
    Named(row): Named,
    Path((_guid, id)): Path<(String, String)>,
) -> Result<Json<EnvironmentPermissionView>, ApiError> {
    let entry = listed(&services, &row, &id).await?;
    Ok(Json(view(entry, row.guid)))
}

/// Takes an account or a group off an environment's list. For administrators.
#[utoipa::path(delete, path = "/v1/environments/{guid}/permissions/{id}", tag = "environments",
    params(("guid" = String, Path,), ("id" = String, Path,)),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn forbid(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    Named(row): Named,
    Path((_guid, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let absent = || ApiError::new(Code::CannotRemove, "this environment has no such permission");
    let guid: EnvironmentPermissionGuid = id.parse()?;
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let listed = environments::permissions(&tx, row.id).await?.into_iter().find(|entry| entry.guid == guid);
    let listed = listed.ok_or_else(absent)?;
    if !environments::forbid(&tx, row.id, guid).await? {
        return Err(absent());
    }
    record(&tx, &caller, &Action::EnvironmentForbidden { environment: &row.name, to: &listed.name }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(StatusCode::NO_CONTENT)
}
