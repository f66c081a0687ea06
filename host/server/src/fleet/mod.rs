//! The fleet: which workers run, for whom. The edge asks it for workers; the supervisor does what it says.

mod crew;
mod journal;
mod launcher;
mod place;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use lectern_domain::snapshot::{BundleEntry, ContentEntry};
use lectern_domain::{BundleId, ContentGuid, JobKey};
use lectern_edge::{StartFailure, Worker, Workers};
use lectern_metadata::{Database, jobs};
use lectern_supervisor::{WorkerState, WorkerStatus};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

pub(crate) use crew::{Crew, CrewSettings};
pub(crate) use launcher::Launcher;
use place::Order;

/// How long all workers together may take to end: the supervisor's own limit is 30 seconds, and it needs a moment more.
const STOP_LIMIT: Duration = Duration::from_secs(45);

/// A place for a worker: one bundle of one content item.
pub(crate) type Key = (ContentGuid, BundleId);

/// Makes a new job key.
fn new_job_key() -> anyhow::Result<JobKey> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("ask for random bytes: {error}"))?;
    Ok(JobKey::from_random(bytes))
}

/// The fleet of this server.
pub(crate) struct Fleet {
    crew: Arc<Crew>,
    places: Mutex<HashMap<Key, mpsc::Sender<Order>>>,
    runtime: tokio::runtime::Handle,
}

impl Fleet {
    /// Puts a fleet before the supervisor that `crew` talks to. Must be called on the runtime that its tasks run on.
    pub(crate) fn new(crew: Arc<Crew>) -> Arc<Self> {
        Arc::new(Self { crew, places: Mutex::default(), runtime: tokio::runtime::Handle::current() })
    }

    /// Takes over what runs already, ends what nobody knows, and closes the record of jobs that ended unseen.
    pub(crate) async fn adopt(&self, database: &Database) -> anyhow::Result<()> {
        let running = self.crew.client().list().await.context("ask the supervisor what runs")?;
        let view = self.crew.view.current();
        for status in &running {
            if matches!(status.state, WorkerState::Exited(_) | WorkerState::Draining) {
                continue;
            }
            let known =
                view.content.get(&status.content).is_some_and(|content| content.bundles.contains_key(&status.bundle));
            if known {
                tracing::info!(job.key = %status.job, content.id = %status.content, "a running worker is taken over");
                self.tell((status.content, status.bundle), Order::Adopt(Box::new(status.clone()))).await;
            } else {
                tracing::info!(job.key = %status.job, content.id = %status.content, "a running worker of unknown content is ended");
                self.crew.end_later(status.job.clone());
            }
        }
        self.close_unseen(database, &running).await
    }

    /// Jobs whose process ended while no server looked.
    async fn close_unseen(&self, database: &Database, running: &[WorkerStatus]) -> anyhow::Result<()> {
        let client = database.client().await.context("read the open jobs")?;
        for job in jobs::list_open(&client).await.context("read the open jobs")? {
            let here = job.hostname == self.crew.settings.hostname;
            let runs =
                running.iter().any(|status| status.job == job.key && !matches!(status.state, WorkerState::Exited(_)));
            if here && !runs {
                jobs::finish(&client, &job.key, None).await.context("close a job that ended unseen")?;
            }
        }
        Ok(())
    }

    /// Follows the supervisor's events until the fleet has stopped; starts another supervisor when it ends before.
    pub(crate) async fn follow(self: Arc<Self>) {
        while !self.crew.stopping.is_cancelled() {
            let mut events = match self.crew.client().events() {
                Ok(events) => events,
                Err(error) => {
                    tracing::warn!(error = crate::cli::chain(&error), "the supervisor's events cannot be read");
                    self.supervisor_lost().await;
                    continue;
                }
            };
            // What happened before the events began.
            if let Ok(all) = self.crew.client().list().await {
                for status in all {
                    self.changed(status).await;
                }
            }
            self.follow_events(&mut events).await;
        }
    }

    /// Follows `events` until some were missed or the supervisor ended.
    async fn follow_events(&self, events: &mut lectern_supervisor::Events) {
        loop {
            match events.next().await {
                Ok(lectern_supervisor::Event::Changed { worker }) => self.changed(*worker).await,
                Ok(lectern_supervisor::Event::Lagged { missed }) => {
                    tracing::warn!(missed, "events of the supervisor were missed; asking for all");
                    return;
                }
                Err(_) if self.crew.stopping.is_cancelled() => return,
                Err(error) => {
                    tracing::error!(error = crate::cli::chain(&error), "the supervisor ended, and its workers with it");
                    return self.supervisor_lost().await;
                }
            }
        }
    }

