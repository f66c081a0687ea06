//! The life of a worker: `Starting → Ready → Draining → Exited`, with `Backoff` after it ended by itself.
//!
//! Pure: [`Worker::step`] takes what happened and the time, and says what to do. The supervisor drives one of these per
//! process; the server's fleet drives one per place that a process may fill, and launches again when `Backoff` allows it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on a clock that never goes backwards, counted from an origin that the clock's owner chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub Duration);

impl Moment {
    /// The moment `wait` later; the last moment there is when that cannot be counted.
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }

    /// The time from `earlier` until now; zero when `earlier` lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// How long to wait before a worker that ended by itself may run again: `base`, doubled with every crash in a row, at
/// most `cap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// The wait after the first crash.
    pub base: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// A worker that was ready for this long had recovered: its next crash counts as the first.
    pub healthy_after: Duration,
}

impl Default for Backoff {
    /// One second to one minute; a minute of service counts as recovered. A crash loop then costs at most one start a
    /// minute, and a visitor of a repaired app waits no longer than that.
    fn default() -> Self {
        Self { base: Duration::from_secs(1), cap: Duration::from_secs(60), healthy_after: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The wait after the `crashes`th crash in a row, counted from one.
    pub fn delay(&self, crashes: u32) -> Duration {
        let doublings = crashes.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }

    /// The number of crashes in a row, when one more comes after `served` of being ready and `before` were counted.
    pub fn count(&self, before: u32, served: Duration) -> u32 {
        if served >= self.healthy_after { 1 } else { before.saturating_add(1) }
    }
}

/// The times that [`Worker::step`] decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a worker may take until it accepts a connection.
    pub init_timeout: Duration,
    /// When it may run again after a crash.
    pub backoff: Backoff,
}

/// Why a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It was asked to.
    Stopped,
    /// Its process could not be started.
    NotStarted,
    /// It ended by itself before it accepted a connection.
    FailedToStart,
    /// It accepted no connection in time and was killed.
    NeverListened,
    /// It ended by itself after it had been ready.
    Crashed,
}

/// How a process ended, as the kernel says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It ended with this status, 0 to 255.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Somebody needs the worker.
    Launch,
    /// The process could not be started.
    NotStarted,
    /// The worker accepted a connection on its socket.
    Accepting,
    /// The worker shall end: now by SIGTERM, after `grace` by SIGKILL. A grace of zero kills at once.
    Stop {
        /// How long SIGTERM may take.
        grace: Duration,
    },
    /// The process has ended.
    Ended,
    /// Time has passed; due at [`Worker::wake_at`].
    Tick,
}

/// What to do about it, in the order given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start a process.
    Spawn,
    /// Requests may go to it.
    Announce,
    /// No further request may go to it.
    Withdraw,
    /// Ask it to end.
    Term,
    /// End it.
    Kill,
    /// It has ended: end what it left running, keep its report, remove its private directory.
    Clean,
}

/// Where a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Worker {
    /// A process is starting.
    Starting {
        /// When it must accept a connection.
        deadline: Moment,
        /// Crashes in a row before it.
        crashes: u32,
    },
    /// It accepts connections.
    Ready {
        /// Since when.
        since: Moment,
        /// Crashes in a row before it.
        crashes: u32,
    },
    /// It has been told to end.
    Draining {
        /// When SIGKILL is due; `None` once sent.
        kill_at: Option<Moment>,
        /// Why it ends.
        ending: Ending,
        /// The crashes in a row that its end makes, when it may be launched again; `None` when it was asked to stop.
        crashes: Option<u32>,
    },
    /// It ended by itself and may be launched again later.
    Backoff {
        /// When.
        until: Moment,
        /// Crashes in a row.
        crashes: u32,
        /// Why it ended.
        ending: Ending,
    },
    /// It ended and stays so.
    Exited {
        /// Why it ended.
        ending: Ending,
    },
}

impl Worker {
    /// A worker that starts now, for the first time.
    pub fn launch(now: Moment, limits: &Limits) -> (Self, Vec<Action>) {
        Self::start(0, now, limits)
    }

