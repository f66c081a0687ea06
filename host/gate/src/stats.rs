//! What the calls of a release did: counters for metrics and for whoever asks how a plugin fares.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::error::{Call, Exceeded, GateError};
use crate::reuse::Trees;

/// Counters that only grow. Read them together with [`Stats::read`].
#[derive(Debug, Default)]
pub struct Stats {
    calls: [AtomicU64; 4],
    fresh: AtomicU64,
    warm: AtomicU64,
    traps: AtomicU64,
    over_cpu: AtomicU64,
    over_wall: AtomicU64,
    over_memory: AtomicU64,
    over_table: AtomicU64,
    over_hostcall: AtomicU64,
    invalid: AtomicU64,
    failed: AtomicU64,
    busy: AtomicU64,
    broken: AtomicU64,
    host: AtomicU64,
    log_dropped: AtomicU64,
    trees: Arc<Trees>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Calls of `lifecycle.check`.
    pub checks: u64,
    /// Calls of `routing.route` that ran the component.
    pub routes: u64,
    /// Calls of `auth.authenticate` that ran the component.
    pub authentications: u64,
    /// Calls of `pages.handle`.
    pub pages: u64,
    /// Instances made.
    pub fresh: u64,
    /// Calls on a used instance.
    pub warm: u64,
    /// Calls that crashed.
    pub traps: u64,
    /// Calls that computed for too long.
    pub over_cpu: u64,
    /// Calls that did not answer in time.
    pub over_wall: u64,
    /// Calls that wanted too much memory.
    pub over_memory: u64,
    /// Calls that wanted too large a table.
    pub over_table: u64,
    /// Calls that passed too much to the host.
    pub over_hostcall: u64,
    /// Answers that broke the contract.
    pub invalid: u64,
    /// Calls that the plugin said it could not answer.
    pub failed: u64,
    /// Calls that waited too long for their turn.
    pub busy: u64,
    /// Calls that were not made because the plugin failed too often.
    pub broken: u64,
    /// Calls that the host could not run.
    pub host: u64,
    /// Log lines that were not written.
    pub log_dropped: u64,
    /// What was learned.
    pub learned: Reuse,
}

/// What became of requests whose decisions may be learned, and what is learned at present. All phases and threads together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Reuse {
    /// Decisions that were found without a call.
    pub hits: u64,
    /// Decisions that were not: calls.
    pub misses: u64,
    /// Requests that found learning resting or off: calls.
    pub rested: u64,
    /// Decisions learned.
    pub inserts: u64,
    /// Decisions given up for want of room.
    pub evictions: u64,
    /// Hits for which the plugin was called all the same, to compare.
    pub reruns: u64,
    /// Comparisons that showed another decision. One is enough to switch learning off.
    pub differences: u64,
    /// Decisions held.
    pub leaves: u64,
    /// Bytes held.
    pub bytes: u64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Stats {
    pub(crate) fn new(trees: Arc<Trees>) -> Self {
        Self { trees, ..Self::default() }
    }

    pub(crate) fn called(&self, call: Call, warm: bool) {
        add(&self.calls[match call {
            Call::Check => 0,
            Call::Route => 1,
            Call::Authenticate => 2,
            Call::Page => 3,
        }]);
        add(if warm { &self.warm } else { &self.fresh });
    }

    pub(crate) fn ended(&self, error: &GateError) {
        add(match error {
            GateError::Trap { .. } => &self.traps,
            GateError::Limit { exceeded, .. } => match exceeded {
                Exceeded::Cpu(_) => &self.over_cpu,
                Exceeded::Wall(_) => &self.over_wall,
                Exceeded::Memory(_) => &self.over_memory,
                Exceeded::Table(_) => &self.over_table,
                Exceeded::Hostcall(_) => &self.over_hostcall,
            },
            GateError::Invalid { .. } => &self.invalid,
            GateError::Failed { .. } => &self.failed,
            GateError::Busy { .. } => &self.busy,
            GateError::Broken { .. } => &self.broken,
            GateError::Host { .. } => &self.host,
            // The client's mistake.
            GateError::BodyTooLarge { .. } => return,
        });
    }

    pub(crate) fn dropped_log(&self, lines: u32) {
        self.log_dropped.fetch_add(u64::from(lines), Ordering::Relaxed);
    }

    /// All of them now.
    pub fn read(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let learned = self.trees.counters();
        Counts {
            checks: of(&self.calls[0]),
            routes: of(&self.calls[1]),
            authentications: of(&self.calls[2]),
            pages: of(&self.calls[3]),
            fresh: of(&self.fresh),
            warm: of(&self.warm),
            traps: of(&self.traps),
            over_cpu: of(&self.over_cpu),
            over_wall: of(&self.over_wall),
            over_memory: of(&self.over_memory),
            over_table: of(&self.over_table),
            over_hostcall: of(&self.over_hostcall),
            invalid: of(&self.invalid),
            failed: of(&self.failed),
            busy: of(&self.busy),
            broken: of(&self.broken),
            host: of(&self.host),
            log_dropped: of(&self.log_dropped),
            learned: Reuse {
                hits: learned.hits,
                misses: learned.misses,
                rested: learned.rested,
                inserts: learned.inserts,
                evictions: learned.evictions,
                reruns: learned.reruns,
                differences: learned.differences,
                leaves: learned.leaves,
                bytes: learned.bytes,
            },
        }
    }
}
