//! Which pre-forked interpreters are kept, and when they end: when their version is no longer served, when there are too many, or
//! when the machine needs their memory. The supervisor starts them with the first worker that may come from one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use lectern_domain::JobKey;
use lectern_domain::launch::{LaunchSpec, ZygoteName};
use lectern_domain::scaling::budget::Idle;
use lectern_supervisor::{WorkerState, WorkerStatus, ZygoteStatus};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Crew, Key};

/// A launch may take this long until its zygote is in the supervisor's list.
const APPEARS: Duration = Duration::from_secs(60);

/// How long after the order a zygote's room is taken to be free: its cell is killed, and gone in milliseconds.
const ENDS: Duration = Duration::from_secs(5);
/// Between two looks at whether it has ended: its cell takes tens of milliseconds, and somebody may wait for its memory.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What makes room for a start.
pub(super) enum Spare {
    /// A worker that has nothing to do.
    Worker(Key, JobKey),
    /// A zygote that no worker came from.
    Zygote(ZygoteName),
}

/// One zygote.
struct Known {
    key: Key,
    pid: Option<u32>,
    bytes: u64,
    /// When a worker last came from it or ended.
    used: Instant,
    /// Workers that came from it, or are about to.
    jobs: HashSet<JobKey>,
    /// It was told to end.
    ending: bool,
}

/// The zygotes of this server.
pub(super) struct Zygotes {
    most: usize,
    known: Mutex<HashMap<ZygoteName, Known>>,
    forked: AtomicU64,
    plain: AtomicU64,
}

impl Zygotes {
    pub(super) fn new(most: usize) -> Self {
        Self { most, known: Mutex::default(), forked: AtomicU64::new(0), plain: AtomicU64::new(0) }
    }

    /// Notes that `job` is to come from a zygote. `Err` when there are as many as may be: which is to end, if any is idle.
    fn choose(&self, name: &ZygoteName, key: Key, job: &JobKey) -> Result<(), Option<ZygoteName>> {
        let mut known = self.known.lock();
        let running = known.values().filter(|one| !one.ending).count();
        if !known.contains_key(name) && running >= self.most {
            let idle = known.iter().filter(|(_, one)| one.jobs.is_empty() && !one.ending);
            return Err(idle.min_by_key(|(_, one)| one.used).map(|(name, _)| name.clone()));
        }
        let fresh = || Known { key, pid: None, bytes: 0, used: Instant::now(), jobs: HashSet::new(), ending: false };
        let one = known.entry(name.clone()).or_insert_with(fresh);
        one.used = Instant::now();
        one.jobs.insert(job.clone());
        // One that is ending takes no more; the supervisor starts another of the name.
        one.ending = false;
        Ok(())
    }

    /// Notes what the supervisor says of a worker.
    pub(super) fn seen(&self, status: &WorkerStatus) {
        match &status.state {
            WorkerState::Exited(_) => return self.left(&status.job),
            WorkerState::Ready if status.zygote.is_none() => self.left(&status.job),
            WorkerState::Ready | WorkerState::Starting | WorkerState::Draining => {}
        }
        let mut known = self.known.lock();
        if let Some(one) = status.zygote.as_ref().and_then(|name| known.get_mut(name)) {
            one.jobs.insert(status.job.clone());
        }
    }

    /// Counts a worker that has become ready.
    pub(super) fn count(&self, status: &WorkerStatus) {
        let count = if status.zygote.is_some() { &self.forked } else { &self.plain };
        count.fetch_add(1, Relaxed);
    }

    /// A worker is no more, or came from none.
    pub(super) fn left(&self, job: &JobKey) {
        for one in self.known.lock().values_mut() {
            if one.jobs.remove(job) {
                one.used = Instant::now();
            }
        }
    }

