//! The workers of one version of a content item, and those who wait for one of them.
//!
//! A request takes a place at the least loaded worker: two loads and a compare-and-swap, no lock. Where there is none it joins the
//! line, and whoever frees a place gives it to the next in turn. Nobody overtakes those who wait. Which workers there are, and how
//! far they are filled, is the owner's to say ([`Pool::show`], [`Pool::set_room`]); it is called when somebody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use lectern_domain::JobKey;
use lectern_domain::admission::line::{Bounds, Joined, Line, NoPlace, Place};
use lectern_domain::admission::{Visitor, retry_after};
use lectern_domain::scaling::choose::{Room, least_loaded};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::admissions::{Admissions, Refusal};
use crate::failure::{NotAdmitted, StartFailure, gone};
use crate::pulse::Pulse;
use crate::worker::{InFlight, Worker};

/// Other threads that may take the place just chosen before this one looks elsewhere; then it waits like everybody else.
const TRIES: usize = 8;
/// A request that belongs to a worker is one of a session that is there already: turning it away breaks what the visitor
/// sees, so it may go this far beyond the worker's limit.
const SESSION_SHARE: usize = 4;

/// What a place in the line is answered with.
type Answer = Result<InFlight, Turned>;

/// Turned away while it waited.
#[derive(Debug)]
enum Turned {
    Failed(StartFailure),
    /// For somebody with fewer requests.
    GaveWay,
    /// The pool is no more; there may be another one.
    Gone,
}

/// What came of waiting.
pub(crate) enum Waited {
    Admitted(InFlight),
    Refused(NotAdmitted),
    /// The pool is no more: ask for it again.
    Gone,
}

#[derive(Debug, Default)]
struct Waiters {
    line: Line<Visitor, oneshot::Sender<Answer>>,
    /// Nobody need wait before this moment.
    refusing: Option<(Instant, StartFailure)>,
    held_back: Option<Arc<str>>,
    gone: bool,
}

/// The workers of one version of a content item.
#[derive(Debug)]
pub struct Pool {
    workers: ArcSwap<Vec<Arc<Worker>>>,
    /// [`Room`], in two words.
    most: AtomicUsize,
    pass_held_up: AtomicBool,
    /// How many are in the line (changed under its lock only), and how fast they are served.
    pulse: Arc<Pulse>,
    waiters: Mutex<Waiters>,
    /// Somebody waits, or a worker left.
    attention: Notify,
    /// Time between two answers, in microseconds; 0: not known.
    pace_us: AtomicU64,
    admissions: Arc<Admissions>,
}

impl Pool {
    /// A pool without workers; what becomes of those who wait is counted in `admissions`.
    pub fn new(admissions: Arc<Admissions>) -> Arc<Self> {
        Arc::new(Self {
            workers: ArcSwap::default(),
            most: AtomicUsize::new(1),
            pass_held_up: AtomicBool::new(false),
            pulse: Arc::default(),
            waiters: Mutex::default(),
            attention: Notify::new(),
            pace_us: AtomicU64::new(0),
            admissions,
        })
    }

    /// Makes these the workers that requests are given to, in this order.
    pub fn show(self: &Arc<Self>, workers: Vec<Arc<Worker>>) {
        workers.iter().for_each(|worker| worker.settle(self));
        self.workers.store(Arc::new(workers));
        self.dispatch();
    }

    /// Says how far the workers are filled.
    pub fn set_room(&self, room: Room) {
        let most = self.most.swap(room.most, Relaxed);
        let passed = self.pass_held_up.swap(room.pass_held_up, Relaxed);
        if (most, passed) != (room.most, room.pass_held_up) || self.waiting() > 0 {
            self.dispatch();
        }
    }

    /// Says how far apart answers are of late, for those who are told when to come back.
    pub fn set_pace(&self, each: Option<Duration>) {
        let us = each.map_or(0, |each| u64::try_from(each.as_micros()).unwrap_or(u64::MAX).max(1));
        self.pace_us.store(us, Relaxed);
    }

    /// Tells everybody who waits that no worker comes.
    pub fn fail(&self, failure: &StartFailure) {
        let all = self.empty(&mut self.waiters.lock());
        for answer in all {
            // Whoever does not listen any more has left.
            let _ = answer.send(Err(Turned::Failed(failure.clone())));
        }
    }

