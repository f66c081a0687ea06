//! The owner of one pool: the workers of one version of a content item. One task starts them, lets them go and tells the request path
//! who there is; others send it orders. What is to be done is decided by [`lectern_domain::scaling`].

mod member;
mod moves;
mod news;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use lectern_domain::JobKey;
use lectern_domain::content::ProcessSettings;
use lectern_domain::scaling::budget::Shortage;
use lectern_domain::scaling::{self, Settings};
use lectern_domain::snapshot::{BundleEntry, ContentEntry};
use lectern_domain::worker::Backoff;
use lectern_edge::{Pool, StartFailure};
use lectern_supervisor::WorkerStatus;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Crew, Key};
use member::{Member, State};

/// How often a pool with requests is looked at: what waits too long is noticed this much later at most.
const BUSY_ROUND: Duration = Duration::from_millis(250);
/// The same for one without: a worker lives this much longer than its idle time-out at most.
const IDLE_ROUND: Duration = Duration::from_secs(1);
/// A pool without workers that nobody asks for is forgotten after this; the next request makes another.
const EMPTY_FOR: Duration = Duration::from_secs(300);
/// How long after a failed start the next visitor is told of it instead of causing another start.
const BACKOFF: Backoff =
    Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60), healthy_after: Duration::from_secs(60) };
/// Orders waiting for one pool; each is small, and is obeyed without waiting for anything.
pub(super) const ORDERS: usize = 4096;

/// What the owner of a pool is told.
pub(super) enum Order {
    /// The supervisor reports a change of a worker of this pool.
    Changed(Box<WorkerStatus>),
    /// A worker that ran before this server started.
    Adopt(Box<WorkerStatus>),
    /// Let the workers finish their requests and end; the next need starts new ones. Says when none of them is given another request.
    Retire(oneshot::Sender<()>),
    /// Let this worker go, if it has nothing to do and is above the minimum: another pool needs the room.
    Reclaim(JobKey),
    /// Earlier failures do not count any more.
    Forgive,
    /// Nobody answers at the worker's socket.
    Dead(JobKey),
    /// The supervisor is gone, and every worker with it.
    Lost,
    /// The content is gone: end.
    End,
}

/// What a launch came to.
type Launched = (JobKey, Result<(), StartFailure>);

/// Owns one pool.
pub(super) struct Keeper {
    key: Key,
    crew: Arc<Crew>,
    pool: Arc<Pool>,
    /// Workers above the minimum, for those who look for room.
    spare: Arc<AtomicUsize>,
    /// The oldest first.
    members: Vec<Member>,
    /// Workers that are ending and were not told to by this pool, and how long they had served. Why is said when they have ended.
    leaving: Vec<(JobKey, Duration)>,
    crashes: u32,
    /// No start before this moment.
    pause: Option<Instant>,
    shortage: Option<Shortage>,
    launched: mpsc::Sender<Launched>,
    /// As seen last: a change clears the failures before it.
    seen: Option<ProcessSettings>,
    /// Answers counted, and when.
    counted: (Instant, u64),
    pace: Option<Duration>,
    last_needed: Instant,
}

/// What holds for the pool now.
struct Terms {
    content: Arc<ContentEntry>,
    bundle: Arc<BundleEntry>,
    settings: Settings,
}

/// Owns the pool `key` until it is told to end, or nobody has needed it for long.
pub(super) async fn run(
    key: Key,
    crew: Arc<Crew>,
    pool: Arc<Pool>,
    spare: Arc<AtomicUsize>,
    mut orders: mpsc::Receiver<Order>,
) {
    // As many launches as workers report here; a report waits for its turn.
    let (launched, mut launches) = mpsc::channel(16);
    let freed = crew.machine.freed();
    let now = Instant::now();
    let mut keeper = Keeper {
        key,
        crew,
        pool: Arc::clone(&pool),
        spare,
        members: Vec::new(),
        leaving: Vec::new(),
        crashes: 0,
        pause: None,
        shortage: None,
        launched,
        seen: None,
        counted: (now, 0),
        pace: None,
        last_needed: now,
    };
    let mut ended = false;
    loop {
        // What is known already comes first: workers that run are not started again.
        while let Ok(order) = orders.try_recv() {
            if matches!(order, Order::End) {
                ended = true;
            }
            keeper.obey(order);
        }
        if ended {
            break;
        }
        let Some(next) = keeper.consider() else { break };
        tokio::select! {
            order = orders.recv() => match order {
                None | Some(Order::End) => break,
                Some(order) => keeper.obey(order),
            },
            Some((job, outcome)) = launches.recv() => keeper.launched(&job, outcome),
            () = pool.called() => {}
            () = freed.notified(), if keeper.shortage.is_some() => {}
            () = tokio::time::sleep_until(next) => {}
        }
    }
    keeper.crew.machine.content_with(&key);
    keeper.retire();
    pool.end(false);
    keeper.crew.forget(key, &pool);
}

