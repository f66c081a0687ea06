//! What to do about one pool: start workers, let some go, nothing; and how the request path shall fill them meanwhile.
//!
//! Two things ask for another worker. **Requests**: more than the threshold for each worker there is (Connect's rule). And **time**:
//! every worker is held up, its requests waiting longer than is usual for the content while others stand behind them. A
//! single-threaded process with one slow call has few requests, and its visitors wait all the same.
//!
//! A worker goes when it was idle for its time-out and is not needed for the minimum, or when there are more than the maximum. Both
//! directions have a distance between them: what a start was good for does not become idle by the start itself, because requests
//! are spread over all workers, the least loaded first.

use std::time::Duration;

use super::Settings;
use super::choose::Room;

/// Below this, waiting is no reason for another process: starting an interpreter costs about as much.
const HELD_UP_AT_LEAST: Duration = Duration::from_millis(500);
/// Above this, it always is one, however slow the content usually is.
const HELD_UP_AT_MOST: Duration = Duration::from_secs(10);
/// A worker that serves its requests side by side has them wait for the usual time at most; one that serves them one after
/// the other, with two of them, half as long again. In quarters.
const HELD_UP_QUARTERS: u32 = 5;

/// Where a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It does not accept connections yet.
    Starting,
    /// It does.
    Ready,
}

/// One worker of the pool. Those that drain belong to it no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Where it stands.
    pub stage: Stage,
    /// Requests and WebSockets that it has.
    pub in_flight: usize,
    /// Those among them that have not been answered yet.
    pub unanswered: usize,
    /// How long the unanswered ones have waited, on average.
    pub age: Duration,
    /// How long it has had nothing to do; zero while it has.
    pub idle: Duration,
}

/// A pool as it stands.
#[derive(Debug, Clone, Copy)]
pub struct Pool<'a> {
    /// Its workers, the oldest first.
    pub members: &'a [Member],
    /// Requests that wait for one of them.
    pub waiting: usize,
    /// How long the content takes to answer when a worker has nothing else to do; zero when that is not known yet.
    pub usual: Duration,
    /// Whether waiting says something: where sessions stay with their worker, an open request may be a poll that waits by design, and
    /// another worker would not take it.
    pub time_counts: bool,
    /// No worker may start now: the last ones failed, or the machine has no room.
    pub paused: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How many workers to start.
    pub start: usize,
    /// Which to let go, as indices of the members.
    pub drain: Vec<usize>,
    /// Which are held up, as indices of the members.
    pub held_up: Vec<usize>,
    /// How requests are to be given out until the next plan.
    pub room: Room,
}

/// After how long a wait a worker counts as held up, where an answer usually takes `usual`.
pub fn held_up_after(usual: Duration) -> Duration {
    (usual.saturating_mul(HELD_UP_QUARTERS) / 4).clamp(HELD_UP_AT_LEAST, HELD_UP_AT_MOST)
}

/// Decides about one pool. Asked again whenever something changed, and from time to time while it is busy.
pub fn plan(settings: &Settings, pool: &Pool<'_>) -> Plan {
    let members = pool.members;
    let limit = held_up_after(pool.usual);
    let is_ready = |member: &Member| member.stage == Stage::Ready;
    let is_held_up =
        |member: &Member| pool.time_counts && is_ready(member) && member.unanswered > 0 && member.age > limit;
    let live = members.len();
    let ready = members.iter().filter(|member| is_ready(member)).count();
    let starting = live - ready;
    let held_up: Vec<usize> = (0..live).filter(|index| is_held_up(&members[*index])).collect();

    let threshold = settings.threshold();
    let demand = members.iter().map(|member| member.in_flight).sum::<usize>() + pool.waiting;
    let by_requests = demand.div_ceil(threshold);
    // Somebody waits whom nobody may take, or stands behind a request that takes long: one more, and then look again.
    let stuck = ready > 0
        && held_up.len() == ready
        && (pool.waiting > 0 || held_up.iter().any(|index| members[*index].unanswered > 1));
    let by_time = if starting == 0 && (stuck || pool.waiting > 0) { live + 1 } else { 0 };
    let wanted = by_requests.max(by_time).clamp(settings.min, settings.max);

    // Not more at a time than there are: each start takes the processor away from those who serve. The minimum is wanted
    // whole.
    let at_a_time = ready.max(1).saturating_sub(starting).max(settings.min.saturating_sub(live));
    let start = if pool.paused { 0 } else { wanted.saturating_sub(live).min(at_a_time) };
    let can_grow = !pool.paused && live < settings.max;
    Plan {
        start,
        drain: to_drain(settings, members, wanted),
        held_up,
        room: Room { most: if can_grow { threshold } else { settings.max_conns }, pass_held_up: can_grow },
    }
}

