//! The fleet: which workers run, for whom. The edge asks it for workers; the supervisor does what it says.

mod crew;
mod journal;
mod keeper;
mod launcher;
mod machine;
mod memory;
mod metrics;
mod renewal;
mod sockets;
mod turns;
mod workers;
mod zygotes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lectern_api::ContentProcess;
use lectern_domain::admission::patience;
use lectern_domain::launch::Program;
use lectern_domain::snapshot::{BundleEntry, ContentEntry};
use lectern_domain::{BundleId, ContentGuid, JobKey};
use lectern_edge::{NotAdmitted, Pool, StartFailure, Worker};
use lectern_metadata::{Database, jobs};
use lectern_supervisor::{ClientError, WorkerState, WorkerStatus};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crew::Face;
pub(crate) use crew::{Crew, CrewSettings};
use journal::{end_because, end_of};
use keeper::Order;
pub(crate) use launcher::{Launcher, server_as_content_sees_it};
pub(crate) use workers::FleetWorkers;

/// How long all workers together may take to end: the supervisor's own limit is 30 seconds, and it needs a moment more.
const STOP_LIMIT: Duration = Duration::from_secs(45);

/// How often what content processes take is measured: it costs a look at every process of the host.
const MEMORY_ROUND: Duration = Duration::from_secs(10);

/// A pool of workers: one bundle of one content item.
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
    /// Held while a pool is made: each key has one at a time.
    making: Mutex<()>,
    runtime: tokio::runtime::Handle,
}

impl Fleet {
    /// Puts a fleet before the supervisor that `crew` talks to. Must be called on the runtime that its tasks run on.
    pub(crate) fn new(crew: Arc<Crew>) -> Arc<Self> {
        Arc::new(Self { crew, making: Mutex::new(()), runtime: tokio::runtime::Handle::current() })
    }

    /// Takes over what runs already, ends what nobody knows, and closes the record of jobs that ended unseen.
    pub(crate) async fn adopt(&self, database: &Database) -> anyhow::Result<()> {
        let running = self.crew.client().list().await.context("ask the supervisor what runs")?;
        let view = self.crew.view.current();
        let mut known_ones: HashMap<Key, Vec<Order>> = HashMap::new();
        self.crew.look_at_zygotes().await;
        for status in &running {
            self.crew.machine.seen(status);
            self.crew.zygotes.seen(status);
            if matches!(status.state, WorkerState::Exited(_) | WorkerState::Draining) {
                continue;
            }
            let known =
                view.content.get(&status.content).is_some_and(|content| content.bundles.contains_key(&status.bundle));
            if known {
                tracing::info!(job.key = %status.job, content.id = %status.content, "a running worker is taken over");
                let adopt = Order::Adopt(Box::new(status.clone()));
                known_ones.entry((status.content, status.bundle)).or_default().push(adopt);
            } else {
                tracing::info!(job.key = %status.job, content.id = %status.content, "a running worker of unknown content is ended");
                self.crew.end_later(status.job.clone());
            }
        }
        for (key, orders) in known_ones {
            // Before the owner of the pool looks whom it lacks.
            self.face_with(key, orders);
        }
        self.close_unseen(database, &running).await
    }

