//! Who runs: the one list of workers, its changes, and what requests may do to it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lectern_confinement::Facts;
use lectern_confinement::cgroup::Place;
use lectern_domain::JobKey;
use lectern_domain::launch::{Account, LaunchSpec, ZygoteName};
use lectern_domain::worker::ExitStatus;
use time::OffsetDateTime;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::config::SupervisorConfig;
use crate::freeze::Freeze;
use crate::held::Held;
use crate::protocol::{ErrorCode, Event, Line, Refusal, Started, Usage, WorkerState, WorkerStatus};
use crate::spawn::Process;
use crate::spec;
use crate::state::{State, WorkerRest};
use crate::sweep::Lookout;
use crate::worker;
use crate::zygote::Zygotes;

/// Most ended workers remembered, so that a server that was away learns how they ended; at 16 KiB of log lines each.
const MAX_ENDED: usize = 1000;

/// Changes that a watcher may lag behind before it is told to list instead.
const EVENT_BACKLOG: usize = 1024;

/// The longest that any worker may take to end after SIGTERM, whatever was asked for: nobody waits longer than this.
const MAX_GRACE: Duration = Duration::from_secs(600);

/// Requests to stop one worker that may wait for its task; it needs only one.
const STOP_BACKLOG: usize = 4;

/// A reaped worker: how it ended, when it was reaped, and what it took.
pub(crate) type Reaped = (ExitStatus, Instant, Usage);

/// A request to have another program take this one's place. The answer comes only if that fails.
pub(crate) struct Upgrade {
    pub(crate) program: PathBuf,
    pub(crate) refused: oneshot::Sender<Refusal>,
}

/// All workers of this supervisor.
pub(crate) struct Registry {
    pub(crate) config: SupervisorConfig,
    /// The account that the supervisor runs as.
    pub(crate) own: Account,
    /// The descriptor limits (soft, hard) that the supervisor was started with, and workers get.
    pub(crate) nofile: (u64, u64),
    /// What this host has for walls.
    pub(crate) facts: Facts,
    /// This program's own file: started again as the first process of every worker.
    pub(crate) program: File,
    /// Where the workers' control groups are.
    pub(crate) groups: Place,
    pub(crate) started_at: OffsetDateTime,
    pub(crate) lookout: Lookout,
    pub(crate) freeze: Arc<Freeze>,
    /// The server's listening sockets.
    pub(crate) held: Held,
    /// Where requests to replace this program go.
    pub(crate) upgrades: mpsc::Sender<Upgrade>,
    pub(crate) zygotes: Zygotes,
    /// The tasks that own the workers.
    pub(crate) tasks: TaskTracker,
    events: broadcast::Sender<Arc<str>>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    jobs: HashMap<JobKey, Job>,
    /// Ended ones, oldest first.
    ended: VecDeque<JobKey>,
    /// The outermost processes of cells that run.
    leaders: HashMap<i32, oneshot::Sender<Reaped>>,
    revision: u64,
    /// How long workers may take to end, once the supervisor is ending.
    grace_limit: Option<Duration>,
}

struct Job {
    status: WorkerStatus,
    stop: mpsc::Sender<Option<Duration>>,
}

