//! Waiting for a state, never for a duration.

use std::time::{Duration, Instant};

/// Asks `state` until it answers something, at most for `limit`; panics with `what` after that.
pub fn until<T>(what: &str, limit: Duration, mut state: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = state() {
            return found;
        }
        assert!(Instant::now() < end, "not within {} s: {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}