    /// Jobs whose process ended while no server looked.
    async fn close_unseen(&self, database: &Database, running: &[WorkerStatus]) -> anyhow::Result<()> {
        let client = database.client().await.context("read the open jobs")?;
        let hostname = &self.crew.settings.hostname;
        for job in jobs::list_open(&client, hostname).await.context("read the open jobs")? {
            let end = match running.iter().find(|status| status.job == job.key).map(|status| &status.state) {
                // The supervisor remembers.
                Some(WorkerState::Exited(exited)) => end_of(exited),
                Some(_) => continue,
                None => end_because("it ended while no server was looking"),
            };
            jobs::finish(&client, &job.key, &end).await.context("close a job that ended unseen")?;
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
            let event = tokio::select! {
                event = events.next() => event,
                // The supervisor goes on, for another server.
                () = self.crew.handed_over.cancelled() => return,
            };
            match event {
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
        self.crew.record_lost(self.crew.machine.all_gone());
        self.crew.zygotes.all_gone();
        self.tell_all(|_| true, || Order::Lost).await;
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
        let orders = self.crew.pools.load().get(&(status.content, status.bundle)).map(|face| face.orders.clone());
        if let Some(orders) = orders {
            let _ = orders.send(Order::Changed(Box::new(status))).await;
        }
    }

    /// Sends an order to the owners of those pools that there are and that `which` means.
    async fn tell_all(&self, which: impl Fn(&Key) -> bool, order: impl Fn() -> Order) {
        let pools = self.crew.pools.load_full();
        for (_, face) in pools.iter().filter(|(key, _)| which(key)) {
            let _ = face.orders.send(order()).await;
        }
    }

    /// Lets the workers of all these pools go. When it returns, none of them is given a request any more: who changed what they were
    /// started with finds the change at once.
    async fn retire_all(&self, which: impl Fn(&Key) -> bool) {
        let mut going = Vec::new();
        for (_, face) in self.crew.pools.load_full().iter().filter(|(key, _)| which(key)) {
            let (done, gone) = oneshot::channel();
            if face.orders.send(Order::Retire(done)).await.is_ok() {
                going.push(gone);
            }
        }
        for gone in going {
            // An owner obeys without waiting for anything; one that ends instead lets its workers go as well.
            let _ = gone.await;
        }
    }

    /// The pool of a version, made when there is none.
    fn face(&self, key: Key) -> Face {
        self.face_with(key, Vec::new())
    }

    /// The same; one that is made begins with these orders.
    fn face_with(&self, key: Key, begin_with: Vec<Order>) -> Face {
        if let Some(face) = self.crew.pools.load().get(&key) {
            return face.clone();
        }
        let _making = self.making.lock();
        if let Some(face) = self.crew.pools.load().get(&key) {
            return face.clone();
        }
        let (orders, receiver) = mpsc::channel(keeper::ORDERS);
        for order in begin_with {
            // As many as there are workers: far fewer than fit.
            let _ = orders.try_send(order);
        }
        let face = Face { pool: Pool::new(Arc::clone(&self.crew.admissions)), spare: Arc::default(), orders };
        if self.crew.stopping.is_cancelled() {
            face.pool.end(false);
            return face;
        }
        self.crew.pools.rcu(|old| {
            let mut new = HashMap::clone(old);
            new.insert(key, face.clone());
            new
        });
        let (crew, pool, spare) = (Arc::clone(&self.crew), Arc::clone(&face.pool), Arc::clone(&face.spare));
        self.crew.tasks.spawn_on(keeper::run(key, crew, pool, spare, receiver), &self.runtime);
        face
    }

    /// Makes the pools what the settings of content want now: starts what is to be kept warm, lets go what is too much.
    pub(crate) fn reconcile(&self) {
        let view = self.crew.view.current();
        for content in view.content.values() {
            let Some(bundle) = content.active_bundle() else { continue };
            let is_static = matches!(bundle.prepared.program, Program::Static { .. });
            if !is_static
                && content.locked_message.is_none()
                && self.crew.settings.defaults.resolve(&content.processes).min > 0
            {
                self.face((content.guid, bundle.id));
            }
        }
        for face in self.crew.pools.load().values() {
            face.pool.call();
        }
    }

    /// Measures what content processes take from time to time, until the fleet has stopped.
    pub(crate) async fn measure(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.crew.stopping.cancelled() => return,
                () = tokio::time::sleep(MEMORY_ROUND) => {}
            }
            self.crew.look_at_zygotes().await;
            self.measure_now().await;
        }
    }

    async fn measure_now(&self) {
        let (jobs, pids): (Vec<_>, Vec<_>) = self.crew.machine.pids().into_iter().unzip();
        let zygotes = self.crew.zygotes.pids();
        if jobs.is_empty() && zygotes.is_empty() {
            return;
        }
        let measure = move || {
            let zygotes = zygotes.into_iter().map(|(name, pid)| (name, memory::of_one(pid))).collect();
            (memory::of_trees(&pids), zygotes)
        };
        match tokio::task::spawn_blocking(measure).await {
            Ok((found, zygotes)) => {
                self.crew.machine.measured(jobs.into_iter().zip(found).collect(), Instant::now());
                self.crew.zygotes.measured(zygotes);
            }
            Err(error) => tracing::error!(%error, "measure content processes"),
        }
    }

