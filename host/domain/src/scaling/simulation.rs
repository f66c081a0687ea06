//! Pools under load, tick by tick: the plan and the choice together, with workers that need time to start.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::choose::{Load, Room, least_loaded};
use super::{Defaults, Member, Pool, Settings, Stage, plan};
use crate::content::ProcessSettings;

/// One tick.
const TICK_MS: u64 = 50;
/// How long a worker takes to start.
const START_MS: u64 = 1_000;

/// How a worker serves what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One request after the other.
    Serial,
    /// All at once.
    Parallel,
}

struct Worker {
    ready_at: u64,
    /// For each request: when it came, and how much work is left.
    requests: VecDeque<(u64, u64)>,
    last_used: u64,
    held_up: bool,
}

struct World {
    settings: Settings,
    kind: Kind,
    service_ms: u64,
    now: u64,
    workers: Vec<Worker>,
    waiting: VecDeque<u64>,
    room: Room,
    starts: usize,
    drains: usize,
    answered: usize,
    longest_wait: u64,
}

impl World {
    fn new(settings: Settings, kind: Kind, service_ms: u64) -> Self {
        Self {
            settings,
            kind,
            service_ms,
            now: 0,
            workers: Vec::new(),
            waiting: VecDeque::new(),
            room: Room { most: 1, pass_held_up: true },
            starts: 0,
            drains: 0,
            answered: 0,
            longest_wait: 0,
        }
    }

    fn dispatch(&mut self) {
        while let Some(came) = self.waiting.front().copied() {
            let now = self.now;
            let loads = self.workers.iter().map(|worker| Load {
                in_flight: if worker.ready_at <= now { worker.requests.len() } else { usize::MAX },
                held_up: worker.held_up,
            });
            let Some(index) = least_loaded(loads, self.room) else { return };
            self.waiting.pop_front();
            self.workers[index].requests.push_back((now, self.service_ms));
            self.workers[index].last_used = now;
            self.longest_wait = self.longest_wait.max(now - came);
        }
    }

    fn plan(&mut self) {
        let members: Vec<Member> = self.workers.iter().map(|worker| member(worker, self.now)).collect();
        let usual = Duration::from_millis(self.service_ms);
        let waiting = self.waiting.len();
        let plan = plan(&self.settings, &Pool { members: &members, waiting, usual, time_counts: true, paused: false });
        self.room = plan.room;
        for (index, worker) in self.workers.iter_mut().enumerate() {
            worker.held_up = plan.held_up.contains(&index);
        }
        let drained = plan.drain.len();
        let mut index = 0;
        self.workers.retain(|worker| {
            let goes = plan.drain.contains(&index);
            assert!(!goes || worker.requests.is_empty(), "who drains here has nothing to do");
            index += 1;
            !goes
        });
        for _ in 0..plan.start {
            self.workers.push(Worker {
                ready_at: self.now + START_MS,
                requests: VecDeque::new(),
                last_used: self.now + START_MS,
                held_up: false,
            });
        }
        self.starts += plan.start;
        self.drains += drained;
        assert!(self.workers.len() <= self.settings.max && self.workers.len() >= self.settings.min);
    }

    /// Lets one tick pass and `arriving` requests come; answers how many requests were answered.
    fn tick(&mut self, arriving: usize) -> usize {
        self.now += TICK_MS;
        let mut done = 0;
        for worker in &mut self.workers {
            let mut budget = TICK_MS;
            for (_, left) in &mut worker.requests {
                let work = budget.min(*left);
                *left -= work;
                if self.kind == Kind::Serial {
                    budget -= work;
                }
            }
            let before = worker.requests.len();
            worker.requests.retain(|(_, left)| *left > 0);
            if before > 0 {
                worker.last_used = self.now;
            }
            done += before - worker.requests.len();
        }
        self.answered += done;
        self.waiting.extend(std::iter::repeat_n(self.now, arriving));
        self.dispatch();
        self.plan();
        self.dispatch();
        done
    }

    /// `clients` that ask again at once, for `seconds`.
    fn closed(&mut self, clients: usize, seconds: u64) {
        let open = self.waiting.len() + self.workers.iter().map(|worker| worker.requests.len()).sum::<usize>();
        let mut arriving = clients.saturating_sub(open);
        for _ in 0..seconds * 1_000 / TICK_MS {
            arriving = self.tick(arriving);
        }
    }

