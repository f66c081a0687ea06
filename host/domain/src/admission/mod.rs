//! Admission: what happens to a request when no worker can take it at once.
//!
//! Requests wait for a worker that starts or is busy, in a [`line`] that is bounded in length and in time and fair between visitors;
//! beyond the bounds they are told when to come back. The caller counts and measures; this module decides.

pub mod line;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::ids::UserId;

/// Most requests of one version of a content item that wait at a time, unless the operator says otherwise. A waiting request
/// holds its connection and its head (about 40 KiB), so a full line costs some 80 MiB. Three quarters of it may be one visitor's
/// ([`most_each`]): 1,500, a large office behind one address. A worker that answers 100 requests a second would need twenty
/// seconds for more, by when most visitors have left.
pub const QUEUE_LIMIT: usize = 2_000;

/// Added to the content's init time-out: starting a worker is noticed a moment after it happened.
pub const PATIENCE_MARGIN: Duration = Duration::from_secs(5);

/// Longest wait when the content's init time-out is 0 (never): every wait has an end.
pub const LONGEST_PATIENCE: Duration = Duration::from_secs(3_600);

/// Shortest and longest time a client is told to stay away: HTTP counts in seconds, and who is told to wait for more than a
/// minute gives up.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Who waits, as far as fairness is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Visitor {
    /// A user, wherever they ask from.
    User(UserId),
    /// Anybody at this address.
    Address(IpAddr),
    /// The server itself, which starts a worker to see whether it starts.
    Server,
}

impl Visitor {
    /// The visitor behind an address. Of IPv6 the network counts: one host has 2⁶⁴ addresses to choose from (RFC 4291 §2.5.1).
    pub fn at(address: IpAddr) -> Self {
        let address = match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 => v4,
        };
        Self::Address(address)
    }
}

/// How many of one visitor's requests may wait where `most` may in all: three quarters. The rest is for others at once; the
/// places above their share too, when others come ([`line`]).
pub fn most_each(most: usize) -> usize {
    (most - most / 4).max(1)
}

/// How long a request may wait for a worker whose content gives it `init_timeout` to start; zero means "never too long".
pub fn patience(init_timeout: Duration) -> Duration {
    if init_timeout.is_zero() { LONGEST_PATIENCE } else { (init_timeout + PATIENCE_MARGIN).min(LONGEST_PATIENCE) }
}

/// When somebody who is refused shall come back: when those who wait have been served, at the pace of late; `each` is the time
/// between two answers. Where nothing has been answered yet (`None`), a tenth of the time that a start may take.
pub fn retry_after(waiting: usize, each: Option<Duration>, patience: Duration) -> Duration {
    let drained = each.map(|each| each.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX)));
    drained.unwrap_or(patience / 10).clamp(RETRY.0, RETRY.1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn patience_has_an_end() {
        assert_eq!(patience(secs(60)), secs(65));
        assert_eq!(patience(secs(0)), LONGEST_PATIENCE);
        assert_eq!(patience(secs(2_592_000)), LONGEST_PATIENCE);
    }

    #[test]
    fn clients_come_back_when_there_is_room() {
        let cases = [
            (0, None, secs(65), Duration::from_millis(6_500)),
            (1_000, None, secs(3_600), secs(60)),
            (1_000, Some(Duration::from_millis(10)), secs(65), secs(10)),
            (3, Some(Duration::from_millis(10)), secs(65), secs(1)),
            (140, Some(Duration::from_millis(333)), secs(65), Duration::from_millis(46_620)),
            (usize::MAX, Some(secs(9)), secs(65), secs(60)),
        ];
        for (waiting, each, patience, expected) in cases {
            assert_eq!(retry_after(waiting, each, patience), expected, "{waiting} {each:?}");
        }
    }

    #[test]
    fn networks_are_visitors() {
        let at = |text: &str| Visitor::at(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8:0:1::1"), at("2001:db8::1"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
        assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
    }

    proptest! {
        #[test]
        fn every_answer_is_usable(waiting: usize, each: Option<u32>, patience in 0u64..9_000_000) {
            let after = retry_after(waiting, each.map(|ms| Duration::from_millis(ms.into())), Duration::from_millis(patience));
            prop_assert!((RETRY.0..=RETRY.1).contains(&after));
        }

        #[test]
        fn nobody_may_fill_the_whole_line(most in 4usize..100_000) {
            prop_assert!(most_each(most) < most && most_each(most) > most / 2);
        }
    }
}
