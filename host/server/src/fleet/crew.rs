//! What all places share: the supervisor, the table of ready workers that the request path reads, and the record of jobs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use lectern_domain::snapshot::{BundleEntry, ContentEntry};
use lectern_domain::{ContentGuid, JobKey};
use lectern_edge::{StartFailure, Worker};
use lectern_metadata::Database;
use lectern_metadata::jobs::NewJob;
use lectern_supervisor::{Client, Program, WorkerState, WorkerStatus};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::journal::{Journal, Note, exit_code};
use super::{Key, Launcher};
use crate::view::View;

/// How long a worker that was replaced may go on with the requests and sessions it has: as long as people stay on a
/// page. Then it ends, and their connections with it.
const DRAIN_LIMIT: Duration = Duration::from_secs(900);
/// How long a stopping server waits for the database to take the ends of its jobs; the next start closes what is missing.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// How often a draining worker is looked at.
const DRAIN_ROUND: Duration = Duration::from_millis(100);

/// What the operator chose about workers.
#[derive(Debug, Clone)]
pub(crate) struct CrewSettings {
    pub(crate) hostname: String,
    /// Names this run of the server.
    pub(crate) server: Uuid,
    pub(crate) init_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) supervisor_socket: PathBuf,
    pub(crate) supervisor: Program,
}

/// Shared by the places.
pub(crate) struct Crew {
    client: ArcSwap<Client>,
    ready: ArcSwap<HashMap<Key, Arc<Worker>>>,
    pub(super) view: Arc<View>,
    pub(super) settings: CrewSettings,
    pub(super) launcher: Launcher,
    journal: Journal,
    /// Launches, drains and places; all end when the fleet stops.
    pub(super) tasks: TaskTracker,
    /// The fleet is being stopped: the supervisor's end is no accident.
    pub(super) stopping: CancellationToken,
    pub(super) stopped: CancellationToken,
}

impl Crew {
    /// Connects to the supervisor, starting one when none runs.
    pub(crate) async fn connect(
        settings: CrewSettings,
        launcher: Launcher,
        view: Arc<View>,
        database: Database,
    ) -> anyhow::Result<Arc<Self>> {
        let client = Client::connect_or_spawn(&settings.supervisor_socket, &settings.supervisor)
            .await
            .context("start the supervisor")?;
        let (journal, writing) = Journal::new(database);
        let tasks = TaskTracker::new();
        tokio::spawn(writing);
        Ok(Arc::new(Self {
            client: ArcSwap::from_pointee(client),
            ready: ArcSwap::default(),
            view,
            settings,
            launcher,
            journal,
            tasks,
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
        }))
    }

    pub(super) fn client(&self) -> Arc<Client> {
        self.client.load_full()
    }

    /// Connects again after the supervisor ended.
    pub(super) async fn reconnect(&self) -> anyhow::Result<()> {
        let client = Client::connect_or_spawn(&self.settings.supervisor_socket, &self.settings.supervisor)
            .await
            .context("start the supervisor again")?;
        self.client.store(Arc::new(client));
        Ok(())
    }

    /// The ready worker of a place. Called for every request.
    pub(super) fn ready(&self, key: &Key) -> Option<Arc<Worker>> {
        self.ready.load().get(key).cloned()
    }

    pub(super) fn key_of(&self, job: &JobKey) -> Option<Key> {
        self.ready.load().iter().find(|(_, worker)| worker.job() == job).map(|(key, _)| *key)
    }

    pub(super) fn announce(&self, key: Key, worker: Arc<Worker>) {
        self.ready.rcu(|old| {
            let mut new = HashMap::clone(old);
            new.insert(key, Arc::clone(&worker));
            new
        });
    }

    pub(super) fn withdraw(&self, key: Key) {
        self.ready.rcu(|old| {
            let mut new = HashMap::clone(old);
            new.remove(&key);
            new
        });
    }

    /// Takes one worker from the table; another one in its place stays.
    pub(super) fn withdraw_worker(&self, key: Key, job: &JobKey) {
        self.ready.rcu(|old| {
            let mut new = HashMap::clone(old);
            if new.get(&key).is_some_and(|worker| worker.job() == job) {
                new.remove(&key);
            }
            new
        });
    }

