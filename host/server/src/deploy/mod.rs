//! Performs tasks: takes them from the database under a lease, prepares bundles, verifies and activates them.
//!
//! A task is a row: it survives this server, and whoever takes it next begins it anew. Every step can be repeated.

mod fetch;
pub(crate) mod log;
mod news;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use lectern_metadata::tasks::{self, Claimed, Lease};
use lectern_metadata::{Database, is_transient, jobs};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fleet::Fleet;
use crate::git::MaybeRepositories;
use crate::paths::Paths;
use crate::runtimes::Runtimes;
use crate::trees::BundleFiles;
use crate::view::View;
pub(crate) use news::News;
use steps::{Outcome, TaskFailure};

/// How long a task stays this server's without a sign of life: after kill -9 another attempt begins that much later.
const LEASE: Duration = Duration::from_secs(15);
/// Signs of life: three may be missed.
const RENEW: Duration = Duration::from_secs(4);
/// Without a hint (another server's queue, an expired lease) the queue is looked at this often.
const ROUND: Duration = Duration::from_secs(3);
/// Between tries while the database is away.
const RETRY: Duration = Duration::from_secs(1);

/// Everything a task needs.
pub(crate) struct Deployer {
    pub(crate) database: Database,
    pub(crate) view: Arc<View>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) files: BundleFiles,
    pub(crate) runtimes: Arc<Runtimes>,
    /// What bundles are made of where content is managed by git.
    pub(crate) git: MaybeRepositories,
    pub(crate) paths: Paths,
    /// Bundles kept of each content item; 0: all.
    pub(crate) max_bundles: usize,
    /// Names this run of the server.
    pub(crate) server: Uuid,
    /// The host it runs on.
    pub(crate) hostname: String,
    pub(crate) news: Arc<News>,
    pub(crate) wake: Arc<Notify>,
}

impl Deployer {
    /// Performs tasks, one at a time, until `stop`. Several of these may run side by side.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.claim().await {
                Ok(Some(claimed)) => self.perform(claimed, &stop).await,
                Ok(None) => {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep(ROUND) => {}
                    }
                }
                Err(error) => {
                    tracing::debug!(error = crate::cli::chain(&error), "tasks cannot be read");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(RETRY) => {}
                    }
                }
            }
        }
    }

    async fn claim(&self) -> Result<Option<Claimed>, lectern_metadata::DbError> {
        let client = self.database.client().await?;
        let claimed = tasks::claim_next(&client, self.server, LEASE).await?;
        if let Some(claimed) = &claimed
            && let Err(error) = jobs::set_server(&client, &claimed.task.id, self.server, &self.hostname).await
        {
            // The record says where the task was asked for instead.
            tracing::debug!(error = crate::cli::chain(&error), "note who works on a task");
        }
        Ok(claimed)
    }

    async fn perform(self: &Arc<Self>, claimed: Claimed, stop: &CancellationToken) {
        let Claimed { task, lease } = claimed;
        self.news.begin(&task.id, task.output_lines);
        let lost = CancellationToken::new();
        let (log, writing) =
            log::TaskLog::new(self.database.clone(), lease.clone(), Arc::clone(&self.news), lost.clone());
        let writing = tokio::spawn(writing);
        let keeper = tokio::spawn(Arc::clone(self).keep(lease.clone(), lost.clone()));
        tracing::info!(task.id = %task.id, content.id = %task.content_guid, attempt = lease.attempt, "task begins");
        if lease.attempt > 1 {
            log.line("The server was interrupted; this task begins again.");
        }
        let outcome = tokio::select! {
            outcome = steps::deploy(self, &task, &lease, &log) => Some(outcome),
            () = lost.cancelled() => None,
            () = stop.cancelled() => None,
        };
        match outcome {
            Some(outcome) => {
                if let Err(failure) = &outcome {
                    log.line(&failure.message);
                }
                log.end();
                // Every line is written before the task counts as finished.
                if let Err(error) = writing.await {
                    tracing::error!(%error, "write a task's output");
                }
                self.finish(&lease, &outcome, &lost).await;
            }
            None => {
                log.end();
                let _ = writing.await;
                if !lost.is_cancelled() {
                    self.give_back(&lease).await;
                }
            }
        }
        keeper.abort();
        self.news.end(&task.id);
    }

    /// Keeps the lease; cancels `lost` when it is another's.
    async fn keep(self: Arc<Self>, lease: Lease, lost: CancellationToken) {
        loop {
            tokio::time::sleep(RENEW).await;
            let renewed = async {
                let client = self.database.client().await?;
                tasks::renew_lease(&client, &lease, LEASE).await
            };
            match renewed.await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(task.id = %lease.task, "the lease of a task is lost; it is left to whoever has it");
                    return lost.cancel();
                }
                // The database is away: nobody else can take the task either.
                Err(error) => tracing::debug!(error = crate::cli::chain(&error), "renew a lease"),
            }
        }
    }

    async fn finish(&self, lease: &Lease, outcome: &Result<Outcome, TaskFailure>, lost: &CancellationToken) {
        let (code, error) = match outcome {
            Ok(Outcome) => (0, String::new()),
            Err(failure) => (1, failure.message.clone()),
        };
        while !lost.is_cancelled() {
            let finished = async {
                let client = self.database.client().await?;
                tasks::finish(&client, lease, code, &error, None).await
            };
            match finished.await {
                Ok(()) => {
                    tracing::info!(task.id = %lease.task, code, error, "task ended");
                    return;
                }
                Err(error) if is_transient(&error) => tokio::time::sleep(RETRY).await,
                Err(error) => {
                    tracing::error!(task.id = %lease.task, error = crate::cli::chain(&error), "a task's end cannot be recorded");
                    return;
                }
            }
        }
    }

    async fn give_back(&self, lease: &Lease) {
        let released = async {
            let client = self.database.client().await?;
            tasks::release(&client, lease).await
        };
        // Without it the lease runs out, which only takes longer.
        match tokio::time::timeout(RENEW, released).await {
            Ok(Ok(_)) => tracing::info!(task.id = %lease.task, "task given back: the server stops"),
            Ok(Err(error)) => {
                tracing::warn!(task.id = %lease.task, error = crate::cli::chain(&error), "give a task back")
            }
            Err(_) => tracing::warn!(task.id = %lease.task, "give a task back: the database does not answer"),
        }
    }
}