/// Which workers are too many: beyond the maximum those with the fewest requests, then those that were idle for long.
fn to_drain(settings: &Settings, members: &[Member], wanted: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..members.len()).filter(|index| members[*index].stage == Stage::Ready).collect();
    // The longest idle first; of equals the youngest, whom requests reach last.
    order.sort_by_key(|index| (members[*index].in_flight, std::cmp::Reverse((members[*index].idle, *index))));
    let above = members.len().saturating_sub(settings.max);
    let unneeded = members.len().saturating_sub(wanted.max(settings.min));
    let is_idle = |member: &Member| {
        member.in_flight == 0 && !settings.idle_timeout.is_zero() && member.idle >= settings.idle_timeout
    };
    order
        .into_iter()
        .enumerate()
        .filter(|(nth, index)| *nth < above || (*nth < unneeded && is_idle(&members[*index])))
        .map(|(_, index)| index)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::ProcessSettings;
    use crate::scaling::Defaults;
    use proptest::prelude::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Connect's defaults with this minimum and maximum.
    fn settings(min: i32, max: i32) -> Settings {
        let own = ProcessSettings { min_processes: Some(min), max_processes: Some(max), ..ProcessSettings::default() };
        Defaults::default().resolve(&own)
    }

    fn starting() -> Member {
        Member { stage: Stage::Starting, in_flight: 0, unanswered: 0, age: ms(0), idle: ms(0) }
    }

    /// A ready worker with `n` requests that have waited for `age` on average.
    fn busy(n: usize, age: u64) -> Member {
        Member { stage: Stage::Ready, in_flight: n, unanswered: n, age: ms(age), idle: ms(0) }
    }

    fn idle(seconds: u64) -> Member {
        Member { stage: Stage::Ready, in_flight: 0, unanswered: 0, age: ms(0), idle: ms(seconds * 1000) }
    }

    /// A ready worker with `n` open WebSockets.
    fn sockets(n: usize) -> Member {
        Member { stage: Stage::Ready, in_flight: n, unanswered: 0, age: ms(0), idle: ms(0) }
    }

    fn check(min: i32, max: i32, members: &[Member], waiting: usize, usual: u64, start: usize, drain: &[usize]) {
        let pool = Pool { members, waiting, usual: ms(usual), time_counts: true, paused: false };
        let plan = plan(&settings(min, max), &pool);
        assert_eq!((plan.start, plan.drain.as_slice()), (start, drain), "{min}..{max} {members:?} waiting {waiting}");
    }

    #[test]
    fn requests_ask_for_workers() {
        check(0, 3, &[], 0, 0, 0, &[]);
        check(0, 3, &[], 1, 0, 1, &[]);
        check(0, 3, &[starting()], 5, 0, 0, &[]);
        // The first must show that it starts at all.
        check(0, 3, &[starting()], 50, 0, 0, &[]);
        check(0, 3, &[busy(10, 10)], 0, 100, 0, &[]);
        check(0, 3, &[sockets(10)], 1, 100, 1, &[]);
        check(0, 3, &[sockets(11)], 0, 100, 1, &[]);
        check(0, 3, &[sockets(10), sockets(10)], 0, 100, 0, &[]);
        check(0, 3, &[sockets(11), sockets(10)], 0, 100, 1, &[]);
        check(0, 9, &[sockets(10), sockets(10)], 60, 100, 2, &[]);
        check(0, 9, &[sockets(10), sockets(10), starting()], 60, 100, 1, &[]);
        check(0, 3, &[sockets(20), sockets(20), sockets(20)], 500, 100, 0, &[]);
    }

    #[test]
    fn time_asks_for_workers() {
        // Alone with a slow call, nobody waits.
        check(0, 3, &[busy(1, 60_000)], 0, 100, 0, &[]);
        // Somebody stands behind it.
        check(0, 3, &[busy(2, 600)], 0, 100, 1, &[]);
        check(0, 3, &[busy(2, 400)], 0, 100, 0, &[]);
        check(0, 3, &[busy(1, 60_000)], 1, 100, 1, &[]);
        // One second is usual: as long as it takes side by side is not held up, one after the other is.
        check(0, 3, &[busy(2, 1_000)], 0, 1_000, 0, &[]);
        check(0, 3, &[busy(2, 1_300)], 0, 1_000, 1, &[]);
        // However slow it usually is, there is an end.
        check(0, 3, &[busy(2, 10_001)], 0, 60_000, 1, &[]);
        // One at a time, and not while another one can take it.
        check(0, 3, &[busy(2, 1_300), starting()], 3, 1_000, 0, &[]);
        check(0, 3, &[busy(2, 1_300), busy(1, 10)], 0, 1_000, 0, &[]);
        check(0, 3, &[busy(2, 1_300), idle(1)], 0, 1_000, 0, &[]);
        // Open WebSockets wait for nothing.
        check(0, 3, &[sockets(9)], 0, 100, 0, &[]);
        check(0, 2, &[busy(2, 9_000), busy(2, 9_000)], 3, 100, 0, &[]);
        // Long polls of sessions.
        let members = [busy(5, 20_000)];
        let polls = Pool { members: &members, waiting: 0, usual: ms(100), time_counts: false, paused: false };
        let plan = plan(&settings(0, 3), &polls);
        assert_eq!((plan.start, plan.held_up), (0, vec![]));
    }

    #[test]
    fn idle_workers_go_but_for_the_minimum() {
        check(0, 3, &[idle(119)], 0, 100, 0, &[]);
        check(0, 3, &[idle(120)], 0, 100, 0, &[0]);
        check(1, 3, &[idle(900)], 0, 100, 0, &[]);
        check(1, 3, &[idle(900), idle(400), idle(500)], 0, 100, 0, &[0, 2]);
        check(0, 3, &[sockets(1), idle(500)], 0, 100, 0, &[1]);
        check(0, 3, &[sockets(1)], 0, 100, 0, &[]);
        // Wanted again at this very moment.
        check(0, 3, &[idle(500)], 1, 100, 1, &[]);
        // Started ones are not idle.
        check(0, 3, &[starting()], 0, 100, 0, &[]);
    }

    #[test]
    fn the_minimum_is_started_and_the_maximum_kept() {
        check(2, 3, &[], 0, 0, 2, &[]);
        check(2, 3, &[starting()], 0, 0, 1, &[]);
        check(2, 3, &[idle(0), starting()], 0, 0, 0, &[]);
        check(0, 1, &[sockets(5), sockets(2), sockets(3)], 0, 100, 0, &[1, 2]);
        check(0, 1, &[starting(), sockets(2)], 0, 100, 0, &[1]);
    }

    #[test]
    fn a_pause_starts_nothing_and_fills_what_there_is() {
        let members = [sockets(12)];
        let pool = Pool { members: &members, waiting: 4, usual: ms(100), time_counts: true, paused: true };
        let plan = plan(&settings(0, 3), &pool);
        assert_eq!((plan.start, plan.room), (0, Room { most: 20, pass_held_up: false }));
        let growing = super::plan(&settings(0, 3), &Pool { paused: false, ..pool });
        assert_eq!((growing.start, growing.room), (1, Room { most: 10, pass_held_up: true }));
        let full = super::plan(&settings(0, 1), &Pool { paused: false, ..pool });
        assert_eq!((full.start, full.room), (0, Room { most: 20, pass_held_up: false }));
    }

    fn any_member() -> impl Strategy<Value = Member> {
        (any::<bool>(), 0usize..40, 0usize..40, 0u64..20_000, 0u64..300_000).prop_map(
            |(ready, in_flight, unanswered, age, idle)| {
                let in_flight = if ready { in_flight } else { 0 };
                Member {
                    stage: if ready { Stage::Ready } else { Stage::Starting },
                    in_flight,
                    unanswered: unanswered.min(in_flight),
                    age: ms(age),
                    idle: if in_flight == 0 { ms(idle) } else { ms(0) },
                }
            },
        )
    }

    proptest! {
        #[test]
        fn bounds_hold(
            members in prop::collection::vec(any_member(), 0..12),
            min in 0i32..6, more in 0i32..6, waiting in 0usize..300, usual in 0u64..30_000, time_counts: bool,
            paused: bool,
        ) {
            let settings = settings(min, (min + more).max(1));
            let plan = plan(&settings, &Pool { members: &members, waiting, usual: ms(usual), time_counts, paused });
            let after = members.len() + plan.start - plan.drain.len();
            prop_assert!(plan.start == 0 || members.len() + plan.start <= settings.max, "never above the maximum");
            prop_assert!(plan.drain.is_empty() || after >= settings.min, "never drained below the minimum");
            prop_assert!(plan.start == 0 || plan.drain.is_empty(), "never both");
            prop_assert!(!paused || plan.start == 0);
            prop_assert!(paused || after >= settings.min || plan.start > 0, "the minimum is always being reached");
            for index in &plan.drain {
                let member = members[*index];
                prop_assert_eq!(member.stage, Stage::Ready);
                let surplus = members.len() > settings.max;
                prop_assert!(surplus || (member.in_flight == 0 && member.idle >= settings.idle_timeout));
            }
            prop_assert!((1..=settings.max_conns).contains(&plan.room.most));
        }

        #[test]
        fn whoever_waits_gets_a_worker(
            members in prop::collection::vec(any_member(), 0..5), waiting in 1usize..300, usual in 0u64..30_000,
        ) {
            let settings = settings(0, 5);
            let pool = Pool { members: &members, waiting, usual: ms(usual), time_counts: true, paused: false };
            let plan = plan(&settings, &pool);
            let starting = members.iter().any(|member| member.stage == Stage::Starting);
            // Another one comes, or all there may be are there and are filled to the last place.
            prop_assert!(plan.start > 0 || starting || (members.len() == 5 && plan.room.most == settings.max_conns));
        }
    }
}
