//! Admission: how a request finds a worker, at once or after waiting for its turn.

use std::net::IpAddr;
use std::time::Duration;

use lectern_domain::admission::line::Bounds;
use lectern_domain::admission::{Visitor, most_each};
use lectern_domain::{BundleId, ContentGuid, Principal};

use crate::failure::{NotAdmitted, gone};
use crate::pool::{Pool, Waited};
use crate::sticky::Mate;
use crate::worker::{InFlight, Workers};

/// Pools that are asked in all when one ends in the moment it is asked; a server that stops has none that does not.
const POOLS: u32 = 8;

/// A request that asks for a worker.
pub(crate) struct Asking<'a> {
    pub(crate) content: ContentGuid,
    pub(crate) bundle: BundleId,
    /// Who asks; nobody known: the address counts.
    pub(crate) principal: Option<&'a Principal>,
    pub(crate) client: IpAddr,
    /// How long it may wait.
    pub(crate) patience: Duration,
    /// Requests of one version that may wait at a time.
    pub(crate) limit: usize,
}

impl Asking<'_> {
    /// Finds a worker: the one the request belongs with, if that one is there, or the least loaded. May be dropped at any moment.
    pub(crate) async fn admit(&self, workers: &dyn Workers, mate: Option<&Mate<'_>>) -> Result<InFlight, NotAdmitted> {
        for _ in 0..POOLS {
            let pool = workers.pool(self.content, self.bundle);
            let found = mate.and_then(|mate| self.with(workers, &pool, mate)).or_else(|| pool.take());
            if let Some(begun) = found {
                return Ok(begun);
            }
            let bounds = Bounds { most: self.limit, most_each: most_each(self.limit) };
            match pool.wait(self.visitor(), bounds, self.patience).await {
                Waited::Admitted(begun) => return Ok(begun),
                Waited::Refused(why) => return Err(why),
                // It was ended in this very moment, and another one has its name.
                Waited::Gone => tokio::task::yield_now().await,
            }
        }
        Err(gone().into())
    }

    /// A place at the worker that the request belongs with, while it is there.
    fn with(&self, workers: &dyn Workers, pool: &Pool, mate: &Mate<'_>) -> Option<InFlight> {
        if !mate.is_known() {
            return None;
        }
        let found = pool.take_of(|job| mate.is(job));
        if found.is_some() || mate.begins_anew() {
            return found;
        }
        let leaving = workers.leaving(self.content);
        leaving.iter().find(|worker| mate.is(worker.job()))?.try_begin_among()
    }

    fn visitor(&self) -> Visitor {
        match self.principal {
            Some(principal) => Visitor::User(principal.user),
            None => Visitor::at(self.client),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;

    use futures_util::future::FutureExt as _;
    use lectern_domain::JobKey;
    use lectern_domain::scaling::choose::Room;
    use parking_lot::Mutex;
    use uuid::Uuid;

    use crate::admissions::{Admissions, Refusal};
    use crate::failure::StartFailure;
    use crate::worker::Worker;

    /// One pool at a time.
    struct One(Mutex<Arc<Pool>>, Arc<Admissions>);

    impl Workers for One {
        fn pool(&self, _: ContentGuid, _: BundleId) -> Arc<Pool> {
            self.0.lock().clone()
        }

        fn leaving(&self, _: ContentGuid) -> Vec<Arc<Worker>> {
            Vec::new()
        }

        fn report_dead(&self, _: &JobKey) {}

        fn cookie_key(&self) -> &[u8; 32] {
            &[0; 32]
        }

        fn visitor_key(&self) -> &[u8; 32] {
            &[0; 32]
        }
    }

    impl One {
        fn new() -> Self {
            let counted = Arc::<Admissions>::default();
            Self(Mutex::new(Pool::new(counted.clone())), counted)
        }

        fn pool(&self) -> Arc<Pool> {
            self.0.lock().clone()
        }

        async fn admit(&self, client: u8, patience_ms: u64, limit: usize) -> Result<InFlight, NotAdmitted> {
            let asking = Asking {
                content: ContentGuid(Uuid::from_u128(1)),
                bundle: BundleId(1),
                principal: None,
                client: IpAddr::from([10, 0, 0, client]),
                patience: Duration::from_millis(patience_ms),
                limit,
            };
            asking.admit(self, None).await
        }
    }

    fn worker(n: u8) -> Arc<Worker> {
        Worker::new(JobKey::from_random([n; 16]), "/nowhere".into())
    }

    fn open(pool: &Arc<Pool>, workers: &[&Arc<Worker>], most: usize) {
        pool.set_room(Room { most, pass_held_up: false });
        pool.show(workers.iter().map(|worker| Arc::clone(worker)).collect());
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_length_and_in_time() {
        let one = One::new();
        let pool = one.pool();
        let mut first = Box::pin(one.admit(1, 30, 2));
        let mut second = Box::pin(one.admit(2, 30, 2));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        assert_eq!(pool.waiting(), 2);
        assert!(matches!(one.admit(3, 30, 2).await, Err(NotAdmitted::Full { waiting: 2, .. })));
        // Whoever leaves makes room.
        drop(first);
        assert_eq!(pool.waiting(), 1);
        let mut third = Box::pin(one.admit(3, 30, 2));
        assert!((&mut third).now_or_never().is_none());
        pool.hold_back(Some("no room"));
        let Err(late) = second.await else { unreachable!() };
        assert!(matches!(late, NotAdmitted::TimedOut { .. }) && late.to_string().ends_with("no room"), "{late}");
        assert!(third.await.is_err());
        assert_eq!(pool.waiting(), 0);
        assert_eq!(Refusal::ALL.map(|why| one.1.refusals(why)), [1, 0, 2, 0]);
    }

    #[tokio::test]
    async fn a_place_that_becomes_free_goes_to_the_next_in_turn() {
        let one = One::new();
        let (pool, worker) = (one.pool(), worker(1));
        open(&pool, &[&worker], 1);
        let served = one.admit(1, 9_000, 1_000).await.unwrap();
        let mut greedy: Vec<_> = (0..5).map(|_| Box::pin(one.admit(1, 9_000, 1_000))).collect();
        for each in &mut greedy {
            assert!(each.now_or_never().is_none());
        }
        let mut modest = Box::pin(one.admit(2, 9_000, 1_000));
        assert!((&mut modest).now_or_never().is_none());
        drop(served);
        let next = greedy[0].as_mut().now_or_never().unwrap().unwrap();
        assert!((&mut modest).now_or_never().is_none());
        drop(next);
        // The second turn is the other visitor's, whoever came before.
        let theirs = modest.as_mut().now_or_never().unwrap().unwrap();
        assert!(greedy[1].as_mut().now_or_never().is_none());
        assert_eq!((pool.waiting(), worker.in_flight()), (4, 1));
        // One that left before their turn costs nobody a turn.
        drop(greedy.remove(1));
        drop(theirs);
        assert!(greedy[1].as_mut().now_or_never().is_some());
        assert!(one.1.waits().0.iter().sum::<u64>() >= 3);
    }

    #[tokio::test]
    async fn one_who_left_with_a_place_in_hand_gives_it_back() {
        let one = One::new();
        let (pool, worker) = (one.pool(), worker(1));
        open(&pool, &[&worker], 1);
        let served = one.admit(1, 9_000, 10).await.unwrap();
        let (mut first, mut second) = (Box::pin(one.admit(2, 9_000, 10)), Box::pin(one.admit(3, 9_000, 10)));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        // The place is the first one's, who does not look.
        drop(served);
        assert_eq!((pool.waiting(), worker.in_flight()), (1, 1));
        drop(first);
        assert!(second.now_or_never().is_some_and(|admitted| admitted.is_ok()));
        assert_eq!((pool.waiting(), worker.in_flight()), (0, 0));
    }

    #[tokio::test]
    async fn nobody_overtakes_and_the_least_loaded_is_chosen() {
        let one = One::new();
        let (pool, a, b) = (one.pool(), worker(1), worker(2));
        open(&pool, &[&a, &b], 2);
        let begun: Vec<_> = [(); 4].map(|()| one.admit(1, 9_000, 10).now_or_never().unwrap().unwrap()).into();
        assert_eq!((a.in_flight(), b.in_flight()), (2, 2));
        let mut waits = Box::pin(one.admit(1, 9_000, 10));
        assert!((&mut waits).now_or_never().is_none());
        drop(begun);
        // A place was kept for the one who waited; the others are free.
        assert_eq!(a.in_flight() + b.in_flight(), 1);
        assert!(waits.now_or_never().is_some());
        // A worker that goes is given nothing more.
        a.close();
        let begun = one.admit(1, 9_000, 10).await.unwrap();
        assert_eq!(begun.worker().job(), b.job());
    }

    #[tokio::test]
    async fn a_session_finds_its_worker_while_it_is_there() {
        let one = One::new();
        let (pool, a, b) = (one.pool(), worker(1), worker(2));
        open(&pool, &[&a, &b], 1);
        let is_b = |job: &JobKey| job == b.job();
        let first = pool.take_of(is_b).unwrap();
        let second = pool.take_of(is_b).unwrap();
        assert_eq!((a.in_flight(), b.in_flight()), (0, 2), "also beyond the limit for others");
        b.close();
        assert!(pool.take_of(is_b).is_none());
        drop((first, second));
        assert!(pool.take_of(|_| false).is_none());
    }

    #[tokio::test]
    async fn failures_are_told_to_all_who_wait_and_to_who_comes_meanwhile() {
        let one = One::new();
        let pool = one.pool();
        let mut waits = Box::pin(one.admit(1, 9_000, 10));
        assert!((&mut waits).now_or_never().is_none());
        let failure =
            StartFailure::Crashed { job: JobKey::from_random([9; 16]), reason: "it exited with status 1".into() };
        pool.refuse(Some((std::time::Instant::now() + Duration::from_secs(30), failure.clone())));
        pool.fail(&failure);
        assert!(matches!(waits.await, Err(NotAdmitted::Start(StartFailure::Crashed { .. }))));
        let Err(NotAdmitted::Start(refused)) = one.admit(1, 9_000, 10).await else { unreachable!() };
        assert!(refused.job() == failure.job() && refused.to_string().contains("status 1"), "{refused}");
        // Another worker that runs is as good as ever.
        let worker = worker(1);
        open(&pool, &[&worker], 1);
        assert!(one.admit(1, 9_000, 10).await.is_ok());
        pool.refuse(None);
    }

    #[tokio::test]
    async fn an_ended_pool_sends_everybody_to_the_next() {
        let one = One::new();
        let old = one.pool();
        let mut waits = Box::pin(one.admit(1, 9_000, 10));
        assert!((&mut waits).now_or_never().is_none());
        assert!(!old.end(true), "somebody waits");
        let (new, worker) = (Pool::new(one.1.clone()), worker(1));
        open(&new, &[&worker], 1);
        *one.0.lock() = new;
        assert!(old.end(false));
        assert_eq!(waits.await.unwrap().worker().job(), worker.job());
    }

    #[test]
    fn a_free_place_costs_no_memory() {
        let one = One::new();
        let (pool, a, b) = (one.pool(), worker(1), worker(2));
        open(&pool, &[&a, &b], 20);
        let serve = || {
            let mut begun = one.admit(1, 9_000, 10).now_or_never().unwrap().unwrap();
            begun.answered();
        };
        // What each thread keeps for itself is made once.
        serve();
        let counted = allocation_counter::measure(|| (0..100).for_each(|_| serve()));
        assert_eq!(counted.count_total, 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn counts_are_exact_under_contention() {
        let one = Arc::new(One::new());
        let (pool, workers) = (one.pool(), [worker(1), worker(2), worker(3)]);
        open(&pool, &workers.each_ref(), 2);
        let most = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let tasks = (0..200u8).map(|n| {
            let (one, most, workers) = (one.clone(), most.clone(), workers.clone());
            tokio::spawn(async move {
                for _ in 0..50 {
                    let begun = one.admit(n % 7, 60_000, 1_000).await.unwrap();
                    let now = workers.iter().map(|worker| worker.in_flight()).max().unwrap();
                    most.fetch_max(now, std::sync::atomic::Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    drop(begun);
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert!(most.load(std::sync::atomic::Ordering::Relaxed) <= 2);
        assert_eq!(workers.map(|worker| (worker.in_flight(), worker.unanswered().0)), [(0, 0); 3]);
        assert_eq!(pool.waiting(), 0);
    }
}
