//! `…/jobs/{key}/log`, `/tail`, `/error`, `/download`: what a job wrote, whole, as it comes, or as a file.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, HeaderValue, header};
use lectern_domain::ids::TaskId;
use lectern_metadata::jobs::JobRow;
use lectern_metadata::tasks::{self, TaskState};
use lectern_metadata::{Database, DbError};
use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::job_of;
use crate::Services;
use crate::access::Changeable;
use crate::error::{ApiError, Code, ErrorBody};
use crate::query::Params;
use crate::services::{LogLine, LogLines, LogSource};

/// Most lines of a log in one reply; also what is sent when the client does not say.
const MAX_LINES: usize = 10_000;
/// Lines of the end of a log, when the client does not say how many.
const TAIL_LINES: usize = 100;
/// Lines of a task's output in one query.
const OUTPUT_PIECE: i64 = 500;
/// How long one connection may follow a log: then the client comes again, and it is looked at anew whether it may.
const FOLLOW_LIMIT: Duration = Duration::from_secs(900);
/// When a client whose connection ended should come again.
const COME_AGAIN: Duration = Duration::from_secs(1);
/// Between signs of life on a quiet stream: proxies cut connections that are silent for a minute.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Without news of a task its row is looked at again after this.
const TASK_NEWS: Duration = Duration::from_secs(5);

pub(super) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(log)).routes(routes!(tail)).routes(routes!(error)).routes(routes!(download))
}

/// How much of a log.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct LogQuery {
    /// At most this many lines, the last ones; at most 10000.
    max_log_lines: Option<usize>,
}

impl LogQuery {
    fn most(&self, unless_said: usize) -> usize {
        self.max_log_lines.filter(|most| *most > 0).unwrap_or(unless_said).min(MAX_LINES)
    }
}

/// How much of a log's end, or from where on.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct TailQuery {
    /// At most this many lines, the last ones; at most 10000, and 100 unless said.
    max_log_lines: Option<usize>,
    /// For a stream: begin after the line of this number, as `Last-Event-ID` does; 0 is the beginning.
    after: Option<u64>,
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
    /// To the microsecond.
    #[schema(format = DateTime, example = "2024-07-16T19:28:05.123456Z")]
    timestamp: String,
    data: String,
}

impl From<LogLine> for LogEntry {
    fn from(line: LogLine) -> Self {
        Self { source: line.source, timestamp: line.at.format(&Rfc3339).unwrap_or_default(), data: line.text }
    }
}

fn entries(lines: Vec<LogLine>) -> Vec<LogEntry> {
    lines.into_iter().map(LogEntry::from).collect()
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
    let lines = last_lines(&services, &job, query.most(MAX_LINES)).await?;
    Ok(Json(JobLog { entries: entries(lines) }))
}

/// The end of a log; as a stream for those who accept `text/event-stream`.
///
/// The stream has one event for each line: its `id` is the line's number, its data one entry of the log. `Last-Event-ID`
/// (or `after`) goes on after a line, across a restart of the server too. Where lines were dropped because the log was full, a
/// line says how many. The event `end` follows the last line of a job that has ended. The server ends a stream after 15
/// minutes, and when it stops: clients of the `EventSource` kind come again by themselves.
#[utoipa::path(get, path = "/v1/content/{guid}/jobs/{key}/tail", tag = "jobs",
    params(("guid" = String, Path,), ("key" = String, Path,), TailQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "the number of the last line received")),
    responses((status = 200, content((JobLog = "application/json"), (String = "text/event-stream"))),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, description = "as many logs are followed as may", body = ErrorBody)))]
async fn tail(
    State(services): State<Services>,
    at: Changeable,
    Path((_guid, key)): Path<(String, String)>,
    Params(query): Params<TailQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = job_of(&at, &key).await?;
    let most = LogQuery { max_log_lines: query.max_log_lines }.most(TAIL_LINES);
    if query.after.is_some_and(|after| i64::try_from(after).is_err()) {
        return Err(ApiError::new(Code::BadParameter, "after must be the number of a line"));
    }
    if !wants_stream(&headers) {
        return Ok(Json(JobLog { entries: entries(last_lines(&services, &job, most).await?) }).into_response());
    }
    let Some(following) = services.followed.begin(at.caller.user) else {
        return Err(ApiError::busy(
            "as many logs are followed as may be, by you or by all; close one, or try again shortly",
        ));
    };
    let after = match last_event(&headers).or(query.after) {
        Some(after) => after,
        None => last_lines(&services, &job, most).await?.first().map_or(0, |line| line.number.saturating_sub(1)),
    };
    let lines = lines_after(&services, &job, after, true);
    let events = lines.flat_map(|piece| {
        let lines = piece.unwrap_or_else(|error| {
            tracing::warn!(%error, "read a job's log");
            Vec::new()
        });
        stream::iter(events_of(lines))
    });
    let end = stream::once(ended(services.clone(), job)).filter_map(std::future::ready);
    let begin = stream::once(std::future::ready(Event::default().retry(COME_AGAIN).comment("the log follows")));
    // What is limited is the whole stream; cut in the middle it has no `end`, and the client comes again.
    let events = begin.chain(events).chain(end).take_until(tokio::time::sleep(FOLLOW_LIMIT));
    let events = events.map(move |event| {
        let _held = &following;
        Ok::<_, Infallible>(event)
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE)).into_response();
    // nginx would otherwise hold lines back until its buffer is full.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/event-stream"))
}

fn last_event(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok()
}

fn events_of(lines: Vec<LogLine>) -> Vec<Event> {
    let event = |line: LogLine| {
        let number = line.number.to_string();
        Event::default().id(number).json_data(LogEntry::from(line)).ok()
    };
    lines.into_iter().filter_map(event).collect()
}