    /// The next state, and what to do.
    ///
    /// Total: an event that means nothing in a state (a connection accepted by a worker that is being stopped, say)
    /// leaves it as it is. `now` must not be earlier than in the call before.
    pub fn step(self, event: Event, now: Moment, limits: &Limits) -> (Self, Vec<Action>) {
        match (self, event) {
            (Self::Starting { crashes, .. }, Event::Accepting) => {
                (Self::Ready { since: now, crashes }, vec![Action::Announce])
            }
            (Self::Starting { crashes, .. }, Event::NotStarted) => {
                (Self::ended(Ending::NotStarted, Some(crashes.saturating_add(1)), now, limits), vec![Action::Clean])
            }
            (Self::Starting { crashes, .. }, Event::Ended) => {
                (Self::ended(Ending::FailedToStart, Some(crashes.saturating_add(1)), now, limits), vec![Action::Clean])
            }
            (Self::Starting { deadline, crashes }, Event::Tick) if now >= deadline => {
                let crashes = Some(crashes.saturating_add(1));
                (Self::Draining { kill_at: None, ending: Ending::NeverListened, crashes }, vec![Action::Kill])
            }
            (Self::Starting { .. }, Event::Stop { grace }) => Self::drain(grace, now, vec![]),
            (Self::Starting { .. }, Event::Launch | Event::Tick) => (self, vec![]),

            (Self::Ready { since, crashes }, Event::Ended) => {
                let crashes = limits.backoff.count(crashes, now.since(since));
                (Self::ended(Ending::Crashed, Some(crashes), now, limits), vec![Action::Withdraw, Action::Clean])
            }
            (Self::Ready { .. }, Event::Stop { grace }) => Self::drain(grace, now, vec![Action::Withdraw]),
            (Self::Ready { .. }, Event::Launch | Event::NotStarted | Event::Accepting | Event::Tick) => (self, vec![]),

            (Self::Draining { ending, crashes, .. }, Event::Ended) => {
                (Self::ended(ending, crashes, now, limits), vec![Action::Clean])
            }
            (Self::Draining { kill_at: Some(at), ending, crashes }, Event::Tick) if now >= at => {
                (Self::Draining { kill_at: None, ending, crashes }, vec![Action::Kill])
            }
            // A second request can hasten the end, never delay it.
            (Self::Draining { kill_at: Some(at), ending, .. }, Event::Stop { grace }) => {
                if grace.is_zero() {
                    (Self::Draining { kill_at: None, ending, crashes: None }, vec![Action::Kill])
                } else {
                    let kill_at = Some(at.min(now.after(grace)));
                    (Self::Draining { kill_at, ending, crashes: None }, vec![])
                }
            }
            (Self::Draining { kill_at: None, ending, .. }, Event::Stop { .. }) => {
                (Self::Draining { kill_at: None, ending, crashes: None }, vec![])
            }
            (Self::Draining { .. }, Event::Launch | Event::NotStarted | Event::Accepting | Event::Tick) => {
                (self, vec![])
            }

            (Self::Backoff { until, crashes, .. }, Event::Launch) if now >= until => Self::start(crashes, now, limits),
            (Self::Backoff { ending, .. }, Event::Stop { .. }) => (Self::Exited { ending }, vec![]),
            (
                Self::Backoff { .. },
                Event::Launch | Event::NotStarted | Event::Accepting | Event::Ended | Event::Tick,
            ) => (self, vec![]),

            (
                Self::Exited { .. },
                Event::Launch | Event::NotStarted | Event::Accepting | Event::Stop { .. } | Event::Ended | Event::Tick,
            ) => (self, vec![]),
        }
    }

    /// When the next [`Event::Tick`] is due; `None` when time alone changes nothing.
    ///
    /// The end of a back-off is not one: it needs a [`Event::Launch`].
    pub fn wake_at(&self) -> Option<Moment> {
        match self {
            Self::Starting { deadline, .. } => Some(*deadline),
            Self::Draining { kill_at, .. } => *kill_at,
            Self::Ready { .. } | Self::Backoff { .. } | Self::Exited { .. } => None,
        }
    }

    /// Whether a process runs, or is about to.
    pub fn is_running(&self) -> bool {
        match self {
            Self::Starting { .. } | Self::Ready { .. } | Self::Draining { .. } => true,
            Self::Backoff { .. } | Self::Exited { .. } => false,
        }
    }

    fn start(crashes: u32, now: Moment, limits: &Limits) -> (Self, Vec<Action>) {
        (Self::Starting { deadline: now.after(limits.init_timeout), crashes }, vec![Action::Spawn])
    }

    fn drain(grace: Duration, now: Moment, mut actions: Vec<Action>) -> (Self, Vec<Action>) {
        let kill_at = (!grace.is_zero()).then(|| now.after(grace));
        actions.push(if kill_at.is_some() { Action::Term } else { Action::Kill });
        (Self::Draining { kill_at, ending: Ending::Stopped, crashes: None }, actions)
    }

