//! The learned decisions of one release, hook and phase, for all threads.
//!
//! Each thread has a tree of its own, behind a lock that nobody else takes while requests are served: that costs about ten
//! nanoseconds, where a shared tree would have all cores write to the same lines of memory on every hit, and a tree without
//! a lock could not be looked at from outside. The price is that each thread learns for itself. Threads take shards in turn
//! when they first walk; with more threads than shards some share one, which is slower and no less correct.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::counters::Counters;
use super::decision::{Decision, Learnable, Off, Outcome, Walk};
use super::encode::{Ask, Key};
use super::explain::{Report, Snapshot};
use super::record::Recorder;
use super::taint::NotLearned;
use super::tree::{Settings, Tree};

static NEXT_SEAT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SEAT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// This thread's number: the first thread that asks has 0.
pub(crate) fn seat() -> usize {
    SEAT.with(|seat| {
        let number = seat.get().unwrap_or_else(|| NEXT_SEAT.fetch_add(1, Ordering::Relaxed));
        seat.set(Some(number));
        number
    })
}

/// On a cache line of its own (two, as processors fetch them in pairs): else the threads' locks would slow each other.
#[repr(align(128))]
struct Shard<D>(Mutex<Tree<D>>);

/// What a plugin decided before, found without calling it.
///
/// Times are in milliseconds of one clock of the caller's; where [`Recorder::holds_until`] is used, of the same one. For
/// [`Learned::learn`] it is read after the call.
pub struct Learned<D> {
    shards: Box<[Shard<D>]>,
    off: OnceLock<Off>,
}

impl<D: Decision> Learned<D> {
    /// An empty one with a tree for each of `threads` threads. `settings` bounds each tree.
    pub fn new(threads: NonZeroUsize, settings: &Settings, key: Key) -> Self {
        let shard = |_| Shard(Mutex::new(Tree::new(key, settings.clone())));
        Self { shards: (0..threads.get()).map(shard).collect(), off: OnceLock::new() }
    }

    /// Looks for the decision about the request that `asker` answers for. The time is asked for where a decision ends.
    pub fn walk<A: Ask + ?Sized>(&self, asker: &mut A, now_ms: impl FnOnce() -> u64) -> Walk<D> {
        if self.off.get().is_some() {
            return Walk::Off;
        }
        self.mine().map_or(Walk::Off, |tree| tree.lock().walk(asker, now_ms))
    }

    /// Takes in a call that was recorded after a miss or for a comparison, with its decision. Failed calls, traps and
    /// time-outs are never handed in, nor calls on instances that were used before.
    pub fn learn(&self, call: Recorder, decision: &D, learnable: Learnable, now_ms: u64) -> Outcome {
        if self.off.get().is_some() {
            return Outcome::NotLearned(NotLearned::Off);
        }
        let Some(tree) = self.mine() else { return Outcome::NotLearned(NotLearned::Off) };
        let outcome = tree.lock().learn(call, decision, learnable, now_ms);
        if let Outcome::SwitchedOff(off) = &outcome {
            // The first reason stays. What the other threads learned came from the same plugin.
            let _ = self.off.set(off.clone());
            self.shards.iter().for_each(|shard| shard.0.lock().give_up());
        }
        outcome
    }

    /// Why learning is off, if it is.
    pub fn off(&self) -> Option<&Off> {
        self.off.get()
    }

    /// The counts of all threads.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        self.shards.iter().for_each(|shard| sum.add(&shard.0.lock().counters()));
        sum
    }

    /// What was learned, as operators may see it. `known` says whether a text that a plugin gave a question as argument is known
    /// to be no credential, because it stands in the component or its configuration.
    ///
    /// Each thread waits while its tree is copied: some milliseconds for a full one.
    pub fn explain(&self, now_ms: u64, known: &dyn Fn(&str) -> bool) -> Report {
        let snapshots: Vec<_> = self.shards.iter().map(|shard| Snapshot::of(&shard.0.lock())).collect();
        Report::of(&snapshots, self.off.get(), self.counters(), now_ms, known)
    }

    fn mine(&self) -> Option<&Mutex<Tree<D>>> {
        self.shards.get(seat() % self.shards.len().max(1)).map(|shard| &shard.0)
    }
}

impl<D: Decision> fmt::Debug for Learned<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learned").field("off", &self.off).field("counters", &self.counters()).finish_non_exhaustive()
    }
}
