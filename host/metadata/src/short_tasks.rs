//! Tasks that were done within the request that asked for them: only their end is kept, for a day.

use lectern_domain::{TaskId, UserId};
use serde_json::Value;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

/// A task that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct ShortTask {
    /// Names it to clients; made by the caller.
    pub id: TaskId,
    /// Who asked for it, while that account exists.
    pub requested_by: Option<UserId>,
    /// What it said.
    pub output: Vec<String>,
    /// 0: it succeeded.
    pub code: i32,
    /// Why it failed; may be empty.
    pub error: String,
    /// What it brought, in the protocol's form `{"type", "data"}`.
    pub result: Option<Value>,
}

/// Keeps a task, and lets those go that nobody polls any more: clients ask within minutes.
pub async fn keep(client: &impl GenericClient, task: &ShortTask) -> Result<(), DbError> {
    row::execute(client, "DELETE FROM short_tasks WHERE created_at < now() - interval '1 day'", &[]).await?;
    let sql = "INSERT INTO short_tasks (id, requested_by, output, code, error, result) VALUES ($1, $2, $3, $4, $5, $6)";
    let user = task.requested_by.map(|user| user.0);
    let params: row::Params<'_> = &[&task.id.as_str(), &user, &task.output, &task.code, &task.error, &task.result];
    row::execute(client, sql, params).await.map(drop)
}

/// One of them.
pub async fn get(client: &impl GenericClient, id: &TaskId) -> Result<Option<ShortTask>, DbError> {
    let sql = "SELECT requested_by, output, code, error, result FROM short_tasks WHERE id = $1";
    let Some(row) = row::query_opt(client, sql, &[&id.as_str()]).await? else { return Ok(None) };
    Ok(Some(ShortTask {
        id: id.clone(),
        requested_by: row::get::<Option<i64>>(&row, "requested_by")?.map(UserId),
        output: row::get(&row, "output")?,
        code: row::get(&row, "code")?,
        error: row::get(&row, "error")?,
        result: row::get(&row, "result")?,
    }))
}