    fn ended(ending: Ending, crashes: Option<u32>, now: Moment, limits: &Limits) -> Self {
        match crashes {
            Some(crashes) => Self::Backoff { until: now.after(limits.backoff.delay(crashes)), crashes, ending },
            None => Self::Exited { ending },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        init_timeout: Duration::from_secs(60),
        backoff: Backoff {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            healthy_after: Duration::from_secs(300),
        },
    };

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn stop(seconds: u64) -> Event {
        Event::Stop { grace: Duration::from_secs(seconds) }
    }

    #[track_caller]
    fn check(from: Worker, event: Event, now: u64, to: Worker, actions: &[Action]) {
        assert_eq!(from.step(event, at(now), &LIMITS), (to, actions.to_vec()), "{from:?} on {event:?} at {now}");
    }

    fn starting(deadline: u64, crashes: u32) -> Worker {
        Worker::Starting { deadline: at(deadline), crashes }
    }

    fn ready(since: u64, crashes: u32) -> Worker {
        Worker::Ready { since: at(since), crashes }
    }

    fn draining(kill_at: Option<u64>, ending: Ending, crashes: Option<u32>) -> Worker {
        Worker::Draining { kill_at: kill_at.map(at), ending, crashes }
    }

    fn backoff(until: u64, crashes: u32, ending: Ending) -> Worker {
        Worker::Backoff { until: at(until), crashes, ending }
    }

    #[test]
    fn starting_becomes_ready_or_ends() {
        assert_eq!(Worker::launch(at(5), &LIMITS), (starting(65, 0), vec![Action::Spawn]));
        check(starting(65, 2), Event::Accepting, 6, ready(6, 2), &[Action::Announce]);
        check(starting(65, 0), Event::Ended, 6, backoff(7, 1, Ending::FailedToStart), &[Action::Clean]);
        check(starting(65, 2), Event::NotStarted, 6, backoff(10, 3, Ending::NotStarted), &[Action::Clean]);
        check(starting(65, 0), Event::Tick, 64, starting(65, 0), &[]);
        check(starting(65, 0), Event::Launch, 64, starting(65, 0), &[]);
        let killed = draining(None, Ending::NeverListened, Some(1));
        check(starting(65, 0), Event::Tick, 65, killed, &[Action::Kill]);
        check(killed, Event::Accepting, 65, killed, &[]);
        check(killed, Event::Ended, 66, backoff(67, 1, Ending::NeverListened), &[Action::Clean]);
        check(starting(65, 0), stop(5), 6, draining(Some(11), Ending::Stopped, None), &[Action::Term]);
    }

    #[test]
    fn a_crash_counts_unless_the_worker_had_recovered() {
        let actions = [Action::Withdraw, Action::Clean];
        check(ready(10, 4), Event::Ended, 309, backoff(325, 5, Ending::Crashed), &actions);
        check(ready(10, 4), Event::Ended, 310, backoff(311, 1, Ending::Crashed), &actions);
        for event in [Event::Launch, Event::NotStarted, Event::Accepting, Event::Tick] {
            check(ready(10, 4), event, 20, ready(10, 4), &[]);
        }
    }

    #[test]
    fn stopping_asks_first_then_kills() {
        let asked = draining(Some(25), Ending::Stopped, None);
        let killed = draining(None, Ending::Stopped, None);
        check(ready(10, 0), stop(5), 20, asked, &[Action::Withdraw, Action::Term]);
        check(ready(10, 0), stop(0), 20, killed, &[Action::Withdraw, Action::Kill]);
        check(asked, Event::Tick, 24, asked, &[]);
        check(asked, Event::Tick, 25, killed, &[Action::Kill]);
        check(asked, stop(1), 21, draining(Some(22), Ending::Stopped, None), &[]);
        check(asked, stop(100), 21, asked, &[]);
        check(asked, stop(0), 21, killed, &[Action::Kill]);
        check(killed, Event::Tick, 99, killed, &[]);
        check(asked, Event::Ended, 22, Worker::Exited { ending: Ending::Stopped }, &[Action::Clean]);
        // Asked to stop while it is killed for not listening: it keeps the reason and does not come back.
        let hopeless = draining(None, Ending::NeverListened, None);
        check(draining(None, Ending::NeverListened, Some(1)), stop(5), 66, hopeless, &[]);
        check(hopeless, Event::Ended, 67, Worker::Exited { ending: Ending::NeverListened }, &[Action::Clean]);
    }

    #[test]
    fn backoff_ends_by_a_launch_in_time_or_a_stop() {
        let waiting = backoff(30, 3, Ending::Crashed);
        check(waiting, Event::Launch, 29, waiting, &[]);
        check(waiting, Event::Tick, 40, waiting, &[]);
        check(waiting, Event::Launch, 30, starting(90, 3), &[Action::Spawn]);
        check(waiting, stop(5), 20, Worker::Exited { ending: Ending::Crashed }, &[]);
    }

    #[test]
    fn a_moment_that_lies_ahead_ages_nothing() {
        assert_eq!(at(5).since(at(9)), Duration::ZERO);
        assert_eq!(Moment(Duration::MAX).after(Duration::from_secs(1)), Moment(Duration::MAX));
        // A clock read out of order counts as no service at all, and kills nobody early.
        check(ready(10, 1), Event::Ended, 4, backoff(6, 2, Ending::Crashed), &[Action::Withdraw, Action::Clean]);
        check(starting(65, 0), Event::Tick, 1, starting(65, 0), &[]);
    }

    #[test]
    fn delays_double_up_to_the_cap() {
        let seconds = [(0, 1), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (100, 60), (u32::MAX, 60)];
        for (crashes, delay) in seconds {
            assert_eq!(LIMITS.backoff.delay(crashes), Duration::from_secs(delay), "{crashes}");
        }
    }

    fn events() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Launch),
            Just(Event::NotStarted),
            Just(Event::Accepting),
            (0_u64..20).prop_map(stop),
            Just(Event::Ended),
            Just(Event::Tick),
        ]
    }

    proptest! {
        /// Any story, told in any order: what the driver relies on.
        #[test]
        fn any_story_keeps_the_promises(story in prop::collection::vec((events(), 0_u64..40), 0..60)) {
            let mut now = at(0);
            let (mut state, first) = Worker::launch(now, &LIMITS);
            prop_assert_eq!(first, vec![Action::Spawn]);
            let (mut alive, mut announced, mut asked, mut killed) = (true, false, None, false);
            for (event, pause) in story {
                now = now.after(Duration::from_secs(pause));
                let before = state;
                let (after, actions) = state.step(event, now, &LIMITS);
                if let Worker::Exited { .. } = before {
                    prop_assert_eq!((after, actions.len()), (before, 0), "exited is the end");
                }
                if matches!(after, Worker::Ready { .. }) && before != after {
                    let accepted = matches!(before, Worker::Starting { .. }) && event == Event::Accepting;
                    prop_assert!(accepted, "ready only by accepting, while starting");
                }
                for action in actions {
                    match action {
                        Action::Spawn => {
                            prop_assert!(!alive, "one process at a time");
                            (alive, announced, asked, killed) = (true, false, None, false);
                        }
                        Action::Announce => {
                            prop_assert!(alive && !announced);
                            announced = true;
                        }
                        Action::Withdraw => {
                            prop_assert!(announced);
                            announced = false;
                        }
                        Action::Term => {
                            prop_assert!(alive && asked.is_none() && !killed && !announced);
                            asked = Some(now);
                        }
                        Action::Kill => {
                            prop_assert!(alive && !killed && !announced, "killed once, out of service");
                            killed = true;
                        }
                        Action::Clean => {
                            prop_assert!(alive && !announced, "cleaned once, out of service");
                            alive = false;
                        }
                    }
                }
                prop_assert_eq!(after.is_running(), alive);
                if let Worker::Draining { kill_at, .. } = after {
                    prop_assert!(kill_at.is_some() != killed, "a request to end is followed by a kill, or was");
                    let latest = asked.map(|asked| asked.after(Duration::from_secs(20)));
                    prop_assert!(kill_at.is_none() || kill_at <= latest, "within the longest grace given");
                }
                if let (Worker::Backoff { until, .. }, false) = (after, matches!(before, Worker::Backoff { .. })) {
                    let wait = until.since(now);
                    prop_assert!(wait >= LIMITS.backoff.base && wait <= LIMITS.backoff.cap);
                }
                state = after;
            }
            // However the story went: ticks alone bring every process that does not listen or does not end to a kill.
            while let Some(due) = state.wake_at() {
                now = now.max(due);
                let (after, actions) = state.step(Event::Tick, now, &LIMITS);
                prop_assert_eq!(actions, vec![Action::Kill]);
                state = after;
            }
        }
    }
}