    /// Compares with what runs; which are to end: of versions that are not `wanted`, and whose place another one took.
    fn compare(&self, running: &[ZygoteStatus], wanted: impl Fn(&Key) -> bool) -> Vec<ZygoteName> {
        let now = Instant::now();
        let mut known = self.known.lock();
        for status in running.iter().filter(|status| !status.retiring) {
            let key = (status.content, status.bundle);
            let used = now.checked_sub(status.idle).unwrap_or(now);
            let fresh = || Known { key, pid: None, bytes: 0, used, jobs: HashSet::new(), ending: false };
            known.entry(status.name.clone()).or_insert_with(fresh).pid = Some(status.pid);
        }
        let runs = |name: &ZygoteName| running.iter().any(|status| status.name == *name && !status.retiring);
        known.retain(|name, one| runs(name) || (!one.ending && one.pid.is_none() && one.used + APPEARS > now));
        let mut newest: HashMap<Key, Instant> = HashMap::new();
        for one in known.values() {
            let at = newest.entry(one.key).or_insert(one.used);
            *at = (*at).max(one.used);
        }
        let of_use = |one: &Known| wanted(&one.key) && newest.get(&one.key).is_none_or(|at| one.used >= *at);
        let over = known.iter_mut().filter(|(_, one)| one.jobs.is_empty() && !of_use(one));
        over.map(|(name, one)| {
            one.ending = true;
            name.clone()
        })
        .collect()
    }

    /// Those that could make room.
    pub(super) fn idle(&self) -> impl Iterator<Item = Idle<Spare>> + use<> {
        let known = self.known.lock();
        let idle = known.iter().filter(|(_, one)| one.jobs.is_empty() && one.pid.is_some() && !one.ending);
        let idle: Vec<_> = idle
            .map(|(name, one)| Idle { worker: Spare::Zygote(name.clone()), idle: one.used.elapsed(), zygote: true })
            .collect();
        idle.into_iter()
    }

    /// What all of them take, as measured last.
    pub(super) fn bytes(&self) -> u64 {
        self.known.lock().values().map(|one| one.bytes).sum()
    }

    pub(super) fn pids(&self) -> Vec<(ZygoteName, u32)> {
        self.known.lock().iter().filter_map(|(name, one)| Some((name.clone(), one.pid?))).collect()
    }

    pub(super) fn measured(&self, found: Vec<(ZygoteName, u64)>) {
        let mut known = self.known.lock();
        for (name, bytes) in found {
            if let Some(one) = known.get_mut(&name) {
                one.bytes = bytes;
            }
        }
    }

    pub(super) fn all_gone(&self) {
        self.known.lock().clear();
    }

    /// Whose each is, what it takes in bytes, and whether a worker came from it that is there.
    pub(super) fn figures(&self) -> Vec<(Key, u64, bool)> {
        let known = self.known.lock();
        let there = known.values().filter(|one| one.pid.is_some());
        let mut all: Vec<_> = there.map(|one| (one.key, one.bytes, !one.jobs.is_empty())).collect();
        all.sort_by_key(|(key, ..)| (key.0.0, key.1.0));
        all
    }

    /// Workers that became ready since this server started, by where they came from.
    pub(super) fn starts(&self) -> [(&'static str, u64); 2] {
        [("zygote", self.forked.load(Relaxed)), ("plain", self.plain.load(Relaxed))]
    }
}

impl Crew {
    /// Leaves the zygote out of a launch that may not have one.
    pub(super) fn choose_zygote(self: &Arc<Self>, spec: &mut LaunchSpec, job: &JobKey) {
        let Some(wanted) = &spec.zygote else { return };
        if let Err(idle) = self.zygotes.choose(&wanted.name, (spec.content, spec.bundle), job) {
            tracing::debug!(content.id = %spec.content, "as many zygotes as may be; a worker starts without");
            spec.zygote = None;
            // The next start finds a place.
            idle.into_iter().for_each(|name| self.end_zygote_later(name));
        }
    }

    /// Asks the supervisor which run, and ends those that are of no use.
    pub(super) async fn look_at_zygotes(self: &Arc<Self>) {
        // An older supervisor knows none.
        let Ok(running) = self.client().zygotes().await else { return };
        let view = self.view.current();
        let pools = self.pools.load();
        let wanted = |key: &Key| {
            let content = view.content.get(&key.0);
            content.is_some_and(|content| content.bundles.contains_key(&key.1) && content.active == Some(key.1))
                || pools.contains_key(key)
        };
        for name in self.zygotes.compare(&running, wanted) {
            self.end_zygote_later(name);
        }
    }