    /// Until then nobody need wait where no worker runs; `None`: everybody may.
    pub fn refuse(&self, until: Option<(Instant, StartFailure)>) {
        self.waiters.lock().refusing = until;
    }

    /// Notes why no other worker starts, for those whose wait it makes too long.
    pub fn hold_back(&self, why: Option<&str>) {
        self.waiters.lock().held_back = why.map(Arc::from);
    }

    /// Ends the pool: those who wait, and those who come, look for another one. Returns false, and does nothing, when somebody waits
    /// and `unless_waited_for` is set.
    pub fn end(&self, unless_waited_for: bool) -> bool {
        let mut waiters = self.waiters.lock();
        if unless_waited_for && !waiters.line.is_empty() {
            return false;
        }
        waiters.gone = true;
        let all = self.empty(&mut waiters);
        drop(waiters);
        self.workers.store(Arc::default());
        for answer in all {
            let _ = answer.send(Err(Turned::Gone));
        }
        true
    }

    /// Returns when somebody began to wait, or [`Pool::call`] was called, since the last time.
    pub async fn called(&self) {
        self.attention.notified().await;
    }

    /// Calls the owner.
    pub fn call(&self) {
        self.attention.notify_one();
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.pulse.waiting()
    }

    /// The workers shown.
    pub fn workers(&self) -> Arc<Vec<Arc<Worker>>> {
        self.workers.load_full()
    }

    /// Average time to an answer where a worker had nothing else to do; zero: not known.
    pub fn usual(&self) -> Duration {
        self.pulse.usual()
    }

    /// Requests answered so far.
    pub fn answers(&self) -> u64 {
        self.pulse.answers()
    }

    /// Why no other worker starts, when the machine has no room.
    pub fn held_back(&self) -> Option<Arc<str>> {
        self.waiters.lock().held_back.clone()
    }

    /// A place at the worker that `is` tells, whose session the request belongs to.
    pub(crate) fn take_of(&self, is: impl Fn(&JobKey) -> bool) -> Option<InFlight> {
        let most = self.most.load(Relaxed).saturating_mul(SESSION_SHARE);
        self.workers.load().iter().find(|worker| is(worker.job()))?.try_begin(most)
    }

    /// A place at the least loaded worker, unless somebody waits for one.
    pub(crate) fn take(&self) -> Option<InFlight> {
        if self.pulse.waiting() > 0 { None } else { self.claim() }
    }

    fn claim(&self) -> Option<InFlight> {
        let workers = self.workers.load();
        let room = Room { most: self.most.load(Relaxed), pass_held_up: self.pass_held_up.load(Relaxed) };
        for _ in 0..TRIES {
            let loads = workers.iter().map(|worker| worker.load());
            let worker = &workers[least_loaded(loads, room)?];
            if let Some(begun) = worker.try_begin(room.most) {
                return Some(begun);
            }
        }
        None
    }

    /// Waits until a worker runs, for `patience` at most. For those who want to know that one does.
    pub async fn any(self: &Arc<Self>, patience: Duration) -> Result<Arc<Worker>, NotAdmitted> {
        if let Some(worker) = self.workers.load().first() {
            return Ok(worker.clone());
        }
        // The server asks once at a time for each deployment: the line is not made longer by it.
        let bounds = Bounds { most: usize::MAX, most_each: usize::MAX };
        match self.wait(Visitor::Server, bounds, patience).await {
            Waited::Admitted(begun) => Ok(begun.worker().clone()),
            Waited::Refused(why) => Err(why),
            Waited::Gone => Err(gone().into()),
        }
    }

