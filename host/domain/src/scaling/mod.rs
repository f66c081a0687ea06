//! Scaling: how many processes serve a content item, which of them takes a request, and what the machine has room for.
//!
//! Pure. The server's fleet measures and acts: it asks [`plan`] what to do about one pool of workers, [`budget::grant`] whether the
//! machine has room for one more, and the request path asks [`choose::least_loaded`] who takes a request.

pub mod budget;
pub mod choose;
pub mod plan;
#[cfg(test)]
mod simulation;

pub use plan::{Member, Plan, Pool, Stage, plan};

use std::time::Duration;

use crate::content::ProcessSettings;

/// Most requests one worker is given at a time, whatever was set: a request thread holds 10,000 connections, and no
/// interpreter serves more at once.
pub const MOST_CONNS: usize = 10_000;

/// Most workers of one content item where the operator set no limit: more processes than any one machine runs well.
pub const MOST_PROCESSES: usize = 10_000;

/// What the server gives content that sets nothing of its own, and what content may set.
#[derive(Debug, Clone, PartialEq)]
pub struct Defaults {
    /// Processes kept up without traffic.
    pub min_processes: u32,
    /// Most processes at a time.
    pub max_processes: u32,
    /// Requests and WebSockets that one process may have at a time.
    pub max_conns_per_process: u32,
    /// How early another process starts, 0 to 1: 0 with the first request that would share one, 1 only when all are full.
    pub load_factor: f64,
    /// How long a process may take until it accepts a connection; zero: for ever.
    pub init_timeout: Duration,
    /// How long a process without requests is kept; zero: for ever.
    pub idle_timeout: Duration,
    /// How long a connection may pass without bytes either way; zero: for ever.
    pub connection_timeout: Duration,
    /// How long a client may owe bytes; zero: for ever.
    pub read_timeout: Duration,
    /// The most a publisher may choose for the minimum; 0: no limit.
    pub min_processes_limit: u32,
    /// The most a publisher may choose for the maximum; 0: no limit.
    pub max_processes_limit: u32,
}

impl Default for Defaults {
    /// Connect's, with a limit of the minimum that lets publishers keep processes warm.
    fn default() -> Self {
        Self {
            min_processes: 0,
            max_processes: 3,
            max_conns_per_process: 20,
            load_factor: 0.5,
            init_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(120),
            connection_timeout: Duration::from_secs(3_600),
            read_timeout: Duration::from_secs(3_600),
            min_processes_limit: 20,
            max_processes_limit: 20,
        }
    }
}

/// What holds for one content item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Processes kept up without traffic; at most `max`.
    pub min: usize,
    /// Most processes at a time; at least 1.
    pub max: usize,
    /// Requests that one process may have at a time; 1 to [`MOST_CONNS`].
    pub max_conns: usize,
    /// 0 to 1.
    pub load_factor: f64,
    /// How long a process may take until it accepts a connection; zero: for ever.
    pub init_timeout: Duration,
    /// How long a process without requests is kept; zero: for ever.
    pub idle_timeout: Duration,
}

impl Defaults {
    /// What holds for content with these settings of its own. What lies above a limit, because the limit was lowered after it
    /// was set, is cut to it.
    pub fn resolve(&self, own: &ProcessSettings) -> Settings {
        let count = |own: Option<i32>, default: u32| own.and_then(|own| u32::try_from(own).ok()).unwrap_or(default);
        let within = |count: u32, limit: u32| {
            let most = if limit == 0 { MOST_PROCESSES } else { limit as usize };
            (count as usize).min(most).min(MOST_PROCESSES)
        };
        let seconds = |own: Option<i32>, default: Duration| {
            own.and_then(|own| u64::try_from(own).ok()).map_or(default, Duration::from_secs)
        };
        let max = within(count(own.max_processes, self.max_processes), self.max_processes_limit).max(1);
        let min = within(count(own.min_processes, self.min_processes), self.min_processes_limit).min(max);
        let factor = own.load_factor.filter(|own| own.is_finite()).unwrap_or(self.load_factor);
        Settings {
            min,
            max,
            max_conns: (count(own.max_conns_per_process, self.max_conns_per_process) as usize).clamp(1, MOST_CONNS),
            load_factor: factor.clamp(0.0, 1.0),
            init_timeout: seconds(own.init_timeout, self.init_timeout),
            idle_timeout: seconds(own.idle_timeout, self.idle_timeout),
        }
    }
}

impl Settings {
    /// Requests of one process beyond which another process is asked for: `max_conns` × `load_factor`, at least one. With
    /// Connect's 20 × 0.5 the 11th request asks for a second process.
    pub fn threshold(&self) -> usize {
        // At most MOST_CONNS, and not negative: nothing is lost.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by MOST_CONNS")]
        let threshold = (self.max_conns as f64 * self.load_factor).floor() as usize;
        threshold.clamp(1, self.max_conns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn own_settings_beat_the_servers_within_its_limits() {
        let server = Defaults::default();
        let own = |min, max, conns| ProcessSettings {
            min_processes: min,
            max_processes: max,
            max_conns_per_process: conns,
            ..ProcessSettings::default()
        };
        let cases = [
            (own(None, None, None), (0, 3, 20)),
            (own(Some(2), Some(5), Some(1)), (2, 5, 1)),
            // The limits were lowered after these were set.
            (own(Some(30), Some(40), None), (20, 20, 20)),
            // A minimum above the server's default maximum was refused when it was set; the maximum wins.
            (own(Some(9), None, None), (3, 3, 20)),
            (own(Some(-1), Some(0), Some(-5)), (0, 1, 20)),
            (own(None, None, Some(2_000_000)), (0, 3, MOST_CONNS)),
        ];
        for (own, expected) in cases {
            let got = server.resolve(&own);
            assert_eq!((got.min, got.max, got.max_conns), expected, "{own:?}");
        }
        let open = Defaults { max_processes_limit: 0, min_processes_limit: 0, ..server };
        let got = open.resolve(&own(Some(100), Some(200), None));
        assert_eq!((got.min, got.max), (100, 200), "a limit of 0 is none");
    }

    #[test]
    fn thresholds() {
        let cases = [
            (20, 0.5, 10),
            (50, 0.1, 5),
            (20, 0.0, 1),
            (20, 1.0, 20),
            (1, 0.5, 1),
            (3, 0.5, 1),
            (MOST_CONNS, 1.0, MOST_CONNS),
        ];
        for (conns, factor, expected) in cases {
            let own = ProcessSettings {
                max_conns_per_process: i32::try_from(conns).ok(),
                load_factor: Some(factor),
                ..ProcessSettings::default()
            };
            assert_eq!(Defaults::default().resolve(&own).threshold(), expected, "{conns} x {factor}");
        }
    }

    proptest! {
        #[test]
        fn whatever_was_set_makes_sense(
            min: Option<i32>, max: Option<i32>, conns: Option<i32>, factor: Option<f64>, idle: Option<i32>,
            limits in (0u32..50, 0u32..50),
        ) {
            let own = ProcessSettings {
                min_processes: min, max_processes: max, max_conns_per_process: conns, load_factor: factor,
                idle_timeout: idle, ..ProcessSettings::default()
            };
            let server = Defaults { min_processes_limit: limits.0, max_processes_limit: limits.1, ..Defaults::default() };
            let got = server.resolve(&own);
            prop_assert!(got.min <= got.max && got.max >= 1);
            prop_assert!(limits.1 == 0 || got.max <= limits.1 as usize);
            prop_assert!((1..=got.max_conns).contains(&got.threshold()) && got.max_conns <= MOST_CONNS);
        }
    }
}
