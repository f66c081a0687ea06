//! `/v1/content/{guid}/jobs`: runs of processes and their logs. Deployments are jobs, too: their log is the task's output.

mod log;

use axum::Json;
use axum::extract::{Path, State};
use lectern_domain::access::Principal;
use lectern_domain::audit::Action;
use lectern_domain::ids::JobKey;
use lectern_metadata::content::ContentRow;
use lectern_metadata::jobs::{self, JobRow, JobStatus};
use lectern_metadata::{DbError, tasks};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::access::Changeable;
use crate::audit::{item, record};
use crate::error::{ApiError, Code, ErrorBody};
use crate::stamp::Stamp;

/// Most jobs listed, newest first: a page that people and clients read.
const MAX_JOBS: i64 = 500;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, stop)).merge(log::routes())
}

/// One run of a process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobView {
    id: String,
    ppid: Option<String>,
    /// Empty until the process was started.
    pid: String,
    key: String,
    remote_id: Option<String>,
    app_id: String,
    content_id: String,
    content_guid: String,
    variant_id: String,
    bundle_id: Option<String>,
    start_time: Stamp,
    /// Null while it runs.
    end_time: Option<Stamp>,
    last_heartbeat_time: Stamp,
    queued_time: Option<Stamp>,
    queue_name: Option<String>,
    /// What the process does, `run_fastapi_app` for example.
    tag: String,
    exit_code: Option<i32>,
    /// 0 active, 1 finished, 2 finished with a complete log.
    status: i16,
    hostname: String,
    cluster: Option<&'static str>,
    image: Option<&'static str>,
    run_as: Option<String>,
    /// What the protocol has no word for.
    lectern: More,
}

/// What is known of a job besides.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct More {
    /// When it first accepted a connection.
    ready_time: Option<Stamp>,
    /// Processor time in seconds of the process and all that it started; null while it runs.
    cpu_seconds: Option<f64>,
    /// Most memory in bytes; null while it runs.
    peak_memory_bytes: Option<i64>,
    /// Why it ended, in words.
    reason: Option<String>,
    /// Who had it stopped.
    stopped_by: Option<String>,
    /// The task that it is; null for a process of content.
    task_id: Option<String>,
}

fn view(row: JobRow, content: &ContentRow) -> JobView {
    let alive_at = row.ended_at.or(row.ready_at).unwrap_or(row.started_at);
    JobView {
        id: row.id.to_string(),
        ppid: None,
        pid: row.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        key: row.key.to_string(),
        remote_id: None,
        app_id: content.id.to_string(),
        content_id: content.id.to_string(),
        content_guid: content.guid.to_string(),
        variant_id: "0".to_owned(),
        bundle_id: row.bundle.map(|bundle| bundle.to_string()),
        start_time: row.started_at.into(),
        end_time: row.ended_at.map(Stamp),
        last_heartbeat_time: alive_at.into(),
        queued_time: None,
        queue_name: None,
        tag: row.tag,
        exit_code: row.exit_code,
        status: row.status.number(),
        hostname: row.hostname,
        cluster: Some("Local"),
        image: Some("Local"),
        run_as: row.run_as,
        lectern: More {
            ready_time: row.ready_at.map(Stamp),
            cpu_seconds: row.cpu_seconds,
            peak_memory_bytes: row.peak_memory_bytes,
            reason: row.reason,
            stopped_by: row.stopped_by,
            task_id: row.task.map(|task| task.to_string()),
        },
    }
}

async fn job_of(at: &Changeable, key: &str) -> Result<JobRow, ApiError> {
    let missing = || ApiError::new(Code::Missing, "this content has no such job");
    let key: JobKey = key.parse()?;
    jobs::get(&at.client().await?, &key).await?.filter(|job| job.content == at.row.id).ok_or_else(missing)
}

/// Lists the newest jobs, newest first.
#[utoipa::path(get, path = "/v1/content/{guid}/jobs", tag = "jobs", params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<JobView>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn list(at: Changeable) -> Result<Json<Vec<JobView>>, ApiError> {
    let rows = jobs::list(&at.client().await?, at.row.id, MAX_JOBS).await?;
    Ok(Json(rows.into_iter().map(|row| view(row, &at.row)).collect()))
}

/// One job.
#[utoipa::path(get, path = "/v1/content/{guid}/jobs/{key}", tag = "jobs",
    params(("guid" = String, Path,), ("key" = String, Path,)),
    responses((status = 200, body = JobView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn get(at: Changeable, Path((_guid, key)): Path<(String, String)>) -> Result<Json<JobView>, ApiError> {
    let row = job_of(&at, &key).await?;
    Ok(Json(view(row, &at.row)))
}

/// What became of the wish to end a job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stopped {
    /// Names this wish.
    guid: String,
    app_id: i64,
    app_guid: String,
    job_id: i64,
    job_key: String,
    result: &'static str,
}

/// Ends a job: a process gets SIGTERM and, after its grace, SIGKILL; a deployment is given up and changes nothing.
///
/// Answers when the wish was taken; the job's `status` says when it has ended.
#[utoipa::path(delete, path = "/v1/content/{guid}/jobs/{key}", tag = "jobs",
    params(("guid" = String, Path,), ("key" = String, Path,)),
    responses((status = 200, body = Stopped), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "the job has ended (code 163)", body = ErrorBody)))]
async fn stop(
    State(services): State<Services>,
    at: Changeable,
    Path((_guid, key)): Path<(String, String)>,
) -> Result<Json<Stopped>, ApiError> {
    let job = job_of(&at, &key).await?;
    if !end(&services, &at.caller, &at.row, &job).await? {
        return Err(ApiError::new(Code::JobNotActive, "this job is not active: it has ended, or is about to"));
    }
    Ok(Json(Stopped {
        guid: uuid::Uuid::new_v4().to_string(),
        app_id: at.row.id.0,
        app_guid: at.row.guid.to_string(),
        job_id: job.id,
        job_key: job.key.to_string(),
        result: "Order to kill job registered",
    }))
}

/// Ends a job because `caller`, who may change its item, wants it to; `false` when it has ended, or is about to.
pub(crate) async fn end(
    services: &Services,
    caller: &Principal,
    row: &ContentRow,
    job: &JobRow,
) -> Result<bool, ApiError> {
    let username = &caller.username;
    let asked = Action::JobStopped { item: item(row), job: &job.key };
    if job.status != JobStatus::Active {
        return Ok(false);
    }
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let taken = match &job.task {
        Some(task) => {
            let stopped = tasks::stop(&tx, task, &format!("stopped by {username}")).await?;
            if stopped {
                jobs::set_stopped_by(&tx, &job.key, username).await?;
                record(&tx, caller, &asked).await?;
            }
            tx.commit().await.map_err(DbError::from)?;
            stopped
        }
        None => {
            // Before it is done: what was done without an entry could not be undone.
            record(&tx, caller, &asked).await?;
            tx.commit().await.map_err(DbError::from)?;
            drop(client);
            services.backstage.end_job(&job.key, username).await.map_err(ApiError::internal)?
        }
    };
    if taken {
        tracing::info!(content.guid = %row.guid, job.key = %job.key, user.name = username, "job stopped");
    }
    Ok(taken)
}
