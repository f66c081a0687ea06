//! The steps of a deployment: fetch, unpack, prepare, start, activate. Each can be repeated, so a task can begin anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lectern_domain::audit::{Action, Actor, Item};
use lectern_domain::manifest::Manifest;
use lectern_domain::snapshot::{BundleEntry, ContentEntry};
use lectern_domain::{BundleId, ContentGuid, JobKey};
use lectern_metadata::bundles::BundleRow;
use lectern_metadata::tasks::{Lease, TaskKind, TaskRow, verify_lease};
use lectern_metadata::{DbError, Part, Transaction, audit, bundles, content, is_transient, packages, users};

use super::log::TaskLog;
use super::{Deployer, fetch};
use crate::cli::chain;
use crate::joblog;
use crate::runtimes::Restore;

/// Between tries while the database is away; the lease ends the trying when another server took over.
const RETRY: Duration = Duration::from_secs(1);
/// Lines of a failed start that are shown in the task.
const SHOWN_LINES: usize = 60;

/// A task that succeeded.
pub(super) struct Outcome;

/// Why a task failed, in words for the publisher.
#[derive(Debug)]
pub(super) struct TaskFailure {
    pub(super) message: String,
}

impl TaskFailure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// Performs a deployment or a build; first makes the bundle, where it is to be made of a repository.
pub(super) async fn deploy(
    deployer: &Arc<Deployer>,
    task: &TaskRow,
    lease: &Lease,
    log: &TaskLog,
) -> Result<Outcome, TaskFailure> {
    let Some(fetch) = fetch::wanted(deployer, task).await? else {
        let bundle = bundle_of(deployer, task).await?;
        return deploy_bundle(deployer, task, lease, bundle, log).await;
    };
    let fetching = async {
        let bundle = match task.bundle {
            Some(_) => bundle_of(deployer, task).await?,
            None => fetch::bundle(deployer, task, lease, &fetch, log).await?,
        };
        if fetch.is_all {
            log.line(format!("Bundle {} is made.", bundle.id));
            return Ok(Outcome);
        }
        deploy_bundle(deployer, task, lease, bundle, log).await
    };
    let outcome = fetching.await;
    fetch::ended(deployer, task, &fetch, outcome.as_ref().err()).await;
    outcome
}

async fn deploy_bundle(
    deployer: &Arc<Deployer>,
    task: &TaskRow,
    lease: &Lease,
    bundle: BundleRow,
    log: &TaskLog,
) -> Result<Outcome, TaskFailure> {
    let doing = if task.kind == TaskKind::Build { "Building the environment of" } else { "Deploying" };
    log.line(format!("{doing} bundle {} ({} bytes).", bundle.id, bundle.size_bytes));
    let fresh = match &bundle.prepared {
        // Prepared before, as a draft or an older version: what it was prepared with may have been cleaned away since.
        Some(prepared) if deployer.runtimes.still_there(prepared) => {
            log.line("This bundle was prepared before; its environment is used again.");
            false
        }
        Some(_) | None => true,
    };
    if fresh {
        prepare(deployer, task, &bundle, log).await?;
    }
    if task.kind == TaskKind::Build {
        log.line("The environment is built.");
        return Ok(Outcome);
    }
    refresh(deployer).await;
    let (content, entry) = shown(deployer, task.content_guid, bundle.id)?;
    let healthy = verify(deployer, &content, &entry, log).await;
    match healthy {
        Ok(()) => {}
        // Nothing good is replaced, and the address then tells what is wrong instead of nothing.
        Err(failure) if task.activate && content.active.is_none() => {
            log.line(&failure.message);
            log.line(
                "Warning: the content does not start. It is published all the same, because no version was before.",
            );
        }
        Err(failure) => {
            let kept = match content.active {
                Some(active) if active != bundle.id => format!(". Bundle {active} goes on being served"),
                _ => String::new(),
            };
            return Err(TaskFailure::new(format!("{}{kept}", failure.message)));
        }
    }
    if !task.activate {
        log.line("The draft is ready; it replaces nothing until it is activated.");
        return Ok(Outcome);
    }
    let pruned = activate(deployer, task, lease, bundle.id).await?;
    refresh(deployer).await;
    for old in &pruned {
        deployer.fleet.retire_bundle((task.content_guid, *old)).await;
    }
    if !pruned.is_empty() {
        log.line(format!("Deleted {} old bundles: this server keeps {}.", pruned.len(), deployer.max_bundles));
    }
    deployer.fleet.retire(task.content_guid, Some(bundle.id)).await;
    deployer.fleet.reconcile();
    log.line(format!("Bundle {} is active.", bundle.id));
    Ok(Outcome)
}

