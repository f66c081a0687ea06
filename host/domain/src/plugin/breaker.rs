//! Stops calling a plugin that keeps failing, tries it again after a growing pause, and says when a new version has used up
//! its budget of failures. Pure: time is an argument, in milliseconds of any steady clock.

use serde::{Deserialize, Serialize};

/// The length of a window in which failures are counted, in milliseconds.
const WINDOW_MS: u64 = 10_000;
/// First and longest pause of an open breaker, in milliseconds.
const PAUSES_MS: (u64, u64) = (1_000, 60_000);
/// Failures below this number say nothing about a share.
const FEWEST_FAILURES: u32 = 5;

/// How many failures a binding tolerates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Share of failed calls, in hundredths of a percent, above which a version is given up when at least five failed within
    /// ten seconds. An older version takes over where there is one.
    pub rollback_per_ten_thousand: u16,
    /// The same for a version with nothing to go back to: it is not called for a while.
    pub open_per_ten_thousand: u16,
}

impl Budget {
    /// Tolerates everything: for tests and tools that look at each failure themselves.
    pub const ENDLESS: Self = Self { rollback_per_ten_thousand: 10_000, open_per_ten_thousand: 10_000 };
}

impl Default for Budget {
    fn default() -> Self {
        Self { rollback_per_ten_thousand: 200, open_per_ten_thousand: 5_000 }
    }
}

/// How a call ended, as far as the breaker cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// It gave a decision.
    Answered,
    /// It trapped, ran into a limit, broke the contract or said that it cannot answer.
    Failed,
}

/// What a breaker says of a call that wants to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Make it.
    Go,
    /// Make it: this one decides whether the breaker closes.
    Probe,
    /// Do not; the next may be tried after so many milliseconds.
    Wait(u64),
}

/// What a breaker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused until then, in milliseconds.
    Open {
        /// When the next call may be tried.
        until_ms: u64,
        /// How long this pause is.
        pause_ms: u64,
    },
    /// One call is being tried.
    Probing {
        /// How long the pause before was.
        pause_ms: u64,
        /// When it was let through: a probe that never reports must not close the gate for ever.
        since_ms: u64,
    },
}

/// The breaker of one release at one binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    budget: Budget,
    state: BreakerState,
    window_ms: u64,
    calls: u32,
    failures: u32,
}

impl Breaker {
    /// A closed one.
    pub fn new(budget: Budget) -> Self {
        Self { budget, state: BreakerState::Closed, window_ms: 0, calls: 0, failures: 0 }
    }

    /// What it is doing.
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Calls and failures in the present window.
    pub fn counts(&self) -> (u32, u32) {
        (self.calls, self.failures)
    }

    /// Whether a call may be made now.
    pub fn ask(&mut self, now_ms: u64) -> Passage {
        match self.state {
            BreakerState::Closed => Passage::Go,
            BreakerState::Open { until_ms, .. } if now_ms < until_ms => Passage::Wait(until_ms - now_ms),
            BreakerState::Open { pause_ms, .. } => {
                self.state = BreakerState::Probing { pause_ms, since_ms: now_ms };
                Passage::Probe
            }
            BreakerState::Probing { pause_ms, since_ms } if now_ms.saturating_sub(since_ms) >= pause_ms => {
                self.state = BreakerState::Probing { pause_ms, since_ms: now_ms };
                Passage::Probe
            }
            BreakerState::Probing { pause_ms, since_ms } => Passage::Wait(pause_ms - now_ms.saturating_sub(since_ms)),
        }
    }

    /// Counts decisions that were given without a call since `since_ms`: as answered, and as far as they fall into the present
    /// window, taking them to be evenly spread.
    pub fn count_reused(&mut self, reused: u64, since_ms: u64, now_ms: u64) {
        self.turn(now_ms);
        let span = now_ms.saturating_sub(since_ms);
        let within = now_ms.saturating_sub(since_ms.max(self.window_ms));
        let share = u128::from(reused) * u128::from(within) / u128::from(span.max(1));
        self.calls = self.calls.saturating_add(u32::try_from(share).unwrap_or(u32::MAX));
    }

