//! The admission queue: requests that wait for a worker, counted per content item over all threads.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use lectern_domain::ContentGuid;
use lectern_domain::admission::{Admission, Standing, decide};
use lectern_domain::snapshot::{BundleEntry, ContentEntry};
use parking_lot::Mutex;

use crate::worker::{StartFailure, Worker, Workers};

/// Why a request got no worker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAdmitted {
    /// Too many wait already.
    #[error("{waiting} requests wait already")]
    Full { waiting: usize, retry_after: Duration },
    /// No worker could take it in time.
    #[error("no worker within {waited:?}")]
    TimedOut { waited: Duration, retry_after: Duration },
    /// There will be none.
    #[error(transparent)]
    Start(#[from] StartFailure),
}

/// How many wait, by content. Touched only by requests that find no ready worker.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    waiting: Mutex<HashMap<ContentGuid, Arc<AtomicUsize>>>,
}

/// One request's place; leaving is dropping it.
struct Place<'a> {
    queues: &'a Queues,
    content: ContentGuid,
    count: Arc<AtomicUsize>,
}

impl Queues {
    /// Finds a worker, at once or after waiting: `limit` requests per content at most, each for `patience` at most. May be
    /// dropped at any moment.
    pub(crate) async fn admit(
        &self,
        workers: &dyn Workers,
        content: &Arc<ContentEntry>,
        bundle: &Arc<BundleEntry>,
        patience: Duration,
        limit: usize,
    ) -> Result<Arc<Worker>, NotAdmitted> {
        if let Some(worker) = workers.ready(content.guid, bundle.id) {
            return Ok(worker);
        }
        let (_place, before) = self.enter(content.guid);
        let began = Instant::now();
        let mut waited = Duration::ZERO;
        loop {
            let standing = Standing { waiting: before, limit, waited, patience };
            let up_to = match decide(workers.ready(content.guid, bundle.id), standing) {
                Admission::Go(worker) => return Ok(worker),
                Admission::Wait { up_to } => up_to,
                Admission::Full { retry_after } => return Err(NotAdmitted::Full { waiting: before, retry_after }),
                Admission::TimedOut { retry_after } => return Err(NotAdmitted::TimedOut { waited, retry_after }),
            };
            let wait = workers.wait_ready(content.clone(), bundle.clone());
            match tokio::time::timeout(up_to, wait).await {
                Ok(found) => return Ok(found?),
                Err(_) => waited = began.elapsed().max(up_to),
            }
        }
    }

    /// Takes a place, and says how many had one before.
    fn enter(&self, content: ContentGuid) -> (Place<'_>, usize) {
        let mut waiting = self.waiting.lock();
        let count = waiting.entry(content).or_default().clone();
        let before = count.fetch_add(1, Relaxed);
        drop(waiting);
        (Place { queues: self, content, count }, before)
    }

    /// How many wait for this content.
    #[cfg(test)]
    fn waiting(&self, content: ContentGuid) -> usize {
        self.waiting.lock().get(&content).map_or(0, |count| count.load(Relaxed))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queues.waiting.lock();
        // Under the lock: nobody enters between the last one's leaving and the entry's removal.
        if self.count.fetch_sub(1, Relaxed) == 1 {
            waiting.remove(&self.content);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeMap;

    use futures_util::future::BoxFuture;
    use lectern_domain::access::AccessRules;
    use lectern_domain::content::ProcessSettings;
    use lectern_domain::launch::{Prepared, Program};
    use lectern_domain::{AccessType, AppMode, BundleHash, BundleId, ContentId, JobKey, UserId};
    use uuid::Uuid;

    /// Workers that are never ready at once; `wait_ready` ends as it is told.
    struct Slow(tokio::sync::watch::Receiver<Option<Result<(), &'static str>>>);

    impl Workers for Slow {
        fn ready(&self, _: ContentGuid, _: BundleId) -> Option<Arc<Worker>> {
            None
        }

        fn wait_ready(
            &self,
            _: Arc<ContentEntry>,
            _: Arc<BundleEntry>,
        ) -> BoxFuture<'static, Result<Arc<Worker>, StartFailure>> {
            let mut told = self.0.clone();
            Box::pin(async move {
                let told = *told.wait_for(Option::is_some).await.unwrap();
                match told.unwrap() {
                    Ok(()) => Ok(Worker::new(JobKey::from_random([1; 16]), "/nowhere".into())),
                    Err(text) => Err(StartFailure::Unavailable(text.into())),
                }
            })
        }

        fn report_dead(&self, _: &JobKey) {}
    }

    fn content() -> (Arc<ContentEntry>, Arc<BundleEntry>) {
        let prepared = Prepared {
            program: Program::PythonAsgi { entrypoint: "app".into() },
            interpreter: None,
            environment: None,
        };
        let bundle = Arc::new(BundleEntry { id: BundleId(1), hash: BundleHash([0; 32]), prepared });
        let content = ContentEntry {
            id: ContentId(1),
            guid: ContentGuid(Uuid::from_u128(1)),
            name: "name".into(),
            title: None,
            mode: AppMode::PythonFastapi,
            access: AccessRules {
                owner: UserId(1),
                access_type: AccessType::All,
                viewers: Default::default(),
                editors: Default::default(),
            },
            active: Some(BundleId(1)),
            bundles: BTreeMap::from([(BundleId(1), bundle.clone())]),
            locked_message: None,
            processes: ProcessSettings::default(),
            sealed_variables: Vec::new(),
            vanity: None,
        };
        (Arc::new(content), bundle)
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_length_and_in_time() {
        let (tell, told) = tokio::sync::watch::channel(None);
        let (queues, slow, (content, bundle)) = (Queues::default(), Slow(told), content());
        let admit = || queues.admit(&slow, &content, &bundle, Duration::from_millis(30), 2);
        let (mut one, mut two) = (Box::pin(admit()), Box::pin(admit()));
        assert!(futures_util::poll!(&mut one).is_pending() && futures_util::poll!(&mut two).is_pending());
        assert_eq!(queues.waiting(content.guid), 2);
        assert!(matches!(admit().await, Err(NotAdmitted::Full { waiting: 2, .. })));
        // Whoever leaves makes room.
        drop(one);
        assert_eq!(queues.waiting(content.guid), 1);
        let mut three = Box::pin(admit());
        assert!(futures_util::poll!(&mut three).is_pending());
        assert!(matches!(two.await, Err(NotAdmitted::TimedOut { .. })));
        assert!(matches!(three.await, Err(NotAdmitted::TimedOut { .. })));
        assert_eq!(queues.waiting(content.guid), 0);
        assert!(queues.waiting.lock().is_empty(), "nothing is kept of content that nobody waits for");

        let mut four = Box::pin(admit());
        assert!(futures_util::poll!(&mut four).is_pending());
        tell.send_replace(Some(Err("no disk")));
        assert!(matches!(four.await, Err(NotAdmitted::Start(StartFailure::Unavailable(_)))));
        tell.send_replace(Some(Ok(())));
        assert!(admit().await.is_ok());
        assert_eq!(queues.waiting(content.guid), 0);
    }
}
