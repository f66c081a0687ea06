//! What all pools share: the supervisor, the table of pools that the request path reads, the machine, and the record of jobs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use lectern_domain::scaling::Defaults;
use lectern_domain::snapshot::{BundleEntry, ContentEntry};
use lectern_domain::{ContentGuid, JobKey};
use lectern_edge::{Admissions, Pool, StartFailure, Worker};
use lectern_metadata::Database;
use lectern_metadata::jobs::NewJob;
use lectern_supervisor::{Client, ClientError, Program, WorkerState, WorkerStatus};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::journal::{Journal, Note, end_because, end_of};
use super::keeper::Order;
use super::machine::Machine;
use super::sockets::Sockets;
use super::turns::{Turn, Turns};
use super::zygotes::Zygotes;
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
    /// What holds for content that sets nothing of its own.
    pub(crate) defaults: Defaults,
    /// Most processes of all content together, and most bytes of their memory.
    pub(crate) most_processes: usize,
    pub(crate) memory_budget: u64,
    /// Most zygotes that are kept; 0: none.
    pub(crate) most_zygotes: usize,
    /// Signs the cookies that name workers.
    pub(crate) cookie_key: [u8; 32],
    /// Signs the tokens that tell content who visits.
    pub(crate) visitor_key: [u8; 32],
    pub(crate) supervisor_socket: PathBuf,
    pub(crate) supervisor: Program,
}

/// A pool as others than its owner see it.
#[derive(Clone)]
pub(super) struct Face {
    pub(super) pool: Arc<Pool>,
    /// Workers above the minimum.
    pub(super) spare: Arc<AtomicUsize>,
    pub(super) orders: mpsc::Sender<Order>,
}