    /// Begins a new window when the present one is over.
    fn turn(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.window_ms) >= WINDOW_MS {
            (self.window_ms, self.calls, self.failures) = (now_ms, 0, 0);
        }
    }

    /// Counts a call. `true`: the budget for a rollback is used up.
    pub fn count(&mut self, call: Call, now_ms: u64) -> bool {
        self.turn(now_ms);
        self.calls = self.calls.saturating_add(1);
        match (call, self.state) {
            (Call::Answered, BreakerState::Probing { .. }) => {
                self.state = BreakerState::Closed;
                (self.window_ms, self.calls, self.failures) = (now_ms, 0, 0);
                false
            }
            (Call::Answered, BreakerState::Closed | BreakerState::Open { .. }) => false,
            (Call::Failed, BreakerState::Probing { pause_ms, .. }) => {
                let pause_ms = (pause_ms * 2).min(PAUSES_MS.1);
                self.state = BreakerState::Open { until_ms: now_ms + pause_ms, pause_ms };
                false
            }
            // A call that began before it opened.
            (Call::Failed, BreakerState::Open { .. }) => false,
            (Call::Failed, BreakerState::Closed) => {
                self.failures = self.failures.saturating_add(1);
                if self.over(self.budget.open_per_ten_thousand) {
                    self.state = BreakerState::Open { until_ms: now_ms + PAUSES_MS.0, pause_ms: PAUSES_MS.0 };
                }
                self.over(self.budget.rollback_per_ten_thousand)
            }
        }
    }

    fn over(&self, per_ten_thousand: u16) -> bool {
        self.failures >= FEWEST_FAILURES
            && u64::from(self.failures) * 10_000 > u64::from(per_ten_thousand) * u64::from(self.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(Budget::default())
    }

    #[test]
    fn a_few_failures_are_no_reason() {
        let mut one = breaker();
        for n in 0..4 {
            assert!(!one.count(Call::Failed, n));
        }
        assert_eq!(one.ask(5), Passage::Go);
    }

    #[test]
    fn decisions_without_a_call_count_as_answered() {
        let mut one = breaker();
        one.count(Call::Answered, 20_000);
        // From 18 s to 22 s, of which the window has the second half.
        one.count_reused(1_000, 18_000, 22_000);
        assert_eq!(one.counts(), (501, 0));
        assert!((0..10).all(|_| !one.count(Call::Failed, 22_000)), "10 of 511 are within 2 %");
        assert!(one.count(Call::Failed, 22_000));
        one.count_reused(1_000, 22_000, 40_000);
        assert_eq!(one.counts(), (0, 0), "a window that begins now has none of them");
        one.count_reused(5, 40_000, 40_000);
        one.count_reused(u64::MAX, 40_000, 41_000);
        assert_eq!(one.counts(), (u32::MAX, 0));
    }

    #[test]
    fn a_share_above_the_budget_asks_for_a_rollback_and_calls_go_on() {
        let mut one = breaker();
        let mut asked = 0;
        for n in 0..1000_u64 {
            // 5 % fail.
            let call = if n % 20 == 19 { Call::Failed } else { Call::Answered };
            asked += u32::from(one.count(call, n));
            assert_eq!(one.ask(n), Passage::Go);
        }
        assert!(asked > 0);
        let mut fine = breaker();
        for n in 0..1000_u64 {
            let call = if n % 100 == 99 { Call::Failed } else { Call::Answered };
            assert!(!fine.count(call, n), "1 % is within the budget");
        }
    }

    #[test]
    fn it_opens_probes_and_closes() {
        let mut one = breaker();
        for n in 0..5 {
            one.count(Call::Failed, n);
        }
        assert_eq!(one.ask(10), Passage::Wait(994));
        assert_eq!(one.ask(1_004), Passage::Probe);
        assert_eq!(one.ask(1_005), Passage::Wait(999), "one at a time");
        one.count(Call::Failed, 1_010);
        assert_eq!(one.ask(1_011), Passage::Wait(1_999), "the pause grows");
        assert_eq!(one.ask(3_010), Passage::Probe);
        one.count(Call::Answered, 3_011);
        assert_eq!(one.ask(3_012), Passage::Go);
        assert_eq!(one.counts(), (0, 0));
    }

    #[test]
    fn pauses_are_bounded_and_a_lost_probe_is_replaced() {
        let mut one = breaker();
        for n in 0..5 {
            one.count(Call::Failed, n);
        }
        let mut now = 10_000;
        for _ in 0..20 {
            now += 60_000;
            assert_eq!(one.ask(now), Passage::Probe);
            one.count(Call::Failed, now);
        }
        let BreakerState::Open { pause_ms, .. } = one.state() else { unreachable!("it is open") };
        assert_eq!(pause_ms, 60_000);
        assert_eq!(one.ask(now + 60_000), Passage::Probe);
        assert_eq!(one.ask(now + 120_000), Passage::Probe, "the first never reported");
    }

    #[test]
    fn old_failures_are_forgotten() {
        let mut one = breaker();
        for n in 0..4 {
            one.count(Call::Failed, n);
        }
        assert!(!one.count(Call::Failed, 20_000));
        assert_eq!(one.counts(), (1, 1));
    }
}
