//! Records of native processes that ran for a content item.

use std::time::Duration;

use lectern_domain::{BundleId, ContentId, JobKey, TaskId};
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

/// One run of a native process.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    /// Names the run.
    pub key: JobKey,
    /// The number in the protocol's job objects.
    pub id: i64,
    /// Whose content it ran for.
    pub content: ContentId,
    /// Which version, while that bundle exists.
    pub bundle: Option<BundleId>,
    /// The protocol's word for what it does, `run_fastapi_app` for instance.
    pub tag: String,
    /// The server that started it.
    pub server: Uuid,
    /// The host it ran on.
    pub hostname: String,
    /// The account it ran as.
    pub run_as: Option<String>,
    /// Where its log is, on that host.
    pub log_path: Option<String>,
    /// Process id, once it runs.
    pub pid: Option<i32>,
    /// Whether it runs.
    pub status: JobStatus,
    /// Exit status; a signal N counts as 128 + N.
    pub exit_code: Option<i32>,
    /// When it was started.
    pub started_at: OffsetDateTime,
    /// When it first accepted a connection.
    pub ready_at: Option<OffsetDateTime>,
    /// When it ended.
    pub ended_at: Option<OffsetDateTime>,
    /// The task that it is; its log is the task's output. `None`: a process of content.
    pub task: Option<TaskId>,
    /// Why it ended, in words for its publisher.
    pub reason: Option<String>,
    /// The name of the user who had it stopped.
    pub stopped_by: Option<String>,
    /// Processor time it took with all that it started, once it has ended.
    pub cpu_seconds: Option<f64>,
    /// Most memory it held, once it has ended.
    pub peak_memory_bytes: Option<i64>,
}

/// Whether a job runs. The numbers are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    /// 0: it runs.
    Active,
    /// 1: it has ended.
    Finished,
    /// 2: it has ended and its log is complete.
    Finalized,
}

impl JobStatus {
    /// The protocol's number.
    pub fn number(self) -> i16 {
        match self {
            Self::Active => 0,
            Self::Finished => 1,
            Self::Finalized => 2,
        }
    }

    fn from_number(number: i16) -> Result<Self, DbError> {
        [Self::Active, Self::Finished, Self::Finalized]
            .into_iter()
            .find(|status| status.number() == number)
            .ok_or_else(|| DbError::Corrupt { what: "job status", value: number.to_string() })
    }
}

/// A process about to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Names the run.
    pub key: JobKey,
    /// Whose content it runs for.
    pub content: ContentId,
    /// Which version.
    pub bundle: Option<BundleId>,
    /// The protocol's word for what it does.
    pub tag: String,
    /// The server that starts it.
    pub server: Uuid,
    /// The host it runs on.
    pub hostname: String,
    /// The account it runs as.
    pub run_as: Option<String>,
    /// Where its log goes.
    pub log_path: Option<String>,
    /// The task that it is.
    pub task: Option<TaskId>,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobEnd {
    /// Exit status; a signal N counts as 128 + N.
    pub exit_code: Option<i32>,
    /// Why, in words for its publisher.
    pub reason: Option<String>,
    /// When; `None`: now.
    pub at: Option<OffsetDateTime>,
    /// Processor time it took, where that is known.
    pub cpu_seconds: Option<f64>,
    /// Most memory it held, where that is known.
    pub peak_memory_bytes: Option<i64>,
}

const COLUMNS: &str = "key, id, content_id, bundle_id, tag, server_id, hostname, run_as, log_path, pid, status, \
                       exit_code, started_at, ready_at, ended_at, task_id, reason, stopped_by, cpu_seconds, \
                       peak_memory_bytes";

impl JobRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            key: row::parsed(row, "key", "job key")?,
            id: row::get(row, "id")?,
            content: ContentId(row::get(row, "content_id")?),
            bundle: row::get::<Option<i64>>(row, "bundle_id")?.map(BundleId),
            tag: row::get(row, "tag")?,
            server: row::get(row, "server_id")?,
            hostname: row::get(row, "hostname")?,
            run_as: row::get(row, "run_as")?,
            log_path: row::get(row, "log_path")?,
            pid: row::get(row, "pid")?,
            status: JobStatus::from_number(row::get(row, "status")?)?,
            exit_code: row::get(row, "exit_code")?,
            started_at: row::get(row, "started_at")?,
            ready_at: row::get(row, "ready_at")?,
            ended_at: row::get(row, "ended_at")?,
            task: row::get::<Option<&str>>(row, "task_id")?
                .map(|id| id.parse().map_err(|_| DbError::Corrupt { what: "task id", value: id.to_owned() }))
                .transpose()?,
            reason: row::get(row, "reason")?,
            stopped_by: row::get(row, "stopped_by")?,
            cpu_seconds: row::get(row, "cpu_seconds")?,
            peak_memory_bytes: row::get(row, "peak_memory_bytes")?,
        })
    }
}

/// Records a process that is about to be started. [`DbError::NotFound`] when its content or bundle does not exist.
pub async fn create(client: &impl GenericClient, job: &NewJob) -> Result<JobRow, DbError> {
    let sql = format!(
        "INSERT INTO jobs (key, content_id, bundle_id, tag, server_id, hostname, run_as, log_path, task_id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING {COLUMNS}"
    );
    let row = row::query_one(
        client,
        &sql,
        &[
            &job.key.as_str(),
            &job.content.0,
            &job.bundle.map(|bundle| bundle.0),
            &job.tag,
            &job.server,
            &job.hostname,
            &job.run_as,
            &job.log_path,
            &job.task.as_ref().map(TaskId::as_str),
        ],
    )
    .await?;
    JobRow::from_row(&row)
}

