//! Taking tasks, and what only the holder of a task's lease may do.

use std::time::Duration;

use lectern_domain::TaskId;
use serde_json::Value;
use uuid::Uuid;

use super::{COLUMNS, TaskRow};
use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;

/// How often a task is taken before it counts as failed. A task that ends the server that runs it must not end it for ever;
/// two restarts in the middle of a deployment are normal operation.
pub const MAX_ATTEMPTS: i32 = 3;

/// The right to work on a task: one server's, for one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The task.
    pub task: TaskId,
    /// The server that holds it: one id per start of a server process.
    pub server: Uuid,
    /// Which attempt this is, from 1.
    pub attempt: i32,
}

/// A task taken by this server.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The task.
    pub task: TaskRow,
    /// What allows to work on it.
    pub lease: Lease,
}

/// Takes the oldest task that waits or whose lease expired, for `duration`; `None` when there is none.
///
/// Safe from many servers at once: rows locked by another are skipped. Tasks that were taken [`MAX_ATTEMPTS`] times are
/// finished as failed instead.
pub async fn claim_next(
    client: &impl GenericClient,
    server: Uuid,
    duration: Duration,
) -> Result<Option<Claimed>, DbError> {
    let give_up = "UPDATE tasks SET state = 'finished', code = 1, finished_at = now(), \
                   error = 'given up: the server ended ' || attempts || ' times while it worked on this task' \
                   WHERE id IN (SELECT id FROM tasks WHERE state = 'running' AND lease_expires_at < now() \
                   AND attempts >= $1 FOR UPDATE SKIP LOCKED)";
    row::execute(client, give_up, &[&MAX_ATTEMPTS]).await?;
    let sql = format!(
        "WITH next AS (SELECT id FROM tasks WHERE state = 'queued' OR (state = 'running' AND lease_expires_at < now()) \
         ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED), \
         t AS (UPDATE tasks SET state = 'running', lease_owner = $1, attempts = attempts + 1, \
         lease_expires_at = now() + make_interval(secs => $2) \
         WHERE id = (SELECT id FROM next) RETURNING *) \
         SELECT {COLUMNS} FROM t JOIN content c ON c.id = t.content_id"
    );
    let Some(row) = row::query_opt(client, &sql, &[&server, &duration.as_secs_f64()]).await? else { return Ok(None) };
    let task = TaskRow::from_row(&row)?;
    let lease = Lease { task: task.id.clone(), server, attempt: task.attempts };
    Ok(Some(Claimed { task, lease }))
}

/// Appends lines in one round trip; answers how many lines there are then. [`DbError::LeaseLost`] when the lease is.
///
/// NUL characters, which PostgreSQL does not store, become U+FFFD.
pub async fn append_output(client: &impl GenericClient, lease: &Lease, lines: &[String]) -> Result<i64, DbError> {
    let sql = "WITH held AS (UPDATE tasks SET output_lines = output_lines + cardinality($4::text[]) \
               WHERE id = $1 AND lease_owner = $2 AND attempts = $3 AND state = 'running' RETURNING output_lines), \
               added AS (INSERT INTO task_output (task_id, seq, line) \
               SELECT $1, held.output_lines - cardinality($4::text[]) + new.number - 1, new.line \
               FROM held, unnest($4::text[]) WITH ORDINALITY AS new (line, number)) \
               SELECT output_lines FROM held";
    let lines: Vec<String> = lines.iter().map(|line| line.replace('\0', "\u{fffd}")).collect();
    let row = row::query_opt(client, sql, &[&lease.task.as_str(), &lease.server, &lease.attempt, &lines]).await?;
    row::get(&row.ok_or(DbError::LeaseLost)?, "output_lines")
}

/// Ends the task: code 0 for success, else `error` says why. Repeating it with the same lease changes nothing.
/// [`DbError::LeaseLost`] when the lease is.
pub async fn finish(
    client: &impl GenericClient,
    lease: &Lease,
    code: i32,
    error: &str,
    result: Option<&Value>,
) -> Result<(), DbError> {
    // A finished task keeps owner and attempt, so its own holder is told from another.
    let sql = "WITH ended AS (UPDATE tasks SET state = 'finished', code = $4, error = $5, result = $6, \
               finished_at = now(), lease_expires_at = NULL \
               WHERE id = $1 AND lease_owner = $2 AND attempts = $3 AND state = 'running' RETURNING 1) \
               SELECT EXISTS (SELECT 1 FROM ended) OR EXISTS (SELECT 1 FROM tasks \
               WHERE id = $1 AND lease_owner = $2 AND attempts = $3 AND state = 'finished') AS done";
    let error = error.replace('\0', "\u{fffd}");
    let params: row::Params<'_> = &[&lease.task.as_str(), &lease.server, &lease.attempt, &code, &error, &result];
    if row::get(&row::query_one(client, sql, params).await?, "done")? { Ok(()) } else { Err(DbError::LeaseLost) }
}

/// Extends the lease to `duration` from now; `false` when it is lost.
pub async fn renew_lease(client: &impl GenericClient, lease: &Lease, duration: Duration) -> Result<bool, DbError> {
    let sql = "UPDATE tasks SET lease_expires_at = now() + make_interval(secs => $4) \
               WHERE id = $1 AND lease_owner = $2 AND attempts = $3 AND state = 'running'";
    let params: row::Params<'_> = &[&lease.task.as_str(), &lease.server, &lease.attempt, &duration.as_secs_f64()];
    Ok(row::execute(client, sql, params).await? > 0)
}

/// Gives the task back unfinished, so that another server takes it at once; the attempt does not count. `false` when the
/// lease was lost.
pub async fn release(client: &impl GenericClient, lease: &Lease) -> Result<bool, DbError> {
    let sql = "UPDATE tasks SET state = 'queued', lease_owner = NULL, lease_expires_at = NULL, attempts = attempts - 1 \
               WHERE id = $1 AND lease_owner = $2 AND attempts = $3 AND state = 'running'";
    Ok(row::execute(client, sql, &[&lease.task.as_str(), &lease.server, &lease.attempt]).await? > 0)
}

/// Ends a task from outside, whoever works on it: its holder finds the lease lost. `false` when it had ended.
pub async fn stop(client: &impl GenericClient, task: &TaskId, why: &str) -> Result<bool, DbError> {
    let sql = "UPDATE tasks SET state = 'finished', code = 1, error = $2, finished_at = now(), lease_expires_at = NULL, \
               lease_owner = NULL WHERE id = $1 AND state <> 'finished'";
    Ok(row::execute(client, sql, &[&task.as_str(), &why.replace('\0', "\u{fffd}")]).await? > 0)
}

/// Checks, and makes sure until the transaction ends, that the lease is held: whatever else the transaction changes is
/// then changed by the task's holder only. [`DbError::LeaseLost`] when it is not.
pub async fn verify_lease(tx: &Transaction<'_>, lease: &Lease) -> Result<(), DbError> {
    let sql =
        "SELECT 1 FROM tasks WHERE id = $1 AND lease_owner = $2 AND attempts = $3 AND state = 'running' FOR UPDATE";
    match row::query_opt(tx, sql, &[&lease.task.as_str(), &lease.server, &lease.attempt]).await? {
        Some(_) => Ok(()),
        None => Err(DbError::LeaseLost),
    }
}
