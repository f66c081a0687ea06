//! Looks at repositories for new commits, and has them deployed.
//!
//! Each repository's row is taken with a lease, so one server looks at a time; what is due next is a time in the row. A new
//! commit becomes a task like any other, in the transaction that writes down that it was taken: it is tried once.

use std::sync::Arc;
use std::time::Duration;

use lectern_domain::audit::{Action, Actor, Item};
use lectern_domain::git::{Branch, Commit, Decision, after_poll, decide};
use lectern_domain::job::GIT_TAG;
use lectern_domain::{JobKey, TaskId};
use lectern_metadata::jobs::NewJob;
use lectern_metadata::repositories::{self, Look, NewFetch, Seen};
use lectern_metadata::tasks::TaskKind;
use lectern_metadata::{Database, DbError, audit, jobs};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Repositories;
use super::failure::GitFailure;
use crate::cli::chain;

/// How long a look may take: asking for the list of references is bounded by less.
const LOOK: Duration = Duration::from_secs(120);
/// How long a look stays this server's: longer than it may take.
const LEASE: Duration = Duration::from_secs(180);
/// Between looks at what is due: the longest, and the shortest for those who poll often.
const ROUND: (Duration, Duration) = (Duration::from_secs(10), Duration::from_millis(200));
/// Between tries while the database is away.
const RETRY: Duration = Duration::from_secs(5);

/// Looks at repositories, one after the other. Several of these may run side by side.
pub(crate) struct Poller {
    pub(crate) database: Database,
    pub(crate) repositories: Arc<Repositories>,
    /// Wakes whoever performs tasks.
    pub(crate) wake: Arc<Notify>,
    pub(crate) hostname: String,
}

impl Poller {
    /// Looks at what is due until `stop`.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let round = (self.repositories.settings.interval / 4).clamp(ROUND.1, ROUND.0);
        while !stop.is_cancelled() {
            let pause = tokio::select! {
                () = stop.cancelled() => return,
                looked = self.next() => match looked {
                    Ok(true) => continue,
                    Ok(false) => round,
                    Err(error) => {
                        tracing::debug!(error = chain(&error), "repositories cannot be looked at");
                        RETRY
                    }
                },
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks at one repository; `false` when none is due.
    async fn next(&self) -> Result<bool, DbError> {
        let claimed = {
            let client = self.database.client().await?;
            repositories::claim(&client, Uuid::new_v4(), LEASE).await?
        };
        let Some(look) = claimed else { return Ok(false) };
        let seen = tokio::time::timeout(LOOK, self.look(&look)).await.unwrap_or(Err(GitFailure::Late(LOOK)));
        match seen {
            Ok(commit) => self.reached(&look, commit).await?,
            Err(failure) => {
                let why = chain(&failure);
                tracing::warn!(content.guid = %look.guid, git.url = look.repository.source.url, error = why, "a repository cannot be looked at");
                let pause = self.pause(look.repository.failures.saturating_add(1));
                let client = self.database.client().await?;
                repositories::looked(&client, &look, Seen::Failed(&why), pause).await?;
            }
        }
        Ok(true)
    }

    async fn look(&self, look: &Look) -> Result<Commit, GitFailure> {
        let source = &look.repository.source;
        let branch: Branch = source.branch.parse()?;
        self.repositories.commit_of(&source.url, &branch).await
    }

    fn pause(&self, failures: u32) -> Duration {
        let [chance, ..] = *Uuid::new_v4().as_bytes();
        after_poll(self.repositories.settings.interval, failures, chance)
    }

    async fn reached(&self, look: &Look, commit: Commit) -> Result<(), DbError> {
        let pause = self.pause(0);
        let mut client = self.database.client().await?;
        let taken = match decide(commit, look.repository.last_known_commit, look.is_deploying) {
            Decision::Nothing | Decision::Wait => {
                return repositories::looked(&client, look, Seen::Reached, pause).await.map(drop);
            }
            Decision::Deploy(commit) => commit,
        };
        let new = NewFetch {
            id: TaskId::from_random(*Uuid::new_v4().as_bytes()),
            kind: TaskKind::Deploy,
            content: look.repository.content,
            source: look.repository.source.clone(),
            activate: true,
            is_all: false,
            requested_by: None,
        };
        let tx = client.transaction().await.map_err(DbError::from)?;
        if !repositories::looked(&tx, look, Seen::Taken(taken), pause).await? {
            // It was set anew meanwhile; what was seen counts no more.
            return Ok(());
        }
        let bundle = repositories::queue(&tx, &new).await?;
        let job = NewJob {
            key: JobKey::from_random(*Uuid::new_v4().as_bytes()),
            content: new.content,
            bundle: None,
            tag: GIT_TAG.to_owned(),
            server: Uuid::nil(),
            hostname: self.hostname.clone(),
            run_as: None,
            log_path: None,
            task: Some(new.id.clone()),
        };
        jobs::create(&tx, &job).await?;
        let item = Item { guid: look.guid, name: &look.name };
        audit::append(&tx, Actor::server(), &Action::DeploymentAsked { item, bundle }).await?;
        tx.commit().await.map_err(DbError::from)?;
        self.wake.notify_one();
        tracing::info!(content.guid = %look.guid, task.id = %new.id, git.commit = %taken, "a new commit is deployed");
        Ok(())
    }
}
