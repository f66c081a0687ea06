//! `GET /v1/tasks/{id}`: what a client polls after a deployment.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use lectern_domain::access::{Action, Principal};
use lectern_domain::ids::TaskId;
use lectern_domain::user::UserRole;
use lectern_metadata::tasks::{self, TaskRow, TaskState};
use lectern_metadata::{Client, content, short_tasks};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::access::permit;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Account;
use crate::query::Params;

/// The longest a poll is held: below the idle time-outs of common proxies (60 s).
const LONGEST_WAIT: f64 = 30.0;

/// Pause between two looks at a task without news.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(get))
}

/// Which lines, and how long to wait for news.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct TaskQuery {
    /// The first line wanted, counted from 0; the `last` of the reply before.
    first: Option<i64>,
    /// Seconds the server may wait for news, at most 30.
    wait: Option<f64>,
}

/// A task and its output.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskView {
    id: String,
    /// Lines from `first` on.
    output: Vec<String>,
    /// Null, or an object with `type` and `data`.
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    finished: bool,
    /// 0 while it runs and when it succeeded.
    code: i32,
    /// Why it failed; empty otherwise.
    error: String,
    /// How many lines there are so far.
    last: i64,
}

impl TaskView {
    /// Whether it is over.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }
}

/// A task. With `wait`, the reply is held until the task has a line that the client has not seen, or has finished.
#[utoipa::path(get, path = "/v1/tasks/{id}", tag = "tasks", params(("id" = String, Path,), TaskQuery),
    responses((status = 200, body = TaskView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn get(
    State(services): State<Services>,
    Account(caller): Account,
    Path(id): Path<String>,
    Params(query): Params<TaskQuery>,
) -> Result<Json<TaskView>, ApiError> {
    let wait = query.wait.filter(|wait| wait.is_finite()).unwrap_or(0.0).clamp(0.0, LONGEST_WAIT);
    let wait = Duration::from_secs_f64(wait);
    Ok(Json(look(&services, &caller, &id, query.first, wait).await?))
}

/// Reads a task, waiting for news where the client has seen all there is.
pub(crate) async fn look(
    services: &Services,
    caller: &Principal,
    id: &str,
    first: Option<i64>,
    wait: Duration,
) -> Result<TaskView, ApiError> {
    let missing = || ApiError::new(Code::TaskMissing, "there is no such task");
    // An id that is in no task's form names no task.
    let id: TaskId = id.parse().map_err(|_| missing())?;
    let mut client = services.database.client().await?;
    let Some(mut task) = tasks::get(&client, &id).await? else {
        return over_at_once(&client, caller, &id, first).await?.ok_or_else(missing);
    };
    may_follow(&client, caller, &task).await?;
    let first = first.map(|first| first.max(0));
    // A client that never says what it has seen has seen what the reply before held, we suppose.
    let seen = first.unwrap_or(task.output_lines);
    let end = Instant::now() + wait;
    let mut left = wait;
    while !left.is_zero() && task.output_lines <= seen && !matches!(task.state, TaskState::Finished { .. }) {
        drop(client); // Connections to the database are few, waiting clients may be many.
        services.backstage.wait_for_news(&id, task.output_lines, left).await;
        client = services.database.client().await?;
        task = tasks::get(&client, &id).await?.ok_or_else(missing)?;
        left = end.saturating_duration_since(Instant::now());
        if task.output_lines <= seen && !matches!(task.state, TaskState::Finished { .. }) {
            // It may have returned for nothing; it must not make us ask in a circle.
            sleep(PAUSE.min(left)).await;
            left = end.saturating_duration_since(Instant::now());
        }
    }
    let first = first.unwrap_or(0);
    let mut output = tasks::output(&client, &id, first).await?;
    // Lines that came after the task was read would be sent twice, with this `last` and the next.
    output.truncate(usize::try_from(task.output_lines - first).unwrap_or(0));
    let last = task.output_lines;
    Ok(match task.state {
        TaskState::Queued | TaskState::Running => {
            TaskView { id: id.to_string(), output, result: None, finished: false, code: 0, error: String::new(), last }
        }
        TaskState::Finished { code, error, result, .. } => {
            TaskView { id: id.to_string(), output, result, finished: true, code, error, last }
        }
    })
}

/// A task that was done within the request that asked for it, for who asked and for administrators.
async fn over_at_once(
    client: &Client,
    caller: &Principal,
    id: &TaskId,
    first: Option<i64>,
) -> Result<Option<TaskView>, ApiError> {
    let Some(task) = short_tasks::get(client, id).await? else { return Ok(None) };
    if task.requested_by != Some(caller.user) && caller.role < UserRole::Administrator {
        return Ok(None);
    }
    let last = i64::try_from(task.output.len()).map_err(ApiError::internal)?;
    let passed = usize::try_from(first.unwrap_or(0)).unwrap_or(0);
    let output = task.output.into_iter().skip(passed).collect();
    let (code, error, result) = (task.code, task.error, task.result);
    Ok(Some(TaskView { id: id.to_string(), output, result, finished: true, code, error, last }))
}

/// Who asked for a task may follow it, and whoever may change the content.
async fn may_follow(client: &Client, caller: &Principal, task: &TaskRow) -> Result<(), ApiError> {
    if task.requested_by == Some(caller.user) {
        return Ok(());
    }
    let row = content::get(client, task.content).await?;
    let row = row.ok_or_else(|| ApiError::new(Code::TaskMissing, "there is no such task any more"))?;
    permit(client, caller, &row, Action::Change).await.map(drop)
}

/// A task in the words of the unversioned protocol.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LegacyTask {
    id: String,
    /// The same: R clients before 1.0 follow a restart by this name, and a deployment by the other.
    task_id: String,
    /// Lines from `first_status` on.
    status: Vec<String>,
    last_status: i64,
    finished: bool,
    code: i32,
    error: String,
}

impl LegacyTask {
    /// Names it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

impl From<TaskView> for LegacyTask {
    fn from(task: TaskView) -> Self {
        Self {
            task_id: task.id.clone(),
            id: task.id,
            status: task.output,
            last_status: task.last,
            finished: task.finished,
            code: task.code,
            error: task.error,
        }
    }
}
