//! What all content processes of this host take together, and whether there is room for one more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lectern_domain::JobKey;
use lectern_domain::scaling::budget::{Grant, Idle, Machine as Standing, UNMEASURED_BYTES, grant};
use lectern_supervisor::{WorkerState, WorkerStatus};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Key;

/// One process.
#[derive(Debug)]
struct Process {
    key: Key,
    pid: Option<u32>,
    /// As measured last; `None`: not yet.
    bytes: Option<u64>,
    ending: bool,
}

/// The machine as far as content is concerned.
pub(super) struct Machine {
    most_processes: usize,
    memory_budget: u64,
    processes: Mutex<HashMap<JobKey, Process>>,
    /// Pools without a worker that somebody waits in and that were refused: they come before those that only grow.
    starved: Mutex<HashSet<Key>>,
    /// Something ended: those who were refused may ask again.
    freed: Arc<Notify>,
}

impl Machine {
    pub(super) fn new(most_processes: usize, memory_budget: u64) -> Self {
        Self {
            most_processes,
            memory_budget,
            processes: Mutex::default(),
            starved: Mutex::default(),
            freed: Arc::default(),
        }
    }

    /// Asks for room for one more process of `key`, and takes it. `urgent`: somebody waits for it and there is no other; `idle`: workers
    /// of others that could make room.
    /// `zygotes` is what zygotes take, in bytes.
    pub(super) fn ask<W>(
        &self,
        key: Key,
        job: &JobKey,
        urgent: bool,
        zygotes: u64,
        idle: impl Iterator<Item = Idle<W>>,
    ) -> Grant<W> {
        let mut starved = self.starved.lock();
        let mut processes = self.processes.lock();
        // What others of the same version take, or of the same content, or anything.
        let expected = |same: &dyn Fn(&Key) -> bool| {
            processes.values().filter(|process| same(&process.key)).filter_map(|process| process.bytes).max()
        };
        let needed = expected(&|other| *other == key)
            .or_else(|| expected(&|other| other.0 == key.0))
            .unwrap_or(UNMEASURED_BYTES);
        let bytes = |process: &Process| process.bytes.unwrap_or(UNMEASURED_BYTES);
        let ending = || processes.values().filter(|process| process.ending);
        let standing = Standing {
            processes: processes.len(),
            ending: ending().count(),
            most_processes: self.most_processes,
            memory: processes.values().map(bytes).sum::<u64>().saturating_add(zygotes),
            ending_memory: ending().map(bytes).sum(),
            memory_budget: self.memory_budget,
            before: if urgent { 0 } else { starved.iter().filter(|other| **other != key).count() },
        };
        let granted = grant(&standing, needed, idle);
        if urgent && !matches!(granted, Grant::Start) {
            starved.insert(key);
        } else {
            starved.remove(&key);
        }
        if matches!(granted, Grant::Start) {
            processes.insert(job.clone(), Process { key, pid: None, bytes: None, ending: false });
        }
        granted
    }

    /// The pool asks no more.
    pub(super) fn content_with(&self, key: &Key) {
        self.starved.lock().remove(key);
    }

    /// Notes what the supervisor says of a process.
    pub(super) fn seen(&self, status: &WorkerStatus) {
        if matches!(status.state, WorkerState::Exited(_)) {
            return self.gone(&status.job);
        }
        let mut processes = self.processes.lock();
        let key = (status.content, status.bundle);
        let process =
            processes.entry(status.job.clone()).or_insert(Process { key, pid: None, bytes: None, ending: false });
        process.pid = status.pid.or(process.pid);
        process.ending |= matches!(status.state, WorkerState::Draining);
    }

    /// A process was told to end as soon as it can.
    pub(super) fn ending(&self, job: &JobKey) {
        if let Some(process) = self.processes.lock().get_mut(job) {
            process.ending = true;
        }
    }

    /// A process is no more, or never was.
    pub(super) fn gone(&self, job: &JobKey) {
        let removed = self.processes.lock().remove(job);
        if removed.is_some() {
            self.freed.notify_waiters();
        }
    }

    /// No process is left.
    pub(super) fn all_gone(&self) {
        self.processes.lock().clear();
        self.freed.notify_waiters();
    }

    /// Told when a process has ended.
    pub(super) fn freed(&self) -> Arc<Notify> {
        Arc::clone(&self.freed)
    }

    /// The processes that can be measured.
    pub(super) fn pids(&self) -> Vec<(JobKey, u32)> {
        let processes = self.processes.lock();
        processes.iter().filter_map(|(job, process)| Some((job.clone(), process.pid?))).collect()
    }

    /// Notes what processes were found to take.
    pub(super) fn measured(&self, found: Vec<(JobKey, u64)>) {
        let mut processes = self.processes.lock();
        for (job, bytes) in found {
            if let Some(process) = processes.get_mut(&job) {
                process.bytes = Some(bytes);
            }
        }
    }

    /// How many processes of a version start and how many end, when `ready` of them serve.
    pub(super) fn unready(&self, key: Key, ready: usize) -> (usize, usize) {
        let processes = self.processes.lock();
        let own = || processes.values().filter(|process| process.key == key);
        let ending = own().filter(|process| process.ending).count();
        (own().count().saturating_sub(ending + ready), ending)
    }

    /// Processes and bytes in use, and the most of both.
    pub(super) fn figures(&self) -> [(&'static str, u64, u64); 2] {
        let processes = self.processes.lock();
        let bytes = processes.values().filter_map(|process| process.bytes).sum();
        [("processes", processes.len() as u64, self.most_processes as u64), ("memory_bytes", bytes, self.memory_budget)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lectern_domain::{BundleId, ContentGuid};
    use uuid::Uuid;

    fn key(n: u128) -> Key {
        (ContentGuid(Uuid::from_u128(n)), BundleId(1))
    }

    #[test]
    fn who_has_none_comes_before_who_wants_more() {
        let machine = Machine::new(2, u64::MAX);
        let job = |n| JobKey::from_random([n; 16]);
        let ask = |n, job: &JobKey, urgent| {
            matches!(machine.ask(key(n), job, urgent, 0, std::iter::empty::<Idle<()>>()), Grant::Start)
        };
        assert!(ask(1, &job(1), true) && ask(1, &job(2), false));
        assert!(!ask(1, &job(3), false) && !ask(2, &job(4), true), "full");
        machine.gone(&job(1));
        assert!(!ask(1, &job(3), false), "the place is kept");
        assert!(ask(2, &job(4), true));
        machine.gone(&job(2));
        assert!(ask(1, &job(3), false), "and not for longer than it is wanted");
        assert_eq!(machine.unready(key(1), 0), (1, 0));
        machine.ending(&job(3));
        assert_eq!(machine.unready(key(1), 0), (0, 1));
    }
}