/// Runs a query until the database answers. The caller's task is dropped when its lease is lost.
pub(super) async fn patiently<T, F: Future<Output = Result<T, DbError>>>(
    mut query: impl FnMut() -> F,
) -> Result<T, DbError> {
    loop {
        match query().await {
            Err(error) if is_transient(&error) => {
                tracing::debug!(error = chain(&error), "a task waits for the database");
                tokio::time::sleep(RETRY).await;
            }
            outcome => return outcome,
        }
    }
}

pub(super) fn database(error: &DbError) -> TaskFailure {
    TaskFailure::new(format!("the server's database refused: {}", chain(error)))
}

async fn bundle_of(deployer: &Deployer, task: &TaskRow) -> Result<BundleRow, TaskFailure> {
    let gone = || TaskFailure::new("the bundle was deleted before it was deployed");
    let id = task.bundle.ok_or_else(gone)?;
    let found = patiently(|| async { bundles::get(&deployer.database.client().await?, id).await }).await;
    found.map_err(|error| database(&error))?.ok_or_else(gone)
}

async fn refresh(deployer: &Deployer) {
    let never = tokio_util::sync::CancellationToken::new();
    deployer.view.refresh_patiently(Part::Content, &never).await;
}

fn shown(
    deployer: &Deployer,
    guid: ContentGuid,
    bundle: BundleId,
) -> Result<(Arc<ContentEntry>, Arc<BundleEntry>), TaskFailure> {
    let view = deployer.view.current();
    let content = view.content.get(&guid).cloned().ok_or_else(|| TaskFailure::new("the content was deleted"))?;
    let entry = content.bundles.get(&bundle).cloned().ok_or_else(|| TaskFailure::new("the bundle was deleted"))?;
    Ok((content, entry))
}

/// Brings the bundle's files to this node and prepares an environment for them.
async fn prepare(
    deployer: &Arc<Deployer>,
    task: &TaskRow,
    bundle: &BundleRow,
    log: &TaskLog,
) -> Result<(), TaskFailure> {
    log.line("# Unpacking");
    let tree = deployer.files.tree(bundle.hash).await.map_err(|error| TaskFailure::new(chain(&error)))?;
    let manifest = manifest(tree.clone()).await?;
    log.line("# Preparing the environment");
    let restore = restore(deployer, task).await?;
    let mut say = |line: &str| log.line(line);
    let prepared = deployer.runtimes.prepare(&tree, &manifest, &bundle.traits, restore, &mut say).await;
    let (prepared, traits) = prepared.map_err(TaskFailure::new)?;
    let (runtimes, what) = (Arc::clone(&deployer.runtimes), prepared.clone());
    let packages = tokio::task::spawn_blocking(move || runtimes.packages(&what, &manifest)).await;
    let packages = packages.map_err(|error| TaskFailure::new(error.to_string()))?.map_err(TaskFailure::new)?;
    patiently(|| async {
        let mut client = deployer.database.client().await?;
        let tx = client.transaction().await.map_err(DbError::from)?;
        bundles::set_prepared(&tx, bundle.id, &prepared, &traits).await?;
        packages::record(&tx, bundle.id, &packages).await?;
        tx.commit().await.map_err(DbError::from)
    })
    .await
    .map_err(|error| match error {
        DbError::NotFound(_) => TaskFailure::new("the bundle was deleted while it was prepared"),
        error => database(&error),
    })
}