/// Shared by the pools.
pub(crate) struct Crew {
    client: ArcSwap<Client>,
    pub(super) pools: ArcSwap<HashMap<Key, Face>>,
    pub(super) machine: Machine,
    pub(super) zygotes: Zygotes,
    /// What became of those who waited.
    pub(super) admissions: Arc<Admissions>,
    turns: Turns,
    pub(super) view: Arc<View>,
    pub(super) settings: CrewSettings,
    pub(super) launcher: Launcher,
    journal: Journal,
    /// Workers that are being let go and have requests still.
    pub(super) leaving: Mutex<Vec<(ContentGuid, Arc<Worker>)>>,
    /// Launches, drains and the owners of pools; all end when the fleet stops.
    pub(super) tasks: TaskTracker,
    /// The fleet is being stopped: the supervisor's end is no accident.
    pub(super) stopping: CancellationToken,
    pub(super) stopped: CancellationToken,
    /// The workers are another server's from now on: none is ended here.
    pub(super) handed_over: CancellationToken,
    /// Held while the supervisor is told of them.
    pub(super) sockets: tokio::sync::Mutex<Option<Sockets>>,
    /// The server before this one has ended. Until then its requests may be with any worker.
    alone: AtomicBool,
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
            pools: ArcSwap::default(),
            machine: Machine::new(settings.most_processes, settings.memory_budget, Arc::clone(&launcher.keys)),
            zygotes: Zygotes::new(settings.most_zygotes),
            admissions: Arc::default(),
            leaving: Mutex::default(),
            turns: Turns::new(),
            view,
            settings,
            launcher,
            journal,
            tasks,
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
            handed_over: CancellationToken::new(),
            sockets: tokio::sync::Mutex::default(),
            alone: AtomicBool::new(true),
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
        self.keep_sockets().await;
        Ok(())
    }

    /// Sends an order to the owner of a pool without waiting; one that has too many is busy with just such news.
    pub(super) fn tell_now(&self, key: &Key, order: Order) {
        if let Some(face) = self.pools.load().get(key) {
            let _ = face.orders.try_send(order);
        }
    }

    /// Takes a pool from the table; another one in its place stays.
    pub(super) fn forget(&self, key: Key, pool: &Arc<Pool>) {
        self.pools.rcu(|old| {
            let mut new = HashMap::clone(old);
            if new.get(&key).is_some_and(|face| Arc::ptr_eq(&face.pool, pool)) {
                new.remove(&key);
            }
            new
        });
    }

    /// Hands a worker to the supervisor, when it is its turn. That it is ready or failed comes by event.
    pub(super) async fn launch(
        self: &Arc<Self>,
        content: &Arc<ContentEntry>,
        bundle: &Arc<BundleEntry>,
        job: &JobKey,
        init_timeout: Duration,
        demanded: bool,
    ) -> Result<Turn, StartFailure> {
        let unavailable = |error: anyhow::Error| StartFailure::Unavailable(crate::cli::chain(error.as_ref()));
        // The newest variables and settings, not those of the moment the request came in.
        let view = self.view.current();
        let content = view.content.get(&content.guid).unwrap_or(content);
        let mut spec = self.launcher.spec(content, bundle, job, init_timeout).await.map_err(unavailable)?;
        self.choose_zygote(&mut spec, job);
        // After what may have to be fetched and built first, which keeps nobody else from starting.
        let turn = self.turns.take(demanded).await;
        self.journal.note(Note::Created(NewJob {
            key: job.clone(),
            content: content.id,
            bundle: Some(bundle.id),
            tag: super::launcher::job_tag(&bundle.prepared.program).to_owned(),
            server: self.settings.server,
            hostname: self.settings.hostname.clone(),
            run_as: spec.account.map(|account| account.uid.to_string()),
            log_path: Some(spec.log.display().to_string()),
            task: None,
        }));
        let started = self.client().start(spec).await;
        started.map(|_| turn).map_err(|error| {
            self.journal.note(Note::Ended { job: job.clone(), end: end_because("it could not be started") });
            StartFailure::Unavailable(crate::cli::chain(&error))
        })
    }

    /// Notes what the supervisor reports in the record of jobs.
    pub(super) fn record(&self, status: &WorkerStatus) {
        self.machine.seen(status);
        self.zygotes.seen(status);
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
                self.journal.note(Note::Ended { job, end: end_of(exited) });
            }
        }
    }

    /// Notes the end of those jobs that were running when the supervisor ended.
    pub(super) fn record_lost(&self, jobs: Vec<JobKey>) {
        for job in jobs {
            let end = end_because("the supervisor ended, and all processes with it");
            self.journal.note(Note::Ended { job, end });
        }
    }

    /// Ends a worker because `username` wants it to; `false` when it does not run, or is another server's.
    pub(super) async fn end_for(&self, job: &JobKey, username: &str) -> Result<bool, ClientError> {
        if !self.machine.has(job) || self.handed_over.is_cancelled() {
            return Ok(false);
        }
        match self.client().stop(job, None).await {
            Ok(status) if matches!(status.state, WorkerState::Exited(_)) => Ok(false),
            Ok(_) => {
                self.journal.note(Note::Stopped { job: job.clone(), username: username.to_owned() });
                Ok(true)
            }
            Err(error) if error.is_unknown_job() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns when the record of jobs is written, or cannot be.
    pub(super) async fn flush_record(&self) {
        self.journal.flush(FLUSH_LIMIT).await;
    }

    /// Leaves the workers to another server.
    pub(super) fn hand_over(&self) {
        self.handed_over.cancel();
    }

    /// Whether no other server has requests with these workers.
    pub(super) fn set_alone(&self, alone: bool) {
        self.alone.store(alone, Relaxed);
    }

    /// Ends a worker, now.
    pub(super) async fn end(&self, job: &JobKey) {
        if self.handed_over.is_cancelled() {
            return;
        }
        if let Err(error) = self.client().stop(job, None).await {
            tracing::debug!(job.key = %job, error = crate::cli::chain(&error), "stop a worker");
        }
    }

    /// The same without waiting.
    pub(super) fn end_later(self: &Arc<Self>, job: JobKey) {
        let crew = Arc::clone(self);
        self.tasks.spawn(async move { crew.end(&job).await });
    }

    /// Ends a worker, which is closed, once it has nothing to do.
    pub(super) fn drain(self: &Arc<Self>, content: ContentGuid, worker: Arc<Worker>) {
        let crew = Arc::clone(self);
        self.leaving.lock().push((content, Arc::clone(&worker)));
        self.tasks.spawn(async move {
            let until = tokio::time::Instant::now() + DRAIN_LIMIT;
            while (worker.in_flight() > 0 || !crew.alone.load(Relaxed)) && tokio::time::Instant::now() < until {
                tokio::select! {
                    () = crew.stopped.cancelled() => return,
                    () = tokio::time::sleep(DRAIN_ROUND) => {}
                }
            }
            crew.leaving.lock().retain(|(_, leaving)| !Arc::ptr_eq(leaving, &worker));
            crew.end(worker.job()).await;
        });
    }
}
