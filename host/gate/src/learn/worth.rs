//! Whether learning pays. Pure: counts walks, knows no tree.
//!
//! A plugin that reads whole paths or all fields never finds its decision again: recording and keeping is then a waste. But so
//! it looks in a flood of one-off requests, and a flood must not switch learning off. So a tree that never paid rests after
//! one bad window and one that did after ten in a row; and a rest ends.

use serde::{Deserialize, Serialize};

/// Walks of one window.
const WINDOW: u32 = 10_000;
/// Hits of a window, in percent, below which it is bad.
const FEWEST_HITS_PERCENT: u32 = 5;
/// Bad windows in a row that a tree with a good one behind it is given: about 100,000 requests.
const PATIENCE: u32 = 10;
/// Requests that a rest lasts: a useless tree then learns one request in ten.
const REST: u32 = 9 * WINDOW;

/// Why learning rests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// Hits among the last walks.
    pub hits: u32,
    /// How many walks those were.
    pub walks: u32,
    /// What stands in the way, in words.
    pub why: String,
}

#[derive(Default)]
pub(super) struct Worth {
    walks: u32,
    hits: u32,
    bad: u32,
    paid: bool,
    rest: u32,
}

impl Worth {
    /// Counts one walk. `Some`: learning should rest; hits and walks of the window.
    pub(super) fn count(&mut self, hit: bool) -> Option<(u32, u32)> {
        self.walks += 1;
        self.hits += u32::from(hit);
        if self.walks < WINDOW {
            return None;
        }
        let (hits, walks) = (std::mem::take(&mut self.hits), std::mem::take(&mut self.walks));
        if hits >= walks / 100 * FEWEST_HITS_PERCENT {
            (self.bad, self.paid) = (0, true);
            return None;
        }
        self.bad += 1;
        if self.paid && self.bad < PATIENCE {
            return None;
        }
        *self = Self { rest: REST, ..Self::default() };
        Some((hits, walks))
    }

    /// Whether this request finds it resting.
    pub(super) fn rests(&mut self) -> bool {
        let rests = self.rest > 0;
        self.rest = self.rest.saturating_sub(1);
        rests
    }

    /// Whether the next one will.
    pub(super) fn is_resting(&self) -> bool {
        self.rest > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks of which one in `one_in` hits; the number of the walk after which learning rests, if it does.
    fn rests_after(worth: &mut Worth, walks: u32, one_in: u32) -> Option<u32> {
        (1..=walks).find(|n| worth.count(n % one_in == 0).is_some())
    }

    #[test]
    fn what_never_paid_rests_and_wakes() {
        let mut worth = Worth::default();
        assert_eq!(rests_after(&mut worth, 20_000, 21), Some(10_000));
        let resting = (0..100_000).take_while(|_| worth.rests()).count();
        assert_eq!((resting, worth.is_resting()), (90_000, false));
        assert_eq!(rests_after(&mut worth, 30_000, 20), None);
    }

    #[test]
    fn a_flood_has_to_last() {
        let mut worth = Worth::default();
        assert_eq!(rests_after(&mut worth, 10_000, 2), None);
        assert_eq!(rests_after(&mut worth, 90_000, 101), None);
        assert_eq!(rests_after(&mut worth, 10_000, 2), None, "one good window forgives");
        assert_eq!(rests_after(&mut worth, 200_000, 101), Some(100_000));
    }
}