/// Whether the content item wants packages restored.
async fn restore(deployer: &Deployer, task: &TaskRow) -> Result<Restore, TaskFailure> {
    let row = patiently(|| async { content::get(&deployer.database.client().await?, task.content).await }).await;
    let row = row.map_err(|error| database(&error))?;
    let row = row.ok_or_else(|| TaskFailure::new("the content was deleted before it was deployed"))?;
    Ok(Restore::of(&row.kept_settings))
}

async fn manifest(tree: PathBuf) -> Result<Manifest, TaskFailure> {
    let path = tree.join("manifest.json");
    let bytes = tokio::fs::read(&path)
        .await
        .map_err(|error| TaskFailure::new(format!("the bundle's manifest.json cannot be read: {error}")))?;
    Manifest::parse(&bytes).map_err(|error| TaskFailure::new(chain(&error)))
}

/// Starts the bundle beside whatever is active and waits until it accepts connections.
async fn verify(
    deployer: &Arc<Deployer>,
    content: &Arc<ContentEntry>,
    bundle: &Arc<BundleEntry>,
    log: &TaskLog,
) -> Result<(), TaskFailure> {
    if matches!(bundle.prepared.program, lectern_domain::launch::Program::Static { .. }) {
        return Ok(());
    }
    log.line("# Starting");
    match deployer.fleet.need(Arc::clone(content), Arc::clone(bundle)).await {
        Ok(worker) => {
            log.line(format!("It accepts connections (job {}).", worker.job()));
            Ok(())
        }
        Err(failure) => {
            if let Some(job) = failure.job() {
                show_log(deployer, job, log).await;
            }
            Err(TaskFailure::new(format!("the content does not start: {}", chain(&failure))))
        }
    }
}

/// The end of what the process printed: the traceback, mostly.
async fn show_log(deployer: &Deployer, job: &JobKey, log: &TaskLog) {
    let path = deployer.paths.job_log(job);
    let lines = tokio::task::spawn_blocking(move || joblog::tail(&path, SHOWN_LINES)).await;
    match lines {
        Ok(Ok(lines)) if !lines.is_empty() => {
            log.line("It printed:");
            for line in lines {
                log.line(format!("  {}", line.data));
            }
        }
        Ok(Ok(_)) => log.line("It printed nothing."),
        Ok(Err(error)) => log.line(format!("Its log cannot be read: {error}")),
        Err(error) => tracing::error!(%error, "read a job's log"),
    }
}

/// Writes down the activation, as of who asked for it, and what retention removed.
async fn record(tx: &Transaction<'_>, task: &TaskRow, bundle: BundleId, pruned: &[BundleId]) -> Result<(), DbError> {
    let Some(row) = content::get(tx, task.content).await? else { return Ok(()) };
    let item = Item { guid: row.guid, name: &row.name };
    let asked_by = match task.requested_by {
        Some(user) => users::get(tx, user).await?,
        None => None,
    };
    let actor = asked_by.map_or_else(Actor::server, |user| Actor::account(user.id, user.guid, &user.username));
    audit::append(tx, actor, &Action::BundleActivated { item, bundle }).await?;
    for bundle in pruned {
        audit::append(tx, Actor::server(), &Action::BundleDeleted { item, bundle: *bundle }).await?;
    }
    Ok(())
}

/// Makes the bundle the active one, if the lease is still this server's, and deletes what the item has too many of.
async fn activate(
    deployer: &Deployer,
    task: &TaskRow,
    lease: &Lease,
    bundle: BundleId,
) -> Result<Vec<BundleId>, TaskFailure> {
    patiently(|| async {
        let mut client = deployer.database.client().await?;
        let tx = client.transaction().await.map_err(DbError::from)?;
        verify_lease(&tx, lease).await?;
        content::set_active_bundle(&tx, task.content, bundle).await?;
        let pruned = bundles::prune(&tx, task.content, deployer.max_bundles).await?;
        record(&tx, task, bundle, &pruned).await?;
        tx.commit().await.map_err(DbError::from)?;
        Ok(pruned)
    })
    .await
    .map_err(|error| match error {
        DbError::ModeFixed { .. }
        | DbError::CategoryFixed { .. }
        | DbError::ParametersFixed { .. }
        | DbError::NotFound(_) => TaskFailure::new(chain(&error)),
        error => database(&error),
    })
}
