//! Where git-managed content comes from, which server looks there next, and tasks that begin with making a bundle of a commit.

use std::time::Duration;

use lectern_domain::git::Commit;
use lectern_domain::{BundleId, ContentGuid, ContentId, TaskId, UserId};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;
use crate::tasks::{Lease, TaskKind};

/// Most characters kept of an error: a sentence and the end of a log.
const MOST_ERROR: usize = 2000;

/// A place in a repository, checked by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// URL.
    pub url: String,
    /// Branch, tag or commit.
    pub branch: String,
    /// Directory: `.`, or names with `/` between them.
    pub directory: String,
}

/// Where an item comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryRow {
    /// The content item.
    pub content: ContentId,
    /// Where its bundles are made from.
    pub source: Source,
    /// Whether new commits are looked for.
    pub polling: bool,
    /// Why the last look or deployment failed.
    pub last_error: Option<String>,
    /// The last commit that was taken, whatever became of it.
    pub last_known_commit: Option<Commit>,
    /// Looks that failed in a row.
    pub failures: u32,
}

const COLUMNS: &str =
    "r.content_id, r.url, r.branch, r.directory, r.polling, r.last_error, r.last_known_commit, r.failures";

fn source(row: &Row) -> Result<Source, DbError> {
    Ok(Source { url: row::get(row, "url")?, branch: row::get(row, "branch")?, directory: row::get(row, "directory")? })
}

impl RepositoryRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        let commit: Option<&str> = row::get(row, "last_known_commit")?;
        let corrupt = |value: &str| DbError::Corrupt { what: "commit", value: value.to_owned() };
        let failures: i32 = row::get(row, "failures")?;
        Ok(Self {
            content: ContentId(row::get(row, "content_id")?),
            source: source(row)?,
            polling: row::get(row, "polling")?,
            last_error: row::get(row, "last_error")?,
            last_known_commit: commit.map(|text| text.parse().map_err(|_| corrupt(text))).transpose()?,
            failures: u32::try_from(failures).unwrap_or(0),
        })
    }
}

/// Where an item comes from; `None`: it is not git-managed.
pub async fn get(client: &impl GenericClient, content: ContentId) -> Result<Option<RepositoryRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM content_repositories r WHERE r.content_id = $1");
    row::query_opt(client, &sql, &[&content.0]).await?.as_ref().map(RepositoryRow::from_row).transpose()
}

/// Sets where an item comes from, and looks there after `first_look` if `polling`. Another source than before begins anew:
/// what is known of the one before is forgotten. A look that is under way counts no more.
pub async fn set(
    client: &impl GenericClient,
    content: ContentId,
    source: &Source,
    polling: bool,
    first_look: Duration,
) -> Result<RepositoryRow, DbError> {
    let sql = format!(
        "INSERT INTO content_repositories AS r (content_id, url, branch, directory, polling, next_poll_at) \
         VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6)) \
         ON CONFLICT (content_id) DO UPDATE SET url = $2, branch = $3, directory = $4, polling = $5, updated_at = now(), \
         next_poll_at = now() + make_interval(secs => $6), lease_owner = NULL, lease_expires_at = NULL, failures = 0, \
         last_error = CASE WHEN (r.url, r.branch, r.directory) = ($2, $3, $4) THEN r.last_error END, \
         last_known_commit = CASE WHEN (r.url, r.branch, r.directory) = ($2, $3, $4) THEN r.last_known_commit END \
         RETURNING {COLUMNS}"
    );
    let params: row::Params<'_> =
        &[&content.0, &source.url, &source.branch, &source.directory, &polling, &first_look.as_secs_f64()];
    RepositoryRow::from_row(&row::query_one(client, &sql, params).await?)
}

/// Lets an item be managed by git no more; `false` when it was not.
pub async fn delete(client: &impl GenericClient, content: ContentId) -> Result<bool, DbError> {
    let sql = "DELETE FROM content_repositories WHERE content_id = $1";
    Ok(row::execute(client, sql, &[&content.0]).await? > 0)
}

/// The right to look at one item's repository, for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Where, and what is known.
    pub repository: RepositoryRow,
    /// The item's GUID.
    pub guid: ContentGuid,
    /// Its name.
    pub name: String,
    /// Whether a task of the item is under way.
    pub is_deploying: bool,
    owner: Uuid,
}

/// Takes the repository whose look is due longest, for `duration`; `None` when none is due. Safe from many servers at once.
/// `owner` names this look, and no other.
pub async fn claim(client: &impl GenericClient, owner: Uuid, duration: Duration) -> Result<Option<Look>, DbError> {
    let sql = format!(
        "WITH next AS (SELECT content_id FROM content_repositories WHERE polling AND next_poll_at <= now() \
         AND (lease_expires_at IS NULL OR lease_expires_at < now()) ORDER BY next_poll_at LIMIT 1 FOR UPDATE SKIP LOCKED), \
         r AS (UPDATE content_repositories SET lease_owner = $1, lease_expires_at = now() + make_interval(secs => $2) \
         WHERE content_id = (SELECT content_id FROM next) RETURNING *) \
         SELECT {COLUMNS}, c.guid, c.name, EXISTS (SELECT FROM tasks t WHERE t.content_id = c.id AND t.state <> 'finished') \
         AS is_deploying FROM r JOIN content c ON c.id = r.content_id"
    );
    let Some(row) = row::query_opt(client, &sql, &[&owner, &duration.as_secs_f64()]).await? else { return Ok(None) };
    Ok(Some(Look {
        repository: RepositoryRow::from_row(&row)?,
        guid: ContentGuid(row::get(&row, "guid")?),
        name: row::get(&row, "name")?,
        is_deploying: row::get(&row, "is_deploying")?,
        owner,
    }))
}

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<'a> {
    /// The repository answered; what was wrong with a deployment goes on to be said.
    Reached,
    /// It has a commit that is taken now.
    Taken(Commit),
    /// It could not be looked at.
    Failed(&'a str),
}

