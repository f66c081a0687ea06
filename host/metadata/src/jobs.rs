//! Records of native processes that ran for a content item.

use std::time::Duration;

use lectern_domain::{BundleId, ContentId, JobKey};
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

/// One run of a native process.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

const COLUMNS: &str = "key, id, content_id, bundle_id, tag, server_id, hostname, run_as, log_path, pid, status, \
                       exit_code, started_at, ready_at, ended_at";

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
        })
    }
}

/// Records a process that is about to be started. [`DbError::NotFound`] when its content or bundle does not exist.
pub async fn create(client: &impl GenericClient, job: &NewJob) -> Result<JobRow, DbError> {
    let sql = format!(
        "INSERT INTO jobs (key, content_id, bundle_id, tag, server_id, hostname, run_as, log_path) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING {COLUMNS}"
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
pub async fn finish(client: &impl GenericClient, key: &JobKey, exit_code: Option<i32>) -> Result<bool, DbError> {
    let sql = "UPDATE jobs SET status = 2, exit_code = $2, ended_at = now() WHERE key = $1 AND status = 0";
    Ok(row::execute(client, sql, &[&key.as_str(), &exit_code]).await? > 0)
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

/// The jobs that have not ended, oldest first: what a server that starts compares with what runs.
pub async fn list_open(client: &impl GenericClient) -> Result<Vec<JobRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE status = 0 ORDER BY id");
    row::query(client, &sql, &[]).await?.iter().map(JobRow::from_row).collect()
}

/// Removes the records of jobs that ended longer ago than `age`; answers which, so that their logs can go too.
pub async fn prune_ended(client: &impl GenericClient, age: Duration) -> Result<Vec<JobKey>, DbError> {
    let sql = "DELETE FROM jobs WHERE status <> 0 AND ended_at < now() - make_interval(secs => $1) RETURNING key";
    let rows = row::query(client, sql, &[&age.as_secs_f64()]).await?;
    rows.iter().map(|row| row::parsed(row, "key", "job key")).collect()
}