impl Registry {
    pub(crate) fn new(
        config: SupervisorConfig,
        own: Account,
        nofile: (u64, u64),
        facts: Facts,
        program: File,
        upgrades: mpsc::Sender<Upgrade>,
    ) -> Self {
        Self {
            freeze: Arc::default(),
            held: Held::default(),
            upgrades,
            facts,
            program,
            groups: Place::of(&config.socket.to_string_lossy()),
            config,
            own,
            nofile,
            started_at: OffsetDateTime::now_utc(),
            lookout: Lookout::default(),
            zygotes: Zygotes::default(),
            tasks: TaskTracker::new(),
            events: broadcast::channel(EVENT_BACKLOG).0,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Starts a worker, or says how the job of that name stands.
    pub(crate) fn start(self: &Arc<Self>, spec: LaunchSpec) -> Result<Started, Refusal> {
        let mut inner = self.lock();
        if let Some(job) = inner.jobs.get(&spec.job) {
            return Ok(Started { existed: true, worker: job.status.clone() });
        }
        if inner.grace_limit.is_some() {
            return Err(Refusal::new(ErrorCode::ShuttingDown, "the supervisor is ending and starts nothing more"));
        }
        spec::check(&spec, &self.config, self.own)
            .map_err(|error| Refusal::new(ErrorCode::BadSpec, format!("job {}: {error}", spec.job)))?;
        if inner.jobs.len() - inner.ended.len() >= self.config.max_workers {
            let text = format!("{} workers run, and no more may", self.config.max_workers);
            return Err(Refusal::new(ErrorCode::TooManyWorkers, text));
        }
        if let Some(other) = inner.running().find(|status| status.socket.starts_with(&spec.private)) {
            let text = format!("job {}: {:?} belongs to job {}", spec.job, spec.private, other.job);
            return Err(Refusal::new(ErrorCode::BadSpec, text));
        }
        inner.revision += 1;
        let status = WorkerStatus {
            job: spec.job.clone(),
            content: spec.content,
            bundle: spec.bundle,
            account: spec.account,
            pid: None,
            socket: spec.socket.clone(),
            log: spec.log.clone(),
            started_at: OffsetDateTime::now_utc(),
            revision: inner.revision,
            state: WorkerState::Starting,
            zygote: None,
        };
        let (stop, stops) = mpsc::channel(STOP_BACKLOG);
        inner.jobs.insert(spec.job.clone(), Job { status: status.clone(), stop });
        self.publish(&status);
        self.tasks.spawn(worker::run(self.clone(), spec, stops, self.freeze.busy()));
        Ok(Started { existed: false, worker: status })
    }

    /// Takes over what another program in this process knew.
    pub(crate) fn inherit(&self, state: &State) {
        let mut inner = self.lock();
        inner.revision = state.revision;
        inner.ended = state.ended.iter().cloned().collect();
        for status in &state.jobs {
            // Of those that run, `again` makes the other end.
            let (stop, _) = mpsc::channel(STOP_BACKLOG);
            inner.jobs.insert(status.job.clone(), Job { status: status.clone(), stop });
        }
    }

    /// Carries on with a worker.
    pub(crate) fn again(self: &Arc<Self>, rest: WorkerRest, process: Option<Process>) {
        let (stop, stops) = mpsc::channel(STOP_BACKLOG);
        if let Some(job) = self.lock().jobs.get_mut(&rest.spec.job) {
            job.stop = stop;
        }
        self.tasks.spawn(worker::again(self.clone(), rest, process, stops));
    }

    /// What it knows of workers: all statuses, who has ended, and the count of changes.
    pub(crate) fn known(&self) -> (Vec<WorkerStatus>, Vec<JobKey>, u64) {
        let all = self.list();
        let inner = self.lock();
        (all, inner.ended.iter().cloned().collect(), inner.revision)
    }

    /// Asks a worker to end; one that has ended stays so. The answer is how it stands before it has begun to.
    pub(crate) fn stop(&self, job: &JobKey, grace: Option<Duration>) -> Result<WorkerStatus, Refusal> {
        let inner = self.lock();
        let job = inner.jobs.get(job).ok_or_else(|| unknown(job))?;
        // Full means that its task has been asked already; closed, that it has ended.
        let _ = job.stop.try_send(grace);
        Ok(job.status.clone())
    }

    /// Asks all to end within `limit`, and starts nothing more.
    pub(crate) fn stop_all(&self, limit: Duration) {
        let mut inner = self.lock();
        inner.grace_limit = Some(limit);
        for job in inner.jobs.values() {
            let _ = job.stop.try_send(None);
        }
        drop(inner);
        self.zygotes.close();
        self.tasks.close();
        tracing::info!(limit_s = limit.as_secs(), "all workers were told to end");
    }

    pub(crate) fn status(&self, job: &JobKey) -> Result<WorkerStatus, Refusal> {
        self.lock().jobs.get(job).map(|job| job.status.clone()).ok_or_else(|| unknown(job))
    }

    /// All that run or are remembered, oldest first.
    pub(crate) fn list(&self) -> Vec<WorkerStatus> {
        let mut all: Vec<_> = self.lock().jobs.values().map(|job| job.status.clone()).collect();
        all.sort_by(|a, b| (a.started_at, &a.job).cmp(&(b.started_at, &b.job)));
        all
    }

    /// Every change from now on, as lines.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Arc<str>> {
        self.events.subscribe()
    }

    /// Notes the process of a worker. Must follow the spawn without an await: a child that ends at once must find its
    /// worker here when it is reaped.
    pub(crate) fn spawned(&self, job: &JobKey, pid: i32) -> oneshot::Receiver<Reaped> {
        let reaped = self.lead(pid);
        self.change(job, |status| status.pid = Some(pid.unsigned_abs()));
        reaped
    }

    /// Notes the outermost process of a cell, as [`Registry::spawned`] does.
    pub(crate) fn lead(&self, pid: i32) -> oneshot::Receiver<Reaped> {
        let (ended, reaped) = oneshot::channel();
        self.lock().leaders.insert(pid, ended);
        reaped
    }

    /// Notes the process of a worker that came from a zygote, and where that has it listen.
    pub(crate) fn forked(&self, job: &JobKey, pid: i32, socket: &Path, zygote: &ZygoteName) {
        self.change(job, |status| {
            status.pid = Some(pid.unsigned_abs());
            status.socket = socket.to_owned();
            status.zygote = Some(zygote.clone());
        });
    }

    /// Notes that the process of a worker is gone before its program ran.
    pub(crate) fn never_began(&self, job: &JobKey) {
        self.change(job, |status| status.pid = None);
    }

    /// Notes that a child was reaped.
    pub(crate) fn reaped(&self, pid: i32, status: ExitStatus, usage: Usage) {
        self.freeze.reaped(pid, status, usage);
        let leader = self.lock().leaders.remove(&pid);
        match leader {
            Some(ended) => {
                // Its task waits for this as long as it lives.
                let _ = ended.send((status, Instant::now(), usage));
            }
            None => tracing::debug!(pid, "reaped an orphan"),
        }
    }

    /// Notes and announces a worker's new state. The state after `Exited` is `Exited`.
    pub(crate) fn set(&self, job: &JobKey, state: WorkerState) {
        let exited = matches!(state, WorkerState::Exited(_));
        if self.lock().jobs.get(job).is_none_or(|job| job.status.state == state) {
            return;
        }
        self.change(job, |status| status.state = state);
        if !exited {
            return;
        }
        let mut inner = self.lock();
        inner.ended.push_back(job.clone());
        if inner.ended.len() > MAX_ENDED
            && let Some(oldest) = inner.ended.pop_front()
        {
            inner.jobs.remove(&oldest);
        }
    }

    fn change(&self, job: &JobKey, change: impl FnOnce(&mut WorkerStatus)) {
        let mut inner = self.lock();
        inner.revision += 1;
        let revision = inner.revision;
        let Some(job) = inner.jobs.get_mut(job) else { return };
        change(&mut job.status);
        job.status.revision = revision;
        self.publish(&job.status);
    }

    fn publish(&self, status: &WorkerStatus) {
        let event = Event::Changed { worker: Box::new(status.clone()) };
        match serde_json::to_string(&Line { event: Some(event), ..Line::default() }) {
            // It fails when nobody watches.
            Ok(line) => drop(self.events.send(line.into())),
            Err(error) => tracing::error!(%error, job = %status.job, "cannot write a status as JSON"),
        }
    }

    /// The longest that a worker may take to end when asked to now.
    pub(crate) fn longest_grace(&self) -> Duration {
        self.lock().grace_limit.unwrap_or(MAX_GRACE)
    }

    /// The processes of workers that run.
    pub(crate) fn live_leaders(&self) -> HashSet<i32> {
        self.lock().leaders.keys().copied().collect()
    }

    /// The account of `job`, when it is not the supervisor's own and no other running worker has the same uid.
    pub(crate) fn account_if_alone(&self, job: &JobKey) -> Option<Account> {
        let inner = self.lock();
        let account = inner.jobs.get(job)?.status.account?;
        let shared =
            |status: &WorkerStatus| status.job != *job && status.account.is_some_and(|other| other.uid == account.uid);
        let alone = account.uid != self.own.uid && !inner.running().any(shared);
        (alone && !self.zygotes.have_account(account.uid)).then_some(account)
    }
}

impl Inner {
    fn running(&self) -> impl Iterator<Item = &WorkerStatus> {
        let statuses = self.jobs.values().map(|job| &job.status);
        statuses.filter(|status| !matches!(status.state, WorkerState::Exited(_)))
    }
}

fn unknown(job: &JobKey) -> Refusal {
    Refusal::new(ErrorCode::UnknownJob, format!("no job {job} runs or is remembered"))
}
