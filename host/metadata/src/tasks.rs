//! Work that outlives a request, with the output that clients poll.
//!
//! A server takes a task with a lease. Whoever holds the lease may write; a lease that expired can be taken by another
//! server, and from then on the old holder's writes fail with [`DbError::LeaseLost`].

mod lease;

use lectern_domain::{BundleId, ContentGuid, ContentId, TaskId, UserId};
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;
use tokio_postgres::Row;

pub use self::lease::{
    Claimed, Lease, MAX_ATTEMPTS, append_output, claim_next, finish, release, renew_lease, stop, verify_lease,
};
use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// Prepares a bundle, starts it, and makes it active when asked to.
    Deploy,
    /// Prepares a bundle only.
    Build,
}

impl TaskKind {
    /// The word it is stored as.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Build => "build",
        }
    }
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskState {
    /// Waits for a server.
    Queued,
    /// A server works on it.
    Running,
    /// Done, for good.
    Finished {
        /// 0: it succeeded.
        code: i32,
        /// Why it failed; empty when it succeeded.
        error: String,
        /// What it brought, in the protocol's form `{"type", "data"}`.
        result: Option<Value>,
        /// When it ended.
        at: OffsetDateTime,
    },
}

/// One task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRow {
    /// Names it to clients.
    pub id: TaskId,
    /// What it does.
    pub kind: TaskKind,
    /// The content item it is about.
    pub content: ContentId,
    /// Its GUID.
    pub content_guid: ContentGuid,
    /// The bundle it is about, while that exists.
    pub bundle: Option<BundleId>,
    /// Whether the bundle becomes the active one when it is healthy.
    pub activate: bool,
    /// Who asked for it, while that account exists.
    pub requested_by: Option<UserId>,
    /// How far it is.
    pub state: TaskState,
    /// How many lines of output it has; the protocol's `last`.
    pub output_lines: i64,
    /// How often a server took it.
    pub attempts: i32,
    /// When it was asked for.
    pub created_at: OffsetDateTime,
}

const COLUMNS: &str = "t.id, t.kind, t.content_id, c.guid AS content_guid, t.bundle_id, t.activate, t.requested_by, \
                       t.state, t.code, t.error, t.result, t.output_lines, t.attempts, t.created_at, t.finished_at";

impl TaskRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        let kind: &str = row::get(row, "kind")?;
        let kind = [TaskKind::Deploy, TaskKind::Build]
            .into_iter()
            .find(|known| known.as_str() == kind)
            .ok_or_else(|| DbError::Corrupt { what: "task kind", value: kind.to_owned() })?;
        let state = match row::get(row, "state")? {
            "queued" => TaskState::Queued,
            "running" => TaskState::Running,
            "finished" => TaskState::Finished {
                code: row::get(row, "code")?,
                error: row::get(row, "error")?,
                result: row::get(row, "result")?,
                at: row::get(row, "finished_at")?,
            },
            other => return Err(DbError::Corrupt { what: "task state", value: other.to_owned() }),
        };
        Ok(Self {
            id: row::parsed(row, "id", "task id")?,
            kind,
            content: ContentId(row::get(row, "content_id")?),
            content_guid: ContentGuid(row::get(row, "content_guid")?),
            bundle: row::get::<Option<i64>>(row, "bundle_id")?.map(BundleId),
            activate: row::get(row, "activate")?,
            requested_by: row::get::<Option<i64>>(row, "requested_by")?.map(UserId),
            state,
            output_lines: row::get(row, "output_lines")?,
            attempts: row::get(row, "attempts")?,
            created_at: row::get(row, "created_at")?,
        })
    }
}

/// A task to queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// Names it to clients; made by the caller.
    pub id: TaskId,
    /// What it does.
    pub kind: TaskKind,
    /// The content item it is about.
    pub content: ContentId,
    /// The bundle it is about.
    pub bundle: BundleId,
    /// Whether the bundle becomes the active one when it is healthy.
    pub activate: bool,
    /// Who asks for it.
    pub requested_by: UserId,
}

/// Queues a task. [`DbError::NotFound`] when the content, the bundle or the user does not exist.
pub async fn create(client: &impl GenericClient, task: &NewTask) -> Result<TaskRow, DbError> {
    let sql = format!(
        "WITH t AS (INSERT INTO tasks (id, kind, content_id, bundle_id, activate, requested_by) \
         SELECT $1, $2, b.content_id, b.id, $5, $6 FROM bundles b WHERE b.content_id = $3 AND b.id = $4 RETURNING *) \
         SELECT {COLUMNS} FROM t JOIN content c ON c.id = t.content_id"
    );
    let row = row::query_opt(
        client,
        &sql,
        &[
            &task.id.as_str(),
            &task.kind.as_str(),
            &task.content.0,
            &task.bundle.0,
            &task.activate,
            &task.requested_by.0,
        ],
    )
    .await?;
    TaskRow::from_row(&row.ok_or(DbError::NotFound("bundle"))?)
}

/// One task.
pub async fn get(client: &impl GenericClient, id: &TaskId) -> Result<Option<TaskRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM tasks t JOIN content c ON c.id = t.content_id WHERE t.id = $1");
    row::query_opt(client, &sql, &[&id.as_str()]).await?.as_ref().map(TaskRow::from_row).transpose()
}

/// The newest `limit` tasks of a content item, newest first.
pub async fn list(client: &impl GenericClient, content: ContentId, limit: i64) -> Result<Vec<TaskRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM tasks t JOIN content c ON c.id = t.content_id WHERE t.content_id = $1 \
         ORDER BY t.created_at DESC, t.id LIMIT $2"
    );
    row::query(client, &sql, &[&content.0, &limit.max(0)]).await?.iter().map(TaskRow::from_row).collect()
}

/// The lines of output from number `first` (counted from 0) on.
pub async fn output(client: &impl GenericClient, id: &TaskId, first: i64) -> Result<Vec<String>, DbError> {
    let sql = "SELECT line FROM task_output WHERE task_id = $1 AND seq >= $2 ORDER BY seq";
    row::query(client, sql, &[&id.as_str(), &first]).await?.iter().map(|row| row::get(row, "line")).collect()
}

/// A line of output and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    /// Its number, from 0.
    pub number: i64,
    /// The line, without its end.
    pub text: String,
    /// When it was written.
    pub at: OffsetDateTime,
}

/// At most `limit` lines of output from number `first` (counted from 0) on, with their times.
pub async fn timed_output(
    client: &impl GenericClient,
    id: &TaskId,
    first: i64,
    limit: i64,
) -> Result<Vec<OutputLine>, DbError> {
    let sql = "SELECT seq, line, written_at FROM task_output WHERE task_id = $1 AND seq >= $2 ORDER BY seq LIMIT $3";
    let rows = row::query(client, sql, &[&id.as_str(), &first, &limit.max(0)]).await?;
    let line = |row: &Row| {
        Ok(OutputLine { number: row::get(row, "seq")?, text: row::get(row, "line")?, at: row::get(row, "written_at")? })
    };
    rows.iter().map(line).collect()
}

/// Removes tasks that ended longer ago than `age`, with their output; answers how many.
pub async fn prune_finished(client: &impl GenericClient, age: Duration) -> Result<u64, DbError> {
    let sql = "DELETE FROM tasks WHERE state = 'finished' AND finished_at < now() - make_interval(secs => $1)";
    row::execute(client, sql, &[&age.as_secs_f64()]).await
}
