//! A counter that many threads raise without slowing each other.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::learn::seat;

/// Parts of a counter. With more threads some share one, which is slower and no less correct.
const PARTS: usize = 16;

/// On a cache line of its own (two, as processors fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part(AtomicU64);

/// The counter.
#[derive(Debug, Default)]
pub(crate) struct Tally([Part; PARTS]);

impl Tally {
    /// Counts one.
    pub(crate) fn add(&self) {
        self.0[seat() % PARTS].0.fetch_add(1, Ordering::Relaxed);
    }

    /// All so far.
    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().map(|part| part.0.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_count() {
        let tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..PARTS + 3 {
                scope.spawn(|| (0..100).for_each(|_| tally.add()));
            }
        });
        assert_eq!(tally.sum(), (PARTS as u64 + 3) * 100);
    }
}
