//! Pre-forked interpreters: which there are, and the workers that come from them.
//!
//! A [`Zygote`] is an interpreter in a cell of its own, which has imported a framework and forks when it is told to. It belongs
//! to one version of a content item: packages come from publishers, so what has imported one publisher's packages must never
//! become another's worker. A worker that cannot come from one is started as if there were none.
//!
//! What is kept for each is plain data and descriptors: numbers of processes, paths, sockets, handles.

mod again;
mod begin;
mod fork;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lectern_confinement::{Limits, News, Words};
use lectern_domain::launch::{Account, LaunchSpec, ZygoteName};
use lectern_domain::worker::Backoff;
use lectern_domain::{BundleId, ContentGuid};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use time::OffsetDateTime;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use fork::Fork;

use crate::protocol::ZygoteStatus;
use crate::registry::Registry;
use crate::spawn::Process;

/// Most zygotes at a time. The server asks for far fewer; each holds as much memory as a worker that has just started.
const MOST: usize = 256;

/// Names that failures are remembered of.
const MOST_NAMES: usize = 1024;

/// How long no zygote is tried after one that did not come up: workers start without it meanwhile.
const BACKOFF: Backoff =
    Backoff { base: Duration::from_secs(30), cap: Duration::from_secs(3600), healthy_after: Duration::from_secs(600) };

/// How long the first process inside may take to say that nothing is left of a worker: it gives up after two seconds.
const SWEPT: Duration = Duration::from_secs(5);

/// How long a killed cell may take to be gone.
const GONE: Duration = Duration::from_secs(10);

/// All zygotes of this supervisor.
#[derive(Default)]
pub(crate) struct Zygotes {
    inner: Mutex<Inner>,
    /// The tasks that own them, and those that watch their workers.
    pub(crate) tasks: TaskTracker,
}

#[derive(Default)]
struct Inner {
    seats: HashMap<ZygoteName, Arc<Seat>>,
    /// Those whose cell is there, by number.
    running: HashMap<u64, Arc<Zygote>>,
    last: u64,
    /// Whether the supervisor is ending.
    closed: bool,
}

/// The place of one zygote; held while it is started, so that nobody starts a second one.
#[derive(Default)]
struct Seat(tokio::sync::Mutex<Standing>);

#[derive(Default)]
struct Standing {
    current: Option<Arc<Zygote>>,
    failures: u32,
    /// None is started before.
    not_before: Option<Instant>,
}

/// One zygote, and its cell.
pub(crate) struct Zygote {
    number: u64,
    name: ZygoteName,
    content: ContentGuid,
    bundle: BundleId,
    account: Option<Account>,
    private: PathBuf,
    /// The outermost process of its cell: with its end, everything inside ends.
    leader: i32,
    /// The interpreter.
    pid: i32,
    started_at: OffsetDateTime,
    /// What each of its workers is held to.
    limits: Limits,
    /// Orders go out here, one message each.
    control: UnixStream,
    /// `None` once the cell is gone.
    words: tokio::sync::Mutex<Option<Words>>,
    life: Mutex<Life>,
    /// Asks for the end of the cell.
    end: CancellationToken,
    /// The cell is gone, and nothing is left of it.
    gone: CancellationToken,
}

struct Life {
    workers: usize,
    forks: u64,
    last_used: Instant,
    /// It forks no more; its cell ends with its last worker.
    retiring: bool,
    /// Who waits for an answer to a sweep, in order.
    sweeps: VecDeque<oneshot::Sender<bool>>,
}

/// Why a worker does not come from a zygote.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForkError {
    #[error("{0}")]
    NotNow(String),
    #[error("start it")]
    Begin(#[from] crate::spawn::SpawnError),
    #[error("{step}")]
    Fork {
        step: &'static str,
        #[source]
        cause: std::io::Error,
    },
}

impl ForkError {
    fn at<E: Into<std::io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |cause| Self::Fork { step, cause: cause.into() }
    }
}

