//! Admission: what happens to a request when no worker can take it at once.
//!
//! Requests wait for a worker that starts or is busy, in a queue that is bounded in length and in time; beyond either bound
//! they are told when to come back. The caller counts and measures; this module decides.

pub mod line;

use std::time::Duration;

/// Most requests of one content item that wait at a time, unless the operator says otherwise. A waiting request holds
/// its connection and its head (about 40 KiB), so a full queue costs some 40 MiB; and a worker that answers 100 requests
/// a second would need ten seconds for more, by when most visitors have left.
pub const QUEUE_LIMIT: usize = 1_000;

/// Added to the content's init time-out: starting a worker is noticed a moment after it happened.
pub const PATIENCE_MARGIN: Duration = Duration::from_secs(5);

/// Longest wait when the content's init time-out is 0 (never): every wait has an end.
pub const LONGEST_PATIENCE: Duration = Duration::from_secs(3_600);

/// Longest time a client is told to stay away.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How a request stands when it asks to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Requests of the same content that wait already, this one not counted.
    pub waiting: usize,
    /// Most that may wait.
    pub limit: usize,
    /// How long this one has waited.
    pub waited: Duration,
    /// How long it may wait in all.
    pub patience: Duration,
}

/// What to do with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission<W> {
    /// Hand it to this worker.
    Go(W),
    /// Let it wait, this much longer at most, then ask again.
    Wait {
        /// What is left of its patience; never zero.
        up_to: Duration,
    },
    /// Refuse it: too many wait already.
    Full {
        /// When to come back; at least one second.
        retry_after: Duration,
    },
    /// Refuse it: it waited as long as it may.
    TimedOut {
        /// When to come back; at least one second.
        retry_after: Duration,
    },
}

/// How long a request may wait for a worker whose content gives it `init_timeout` to start; zero means "never too long".
pub fn patience(init_timeout: Duration) -> Duration {
    if init_timeout.is_zero() { LONGEST_PATIENCE } else { (init_timeout + PATIENCE_MARGIN).min(LONGEST_PATIENCE) }
}

/// Decides about one request; `ready` can take it now. A ready worker always wins, also over a passed deadline.
pub fn decide<W>(ready: Option<W>, standing: Standing) -> Admission<W> {
    let retry_after = |share: u32| (standing.patience / share).clamp(Duration::from_secs(1), LONGEST_RETRY);
    if let Some(worker) = ready {
        return Admission::Go(worker);
    }
    match standing.patience.checked_sub(standing.waited) {
        // A queue drains as soon as the worker is there, which on average is half-way: come back soon.
        _ if standing.waited.is_zero() && standing.waiting >= standing.limit => {
            Admission::Full { retry_after: retry_after(10) }
        }
        Some(left) if !left.is_zero() => Admission::Wait { up_to: left },
        // The worker needed longer than it was given: trying at once would only meet the same start again.
        Some(_) | None => Admission::TimedOut { retry_after: retry_after(2) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn standing(waiting: usize, waited: u64) -> Standing {
        Standing { waiting, limit: 3, waited: secs(waited), patience: secs(65) }
    }

    #[test]
    fn decisions() {
        let cases = [
            (Some("w"), standing(0, 0), Admission::Go("w")),
            (Some("w"), standing(99, 99), Admission::Go("w")),
            (None, standing(0, 0), Admission::Wait { up_to: secs(65) }),
            (None, standing(2, 0), Admission::Wait { up_to: secs(65) }),
            (None, standing(3, 0), Admission::Full { retry_after: Duration::from_millis(6_500) }),
            // One that waits already is not thrown out by those behind it.
            (None, standing(3, 1), Admission::Wait { up_to: secs(64) }),
            (None, standing(0, 65), Admission::TimedOut { retry_after: Duration::from_millis(32_500) }),
            (None, standing(0, 66), Admission::TimedOut { retry_after: Duration::from_millis(32_500) }),
        ];
        for (ready, standing, expected) in cases {
            assert_eq!(decide(ready, standing), expected, "{standing:?}");
        }
    }

    #[test]
    fn patience_has_an_end() {
        assert_eq!(patience(secs(60)), secs(65));
        assert_eq!(patience(secs(0)), LONGEST_PATIENCE);
        assert_eq!(patience(secs(2_592_000)), LONGEST_PATIENCE);
    }

    proptest! {
        #[test]
        fn every_answer_is_usable(
            ready: Option<u8>,
            waiting in 0usize..5_000,
            limit in 0usize..2_000,
            waited in 0u64..9_000_000,
            patience in 0u64..9_000_000,
        ) {
            let (waited, patience) = (Duration::from_millis(waited), Duration::from_millis(patience));
            match decide(ready, Standing { waiting, limit, waited, patience }) {
                Admission::Go(worker) => prop_assert_eq!(Some(worker), ready),
                Admission::Wait { up_to } => prop_assert!(!up_to.is_zero() && up_to <= patience),
                Admission::Full { retry_after } => {
                    prop_assert!(waiting >= limit);
                    prop_assert!((secs(1)..=LONGEST_RETRY).contains(&retry_after));
                }
                Admission::TimedOut { retry_after } => {
                    prop_assert!(waited >= patience);
                    prop_assert!((secs(1)..=LONGEST_RETRY).contains(&retry_after));
                }
            }
        }
    }
}
