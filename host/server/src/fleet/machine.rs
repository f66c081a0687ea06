//! What all content processes of this host take together, and whether there is room for one more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lectern_domain::JobKey;
use lectern_domain::scaling::budget::{Grant, Idle, Machine as Standing, UNMEASURED_BYTES, grant};
use lectern_supervisor::{WorkerState, WorkerStatus};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Key;
use super::memory::Taken;
use crate::content_keys::ContentKeys;

/// One process.
#[derive(Debug)]
struct Process {
    key: Key,
    pid: Option<u32>,
    /// As measured last; `None`: not yet.
    bytes: Option<u64>,
    /// Processor time, and when it was read.
    cpu: Option<(Instant, Duration)>,
    /// Processors in use between the last two measurements.
    cores: f64,
    ending: bool,
}

impl Process {
    fn new(key: Key) -> Self {
        Self { key, pid: None, bytes: None, cpu: None, cores: 0.0, ending: false }
    }
}

/// A process as it is now.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Running {
    pub(super) job: JobKey,
    pub(super) key: Key,
    pub(super) pid: u32,
    pub(super) bytes: u64,
    pub(super) cpu: Duration,
    /// Processors in use of late: 1.5 is one and a half.
    pub(super) cores: f64,
}

/// Two measurements closer than this say little about how busy a process is.
const LEAST_SPAN: Duration = Duration::from_millis(500);

/// The machine as far as content is concerned.
pub(super) struct Machine {
    most_processes: usize,
    memory_budget: u64,
    processes: Mutex<HashMap<JobKey, Process>>,
    /// Pools without a worker that somebody waits in and that were refused: they come before those that only grow.
    starved: Mutex<HashSet<Key>>,
    /// Something ended: those who were refused may ask again.
    freed: Arc<Notify>,
    /// Follow the processes: a key is as good as its process is here.
    keys: Arc<ContentKeys>,
}

impl Machine {
    pub(super) fn new(most_processes: usize, memory_budget: u64, keys: Arc<ContentKeys>) -> Self {
        Self {
            keys,
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
            self.keys.began(key.0, job);
            processes.insert(job.clone(), Process::new(key));
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
        let process = processes.entry(status.job.clone()).or_insert_with(|| {
            self.keys.began(key.0, &status.job);
            Process::new(key)
        });
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
        if let Some(process) = removed {
            self.keys.ended(process.key.0, job);
            self.freed.notify_waiters();
        }
    }

    /// No process is left; answers which there were.
    pub(super) fn all_gone(&self) -> Vec<JobKey> {
        let gone = std::mem::take(&mut *self.processes.lock());
        gone.iter().for_each(|(job, process)| self.keys.ended(process.key.0, job));
        let gone = gone.into_keys().collect();
        self.freed.notify_waiters();
        gone
    }

    /// Whether this is a process of now, or is about to be one.
    pub(super) fn has(&self, job: &JobKey) -> bool {
        self.processes.lock().contains_key(job)
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
    pub(super) fn measured(&self, found: Vec<(JobKey, Taken)>, now: Instant) {
        let mut processes = self.processes.lock();
        for (job, taken) in found {
            let Some(process) = processes.get_mut(&job) else { continue };
            process.bytes = Some(taken.bytes);
            match process.cpu {
                Some((at, _)) if now.saturating_duration_since(at) < LEAST_SPAN => continue,
                Some((at, before)) => {
                    let span = now.saturating_duration_since(at);
                    process.cores = taken.cpu.saturating_sub(before).as_secs_f64() / span.as_secs_f64();
                }
                None => {}
            }
            process.cpu = Some((now, taken.cpu));
        }
    }

    /// The processes that have been measured.
    pub(super) fn running(&self) -> Vec<Running> {
        let processes = self.processes.lock();
        let shown = processes.iter().filter_map(|(job, process)| {
            let (_, cpu) = process.cpu?;
            let (pid, bytes) = (process.pid?, process.bytes?);
            Some(Running { job: job.clone(), key: process.key, pid, bytes, cpu, cores: process.cores })
        });
        shown.collect()
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
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lectern_domain::{BundleId, ContentGuid};
    use uuid::Uuid;

    fn key(n: u128) -> Key {
        (ContentGuid(Uuid::from_u128(n)), BundleId(1))
    }

    #[test]
    fn who_has_none_comes_before_who_wants_more() {
        let machine = Machine::new(2, u64::MAX, Arc::new(crate::content_keys::tests::keys(1, true)));
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

    #[test]
    fn how_busy_a_process_is_comes_from_two_measurements() {
        let machine = Machine::new(2, u64::MAX, Arc::new(crate::content_keys::tests::keys(1, true)));
        let job = JobKey::from_random([1; 16]);
        assert!(matches!(machine.ask(key(1), &job, true, 0, std::iter::empty::<Idle<()>>()), Grant::Start));
        machine.processes.lock().get_mut(&job).unwrap().pid = Some(7);
        assert!(machine.has(&job) && machine.running().is_empty(), "not measured yet");
        let begin = Instant::now();
        let measure = |millis, cpu_millis| {
            let taken = Taken { bytes: 5, cpu: Duration::from_millis(cpu_millis) };
            machine.measured(vec![(job.clone(), taken)], begin + Duration::from_millis(millis));
            machine.running()[0].cores
        };
        assert_eq!(measure(0, 1000), 0.0);
        assert_eq!(measure(100, 1100), 0.0, "too soon to say");
        assert_eq!(measure(2000, 4000), 1.5);
        assert_eq!(measure(3000, 4000), 0.0);
        assert_eq!(machine.all_gone(), [job]);
    }

    #[test]
    fn a_key_is_known_as_long_as_its_process() {
        let machine = Machine::new(9, u64::MAX, Arc::new(crate::content_keys::tests::keys(1, true)));
        let content = key(1).0;
        let known = |job: &JobKey| machine.keys.content_of_token(&machine.keys.given(content, job).session_token);
        let jobs = [1, 2, 3].map(|n| JobKey::from_random([n; 16]));
        for job in &jobs {
            assert_eq!(known(job), None);
            assert!(matches!(machine.ask(key(1), job, true, 0, std::iter::empty::<Idle<()>>()), Grant::Start));
            assert_eq!(known(job), Some(content), "before it is started");
        }
        machine.ending(&jobs[0]);
        assert_eq!(known(&jobs[0]), Some(content), "it finishes what it has");
        machine.gone(&jobs[0]);
        assert_eq!((known(&jobs[0]), known(&jobs[1])), (None, Some(content)));
        machine.all_gone();
        assert_eq!(jobs.map(|job| known(&job)), [None; 3]);
    }
}
