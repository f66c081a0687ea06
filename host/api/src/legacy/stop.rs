//! Ending what runs, as R clients before 1.0 ask for it.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use lectern_domain::TaskId;
use lectern_metadata::jobs;
use lectern_metadata::short_tasks::{self, ShortTask};
use lectern_metadata::{content, tasks};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Services;
use crate::access::{Changeable, permit};
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Account;
use crate::tasks::{LegacyTask, look};

/// Most jobs looked at, newest first. Those that run are among the newest, and no item may have as many processes.
const MOST_JOBS: i64 = 500;

/// The task to follow, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Terminated {
    task_id: String,
    #[serde(flatten)]
    task: LegacyTask,
}

/// Ends all processes of an application. It is started again when somebody opens it.
#[utoipa::path(post, path = "/applications/{app}/terminate", tag = "legacy", params(("app" = String, Path,)),
    responses((status = 200, body = Terminated), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(super) async fn terminate(State(services): State<Services>, at: Changeable) -> Result<Json<Terminated>, ApiError> {
    let found = jobs::list(&at.client().await?, at.row.id, MOST_JOBS).await?;
    let mut output = Vec::new();
    for job in found.iter().filter(|job| job.task.is_none()) {
        if crate::jobs::end(&services, &at.caller, &at.row, job).await? {
            output.push(format!("Asked job {} to end.", job.key));
        }
    }
    if output.is_empty() {
        output.push("Nothing runs.".to_owned());
    }
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(ApiError::no_random)?;
    let id = TaskId::from_random(random);
    let task =
        ShortTask { id, requested_by: Some(at.caller.user), output, code: 0, error: String::new(), result: None };
    short_tasks::keep(&at.client().await?, &task).await?;
    let task = look(&services, &at.caller, task.id.as_str(), None, Duration::ZERO).await?;
    let task = LegacyTask::from(task);
    Ok(Json(Terminated { task_id: task.id().to_owned(), task }))
}

/// Gives up a deployment. It changes nothing then.
#[utoipa::path(post, path = "/tasks/{id}/kill", tag = "legacy", params(("id" = String, Path,)),
    responses((status = 200, body = LegacyTask), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, description = "it has ended (code 163)", body = ErrorBody)))]
pub(super) async fn kill(
    State(services): State<Services>,
    Account(caller): Account,
    Path(id): Path<String>,
) -> Result<Json<LegacyTask>, ApiError> {
    // Who may not follow it learns nothing of it; what was over at once is found here too.
    let seen = look(&services, &caller, &id, None, Duration::ZERO).await?;
    let over = || ApiError::new(Code::JobNotActive, "this task has ended, or is about to");
    if seen.is_finished() {
        return Err(over());
    }
    let missing = || ApiError::new(Code::TaskMissing, "there is no such task any more");
    let client = services.database.client().await?;
    let task = tasks::get(&client, &id.parse().map_err(|_| missing())?).await?.ok_or_else(missing)?;
    let row = content::get(&client, task.content).await?.ok_or_else(missing)?;
    permit(&client, &caller, &row, lectern_domain::access::Action::Change).await?;
    let found = jobs::list(&client, row.id, MOST_JOBS).await?;
    drop(client); // Ending it needs a connection too.
    let job = found.into_iter().find(|job| job.task.as_ref() == Some(&task.id)).ok_or_else(over)?;
    if !crate::jobs::end(&services, &caller, &row, &job).await? {
        return Err(over());
    }
    Ok(Json(look(&services, &caller, &id, None, Duration::ZERO).await?.into()))
}
