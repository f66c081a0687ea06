//! The first step of a task about git-managed content: making a bundle of a commit.

use lectern_api::Arrived;
use lectern_metadata::bundles::{self, BundleRow};
use lectern_metadata::repositories::{self, Fetch};
use lectern_metadata::tasks::{Lease, TaskRow, verify_lease};
use lectern_metadata::{DbError, content};

use super::Deployer;
use super::log::TaskLog;
use super::steps::{TaskFailure, database, patiently};
use crate::cli::chain;

/// What `task` is to make a bundle of, if it is to make one.
pub(super) async fn wanted(deployer: &Deployer, task: &TaskRow) -> Result<Option<Fetch>, TaskFailure> {
    let found =
        patiently(|| async { repositories::fetch_of(&deployer.database.client().await?, &task.id).await }).await;
    found.map_err(|error| database(&error))
}

/// Makes the bundle and its record. An attempt that ended before leaves neither or both.
pub(super) async fn bundle(
    deployer: &Deployer,
    task: &TaskRow,
    lease: &Lease,
    fetch: &Fetch,
    log: &TaskLog,
) -> Result<BundleRow, TaskFailure> {
    let failed = |words: String| TaskFailure::new(words);
    let git = deployer.git.as_ref().map_err(|why| failed(why.clone()))?;
    let mut say = |line: String| log.line(line);
    let made = git.make_bundle(&fetch.source, &deployer.files.store, &mut say).await;
    let made = made.map_err(|failure| failed(chain(&failure)))?;
    let row = patiently(|| async { content::get(&deployer.database.client().await?, task.content).await }).await;
    let row = row.map_err(|error| database(&error))?.ok_or_else(|| failed("the content was deleted".to_owned()))?;
    let arrived = Arrived {
        content: task.content,
        stored: made.stored,
        metadata: made.metadata,
        // What the server fetches by itself, it fetches for the owner.
        created_by: task.requested_by.unwrap_or(row.owner.id),
    };
    let files = &deployer.files;
    let new = lectern_api::examine(&deployer.database, &files.store, &files.cache, arrived).await;
    let new = new.map_err(|refusal| failed(refusal.message().to_owned()))?;
    let recorded = patiently(|| async {
        let mut client = deployer.database.client().await?;
        let tx = client.transaction().await.map_err(DbError::from)?;
        verify_lease(&tx, lease).await?;
        // A commit whose answer was lost has made it.
        let made_before = bundles::get(&tx, fetch.bundle).await?;
        let row = match made_before {
            Some(row) => row,
            None => bundles::create_as(&tx, &new, Some(fetch.bundle)).await?,
        };
        repositories::fetched(&tx, lease, task.content, fetch, made.commit).await?;
        tx.commit().await.map_err(DbError::from)?;
        Ok(row)
    });
    recorded.await.map_err(|error| database(&error))
}

/// Writes down with the repository how the task ended.
pub(super) async fn ended(deployer: &Deployer, task: &TaskRow, fetch: &Fetch, failure: Option<&TaskFailure>) {
    let error = failure.map(|failure| failure.message.as_str());
    let noted = patiently(|| async {
        repositories::ended(&deployer.database.client().await?, task.content, &fetch.source, error).await
    });
    if let Err(error) = noted.await {
        tracing::warn!(task.id = %task.id, error = chain(&error), "a repository's state is not noted");
    }
}