impl Keeper {
    fn obey(&mut self, order: Order) {
        match order {
            Order::Changed(status) => self.changed(&status),
            Order::Adopt(status) => self.adopt(&status),
            Order::Retire(done) => {
                self.retire();
                // Who asked may have gone.
                let _ = done.send(());
            }
            Order::Reclaim(job) => self.reclaim(&job),
            Order::Forgive => self.forgive(),
            Order::Dead(job) => self.dead(&job),
            Order::Lost => self.lost(),
            Order::End => {}
        }
    }

    /// Compares what is with what should be and moves one step closer; answers when to look again, `None`: never.
    fn consider(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let Some(terms) = self.terms() else {
            self.pool.fail(&StartFailure::Unavailable("this version is no longer there".into()));
            if !self.members.is_empty() {
                self.retire();
            }
            return self.rest(now, 0);
        };
        if self.seen.as_ref().is_some_and(|seen| *seen != terms.content.processes) {
            self.forgive();
        }
        self.seen = Some(terms.content.processes.clone());
        // Whether one that is ending had crashed shows when it has ended; until then nothing takes its place.
        let paused = self.pause.is_some_and(|until| until > now) || !self.leaving.is_empty();
        self.measure_pace(now);
        let views: Vec<scaling::Member> = self.members.iter().map(Member::view).collect();
        let waiting = self.pool.waiting();
        let time_counts = !terms.content.mode.is_sticky();
        let usual = self.pool.usual();
        let standing = scaling::Pool { members: &views, waiting, usual, time_counts, paused };
        let plan = scaling::plan(&terms.settings, &standing);
        for (index, member) in self.members.iter().enumerate() {
            if let Some(worker) = member.worker() {
                worker.set_held_up(plan.held_up.contains(&index));
            }
        }
        let mut room = plan.room;
        self.let_go(&plan.drain);
        let held_back = self.shortage.take();
        for _ in 0..plan.start {
            if !self.launch(&terms, waiting > 0) {
                break;
            }
        }
        if self.shortage.is_some() {
            // No other worker comes: those there are take what they can.
            room = scaling::choose::Room { most: terms.settings.max_conns, pass_held_up: false };
        }
        if self.shortage.is_none() && held_back.is_some() {
            self.crew.machine.content_with(&self.key);
        }
        if self.shortage.is_some() != held_back.is_some() {
            self.say_shortage();
        }
        self.pool.set_room(room);
        self.spare.store(self.members.len().saturating_sub(terms.settings.min), Relaxed);
        let busy = waiting > 0 || views.iter().any(|view| view.in_flight > 0) || self.shortage.is_some();
        if busy || !self.members.is_empty() {
            self.last_needed = now;
            return Some(now + if busy { BUSY_ROUND } else { IDLE_ROUND });
        }
        self.rest(now, terms.settings.min)
    }

    /// Without workers: until the pause is over, or for ever.
    fn rest(&mut self, now: Instant, min: usize) -> Option<Instant> {
        if min > 0 {
            return Some(self.pause.map_or(now + IDLE_ROUND, |until| until.max(now + BUSY_ROUND)));
        }
        let until = self.last_needed + EMPTY_FOR;
        if until > now || self.pause.is_some_and(|until| until > now) {
            return Some(until.max(now + IDLE_ROUND));
        }
        if self.pool.end(true) { None } else { Some(now + IDLE_ROUND) }
    }

    /// What holds now; `None` when the version is not there any more.
    fn terms(&self) -> Option<Terms> {
        let view = self.crew.view.current();
        let content = view.content.get(&self.key.0)?;
        let bundle = content.bundles.get(&self.key.1)?;
        let mut settings = self.crew.settings.defaults.resolve(&content.processes);
        // Only what visitors see is kept warm: not drafts, not versions that were replaced, not what is locked.
        if content.active != Some(self.key.1) || content.locked_message.is_some() || self.crew.stopping.is_cancelled() {
            settings.min = 0;
        }
        Some(Terms { content: Arc::clone(content), bundle: Arc::clone(bundle), settings })
    }

    /// How far apart answers are, over the last second or more.
    fn measure_pace(&mut self, now: Instant) {
        let (since, before) = self.counted;
        let passed = now - since;
        if passed < Duration::from_secs(1) {
            return;
        }
        let answers = self.pool.answers();
        let new = u32::try_from(answers - before).ok().filter(|new| *new > 0).map(|new| passed / new);
        self.counted = (now, answers);
        if let Some(new) = new {
            self.pace = Some(self.pace.map_or(new, |old| (old * 3 + new) / 4));
            self.pool.set_pace(self.pace);
        }
    }
}