    /// Has the zygotes of these versions end with their last workers.
    pub(super) fn end_zygotes(self: &Arc<Self>, which: impl Fn(&Key) -> bool) {
        let known = self.zygotes.known.lock();
        let names: Vec<_> = known.iter().filter(|(_, one)| which(&one.key)).map(|(name, _)| name.clone()).collect();
        drop(known);
        names.into_iter().for_each(|name| self.end_zygote_later(name));
    }

    /// Has a zygote end without waiting for it; those who wait for room are told when it has.
    pub(super) fn end_zygote_later(self: &Arc<Self>, name: ZygoteName) {
        if let Some(one) = self.zygotes.known.lock().get_mut(&name) {
            one.ending = true;
        }
        let crew = Arc::clone(self);
        self.tasks.spawn(async move {
            if crew.handed_over.is_cancelled() {
                return;
            }
            if let Err(error) = crew.client().end_zygote(&name).await {
                tracing::debug!(zygote = %name, error = crate::cli::chain(&error), "end a zygote");
            }
            let until = Instant::now() + ENDS;
            while Instant::now() < until && !crew.stopping.is_cancelled() {
                let runs = crew.client().zygotes().await.is_ok_and(|all| all.iter().any(|one| one.name == name));
                if !runs {
                    break;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let mut known = crew.zygotes.known.lock();
            if known.get(&name).is_some_and(|one| one.ending && one.jobs.is_empty()) {
                known.remove(&name);
            }
            drop(known);
            crew.machine.freed().notify_waiters();
        });
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

    fn job(n: u8) -> JobKey {
        JobKey::from_random([n; 16])
    }

    fn name(text: &str) -> ZygoteName {
        ZygoteName(text.to_owned())
    }

    fn status(text: &str, n: u128) -> ZygoteStatus {
        ZygoteStatus {
            name: name(text),
            content: key(n).0,
            bundle: key(n).1,
            pid: 7,
            started_at: time::OffsetDateTime::UNIX_EPOCH,
            workers: 0,
            forks: 1,
            idle: Duration::from_secs(9),
            retiring: false,
        }
    }

    #[tokio::test]
    async fn the_least_recently_used_gives_its_place_and_none_in_use() {
        let zygotes = Zygotes::new(2);
        assert!(
            zygotes.choose(&name("a"), key(1), &job(1)).is_ok() && zygotes.choose(&name("b"), key(2), &job(2)).is_ok()
        );
        assert_eq!(zygotes.choose(&name("c"), key(3), &job(3)), Err(None), "both are in use");
        assert!(zygotes.choose(&name("a"), key(1), &job(4)).is_ok(), "a known one has its place");
        zygotes.left(&job(2));
        assert_eq!(zygotes.choose(&name("c"), key(3), &job(3)), Err(Some(name("b"))));
        assert_eq!(zygotes.idle().count(), 0, "what has not appeared takes no memory that could be freed");
    }

    #[tokio::test]
    async fn what_is_not_wanted_or_was_replaced_ends() {
        let zygotes = Zygotes::new(9);
        let all = [status("a", 1), status("b", 2)];
        assert_eq!(zygotes.compare(&all, |_| true), []);
        assert_eq!(zygotes.idle().count(), 2);
        assert_eq!(zygotes.compare(&all, |other| *other == key(1)), [name("b")]);
        assert_eq!(zygotes.compare(&all[..1], |_| true), []);
        assert_eq!(zygotes.figures().len(), 1, "what does not run is forgotten");
        // Other walls, another zygote: the old one has no more use.
        zygotes.choose(&name("a2"), key(1), &job(1)).unwrap();
        assert_eq!(zygotes.compare(&[status("a", 1), status("a2", 1)], |_| true), [name("a")]);
    }
}
