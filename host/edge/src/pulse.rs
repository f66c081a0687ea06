//! What every request of a pool touches: how many wait, and how fast answers come.

use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::time::Duration;

/// Of each new time to an answer this part is taken into the average: a change shows after some ten answers.
const NEWS: u64 = 8;

/// Counters of one pool.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    waiting: AtomicUsize,
    /// Average time to an answer where a worker had nothing else to do, in microseconds; 0: not known.
    usual_us: AtomicU64,
    answers: AtomicU64,
}

impl Pulse {
    /// How many wait. Ordered with the counts of workers: whoever begins to wait says so here and looks for a place then;
    /// whoever frees a place looks here then. One of the two sees the other.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    pub(crate) fn set_waiting(&self, waiting: usize) {
        self.waiting.store(waiting, SeqCst);
    }

    /// Counts an answer, and learns from one that stood behind nobody and took `alone`.
    pub(crate) fn answered(&self, alone: Option<Duration>) {
        self.answers.fetch_add(1, Relaxed);
        if let Some(took) = alone {
            let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
            let old = self.usual_us.load(Relaxed);
            // Of two threads' news at once one may be lost.
            let new = if old == 0 { took } else { old - old / NEWS + took / NEWS };
            self.usual_us.store(new.max(1), Relaxed);
        }
    }

    /// Average time to an answer where a worker had nothing else to do; zero: not known.
    pub(crate) fn usual(&self) -> Duration {
        Duration::from_micros(self.usual_us.load(Relaxed))
    }

    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_time_follows_the_answers() {
        let pulse = Pulse::default();
        pulse.answered(None);
        assert_eq!((pulse.usual(), pulse.answers()), (Duration::ZERO, 1));
        pulse.answered(Some(Duration::from_secs(1)));
        assert_eq!(pulse.usual(), Duration::from_secs(1), "the first is all that is known");
        (0..40).for_each(|_| pulse.answered(Some(Duration::from_millis(10))));
        assert!((Duration::from_millis(10)..Duration::from_millis(50)).contains(&pulse.usual()), "{:?}", pulse.usual());
        pulse.answered(Some(Duration::ZERO));
        assert!(!pulse.usual().is_zero(), "known stays known");
    }
}