    async fn supervisor_lost(&self) {
        let places: Vec<_> = self.places.lock().values().cloned().collect();
        for place in places {
            let _ = place.send(Order::Lost).await;
        }
        while !self.crew.stopping.is_cancelled() {
            match self.crew.reconnect().await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(error = crate::cli::chain(error.as_ref()), "no supervisor can be started");
                }
            }
            tokio::select! {
                () = self.crew.stopping.cancelled() => return,
                // A supervisor that cannot be started will hardly be startable sooner; each try costs a process.
                () = tokio::time::sleep(Duration::from_secs(2)) => {}
            }
        }
    }

    async fn changed(&self, status: WorkerStatus) {
        self.crew.record(&status);
        let key = (status.content, status.bundle);
        let place = self.places.lock().get(&key).cloned();
        if let Some(place) = place {
            let _ = place.send(Order::Changed(Box::new(status))).await;
        }
    }

    async fn tell(&self, key: Key, order: Order) {
        let place = self.place(key);
        let _ = place.send(order).await;
    }

    fn place(&self, key: Key) -> mpsc::Sender<Order> {
        let mut places = self.places.lock();
        let place = places.entry(key).or_insert_with(|| {
            let (sender, orders) = mpsc::channel(place::ORDERS);
            let owner = place::run(key, Arc::clone(&self.crew), orders);
            self.crew.tasks.spawn_on(owner, &self.runtime);
            sender
        });
        place.clone()
    }

    /// Lets the workers of `content` go, all but those of `keep`; they finish their requests first.
    pub(crate) async fn retire(&self, content: ContentGuid, keep: Option<BundleId>) {
        let places: Vec<_> = {
            let places = self.places.lock();
            places.iter().filter(|(key, _)| key.0 == content && Some(key.1) != keep).map(|(_, p)| p.clone()).collect()
        };
        for place in places {
            let _ = place.send(Order::Retire).await;
        }
    }

    /// Lets the worker of one bundle go.
    pub(crate) async fn retire_bundle(&self, key: Key) {
        let place = self.places.lock().get(&key).cloned();
        if let Some(place) = place {
            let _ = place.send(Order::Retire).await;
        }
    }

    /// Forgets the places of content that is gone; their workers end.
    pub(crate) fn forget(&self, content: ContentGuid) {
        self.places.lock().retain(|key, _| key.0 != content);
    }

    /// Ends all workers and the supervisor; returns when nothing of them is left or the supervisor's own limit is over.
    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        self.crew.stopping.cancel();
        let ended = self.crew.client().shutdown(STOP_LIMIT).await.context("end the supervisor");
        self.places.lock().clear();
        // Drains still waiting for requests are over: their workers have ended.
        self.crew.stopped.cancel();
        self.crew.tasks.close();
        self.crew.tasks.wait().await;
        self.crew.flush_record().await;
        ended
    }

    /// Waits for a worker; the same as the edge does.
    pub(crate) async fn need(
        &self,
        content: Arc<ContentEntry>,
        bundle: Arc<BundleEntry>,
    ) -> Result<Arc<Worker>, StartFailure> {
        let (reply, answer) = oneshot::channel();
        let place = self.place((content.guid, bundle.id));
        let gone = || StartFailure::Unavailable("this content is being stopped".into());
        place.send(Order::Need { content, bundle, reply }).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// What the edge sees.
pub(crate) struct FleetWorkers(pub(crate) Arc<Fleet>);

impl Workers for FleetWorkers {
    fn ready(&self, content: ContentGuid, bundle: BundleId) -> Option<Arc<Worker>> {
        self.0.crew.ready(&(content, bundle))
    }

    fn wait_ready(
        &self,
        content: Arc<ContentEntry>,
        bundle: Arc<BundleEntry>,
    ) -> BoxFuture<'static, Result<Arc<Worker>, StartFailure>> {
        let fleet = Arc::clone(&self.0);
        Box::pin(async move { fleet.need(content, bundle).await })
    }

    fn report_dead(&self, job: &JobKey) {
        let Some(key) = self.0.crew.key_of(job) else { return };
        // At once, so that whoever tries again waits for another worker instead of meeting this one.
        self.0.crew.withdraw_worker(key, job);
        let place = self.0.places.lock().get(&key).cloned();
        // A full queue of orders means the place is busy with just such news.
        if let Some(place) = place {
            let _ = place.try_send(Order::Dead(job.clone()));
        }
    }
}