    /// Waits for a place, for `patience` at most. May be dropped at any moment: the place in the line is free then.
    pub(crate) async fn wait(self: &Arc<Self>, visitor: Visitor, bounds: Bounds, patience: Duration) -> Waited {
        let began = Instant::now();
        let (place, mut answer) = match self.join(visitor, bounds, patience) {
            Ok(joined) => joined,
            Err(waited) => return waited,
        };
        // Somebody may have left between the last look and the place in the line.
        self.dispatch();
        // Where no other worker may start, the owner looks by itself, and need not be woken for each.
        if self.pass_held_up.load(Relaxed) || self.workers.load().is_empty() {
            self.call();
        }
        let answered = tokio::time::timeout(patience, &mut answer).await;
        let waited = began.elapsed();
        drop(place);
        // It may have come in the moment that ended the patience.
        let answered = answered.ok().map_or_else(|| answer.try_recv().ok(), |answered| answered.ok());
        match answered {
            Some(Ok(begun)) => {
                self.admissions.admitted(waited);
                Waited::Admitted(begun)
            }
            Some(Err(Turned::Gone)) => Waited::Gone,
            Some(Err(Turned::Failed(failure))) => self.refused(Refusal::NoStart, failure.into()),
            Some(Err(Turned::GaveWay)) => {
                let waiting = self.waiting();
                let retry_after = self.retry_after(patience);
                self.refused(Refusal::Full, NotAdmitted::Full { waiting, retry_after })
            }
            None => {
                let retry_after = self.retry_after(patience);
                let held_back = self.held_back();
                self.refused(Refusal::Late, NotAdmitted::TimedOut { waited, retry_after, held_back })
            }
        }
    }

    fn join(
        self: &Arc<Self>,
        visitor: Visitor,
        bounds: Bounds,
        patience: Duration,
    ) -> Result<(InLine, oneshot::Receiver<Answer>), Waited> {
        let mut waiters = self.waiters.lock();
        if waiters.gone {
            return Err(Waited::Gone);
        }
        if self.workers.load().is_empty()
            && let Some((until, failure)) = &waiters.refusing
            && let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            let failure =
                StartFailure::BackOff { retry_after: left, job: failure.job().cloned(), last: failure.to_string() };
            drop(waiters);
            return Err(self.refused(Refusal::NoStart, failure.into()));
        }
        let (tell, told) = oneshot::channel();
        let joined = waiters.line.join(visitor.clone(), tell, bounds);
        let waiting = waiters.line.len();
        self.pulse.set_waiting(waiting);
        drop(waiters);
        let place = match joined {
            Joined::In(place) => place,
            Joined::Instead(place, other) => {
                let _ = other.send(Err(Turned::GaveWay));
                place
            }
            Joined::Refused(_, why) => {
                let retry_after = self.retry_after(patience);
                return Err(match why {
                    NoPlace::Full => self.refused(Refusal::Full, NotAdmitted::Full { waiting, retry_after }),
                    NoPlace::Visitor => self.refused(Refusal::Visitor, NotAdmitted::Visitor { waiting, retry_after }),
                });
            }
        };
        Ok((InLine { pool: self.clone(), visitor, place }, told))
    }

    /// Gives free places to those who wait, in turn.
    pub(crate) fn dispatch(&self) {
        let mut left = None;
        {
            let mut waiters = self.waiters.lock();
            while !waiters.line.is_empty() {
                let Some(begun) = left.take().or_else(|| self.claim()) else { break };
                // Whoever has left gets nothing; the next one does.
                if let Some(answer) = waiters.line.pop()
                    && let Err(Ok(back)) = answer.send(Ok(begun))
                {
                    left = Some(back);
                }
            }
            self.pulse.set_waiting(waiters.line.len());
        }
        // Frees its place, and looks for those who came meanwhile: without the lock.
        drop(left);
    }

    pub(crate) fn pulse(&self) -> Arc<Pulse> {
        self.pulse.clone()
    }

    fn retry_after(&self, patience: Duration) -> Duration {
        let pace = self.pace_us.load(Relaxed);
        retry_after(self.waiting(), (pace > 0).then(|| Duration::from_micros(pace)), patience)
    }

    fn refused(&self, why: Refusal, error: NotAdmitted) -> Waited {
        self.admissions.refused(why);
        Waited::Refused(error)
    }

    fn empty(&self, waiters: &mut Waiters) -> Vec<oneshot::Sender<Answer>> {
        let all = waiters.line.drain();
        self.pulse.set_waiting(0);
        all
    }
}

/// A place in the line; leaving is dropping it.
struct InLine {
    pool: Arc<Pool>,
    visitor: Visitor,
    place: Place,
}

impl Drop for InLine {
    fn drop(&mut self) {
        let mut waiters = self.pool.waiters.lock();
        if waiters.line.leave(&self.visitor, self.place).is_some() {
            self.pool.pulse.set_waiting(waiters.line.len());
        }
    }
}
