//! `POST /v1/content/{guid}/deploy` and `/build`: queue the work that makes a bundle run.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use lectern_domain::audit::Action;
use lectern_domain::ids::{BundleId, JobKey, TaskId};
use lectern_domain::job::{GIT_TAG, deployment_tag};
use lectern_metadata::bundles::{self, BundleRow};
use lectern_metadata::jobs::{self, NewJob};
use lectern_metadata::repositories::{self, NewFetch, Source};
use lectern_metadata::tasks::{self, NewTask, TaskKind};
use lectern_metadata::{Client, DbError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::Services;
use crate::access::Changeable;
use crate::audit::{item, record};
use crate::body::Object;
use crate::error::{ApiError, Code, ErrorBody};
use crate::remote::git;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(deploy)).routes(routes!(build))
}

/// What to deploy.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct DeployRequest {
    /// A bundle of this content. Absent, null or `{}`: one made of the newest commit where the content is managed by git, else
    /// the active one, or the newest when none is active.
    #[schema(schema_with = bundle_number)]
    bundle_id: Value,
    /// False: prepare the bundle and leave the active one in place.
    activate: Option<bool>,
}

/// The schema of a bundle's number, in the spellings that [`read_bundle_id`] reads.
pub(crate) fn bundle_number() -> Schema {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]*$"));
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    let nothing = ObjectBuilder::new().schema_type(Type::Null);
    let empty_object = ObjectBuilder::new().schema_type(Type::Object).max_properties(Some(0));
    let empty_list = ArrayBuilder::new().max_items(Some(0));
    let any = AnyOfBuilder::new().item(text).item(number).item(nothing).item(empty_object).item(empty_list);
    Schema::AnyOf(any.build())
}

/// The task to follow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskStarted {
    task_id: String,
}

impl TaskStarted {
    /// The answer that names this task.
    pub(crate) fn of(task: &TaskId) -> Self {
        Self { task_id: task.to_string() }
    }
}

/// Deploys a bundle: prepares it and, unless told otherwise, makes it the active one when it is healthy.
#[utoipa::path(post, path = "/v1/content/{guid}/deploy", tag = "bundles", params(("guid" = String, Path,)),
    request_body = DeployRequest,
    responses((status = 202, body = TaskStarted), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, description = "no such content, no such bundle, or no bundle at all", body = ErrorBody),
        (status = 409, description = "it is managed by git, which is switched off", body = ErrorBody)))]
async fn deploy(
    State(services): State<Services>,
    at: Changeable,
    Object(wanted): Object<DeployRequest>,
) -> Result<(StatusCode, Json<TaskStarted>), ApiError> {
    let activate = wanted.activate.unwrap_or(true);
    let task = start(&services, &at, &wanted.bundle_id, TaskKind::Deploy, activate).await?;
    Ok((StatusCode::ACCEPTED, Json(TaskStarted::of(&task))))
}

/// Prepares a bundle without deploying it.
#[utoipa::path(post, path = "/v1/content/{guid}/build", tag = "bundles", params(("guid" = String, Path,)),
    request_body = DeployRequest,
    responses((status = 202, body = TaskStarted), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 409, description = "it is managed by git, which is switched off", body = ErrorBody)))]
async fn build(
    State(services): State<Services>,
    at: Changeable,
    Object(wanted): Object<DeployRequest>,
) -> Result<(StatusCode, Json<TaskStarted>), ApiError> {
    let task = start(&services, &at, &wanted.bundle_id, TaskKind::Build, false).await?;
    Ok((StatusCode::ACCEPTED, Json(TaskStarted::of(&task))))
}

/// A bundle that is to be made of a repository, and what is done with it.
pub(crate) struct Fetching {
    pub(crate) source: Source,
    pub(crate) kind: TaskKind,
    pub(crate) activate: bool,
    /// Whether the task is over when the bundle is there.
    pub(crate) is_all: bool,
}

/// Queues a task that begins with making a bundle of a repository; answers also the number that the bundle will have.
pub(crate) async fn start_fetch(
    services: &Services,
    at: &Changeable,
    fetching: Fetching,
) -> Result<(TaskId, BundleId), ApiError> {
    let (mut random, mut job_random) = ([0u8; 16], [0u8; 16]);
    getrandom::fill(&mut random).map_err(ApiError::no_random)?;
    getrandom::fill(&mut job_random).map_err(ApiError::no_random)?;
    let new = NewFetch {
        id: TaskId::from_random(random),
        kind: fetching.kind,
        content: at.row.id,
        source: fetching.source,
        activate: fetching.activate,
        is_all: fetching.is_all,
        requested_by: Some(at.caller.user),
    };
    let mut client = at.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let bundle = repositories::queue(&tx, &new).await?;
    let job = NewJob {
        key: JobKey::from_random(job_random),
        content: at.row.id,
        bundle: None,
        tag: GIT_TAG.to_owned(),
        // Nobody's, until one takes the task.
        server: Uuid::nil(),
        hostname: services.settings.hostname.clone(),
        run_as: None,
        log_path: None,
        task: Some(new.id.clone()),
    };
    jobs::create(&tx, &job).await?;
    record(&tx, &at.caller, &Action::DeploymentAsked { item: item(&at.row), bundle }).await?;
    tx.commit().await.map_err(DbError::from)?;
    services.backstage.task_queued();
    tracing::info!(
        content.guid = %at.row.guid,
        bundle.id = %bundle,
        task.id = %new.id,
        git.url = new.source.url,
        user.name = at.caller.username,
        "task queued"
    );
    Ok((new.id, bundle))
}