/// Notes the process id. `false` when the job does not exist or has ended.
pub async fn set_pid(client: &impl GenericClient, key: &JobKey, pid: i32) -> Result<bool, DbError> {
    let sql = "UPDATE jobs SET pid = $2 WHERE key = $1 AND status = 0";
    Ok(row::execute(client, sql, &[&key.as_str(), &pid]).await? > 0)
}

/// Notes that it accepts connections. `false` when the job does not exist or has ended.
pub async fn set_ready(client: &impl GenericClient, key: &JobKey) -> Result<bool, DbError> {
    let sql = "UPDATE jobs SET ready_at = coalesce(ready_at, now()) WHERE key = $1 AND status = 0";
    Ok(row::execute(client, sql, &[&key.as_str()]).await? > 0)
}

/// Notes that it has ended. The first end counts: `false` when the job does not exist or had ended before.
pub async fn finish(client: &impl GenericClient, key: &JobKey, end: &JobEnd) -> Result<bool, DbError> {
    // A clock that was set back would have it end before it began.
    let sql = "UPDATE jobs SET status = 2, exit_code = $2, reason = $3, \
               ended_at = greatest(coalesce($4, now()), started_at), cpu_seconds = $5, peak_memory_bytes = $6 \
               WHERE key = $1 AND status = 0";
    let reason = end.reason.as_ref().map(|reason| reason.replace('\0', "\u{fffd}"));
    let params: row::Params<'_> =
        &[&key.as_str(), &end.exit_code, &reason, &end.at, &end.cpu_seconds, &end.peak_memory_bytes];
    Ok(row::execute(client, sql, params).await? > 0)
}

/// Notes which server works on a task, in the record of its job.
pub async fn set_server(
    client: &impl GenericClient,
    task: &TaskId,
    server: Uuid,
    hostname: &str,
) -> Result<(), DbError> {
    let sql = "UPDATE jobs SET server_id = $2, hostname = $3 WHERE task_id = $1 AND status = 0";
    row::execute(client, sql, &[&task.as_str(), &server, &hostname]).await.map(drop)
}

/// Notes who had it stopped, also when it has ended meanwhile; the first one counts. `false` when the job does not exist.
pub async fn set_stopped_by(client: &impl GenericClient, key: &JobKey, username: &str) -> Result<bool, DbError> {
    let sql = "UPDATE jobs SET stopped_by = coalesce(stopped_by, $2) WHERE key = $1";
    Ok(row::execute(client, sql, &[&key.as_str(), &username]).await? > 0)
}

/// One job.
pub async fn get(client: &impl GenericClient, key: &JobKey) -> Result<Option<JobRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE key = $1");
    row::query_opt(client, &sql, &[&key.as_str()]).await?.as_ref().map(JobRow::from_row).transpose()
}

/// The newest `limit` jobs of a content item, newest first.
pub async fn list(client: &impl GenericClient, content: ContentId, limit: i64) -> Result<Vec<JobRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE content_id = $1 ORDER BY id DESC LIMIT $2");
    row::query(client, &sql, &[&content.0, &limit.max(0)]).await?.iter().map(JobRow::from_row).collect()
}

/// The processes of content on host `hostname` that have not ended, oldest first: what a server that starts compares with
/// what runs. Tasks are not among them: a lease says who works on one.
pub async fn list_open(client: &impl GenericClient, hostname: &str) -> Result<Vec<JobRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE status = 0 AND task_id IS NULL AND hostname = $1 ORDER BY id");
    row::query(client, &sql, &[&hostname]).await?.iter().map(JobRow::from_row).collect()
}

/// At most `limit` jobs that ended longer ago than `age`, or that have `per_content` newer ones of the same content; oldest
/// first. Their logs go before their rows do ([`remove`]).
pub async fn expired(
    client: &impl GenericClient,
    age: Duration,
    per_content: i64,
    limit: i64,
) -> Result<Vec<JobKey>, DbError> {
    let sql = "SELECT key FROM (SELECT key, id, status, ended_at, \
               row_number() OVER (PARTITION BY content_id ORDER BY id DESC) AS place FROM jobs) AS ranked \
               WHERE status <> 0 AND (ended_at < now() - make_interval(secs => $1) OR place > $2) ORDER BY id LIMIT $3";
    let rows = row::query(client, sql, &[&age.as_secs_f64(), &per_content, &limit]).await?;
    rows.iter().map(|row| row::parsed(row, "key", "job key")).collect()
}

/// Which of `keys` have a record.
pub async fn known(client: &impl GenericClient, keys: &[JobKey]) -> Result<Vec<JobKey>, DbError> {
    let keys: Vec<&str> = keys.iter().map(JobKey::as_str).collect();
    let rows = row::query(client, "SELECT key FROM jobs WHERE key = ANY($1)", &[&keys]).await?;
    rows.iter().map(|row| row::parsed(row, "key", "job key")).collect()
}

/// Removes the records of those of `keys` that have ended; answers how many.
pub async fn remove(client: &impl GenericClient, keys: &[JobKey]) -> Result<u64, DbError> {
    let keys: Vec<&str> = keys.iter().map(JobKey::as_str).collect();
    row::execute(client, "DELETE FROM jobs WHERE key = ANY($1) AND status <> 0", &[&keys]).await
}
