//! When a repository is looked at again, and what is done about what is seen there.

use std::time::Duration;

use super::commit::Commit;

/// The pause after failures grows to so many usual ones: a day, with the default of a quarter of an hour.
const MOST_PAUSES: u32 = 96;

/// What is to be done after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing has changed.
    Nothing,
    /// The item is being deployed already: what comes of it is seen at the next look.
    Wait,
    /// There is a commit that was not tried before.
    Deploy(Commit),
}

/// Decides after a look: `seen` is the commit there, `known` the last one that was taken, whatever became of it. A commit that
/// failed is so never tried again by itself; the next one is.
pub fn decide(seen: Commit, known: Option<Commit>, is_deploying: bool) -> Decision {
    match (known == Some(seen), is_deploying) {
        (true, _) => Decision::Nothing,
        (false, true) => Decision::Wait,
        (false, false) => Decision::Deploy(seen),
    }
}

/// How long until the next look, after `failures` failed ones in a row. Without failures, the usual pause; then twice as long
/// each time, up to [`MOST_PAUSES`] of them. `chance` (0 to 255) spreads looks over a fifth of the pause, so that many
/// repositories of one host are not asked at once.
pub fn after_poll(usual: Duration, failures: u32, chance: u8) -> Duration {
    let pauses = 2_u32.checked_pow(failures).map_or(MOST_PAUSES, |pauses| pauses.min(MOST_PAUSES));
    let pause = usual.saturating_mul(pauses);
    let spread = pause / 5 * u32::from(chance) / 255;
    // Around the pause: from a tenth less to a tenth more.
    pause - pause / 10 + spread
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_commit_is_tried_once() {
        let commit = |digit: &str| digit.repeat(40).parse::<Commit>().unwrap();
        let (old, new) = (commit("a"), commit("b"));
        for (known, is_deploying, expected) in [
            (None, false, Decision::Deploy(new)),
            (Some(old), false, Decision::Deploy(new)),
            (Some(new), false, Decision::Nothing),
            (Some(new), true, Decision::Nothing),
            (Some(old), true, Decision::Wait),
            (None, true, Decision::Wait),
        ] {
            assert_eq!(decide(new, known, is_deploying), expected);
        }
    }

    #[test]
    fn pauses_grow() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        for (failures, chance, expected) in [
            (0, 0, minutes(9)),
            (0, 255, minutes(11)),
            (1, 0, minutes(18)),
            (3, 255, minutes(88)),
            (7, 0, minutes(864)),
            (u32::MAX, 255, minutes(1056)),
        ] {
            assert_eq!(after_poll(minutes(10), failures, chance), expected, "{failures} {chance}");
        }
    }

    proptest! {
        #[test]
        fn pauses_are_bounded(seconds in 1_u64..1_000_000, failures: u32, chance: u8) {
            let usual = Duration::from_secs(seconds);
            let pause = after_poll(usual, failures, chance);
            prop_assert!(pause >= usual - usual / 10 && pause <= usual * MOST_PAUSES + usual * MOST_PAUSES / 10);
        }
    }
}
