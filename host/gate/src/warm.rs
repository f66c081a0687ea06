//! Used instances, kept for further calls of a plugin that asked for it.
//!
//! What a guest keeps in memory reaches later calls: operators choose this knowingly, for guests whose start costs more than their
//! work. An instance comes back only after a call that ended well; it is given up after a number of calls, or when it has grown
//! to twice its first size.

use parking_lot::Mutex;
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::state::State;

/// An instance between two calls.
pub(crate) struct Kept {
    pub(crate) store: Store<State>,
    pub(crate) instance: Instance,
    /// Calls that it served.
    pub(crate) calls: u32,
    /// Bytes of linear memory after the first call.
    pub(crate) first_bytes: usize,
}

/// The instances of one release that wait for a call.
pub(crate) struct Pool {
    kept: Mutex<Vec<Kept>>,
    size: usize,
}

impl Pool {
    pub(crate) fn new(size: usize) -> Self {
        Self { kept: Mutex::new(Vec::with_capacity(size)), size }
    }

    /// One that waits; the one used last, whose memory is still in the caches.
    pub(crate) fn take(&self) -> Option<Kept> {
        self.kept.lock().pop()
    }

    /// Keeps an instance after a call that ended well, unless it has served enough, has grown, or enough wait already.
    pub(crate) fn keep(&self, mut one: Kept, most_calls: u32) {
        one.calls += 1;
        let bytes = one.store.data().limiter.bytes;
        if one.first_bytes == 0 {
            one.first_bytes = bytes;
        }
        if one.calls >= most_calls || bytes > one.first_bytes.saturating_mul(2) {
            return;
        }
        let mut kept = self.kept.lock();
        if kept.len() < self.size {
            kept.push(one);
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.kept.lock().len()
    }
}