    pub(super) fn init_timeout(&self, content: &ContentEntry) -> Duration {
        let own = content.processes.init_timeout.and_then(|seconds| u64::try_from(seconds).ok()).filter(|s| *s > 0);
        own.map_or(self.settings.init_timeout, Duration::from_secs)
    }

    pub(super) fn default_init_timeout(&self) -> Duration {
        self.settings.init_timeout
    }

    /// Zero: never.
    pub(super) fn idle_timeout(&self, content: ContentGuid) -> Duration {
        let view = self.view.current();
        let own = view.content.get(&content).and_then(|entry| entry.processes.idle_timeout);
        own.and_then(|seconds| u64::try_from(seconds).ok()).map_or(self.settings.idle_timeout, Duration::from_secs)
    }

    /// Hands a worker to the supervisor. That it is ready or failed comes by event.
    pub(super) async fn launch(
        &self,
        content: &Arc<ContentEntry>,
        bundle: &Arc<BundleEntry>,
        job: &JobKey,
    ) -> Result<(), StartFailure> {
        let unavailable = |error: anyhow::Error| StartFailure::Unavailable(crate::cli::chain(error.as_ref()));
        // The newest variables and settings, not those of the moment the request came in.
        let view = self.view.current();
        let content = view.content.get(&content.guid).unwrap_or(content);
        let timeout = self.init_timeout(content);
        let spec = self.launcher.spec(content, bundle, job, timeout).await.map_err(unavailable)?;
        self.journal.note(Note::Created(NewJob {
            key: job.clone(),
            content: content.id,
            bundle: Some(bundle.id),
            tag: super::launcher::job_tag(&bundle.prepared.program).to_owned(),
            server: self.settings.server,
            hostname: self.settings.hostname.clone(),
            run_as: spec.account.map(|account| account.uid.to_string()),
            log_path: Some(spec.log.display().to_string()),
        }));
        let started = self.client().start(spec).await;
        started.map(drop).map_err(|error| {
            self.journal.note(Note::Ended { job: job.clone(), exit_code: None });
            StartFailure::Unavailable(crate::cli::chain(&error))
        })
    }

    /// Notes what the supervisor reports in the record of jobs.
    pub(super) fn record(&self, status: &WorkerStatus) {
        let job = status.job.clone();
        match &status.state {
            WorkerState::Starting => {
                if let Some(pid) = status.pid.and_then(|pid| i32::try_from(pid).ok()) {
                    self.journal.note(Note::Running { job, pid });
                }
            }
            WorkerState::Ready => self.journal.note(Note::Ready { job }),
            WorkerState::Draining => {}
            WorkerState::Exited(exited) => {
                self.journal.note(Note::Ended { job, exit_code: exit_code(exited.status) });
            }
        }
    }

    /// Returns when the record of jobs is written, or cannot be.
    pub(super) async fn flush_record(&self) {
        self.journal.flush(FLUSH_LIMIT).await;
    }

    /// Ends a worker, now.
    pub(super) async fn end(&self, job: &JobKey) {
        if let Err(error) = self.client().stop(job, None).await {
            tracing::debug!(job.key = %job, error = crate::cli::chain(&error), "stop a worker");
        }
    }

    /// The same without waiting.
    pub(super) fn end_later(self: &Arc<Self>, job: JobKey) {
        let crew = Arc::clone(self);
        self.tasks.spawn(async move { crew.end(&job).await });
    }

    /// Ends a worker once it has nothing to do.
    pub(super) fn drain(self: &Arc<Self>, worker: Arc<Worker>) {
        let crew = Arc::clone(self);
        self.tasks.spawn(async move {
            let until = tokio::time::Instant::now() + DRAIN_LIMIT;
            while worker.in_flight() > 0 && tokio::time::Instant::now() < until {
                tokio::select! {
                    () = crew.stopped.cancelled() => return,
                    () = tokio::time::sleep(DRAIN_ROUND) => {}
                }
            }
            crew.end(worker.job()).await;
        });
    }
}