    /// The processes of content with what they take now; without those that have no process number yet.
    pub(crate) async fn processes(&self) -> Vec<ContentProcess> {
        self.measure_now().await;
        let view = self.crew.view.current();
        let shown = self.crew.machine.running().into_iter().filter_map(|running| {
            let (guid, bundle) = running.key;
            let content = view.content.get(&guid)?;
            let program = &content.bundles.get(&bundle)?.prepared.program;
            Some(ContentProcess {
                pid: running.pid,
                job: running.job,
                content: content.id,
                guid,
                name: content.name.clone(),
                run_as: self.crew.launcher.account(content.id).map(|account| account.uid.to_string()),
                tag: launcher::job_tag(program),
                cores: running.cores,
                cpu: running.cpu,
                memory_bytes: running.bytes,
            })
        });
        shown.collect()
    }

    /// Lets the workers of `content` go, all but those of `keep`; they finish their requests first.
    pub(crate) async fn retire(&self, content: ContentGuid, keep: Option<BundleId>) {
        self.retire_all(|key| key.0 == content && Some(key.1) != keep).await;
        if let Some(keep) = keep {
            self.crew.end_zygotes(|key| key.0 == content && key.1 != keep);
        }
    }

    /// Ends a process because `username` wants it to; `false` when it does not run here.
    pub(crate) async fn end_job(&self, job: &JobKey, username: &str) -> Result<bool, ClientError> {
        self.crew.end_for(job, username).await
    }

    /// Whether a process runs, or is about to.
    pub(crate) fn runs(&self, job: &JobKey) -> bool {
        self.crew.machine.has(job)
    }

    /// Lets the workers of one bundle go.
    pub(crate) async fn retire_bundle(&self, key: Key) {
        self.retire_all(|other| *other == key).await;
        self.crew.end_zygotes(|other| *other == key);
    }

    /// Forgets the pools of content that is gone; their workers end.
    pub(crate) async fn forget(&self, content: ContentGuid) {
        self.tell_all(|key| key.0 == content, || Order::End).await;
        self.crew.end_zygotes(|key| key.0 == content);
    }

    /// Another server before this one still has requests with the workers.
    pub(crate) fn share(&self) {
        self.crew.set_alone(false);
    }

    /// It has ended.
    pub(crate) fn alone(&self) {
        self.crew.set_alone(true);
    }

    /// Leaves workers and supervisor to the server that has taken over.
    pub(crate) async fn leave(&self) {
        self.crew.hand_over();
        // The other server has given its own.
        drop(self.crew.sockets.lock().await.take());
        self.crew.stopping.cancel();
        self.tell_all(|_| true, || Order::End).await;
        self.crew.stopped.cancel();
        self.crew.tasks.close();
        self.crew.tasks.wait().await;
        self.crew.flush_record().await;
    }

    /// Ends all workers and the supervisor; returns when nothing of them is left or the supervisor's own limit is over.
    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        self.crew.stopping.cancel();
        let ended = self.crew.client().shutdown(STOP_LIMIT).await.context("end the supervisor");
        self.tell_all(|_| true, || Order::End).await;
        // Drains still waiting for requests are over: their workers have ended.
        self.crew.stopped.cancel();
        self.crew.tasks.close();
        self.crew.tasks.wait().await;
        self.crew.flush_record().await;
        ended
    }

    /// Waits for a worker of a version that is being deployed; failures before it do not count.
    pub(crate) async fn need(
        &self,
        content: Arc<ContentEntry>,
        bundle: Arc<BundleEntry>,
    ) -> Result<Arc<Worker>, StartFailure> {
        let face = self.face((content.guid, bundle.id));
        let _ = face.orders.send(Order::Forgive).await;
        let limit = patience(self.crew.settings.defaults.resolve(&content.processes).init_timeout);
        face.pool.any(limit).await.map_err(|why| match why {
            NotAdmitted::Start(failure) => failure,
            late => StartFailure::Unavailable(late.to_string()),
        })
    }

    /// Figures of pools, admission and the machine, in the text format of Prometheus.
    pub(crate) fn metrics(&self) -> String {
        metrics::text(&self.crew)
    }
}
