//! `/v1/system/caches/runtime`: restored package environments, by language and version.

use axum::Json;
use axum::extract::State;
use lectern_domain::TaskId;
use lectern_metadata::short_tasks::{self, ShortTask};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::body::Object;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::{Account, Administrator};
use crate::services::RuntimeCache;

/// Everything runs on this host.
const IMAGE: &str = "Local";

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, remove))
}

/// The environments of one version of a language.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct CacheView {
    /// `Python`.
    language: String,
    version: String,
    image_name: &'static str,
}

/// The environments of this host.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheList {
    caches: Vec<CacheView>,
}

/// Which environments to remove.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[schema(example = json!({"language": "Python", "version": "3.11.2", "image_name": "Local", "dry_run": true}))]
pub(crate) struct CacheChoice {
    #[schema(required = true, value_type = String, min_length = 1)]
    language: Option<String>,
    #[schema(required = true, value_type = String, min_length = 1)]
    version: Option<String>,
    #[schema(required = true, value_type = String, min_length = 1)]
    image_name: Option<String>,
    /// True: only say whether there are such.
    dry_run: bool,
}

/// What is removed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheRemoved {
    language: String,
    version: String,
    image_name: &'static str,
    /// The task to follow; null after a dry run.
    task_id: Option<String>,
}

async fn caches(services: &Services) -> Result<Vec<RuntimeCache>, ApiError> {
    services.backstage.runtime_caches().await.map_err(ApiError::internal)
}

/// Lists the restored package environments by language and version. For administrators.
#[utoipa::path(get, path = "/v1/system/caches/runtime", tag = "server",
    responses((status = 200, body = CacheList), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
async fn list(State(services): State<Services>, _: Administrator) -> Result<Json<CacheList>, ApiError> {
    let view = |cache: RuntimeCache| CacheView { language: cache.language, version: cache.version, image_name: IMAGE };
    Ok(Json(CacheList { caches: caches(&services).await?.into_iter().map(view).collect() }))
}

/// Removes the environments of one version. Content that ran with them ends, and is restored when it is next asked for.
/// For administrators.
#[utoipa::path(delete, path = "/v1/system/caches/runtime", tag = "server", request_body = CacheChoice,
    responses((status = 200, body = CacheRemoved), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, description = "there are none of this version", body = ErrorBody)))]
async fn remove(
    State(services): State<Services>,
    _: Administrator,
    Account(caller): Account,
    Object(choice): Object<CacheChoice>,
) -> Result<Json<CacheRemoved>, ApiError> {
    let given = |value: Option<String>, what: &str| {
        let value = value.filter(|value| !value.is_empty());
        value.ok_or_else(|| ApiError::new(Code::MissingParameter, format!("say which environments: {what}")))
    };
    let (language, version) = (given(choice.language, "language")?, given(choice.version, "version")?);
    let image = given(choice.image_name, "image_name")?;
    let wanted = |cache: &RuntimeCache| {
        image == IMAGE && cache.language.eq_ignore_ascii_case(&language) && cache.version == version
    };
    let cache = caches(&services).await?.into_iter().find(wanted);
    let cache = cache.ok_or_else(|| ApiError::new(Code::Missing, "there is no such runtime cache"))?;
    let mut task_id = None;
    if !choice.dry_run {
        let mut random = [0u8; 16];
        getrandom::fill(&mut random).map_err(ApiError::no_random)?;
        let id = TaskId::from_random(random);
        let removed = services.backstage.remove_runtime_cache(&cache).await.map_err(ApiError::internal)?;
        let output = vec![format!("Removed {removed} environments of {} {}.", cache.language, cache.version)];
        let task = ShortTask {
            id: id.clone(),
            requested_by: Some(caller.user),
            output,
            code: 0,
            error: String::new(),
            result: None,
        };
        short_tasks::keep(&services.database.client().await?, &task).await?;
        tracing::info!(cache.version = cache.version, removed, user.name = caller.username, "runtime cache removed");
        task_id = Some(id.to_string());
    }
    Ok(Json(CacheRemoved { language: cache.language, version: cache.version, image_name: IMAGE, task_id }))
}
