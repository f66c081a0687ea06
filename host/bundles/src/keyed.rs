//! A lock per key: two threads that want the same bundle do the work once, others do not wait for them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub(crate) struct Keyed<K> {
    slots: Mutex<HashMap<K, Arc<Mutex<()>>>>,
}

impl<K> Default for Keyed<K> {
    fn default() -> Self {
        Self { slots: Mutex::new(HashMap::new()) }
    }
}

/// The locks guard work on files, not values: a thread that panicked leaves nothing half written in memory.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Eq + Hash + Copy> Keyed<K> {
    /// Does `work` while no other thread works on `key`. As many keys are held as threads are in here.
    pub(crate) fn with<R>(&self, key: K, work: impl FnOnce() -> R) -> R {
        let slot = Arc::clone(lock(&self.slots).entry(key).or_default());
        let held = lock(&slot);
        let result = work();
        drop(held);
        let mut slots = lock(&self.slots);
        // Two owners: the map and this call. Others can only appear under the lock of the map.
        if Arc::strong_count(&slot) == 2 {
            slots.remove(&key);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn one_at_a_time_for_a_key_and_nothing_is_kept() {
        let keyed = Keyed::<u8>::default();
        let inside = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        keyed.with(1, || {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            thread::yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
        assert!(keyed.slots.lock().unwrap().is_empty());
    }

    #[test]
    fn keys_do_not_wait_for_each_other() {
        let keyed = Keyed::<u8>::default();
        // Would never return if key 2 waited for key 1.
        assert_eq!(keyed.with(1, || thread::scope(|s| s.spawn(|| keyed.with(2, || 7)).join().unwrap())), 7);
    }
}