/// Has the worker forked by its zygote, which is started when there is none.
pub(crate) async fn spawn(registry: &Arc<Registry>, spec: &LaunchSpec) -> Result<Process, ForkError> {
    let Some(wanted) = &spec.zygote else { return Err(ForkError::NotNow("none is wanted".to_owned())) };
    let seat = registry.zygotes.seat(&wanted.name)?;
    let mut standing = seat.0.lock().await;
    if let Some(until) = standing.not_before
        && Instant::now() < until
    {
        return Err(ForkError::NotNow("the last one failed".to_owned()));
    }
    let current = standing.current.take().filter(|zygote| zygote.forks());
    let zygote = match current {
        Some(zygote) => zygote,
        None => match begin::begin(registry, spec, wanted).await {
            Ok(zygote) => zygote,
            Err(error) => {
                standing.failed();
                return Err(error);
            }
        },
    };
    standing.current = Some(Arc::clone(&zygote));
    let forked = fork::fork(registry, spec, &zygote).await;
    match &forked {
        Ok(_) => standing.failures = 0,
        Err(_) => {
            // One that does not fork is of no use; who it has forked goes on.
            zygote.retire();
            standing.current = None;
            standing.failed();
        }
    }
    forked
}

impl Standing {
    fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + BACKOFF.delay(self.failures));
    }
}

impl Zygotes {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(&self, name: &ZygoteName) -> Result<Arc<Seat>, ForkError> {
        let mut inner = self.lock();
        if let Some(seat) = inner.seats.get(name) {
            return Ok(Arc::clone(seat));
        }
        if inner.seats.len() >= MOST_NAMES {
            let now = Instant::now();
            inner.seats.retain(|_, seat| seat.0.try_lock().map_or(true, |standing| standing.is_of_use(now)));
        }
        if inner.seats.len() >= MOST_NAMES {
            return Err(ForkError::NotNow(format!("{MOST_NAMES} are known, and no more may be")));
        }
        let seat = Arc::default();
        inner.seats.insert(name.clone(), Arc::clone(&seat));
        Ok(seat)
    }

    /// A number for one more, if it may be started.
    fn number(&self) -> Result<u64, ForkError> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(ForkError::NotNow("the supervisor is ending".to_owned()));
        }
        if inner.running.len() >= MOST {
            return Err(ForkError::NotNow(format!("{MOST} run, and no more may")));
        }
        inner.last += 1;
        Ok(inner.last)
    }

    /// Notes one that can fork.
    fn note(&self, zygote: &Arc<Zygote>) {
        let mut inner = self.lock();
        inner.running.insert(zygote.number, Arc::clone(zygote));
        if inner.closed {
            zygote.retire();
        }
    }

    /// All that run, in the order of their start.
    pub(crate) fn list(&self) -> Vec<ZygoteStatus> {
        let mut all: Vec<_> = self.lock().running.values().map(|zygote| (zygote.number, zygote.status())).collect();
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, status)| status).collect()
    }

    /// Has those of that name fork no more; how many there were. Their cells end with their last workers.
    pub(crate) fn end(&self, name: &ZygoteName) -> usize {
        let inner = self.lock();
        let named = inner.running.values().filter(|zygote| zygote.name == *name);
        named.map(|zygote| zygote.retire()).count()
    }

    /// Has all fork no more, and starts none.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        self.tasks.close();
        inner.running.values().for_each(|zygote| zygote.retire());
    }

    /// Goes on with one from before.
    fn adopt(&self, zygote: &Arc<Zygote>) {
        self.lock().running.insert(zygote.number, Arc::clone(zygote));
        if zygote.forks()
            && let Ok(seat) = self.seat(&zygote.name)
            && let Ok(mut standing) = seat.0.try_lock()
        {
            standing.current = Some(Arc::clone(zygote));
        }
    }

    /// Goes on counting from there.
    pub(crate) fn count_from(&self, last: u64) {
        self.lock().last = last;
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().running.len()
    }

    /// The number of the one that was started last.
    pub(crate) fn last(&self) -> u64 {
        self.lock().last
    }

    /// Whether one runs as this account.
    pub(crate) fn have_account(&self, uid: u32) -> bool {
        self.lock().running.values().any(|zygote| zygote.account.is_some_and(|account| account.uid == uid))
    }
}

