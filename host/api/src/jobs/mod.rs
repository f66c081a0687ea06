//! `/v1/content/{guid}/jobs`: runs of processes and their logs.

use axum::Json;
use axum::extract::{Path, State};
use lectern_domain::ids::JobKey;
use lectern_metadata::content::ContentRow;
use lectern_metadata::jobs::{self, JobRow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::access::Changeable;
use crate::error::{ApiError, Code, ErrorBody};
use crate::query::Params;
use crate::services::{LogLine, LogSource};
use crate::stamp::Stamp;

/// Most jobs listed, newest first: a page that people and clients read.
const MAX_JOBS: i64 = 500;

/// Most lines of a log in one reply; also what is sent when the client does not say.
const MAX_LINES: usize = 10_000;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(log))
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

/// How much of a log.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct LogQuery {
    /// At most this many lines, the last ones; at most 10000.
    max_log_lines: Option<usize>,
}

/// A job's log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobLog {
    entries: Vec<LogEntry>,
}

/// One line.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogEntry {
    source: LogSource,
    timestamp: Stamp,
    data: String,
}

impl From<LogLine> for LogEntry {
    fn from(line: LogLine) -> Self {
        Self { source: line.source, timestamp: line.at.into(), data: line.text }
    }
}

/// The last lines that a job wrote, also while it runs.
#[utoipa::path(get, path = "/v1/content/{guid}/jobs/{key}/log", tag = "jobs",
    params(("guid" = String, Path,), ("key" = String, Path,), LogQuery),
    responses((status = 200, body = JobLog), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn log(
    State(services): State<Services>,
    at: Changeable,
    Path((_guid, key)): Path<(String, String)>,
    Params(query): Params<LogQuery>,
) -> Result<Json<JobLog>, ApiError> {
    let job = job_of(&at, &key).await?;
    let most = query.max_log_lines.filter(|most| *most > 0).unwrap_or(MAX_LINES).min(MAX_LINES);
    let lines = services.backstage.job_log(&job.key, most).await.map_err(ApiError::internal)?;
    Ok(Json(JobLog { entries: lines.into_iter().map(LogEntry::from).collect() }))
}