/// Queues a task about the bundle that `wanted` names.
pub(crate) async fn start(
    services: &Services,
    at: &Changeable,
    wanted: &Value,
    kind: TaskKind,
    activate: bool,
) -> Result<TaskId, ApiError> {
    let mut client = at.client().await?;
    if read_bundle_id(wanted)?.is_none()
        && let Some(repository) = repositories::get(&client, at.row.id).await?
    {
        drop(client); // What follows needs a connection too.
        git(services)?;
        let fetching = Fetching { source: repository.source, kind, activate, is_all: false };
        return start_fetch(services, at, fetching).await.map(|(task, _)| task);
    }
    let bundle = choose(&client, at, wanted).await?;
    let (mut random, mut job_random) = ([0u8; 16], [0u8; 16]);
    getrandom::fill(&mut random).map_err(ApiError::no_random)?;
    getrandom::fill(&mut job_random).map_err(ApiError::no_random)?;
    let task = NewTask {
        id: TaskId::from_random(random),
        kind,
        content: at.row.id,
        bundle: bundle.id,
        activate,
        requested_by: at.caller.user,
    };
    // Clients look for the job as soon as they have the task.
    let tx = client.transaction().await.map_err(DbError::from)?;
    let task = tasks::create(&tx, &task).await?;
    let job = NewJob {
        key: JobKey::from_random(job_random),
        content: at.row.id,
        bundle: Some(bundle.id),
        tag: deployment_tag(bundle.app_mode).to_owned(),
        // Nobody's, until one takes the task.
        server: Uuid::nil(),
        hostname: services.settings.hostname.clone(),
        run_as: None,
        log_path: None,
        task: Some(task.id.clone()),
    };
    jobs::create(&tx, &job).await?;
    record(&tx, &at.caller, &Action::DeploymentAsked { item: item(&at.row), bundle: bundle.id }).await?;
    tx.commit().await.map_err(DbError::from)?;
    services.backstage.task_queued();
    tracing::info!(
        content.guid = %at.row.guid,
        bundle.id = %bundle.id,
        task.id = %task.id,
        task.kind = kind.as_str(),
        task.activate = activate,
        user.name = at.caller.username,
        "task queued"
    );
    Ok(task.id)
}

async fn choose(client: &Client, at: &Changeable, wanted: &Value) -> Result<BundleRow, ApiError> {
    let Some(id) = read_bundle_id(wanted)? else {
        let current = bundles::current(client, at.row.id).await?;
        return current.ok_or_else(|| ApiError::new(Code::NoBundle, "this content has no bundle to deploy"));
    };
    let row = bundles::get(client, id).await?;
    let row = row.ok_or_else(|| ApiError::new(Code::NoBundle, format!("there is no bundle {id}")))?;
    if row.content != at.row.id {
        return Err(ApiError::new(Code::ForeignBundle, format!("bundle {id} belongs to other content")));
    }
    Ok(row)
}

/// Clients write the number as a string or as a number, and "none" as null, `""` or (R) `{}` or `[]`.
fn read_bundle_id(wanted: &Value) -> Result<Option<BundleId>, ApiError> {
    let refused = || ApiError::new(Code::BadId, "bundle_id is not the number of a bundle");
    match wanted {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::Object(map) if map.is_empty() => Ok(None),
        Value::Array(list) if list.is_empty() => Ok(None),
        Value::String(text) => text.parse().map(Some).map_err(|_| refused()),
        Value::Number(number) => number.to_string().parse().map(Some).map_err(|_| refused()),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bundle_numbers_in_all_spellings() {
        let read = |value: Value| read_bundle_id(&value).map_err(|refusal| refusal.code());
        for none in [json!(null), json!(""), json!({}), json!([])] {
            assert_eq!(read(none.clone()), Ok(None), "{none}");
        }
        assert_eq!(read(json!("33")), Ok(Some(BundleId(33))));
        assert_eq!(read(json!(33)), Ok(Some(BundleId(33))));
        for bad in [json!("x"), json!(-1), json!(1.5), json!(true), json!({"a": 1}), json!("0")] {
            assert_eq!(read(bad.clone()), Err(3), "{bad}");
        }
    }
}