    /// Nobody asks any more, for `seconds`.
    fn quiet(&mut self, seconds: u64) {
        for _ in 0..seconds * 1_000 / TICK_MS {
            self.tick(0);
        }
    }
}

fn member(worker: &Worker, now: u64) -> Member {
    let n = worker.requests.len();
    let ages: u64 = worker.requests.iter().map(|(came, _)| now - came).sum();
    Member {
        stage: if worker.ready_at <= now { Stage::Ready } else { Stage::Starting },
        in_flight: n,
        unanswered: n,
        age: Duration::from_millis(ages.checked_div(n as u64).unwrap_or(0)),
        idle: Duration::from_millis(if n > 0 { 0 } else { now.saturating_sub(worker.last_used) }),
    }
}

fn settings(min: i32, max: i32, idle: i32, factor: f64) -> Settings {
    Defaults::default().resolve(&ProcessSettings {
        min_processes: Some(min),
        max_processes: Some(max),
        idle_timeout: Some(idle),
        load_factor: Some(factor),
        ..ProcessSettings::default()
    })
}

#[test]
fn one_slow_process_gets_company() {
    // Two visitors of a single-threaded API: far below the threshold of 10, and one always stands behind the other.
    let mut world = World::new(settings(0, 3, 60, 0.5), Kind::Serial, 1_000);
    world.closed(2, 30);
    assert_eq!((world.workers.len(), world.starts), (2, 2));
    // The same load on one that serves side by side needs no second process.
    let mut world = World::new(settings(0, 3, 60, 0.5), Kind::Parallel, 1_000);
    world.closed(9, 30);
    assert_eq!((world.workers.len(), world.starts), (1, 1));
    world.closed(11, 10);
    assert_eq!(world.workers.len(), 2, "the eleventh asks for a second one");
}

#[test]
fn a_ramp_grows_to_the_maximum_and_falls_back() {
    let mut world = World::new(settings(1, 4, 10, 0.5), Kind::Serial, 1_000);
    world.quiet(2);
    assert_eq!(world.workers.len(), 1, "the minimum needs no request");
    for clients in 1..=60 {
        world.closed(clients, 1);
    }
    assert_eq!((world.workers.len(), world.starts), (4, 4));
    world.quiet(60);
    assert_eq!((world.workers.len(), world.drains), (1, 3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn constant_load_settles(
        clients in 1usize..120, min in 0i32..3, more in 0i32..5, idle in 1i32..30, factor in 0.0f64..1.0,
        serial: bool, service_ticks in 1u64..60,
    ) {
        let kind = if serial { Kind::Serial } else { Kind::Parallel };
        let mut world = World::new(settings(min, (min + more).max(1), idle, factor), kind, service_ticks * TICK_MS);
        world.closed(clients, 60);
        let (starts, drains) = (world.starts, world.drains);
        prop_assert!(starts <= world.settings.max + 1, "{starts} starts until it settled");
        world.closed(clients, 120);
        prop_assert_eq!((world.starts, world.drains), (starts, drains), "what has settled stays");
        prop_assert!(world.answered > 0);
    }

    #[test]
    fn changing_load_starts_no_more_than_the_idle_time_out_allows(
        load in prop::collection::vec(0usize..4, 200..400), max in 1i32..5, idle in 2i32..20, serial: bool,
    ) {
        let kind = if serial { Kind::Serial } else { Kind::Parallel };
        let mut world = World::new(settings(0, max, idle, 0.5), kind, 300);
        for arriving in &load {
            // Half a second each.
            world.tick(*arriving);
            (0..9).for_each(|_| { world.tick(0); });
        }
        let seconds = world.now / 1_000;
        let cycles = usize::try_from(seconds).unwrap() / usize::try_from(idle).unwrap() + 1;
        prop_assert!(world.starts <= world.settings.max * cycles, "{} starts in {seconds} s", world.starts);
    }

    #[test]
    fn everybody_is_served(burst in 1usize..300, max in 1i32..5, serial: bool) {
        let kind = if serial { Kind::Serial } else { Kind::Parallel };
        let mut world = World::new(settings(0, max, 30, 0.5), kind, 100);
        world.tick(burst);
        world.quiet(60);
        prop_assert_eq!(world.answered, burst);
        prop_assert!(world.waiting.is_empty());
    }
}