/// The last event, when the job has ended: a stream may also end because the server does.
async fn ended(services: Services, job: JobRow) -> Option<Event> {
    let still = match &job.task {
        Some(task) => !task_ended(&services.database, task).await.unwrap_or(false),
        None => services.backstage.job_runs(&job.key),
    };
    (!still).then(|| Event::default().event("end").data("{}"))
}

/// Why a job failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobError {
    /// Null while it runs, and where it is not known.
    exit_code: Option<i32>,
    /// Why it ended, in words; empty while it runs.
    error: String,
    /// The last lines of standard error.
    entries: Vec<LogEntry>,
}

/// Why a job ended, and the end of what it wrote to standard error.
#[utoipa::path(get, path = "/v1/content/{guid}/jobs/{key}/error", tag = "jobs",
    params(("guid" = String, Path,), ("key" = String, Path,), LogQuery),
    responses((status = 200, body = JobError), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn error(
    State(services): State<Services>,
    at: Changeable,
    Path((_guid, key)): Path<(String, String)>,
    Params(query): Params<LogQuery>,
) -> Result<Json<JobError>, ApiError> {
    let job = job_of(&at, &key).await?;
    let mut lines = last_lines(&services, &job, MAX_LINES).await?;
    lines.retain(|line| line.source == LogSource::Stderr);
    let lines = lines.split_off(lines.len().saturating_sub(query.most(TAIL_LINES)));
    let error = job.reason.unwrap_or_default();
    Ok(Json(JobError { exit_code: job.exit_code, error, entries: entries(lines) }))
}

/// The whole log as a text file: a line has its time, its stream and what was written.
#[utoipa::path(get, path = "/v1/content/{guid}/jobs/{key}/download", tag = "jobs",
    params(("guid" = String, Path,), ("key" = String, Path,)),
    responses((status = 200, content((String = "text/plain"))), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn download(
    State(services): State<Services>,
    at: Changeable,
    Path((_guid, key)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let job = job_of(&at, &key).await?;
    let text = lines_after(&services, &job, 0, false)
        .map_ok(|lines| Bytes::from(lines.iter().map(text_of).collect::<String>()));
    let name = format!("attachment; filename=\"job-{}.log\"", job.key);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_str(&name).map_err(ApiError::internal)?),
    ];
    Ok((headers, Body::from_stream(text)).into_response())
}

fn text_of(line: &LogLine) -> String {
    let source = match line.source {
        LogSource::Stdout => "stdout",
        LogSource::Stderr => "stderr",
    };
    let time = line.at.format(&Rfc3339).unwrap_or_default();
    format!("{time} {source} {}\n", line.text)
}

/// The last `most` lines of a job.
async fn last_lines(services: &Services, job: &JobRow, most: usize) -> Result<Vec<LogLine>, ApiError> {
    let Some(task) = &job.task else {
        return services.backstage.job_log(&job.key, most).await.map_err(ApiError::internal);
    };
    let client = services.database.client().await?;
    let Some(row) = tasks::get(&client, task).await? else { return Ok(Vec::new()) };
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let lines = tasks::timed_output(&client, task, (row.output_lines - most).max(0), most).await?;
    Ok(lines.into_iter().map(output_line).collect())
}

/// The lines of a job after number `after`; with `follow` also those to come.
fn lines_after(services: &Services, job: &JobRow, after: u64, follow: bool) -> LogLines {
    match &job.task {
        None => services.backstage.job_log_after(&job.key, after, follow),
        Some(task) => output_after(services.clone(), task.clone(), after, follow),
    }
}

fn output_line(line: tasks::OutputLine) -> LogLine {
    let number = u64::try_from(line.number).unwrap_or(0) + 1;
    LogLine { number, source: LogSource::Stdout, at: line.at, text: line.text }
}

/// A task's output as the lines of a log. Nothing is read ahead of the reader.
fn output_after(services: Services, task: TaskId, after: u64, follow: bool) -> LogLines {
    let first = i64::try_from(after).unwrap_or(i64::MAX);
    let pieces = stream::try_unfold(Some(first), move |first| {
        let (services, task) = (services.clone(), task.clone());
        async move {
            let Some(first) = first else { return Ok(None) };
            loop {
                // In this order: what was written before the end is then read.
                let ended = task_ended(&services.database, &task).await.map_err(std::io::Error::other)?;
                let client = services.database.client().await.map_err(std::io::Error::other)?;
                let lines = tasks::timed_output(&client, &task, first, OUTPUT_PIECE).await;
                let lines = lines.map_err(std::io::Error::other)?;
                drop(client);
                if let Some(last) = lines.last() {
                    let next = last.number + 1;
                    return Ok(Some((lines.into_iter().map(output_line).collect(), Some(next))));
                }
                if ended || !follow {
                    return Ok(None);
                }
                services.backstage.wait_for_news(&task, first, TASK_NEWS).await;
            }
        }
    });
    let pieces: BoxStream<'static, std::io::Result<Vec<LogLine>>> = pieces.boxed();
    pieces
}

/// Whether a task has ended, or is gone.
async fn task_ended(database: &Database, task: &TaskId) -> Result<bool, DbError> {
    let row = tasks::get(&database.client().await?, task).await?;
    Ok(row.is_none_or(|row| matches!(row.state, TaskState::Finished { .. })))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stream_is_for_those_who_ask_for_one() {
        let with = |accept: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, value.parse().unwrap());
            }
            wants_stream(&headers)
        };
        assert!(!with(&[]) && !with(&["*/*"]) && !with(&["application/json, text/plain"]));
        assert!(with(&["text/event-stream"]) && with(&["application/json", "a/b, text/event-stream;q=0.9"]));
    }
}