/// Ends a look; the next one comes after `pause`. `false` when the right to it was lost: nothing was changed then.
pub async fn looked(
    client: &impl GenericClient,
    look: &Look,
    seen: Seen<'_>,
    pause: Duration,
) -> Result<bool, DbError> {
    let (commit, error) = match seen {
        Seen::Reached => (None, None),
        Seen::Taken(commit) => (Some(commit.to_string()), None),
        Seen::Failed(error) => (None, Some(short(error))),
    };
    // A failure of looking is over when looking succeeds; one of deploying is not.
    let sql = "UPDATE content_repositories SET lease_owner = NULL, lease_expires_at = NULL, \
               next_poll_at = now() + make_interval(secs => $3), last_known_commit = COALESCE($4, last_known_commit), \
               last_error = CASE WHEN $5::text IS NOT NULL THEN $5 WHEN failures > 0 THEN NULL ELSE last_error END, \
               failures = CASE WHEN $5::text IS NULL THEN 0 ELSE failures + 1 END \
               WHERE content_id = $1 AND lease_owner = $2";
    let params: row::Params<'_> = &[&look.repository.content.0, &look.owner, &pause.as_secs_f64(), &commit, &error];
    Ok(row::execute(client, sql, params).await? > 0)
}

/// A task to queue that begins with making a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFetch {
    /// Names it to clients; made by the caller.
    pub id: TaskId,
    /// What it does when the bundle is there.
    pub kind: TaskKind,
    /// The content item.
    pub content: ContentId,
    /// What the bundle is made of.
    pub source: Source,
    /// Whether the bundle becomes the active one when it is healthy.
    pub activate: bool,
    /// Whether it is over when the bundle is there.
    pub is_all: bool,
    /// Who asks for it; `None`: the server.
    pub requested_by: Option<UserId>,
}

/// Queues a task; answers the number that its bundle will have. [`DbError::NotFound`] when the item does not exist.
pub async fn queue(tx: &Transaction<'_>, new: &NewFetch) -> Result<BundleId, DbError> {
    let sql = "INSERT INTO tasks (id, kind, content_id, activate, requested_by) VALUES ($1, $2, $3, $4, $5)";
    let user = new.requested_by.map(|user| user.0);
    let params: row::Params<'_> = &[&new.id.as_str(), &new.kind.as_str(), &new.content.0, &new.activate, &user];
    row::execute(tx, sql, params).await?;
    let sql = "INSERT INTO git_fetches (task_id, url, branch, directory, is_all, bundle_id) \
               VALUES ($1, $2, $3, $4, $5, nextval(pg_get_serial_sequence('bundles', 'id'))) RETURNING bundle_id";
    let Source { url, branch, directory } = &new.source;
    let row = row::query_one(tx, sql, &[&new.id.as_str(), url, branch, directory, &new.is_all]).await?;
    Ok(BundleId(row::get(&row, "bundle_id")?))
}

/// What a task is to make a bundle of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// From where.
    pub source: Source,
    /// The number of the bundle.
    pub bundle: BundleId,
    /// Whether the task is over then.
    pub is_all: bool,
}

/// What `task` is to make a bundle of; `None`: it is about a bundle that was there before.
pub async fn fetch_of(client: &impl GenericClient, task: &TaskId) -> Result<Option<Fetch>, DbError> {
    let sql = "SELECT url, branch, directory, bundle_id, is_all FROM git_fetches WHERE task_id = $1";
    let Some(row) = row::query_opt(client, sql, &[&task.as_str()]).await? else { return Ok(None) };
    let bundle = BundleId(row::get(&row, "bundle_id")?);
    Ok(Some(Fetch { source: source(&row)?, bundle, is_all: row::get(&row, "is_all")? }))
}

/// Writes down that the bundle of a task is there, for the task, its job and, if it is from where the item comes, the item.
/// The caller holds the task's lease in the same transaction.
pub async fn fetched(
    tx: &Transaction<'_>,
    lease: &Lease,
    content: ContentId,
    fetch: &Fetch,
    commit: Commit,
) -> Result<(), DbError> {
    let params: row::Params<'_> = &[&lease.task.as_str(), &fetch.bundle.0];
    row::execute(tx, "UPDATE tasks SET bundle_id = $2 WHERE id = $1", params).await?;
    row::execute(tx, "UPDATE jobs SET bundle_id = $2 WHERE task_id = $1", params).await?;
    note(tx, content, &fetch.source, "last_known_commit = $5", &commit.to_string()).await
}

/// Writes down how a task that made a bundle ended, where that is from where the item comes.
pub async fn ended(
    client: &impl GenericClient,
    content: ContentId,
    source: &Source,
    error: Option<&str>,
) -> Result<(), DbError> {
    note(client, content, source, "last_error = NULLIF($5, '')", &error.map(short).unwrap_or_default()).await
}

async fn note(
    client: &impl GenericClient,
    content: ContentId,
    source: &Source,
    change: &str,
    value: &str,
) -> Result<(), DbError> {
    let sql = format!(
        "UPDATE content_repositories SET {change} WHERE content_id = $1 AND (url, branch, directory) = ($2, $3, $4)"
    );
    let Source { url, branch, directory } = source;
    row::execute(client, &sql, &[&content.0, url, branch, directory, &value]).await.map(drop)
}

fn short(error: &str) -> String {
    // The database stores no NUL.
    error.replace('\0', "\u{fffd}").chars().take(MOST_ERROR).collect()
}
