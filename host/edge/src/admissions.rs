//! What became of those who waited, counted over all content.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets of waits, in milliseconds: from what nobody notices to the longest default patience.
pub const WAIT_BUCKETS_MS: [u64; 8] = [10, 50, 100, 500, 1_000, 5_000, 15_000, 65_000];

/// Why somebody was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The line was full.
    Full,
    /// The visitor's own share of it was.
    Visitor,
    /// No worker could take the request in time.
    Late,
    /// No worker could be started.
    NoStart,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Full, Self::Visitor, Self::Late, Self::NoStart];

    /// A word for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Visitor => "visitor",
            Self::Late => "late",
            Self::NoStart => "no_start",
        }
    }
}

/// Counters that only grow.
#[derive(Debug, Default)]
pub struct Admissions {
    waited_ms: AtomicU64,
    waits: [AtomicU64; WAIT_BUCKETS_MS.len() + 1],
    refused: [AtomicU64; Refusal::ALL.len()],
}

impl Admissions {
    pub(crate) fn admitted(&self, waited: Duration) {
        let ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        let bucket = WAIT_BUCKETS_MS.iter().position(|most| ms <= *most).unwrap_or(WAIT_BUCKETS_MS.len());
        self.waits[bucket].fetch_add(1, Relaxed);
        self.waited_ms.fetch_add(ms, Relaxed);
    }

    pub(crate) fn refused(&self, why: Refusal) {
        self.refused[why as usize].fetch_add(1, Relaxed);
    }

    /// How many were refused for this reason.
    pub fn refusals(&self, why: Refusal) -> u64 {
        self.refused[why as usize].load(Relaxed)
    }

    /// Requests that waited and were admitted, by bucket (those of [`WAIT_BUCKETS_MS`], and one for all that waited longer), and
    /// the sum of their waits.
    pub fn waits(&self) -> (Vec<u64>, Duration) {
        let counts = self.waits.iter().map(|count| count.load(Relaxed)).collect();
        (counts, Duration::from_millis(self.waited_ms.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_fall_into_buckets() {
        let counted = Admissions::default();
        for ms in [0, 10, 11, 700, 65_001, 90_000] {
            counted.admitted(Duration::from_millis(ms));
        }
        assert_eq!(counted.waits(), (vec![2, 1, 0, 0, 1, 0, 0, 0, 2], Duration::from_millis(155_722)));
        counted.refused(Refusal::Late);
        assert_eq!(Refusal::ALL.map(|why| counted.refusals(why)), [0, 0, 1, 0]);
    }
}