impl Standing {
    fn is_of_use(&self, now: Instant) -> bool {
        self.current.as_ref().is_some_and(|zygote| zygote.forks()) || self.not_before.is_some_and(|until| until > now)
    }
}

impl Zygote {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may be asked for another worker.
    fn forks(&self) -> bool {
        !self.life().retiring && !self.end.is_cancelled()
    }

    /// Has it fork no more. Its cell ends with its last worker.
    fn retire(&self) {
        let mut life = self.life();
        life.retiring = true;
        if life.workers == 0 {
            self.end.cancel();
        }
    }

    /// Its number, among all of this supervisor.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Ends one that forks no more and has no workers, once those that there were are made again.
    pub(crate) fn settle(&self) {
        let life = self.life();
        if life.retiring && life.workers == 0 {
            self.end.cancel();
        }
    }

    fn heard(&self, news: News) {
        match news {
            News::Ended(ended) => {
                tracing::info!(zygote = %self.name, content.id = %self.content, ?ended, "a zygote ended");
                self.retire();
            }
            News::Swept(clean) => {
                // Its worker's task may wait no more.
                let _ = self.life().sweeps.pop_front().map(|waiting| waiting.send(clean));
            }
        }
    }

    fn kill(&self) {
        if !self.gone.is_cancelled()
            && let Err(error) = killpg(Pid::from_raw(self.leader), Signal::SIGKILL)
        {
            tracing::error!(zygote = %self.name, pid = self.leader, %error, "cannot kill a zygote");
        }
    }

    fn status(&self) -> ZygoteStatus {
        let life = self.life();
        ZygoteStatus {
            name: self.name.clone(),
            content: self.content,
            bundle: self.bundle,
            pid: self.pid.unsigned_abs(),
            started_at: self.started_at,
            workers: life.workers,
            forks: life.forks,
            idle: if life.workers == 0 { life.last_used.elapsed() } else { Duration::ZERO },
            retiring: life.retiring,
        }
    }

    /// Has the first process inside kill what is left of a worker; ends the whole cell where that does not help.
    async fn sweep(&self, keeper: i32, home: PathBuf) {
        let (swept, answer) = oneshot::channel();
        let told = {
            let mut words = self.words.lock().await;
            match &mut *words {
                // The cell is gone, and all of the worker with it.
                None => return,
                Some(words) => {
                    self.life().sweeps.push_back(swept);
                    words.sweep(keeper, vec![home]).await
                }
            }
        };
        if told.is_ok() && matches!(tokio::time::timeout(SWEPT, answer).await, Ok(Ok(true))) {
            return;
        }
        if !self.gone.is_cancelled() && !self.end.is_cancelled() {
            tracing::warn!(zygote = %self.name, content.id = %self.content, "a worker left what cannot be killed; its whole cell is ended");
        }
        self.end.cancel();
        if tokio::time::timeout(GONE, self.gone.cancelled()).await.is_err() {
            tracing::error!(zygote = %self.name, pid = self.leader, "a killed cell does not end");
        }
    }
}

/// One worker's use of a zygote.
struct Use(Arc<Zygote>);

impl Use {
    /// `None` when it forks no more.
    fn of(zygote: &Arc<Zygote>) -> Option<(Self, u64)> {
        let mut life = zygote.life();
        if life.retiring || zygote.end.is_cancelled() {
            return None;
        }
        life.workers += 1;
        life.forks += 1;
        let number = life.forks;
        drop(life);
        Some((Self(Arc::clone(zygote)), number))
    }
}

impl Use {
    /// Of a worker that is there already.
    fn again(zygote: &Arc<Zygote>) -> Self {
        zygote.life().workers += 1;
        Self(Arc::clone(zygote))
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut life = self.0.life();
        life.workers -= 1;
        life.last_used = Instant::now();
        if life.workers == 0 && life.retiring {
            self.0.end.cancel();
        }
    }
}
