//! Workers as the request path sees them: an address, how busy it is, and who can be asked for one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use lectern_domain::scaling::choose::Load;
use lectern_domain::{BundleId, ContentGuid, JobKey};

use crate::coarse::now_ms;
use crate::pool::Pool;
use crate::pulse::Pulse;

static NEXT_SERIAL: AtomicU64 = AtomicU64::new(0);

/// Set in the count of a worker that takes no more requests.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// One process that answers requests on a Unix socket.
#[derive(Debug)]
pub struct Worker {
    job: JobKey,
    socket: PathBuf,
    /// The account that must have made the socket.
    uid: Option<u32>,
    /// Names it among all workers of this process: cheaper to look up than the key.
    serial: u64,
    /// Requests and WebSockets, and [`CLOSED`].
    in_flight: AtomicUsize,
    unanswered: Unanswered,
    held_up: AtomicBool,
    last_used_ms: AtomicU64,
    /// The pool it was first shown in; a worker is in one only.
    home: OnceLock<Home>,
}

#[derive(Debug)]
struct Home {
    pool: Weak<Pool>,
    /// What every request of that pool touches, without asking whether the pool is still there.
    pulse: Arc<Pulse>,
}

/// Requests without an answer: how many, and the sum of the moments they began at, in one word, so that an average is never made of
/// numbers that do not belong together. 16 bits of count; 48 of a sum of moments of 10 ms, each below 2³² (497 days).
#[derive(Debug, Default)]
struct Unanswered(AtomicU64);

impl Unanswered {
    const ONE: u64 = 1 << 48;

    fn moment(ms: u64) -> u64 {
        ms / 10 % (1 << 32)
    }

    /// Returns whether there was none before.
    fn add(&self, began_ms: u64) -> bool {
        self.0.fetch_add(Self::ONE + Self::moment(began_ms), Relaxed) < Self::ONE
    }

    fn remove(&self, began_ms: u64) {
        self.0.fetch_sub(Self::ONE + Self::moment(began_ms), Relaxed);
    }

    /// How many there are and how long they have waited on average.
    fn read(&self, now_ms: u64) -> (usize, Duration) {
        let word = self.0.load(Relaxed);
        let (count, sum) = (word / Self::ONE, word % Self::ONE);
        let ages = (count * Self::moment(now_ms)).saturating_sub(sum);
        let average = ages.checked_div(count).unwrap_or(0);
        (usize::try_from(count).unwrap_or(usize::MAX), Duration::from_millis(average * 10))
    }
}

impl Worker {
    /// A worker that listens on `socket`.
    pub fn new(job: JobKey, socket: PathBuf) -> Arc<Self> {
        Self::of_account(job, socket, None)
    }

    /// A worker that listens on `socket` as the account `uid`. Whatever else answers there is an impostor: content owns the
    /// directory of its socket, and could put a link to somebody else's in its place.
    pub fn of_account(job: JobKey, socket: PathBuf, uid: Option<u32>) -> Arc<Self> {
        Arc::new(Self {
            job,
            socket,
            uid,
            serial: NEXT_SERIAL.fetch_add(1, Relaxed),
            in_flight: AtomicUsize::new(0),
            unanswered: Unanswered::default(),
            held_up: AtomicBool::new(false),
            last_used_ms: AtomicU64::new(now_ms()),
            home: OnceLock::new(),
        })
    }

    /// Its job.
    pub fn job(&self) -> &JobKey {
        &self.job
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The account that must have made the socket; `None`: the server's own, which everything here runs as.
    pub fn uid(&self) -> Option<u32> {
        self.uid
    }

    /// Requests and WebSockets it is serving now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst) & !CLOSED
    }

    /// Those of its requests that have no answer yet, and how long they have waited on average.
    pub fn unanswered(&self) -> (usize, Duration) {
        self.unanswered.read(now_ms())
    }

    /// How long it has had nothing to do; zero while it has.
    pub fn idle_for(&self) -> Duration {
        if self.in_flight() > 0 {
            return Duration::ZERO;
        }
        Duration::from_millis(now_ms().saturating_sub(self.last_used_ms.load(Relaxed)))
    }

    /// Takes no more requests: from here on [`Worker::in_flight`] only falls, and once it is 0 stays so.
    pub fn close(&self) {
        self.in_flight.fetch_or(CLOSED, SeqCst);
    }

    /// Notes whether its requests wait for longer than is usual.
    pub fn set_held_up(&self, held_up: bool) {
        self.held_up.store(held_up, Relaxed);
    }

    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    pub(crate) fn load(&self) -> Load {
        // One that is closed counts as full: the mark is above any number.
        Load { in_flight: self.in_flight.load(Relaxed), held_up: self.held_up.load(Relaxed) }
    }

    /// Makes `pool` the one that learns when a request ends.
    pub(crate) fn settle(&self, pool: &Arc<Pool>) {
        self.home.get_or_init(|| Home { pool: Arc::downgrade(pool), pulse: pool.pulse() });
    }

    /// Counts one more request if it has fewer than `most` and is not closed; the guard holds the place.
    pub fn try_begin(self: &Arc<Self>, most: usize) -> Option<InFlight> {
        let fits = |count: usize| (count < most.min(CLOSED)).then(|| count + 1);
        self.in_flight.fetch_update(SeqCst, Relaxed, fits).ok()?;
        Some(self.counted())
    }

