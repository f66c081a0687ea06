//! Token buckets: how often something may happen. In this server's memory, so that asking costs no query.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Buckets of one plugin. Each takes about 100 bytes; beyond this the longest untouched are forgotten, full again.
const BUCKETS: usize = 100_000;

/// The buckets of all plugins.
#[derive(Debug, Default)]
pub struct Buckets(Mutex<HashMap<String, Plugin>>);

#[derive(Debug, Default)]
struct Plugin {
    /// Touched since the last turn.
    young: HashMap<Box<str>, Bucket>,
    /// Not touched since: forgotten at the next turn.
    old: HashMap<Box<str>, Bucket>,
}

/// Parts of a token: a minute has as many milliseconds, so that each brings a whole number of parts, and nothing is rounded.
const TOKEN: u64 = 60_000;

/// What it holds, in parts of a token, and when that was counted.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    parts: u64,
    at_ms: u64,
}

impl Buckets {
    /// Without any bucket.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one token from a bucket that holds at most `burst` and gets `per_minute` a minute. `None`: taken. `Some`: the seconds
    /// until there is one, at least 1. A bucket of nothing never has one.
    pub fn take(&self, plugin: &str, bucket: &str, per_minute: u32, burst: u32, now_ms: u64) -> Option<u32> {
        let mut plugins = self.0.lock();
        let plugin = match plugins.get_mut(plugin) {
            Some(plugin) => plugin,
            None => plugins.entry(plugin.to_owned()).or_default(),
        };
        let full = Bucket { parts: u64::from(burst) * TOKEN, at_ms: now_ms };
        let before = match plugin.young.get(bucket) {
            Some(found) => *found,
            None => plugin.old.remove(bucket).unwrap_or(full),
        };
        let (after, wait) = drawn(before, per_minute, burst, now_ms);
        match plugin.young.get_mut(bucket) {
            Some(kept) => *kept = after,
            None => {
                if plugin.young.len() >= BUCKETS / 2 {
                    plugin.old = std::mem::take(&mut plugin.young);
                }
                plugin.young.insert(bucket.into(), after);
            }
        }
        wait
    }

    /// How many buckets a plugin has.
    pub fn len(&self, plugin: &str) -> usize {
        self.0.lock().get(plugin).map_or(0, |plugin| plugin.young.len() + plugin.old.len())
    }
}

/// A bucket after one token was asked of it, and the seconds to wait if it had none.
fn drawn(bucket: Bucket, per_minute: u32, burst: u32, now_ms: u64) -> (Bucket, Option<u32>) {
    let (rate, capacity) = (u64::from(per_minute), u64::from(burst) * TOKEN);
    let gained = now_ms.saturating_sub(bucket.at_ms).saturating_mul(rate);
    let filled = bucket.parts.saturating_add(gained).min(capacity);
    let at_ms = now_ms.max(bucket.at_ms);
    if filled >= TOKEN {
        return (Bucket { parts: filled - TOKEN, at_ms }, None);
    }
    let wait_ms =
        if capacity < TOKEN { None } else { (TOKEN - filled).checked_next_multiple_of(rate).map(|parts| parts / rate) };
    let seconds = wait_ms.map_or(u32::MAX, |ms| u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX).max(1));
    (Bucket { parts: filled, at_ms }, Some(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let buckets = Buckets::new();
        let take = |now| buckets.take("p", "b", 60, 3, now);
        assert_eq!([take(0), take(0), take(0), take(0)], [None, None, None, Some(1)]);
        assert_eq!(take(999), Some(1));
        assert_eq!(take(1_000), None, "one a second");
        assert_eq!(take(1_000), Some(1));
        assert_eq!(
            [take(60_000), take(60_000), take(60_000), take(60_000)],
            [None, None, None, Some(1)],
            "never above the burst"
        );
        assert_eq!(buckets.take("other", "b", 60, 1, 0), None, "plugins do not share");
    }

    #[test]
    fn slow_rates_lose_nothing_to_rounding() {
        let buckets = Buckets::new();
        let take = |now| buckets.take("p", "b", 7, 1, now);
        assert_eq!(take(0), None);
        let mut taken = 0;
        for now in (0..=600_000).step_by(13) {
            taken += u32::from(take(now).is_none());
        }
        assert!((69..=70).contains(&taken), "{taken} in ten minutes at seven a minute");
    }

    #[test]
    fn strange_numbers() {
        let buckets = Buckets::new();
        assert_eq!(buckets.take("p", "none", 60, 0, 0), Some(u32::MAX));
        assert_eq!(buckets.take("p", "never", 0, 1, 0), None);
        assert_eq!(buckets.take("p", "never", 0, 1, u64::MAX), Some(u32::MAX));
        assert_eq!(buckets.take("p", "much", u32::MAX, u32::MAX, u64::MAX), None);
        assert_eq!(buckets.take("p", "back", 60, 1, 5_000), None);
        assert_eq!(buckets.take("p", "back", 60, 1, 1_000), Some(1), "a clock that goes back gives nothing");
    }

    #[test]
    fn buckets_are_bounded() {
        let buckets = Buckets::new();
        for n in 0..BUCKETS * 2 {
            buckets.take("p", &n.to_string(), 60, 1, 0);
        }
        assert!(buckets.len("p") <= BUCKETS);
    }
}