    /// Counts one more request of a session that the worker serves while it drains: only while another one holds it.
    pub(crate) fn try_begin_among(self: &Arc<Self>) -> Option<InFlight> {
        let joins = |count: usize| (count & !CLOSED > 0).then(|| count + 1);
        self.in_flight.fetch_update(SeqCst, Relaxed, joins).ok()?;
        Some(self.counted())
    }

    fn counted(self: &Arc<Self>) -> InFlight {
        let began_ms = now_ms();
        let alone = self.unanswered.add(began_ms);
        self.last_used_ms.store(began_ms, Relaxed);
        InFlight { worker: self.clone(), began_ms, alone, answered: false }
    }
}

/// One request that a worker is serving.
#[derive(Debug)]
pub struct InFlight {
    worker: Arc<Worker>,
    began_ms: u64,
    /// The worker had no other unanswered request when this one began.
    alone: bool,
    answered: bool,
}

impl InFlight {
    /// Who serves it.
    pub fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// The head of the answer has come; what follows may take as long as a WebSocket does.
    pub fn answered(&mut self) {
        if std::mem::replace(&mut self.answered, true) {
            return;
        }
        self.worker.unanswered.remove(self.began_ms);
        if let Some(home) = self.worker.home.get() {
            let alone = self.alone.then(|| Duration::from_millis(now_ms().saturating_sub(self.began_ms)));
            home.pulse.answered(alone);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.answered {
            self.worker.unanswered.remove(self.began_ms);
        }
        self.worker.last_used_ms.store(now_ms(), Relaxed);
        // Whoever begins to wait counts themselves first and looks for a place then; here it is the other way round, so one
        // of the two sees the other.
        self.worker.in_flight.fetch_sub(1, SeqCst);
        if let Some(home) = self.worker.home.get()
            && home.pulse.waiting() > 0
            && let Some(pool) = home.pool.upgrade()
        {
            pool.dispatch();
        }
    }
}

/// Who starts and scales workers.
pub trait Workers: Send + Sync {
    /// The workers of one version of a content item. Called for every request, on the thread that serves it: answers from memory. A
    /// pool that has none starts some when somebody waits in it.
    fn pool(&self, content: ContentGuid, bundle: BundleId) -> Arc<Pool>;

    /// Workers of a content item that are being let go and still have requests: sessions that they serve go on with them. Called for
    /// requests of sessions only.
    fn leaving(&self, content: ContentGuid) -> Vec<Arc<Worker>>;

    /// Nobody accepts connections at the worker's address. It must not be offered again before it was looked at.
    fn report_dead(&self, job: &JobKey);

    /// What signs the cookies that name workers; the same after a restart, since workers outlive one.
    fn cookie_key(&self) -> &[u8; 32];

    /// What signs the tokens that tell content who visits; the API reads them.
    fn visitor_key(&self) -> &[u8; 32];
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn requests_are_counted_while_they_run() {
        let worker = Worker::new(JobKey::from_random([1; 16]), "/nowhere".into());
        let (one, two) = (worker.try_begin(2).unwrap(), worker.try_begin(2).unwrap());
        assert_eq!((worker.in_flight(), worker.idle_for()), (2, Duration::ZERO));
        assert!(worker.try_begin(2).is_none(), "no more than asked for");
        drop(one);
        assert_eq!(worker.in_flight(), 1);
        worker.close();
        assert!(worker.try_begin(2).is_none(), "closed");
        drop(worker.try_begin_among().unwrap());
        assert_eq!((worker.in_flight(), worker.load().in_flight >= CLOSED), (1, true));
        drop(two);
        assert!(worker.try_begin_among().is_none(), "it may have been ended");
        assert_eq!(worker.in_flight(), 0);
    }

    #[test]
    fn waits_are_averaged() {
        let unanswered = Unanswered::default();
        assert_eq!(unanswered.read(9_000), (0, Duration::ZERO));
        assert!(unanswered.add(1_000));
        assert!(!unanswered.add(3_000));
        assert_eq!(unanswered.read(5_000), (2, Duration::from_millis(3_000)));
        unanswered.remove(1_000);
        assert_eq!(unanswered.read(5_000), (1, Duration::from_millis(2_000)));
        // A clock that is read a moment too early.
        assert_eq!(unanswered.read(2_000), (1, Duration::ZERO));
        // As many as there may be, after a year.
        let year = 365 * 86_400_000;
        (0..60_000).for_each(|_| {
            unanswered.add(year);
        });
        assert_eq!(unanswered.read(year + 1_000).0, 60_001);
    }

    #[test]
    fn an_answered_request_waits_no_more() {
        let worker = Worker::new(JobKey::from_random([1; 16]), "/nowhere".into());
        let (mut one, two) = (worker.try_begin(9).unwrap(), worker.try_begin(9).unwrap());
        assert_eq!(worker.unanswered().0, 2);
        one.answered();
        one.answered();
        assert_eq!((worker.unanswered().0, worker.in_flight()), (1, 2));
        drop(one);
        assert_eq!((worker.unanswered().0, worker.in_flight()), (1, 1));
        drop(two);
        assert_eq!((worker.unanswered().0, worker.in_flight()), (0, 0));
    }
}
