//! One place a worker may fill: a bundle of a content item. One task owns it and its worker; others send it orders.

use std::sync::Arc;
use std::time::Duration;

use lectern_domain::JobKey;
use lectern_domain::snapshot::{BundleEntry, ContentEntry};
use lectern_domain::worker::{Backoff, Ending, ExitStatus};
use lectern_edge::{StartFailure, Worker};
use lectern_supervisor::{Exited, WorkerState, WorkerStatus};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Crew, Key};

/// How often an idle worker is looked at: a worker lives this much longer than its idle time-out at most.
const IDLE_ROUND: Duration = Duration::from_secs(1);
/// How long after a failed start the next visitor is told of it instead of causing another start.
const BACKOFF: Backoff =
    Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60), healthy_after: Duration::from_secs(60) };
/// Orders waiting for one place. Requests in admission are bounded far below by the edge; this is a backstop.
pub(super) const ORDERS: usize = 4096;

/// Somebody who waits for the worker.
pub(super) type Reply = oneshot::Sender<Result<Arc<Worker>, StartFailure>>;

/// What a place is told.
pub(super) enum Order {
    /// A worker is needed.
    Need { content: Arc<ContentEntry>, bundle: Arc<BundleEntry>, reply: Reply },
    /// The supervisor reports a change of a worker of this place.
    Changed(Box<WorkerStatus>),
    /// A worker that ran before this server started.
    Adopt(Box<WorkerStatus>),
    /// Let the worker finish its requests and end; the next need starts a new one.
    Retire,
    /// Nobody answers at the worker's socket.
    Dead(JobKey),
    /// The supervisor is gone, and every worker with it.
    Lost,
}

/// Where a place stands.
enum Phase {
    Empty,
    /// Launching: the supervisor has not answered yet.
    Launching {
        job: JobKey,
        limit: Duration,
    },
    /// The supervisor has started it; it does not accept connections yet.
    Starting {
        job: JobKey,
        limit: Duration,
    },
    Ready {
        worker: Arc<Worker>,
        since: Instant,
        idle: Duration,
    },
    Backoff {
        until: Instant,
    },
}

/// The owner of one place.
pub(super) struct Place {
    key: Key,
    crew: Arc<Crew>,
    phase: Phase,
    crashes: u32,
    waiting: Vec<Reply>,
    launched: mpsc::Sender<(JobKey, Result<(), StartFailure>)>,
}

/// Owns the place `key` until its orders end.
pub(super) async fn run(key: Key, crew: Arc<Crew>, mut orders: mpsc::Receiver<Order>) {
    // One launch at a time reports here.
    let (launched, mut launches) = mpsc::channel(4);
    let mut place = Place { key, crew, phase: Phase::Empty, crashes: 0, waiting: Vec::new(), launched };
    let mut round = tokio::time::interval(IDLE_ROUND);
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let ready = matches!(place.phase, Phase::Ready { .. });
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => place.obey(order),
                None => break,
            },
            Some((job, outcome)) = launches.recv() => place.launched(&job, outcome),
            _ = round.tick(), if ready => place.look_after(),
        }
    }
    place.retire();
    place.answer_all(&Err(StartFailure::Unavailable("this content is being stopped".into())));
}

/// How a process ended, in words for its publisher: the supervisor's own message also names places of this host.
fn exit_words(exited: &Exited) -> String {
    match exited.status {
        Some(ExitStatus::Code(code)) => format!("it exited with status {code}"),
        Some(ExitStatus::Signal(signal)) => format!("signal {signal} ended it"),
        None => exited.message.clone(),
    }
}

impl Place {
    fn obey(&mut self, order: Order) {
        match order {
            Order::Need { content, bundle, reply } => self.need(&content, &bundle, reply),
            Order::Changed(status) => self.changed(&status),
            Order::Adopt(status) => self.adopt(&status),
            Order::Retire => self.retire(),
            Order::Dead(job) => self.dead(&job),
            Order::Lost => self.lost(),
        }
    }

    fn need(&mut self, content: &Arc<ContentEntry>, bundle: &Arc<BundleEntry>, reply: Reply) {
        match &self.phase {
            Phase::Ready { worker, .. } => {
                // The receiver may have stopped waiting; that is its right.
                let _ = reply.send(Ok(Arc::clone(worker)));
            }
            Phase::Launching { .. } | Phase::Starting { .. } => {
                self.waiting.retain(|waiting| !waiting.is_closed());
                self.waiting.push(reply);
            }
            Phase::Backoff { until } if *until > Instant::now() => {
                let retry_after = *until - Instant::now();
                let _ = reply.send(Err(StartFailure::BackOff { retry_after }));
            }
            Phase::Empty | Phase::Backoff { .. } => {
                self.waiting.push(reply);
                self.launch(content, bundle);
            }
        }
    }

    fn launch(&mut self, content: &Arc<ContentEntry>, bundle: &Arc<BundleEntry>) {
        let job = match super::new_job_key() {
            Ok(job) => job,
            Err(error) => return self.failed(StartFailure::Unavailable(error.to_string())),
        };
        let limit = self.crew.init_timeout(content);
        self.phase = Phase::Launching { job: job.clone(), limit };
        let (crew, report) = (Arc::clone(&self.crew), self.launched.clone());
        let (content, bundle) = (Arc::clone(content), Arc::clone(bundle));
        self.crew.tasks.spawn(async move {
            let outcome = crew.launch(&content, &bundle, &job).await;
            // The place may be gone: then its worker is stopped with it.
            if let Err(mpsc::error::SendError((job, Ok(())))) = report.send((job, outcome)).await {
                crew.end(&job).await;
            }
        });
    }

    fn launched(&mut self, job: &JobKey, outcome: Result<(), StartFailure>) {
        match (&self.phase, outcome) {
            (Phase::Launching { job: current, limit }, Ok(())) if current == job => {
                self.phase = Phase::Starting { job: job.clone(), limit: *limit };
            }
            (Phase::Launching { job: current, .. }, Err(failure)) if current == job => self.failed(failure),
            // Retired while it was being launched.
            (_, Ok(())) if !self.is_current(job) => self.crew.end_later(job.clone()),
            (_, Ok(()) | Err(_)) => {}
        }
    }

    fn is_current(&self, job: &JobKey) -> bool {
        match &self.phase {
            Phase::Launching { job: current, .. } | Phase::Starting { job: current, .. } => current == job,
            Phase::Ready { worker, .. } => worker.job() == job,
            Phase::Empty | Phase::Backoff { .. } => false,
        }
    }

    fn changed(&mut self, status: &WorkerStatus) {
        if !self.is_current(&status.job) {
            return;
        }
        match (&self.phase, &status.state) {
            (Phase::Launching { .. } | Phase::Starting { .. }, WorkerState::Ready) => self.ready(status),
            (Phase::Launching { limit, .. } | Phase::Starting { limit, .. }, WorkerState::Exited(exited)) => {
                let failure = match exited.ending {
                    Ending::NeverListened => StartFailure::NeverListened { job: status.job.clone(), limit: *limit },
                    Ending::Stopped => StartFailure::Unavailable("it was stopped while it started".into()),
                    Ending::NotStarted | Ending::FailedToStart | Ending::Crashed => {
                        StartFailure::Crashed { job: status.job.clone(), reason: exit_words(exited) }
                    }
                };
                self.failed(failure);
            }
            (Phase::Ready { since, .. }, WorkerState::Exited(exited)) => {
                let served = since.elapsed();
                tracing::warn!(
                    job.key = %status.job, content.id = %status.content, reason = exited.message,
                    "a worker ended by itself"
                );
                self.withdraw();
                self.crashes = BACKOFF.count(self.crashes, served);
                self.phase = Phase::Backoff { until: Instant::now() + BACKOFF.delay(self.crashes) };
            }
            (Phase::Ready { .. }, WorkerState::Draining) => {
                self.withdraw();
                self.phase = Phase::Empty;
            }
            _ => {}
        }
    }

    fn ready(&mut self, status: &WorkerStatus) {
        let worker = Worker::of_account(status.job.clone(), status.socket.clone(), status.account.map(|a| a.uid));
        let idle = self.crew.idle_timeout(self.key.0);
        self.crew.announce(self.key, Arc::clone(&worker));
        self.phase = Phase::Ready { worker: Arc::clone(&worker), since: Instant::now(), idle };
        self.answer_all(&Ok(worker));
    }

    fn adopt(&mut self, status: &WorkerStatus) {
        match (&self.phase, &status.state) {
            (Phase::Empty, WorkerState::Ready) => self.ready(status),
            (Phase::Empty, WorkerState::Starting) => {
                let limit = self.crew.default_init_timeout();
                self.phase = Phase::Starting { job: status.job.clone(), limit };
            }
            _ => self.crew.end_later(status.job.clone()),
        }
    }

    fn failed(&mut self, failure: StartFailure) {
        tracing::warn!(
            content.id = %self.key.0, bundle.id = %self.key.1, error = crate::cli::chain(&failure),
            "a worker could not be started"
        );
        self.crashes = self.crashes.saturating_add(1);
        self.phase = Phase::Backoff { until: Instant::now() + BACKOFF.delay(self.crashes) };
        self.answer_all(&Err(failure));
    }

    fn answer_all(&mut self, outcome: &Result<Arc<Worker>, StartFailure>) {
        for reply in self.waiting.drain(..) {
            let _ = reply.send(outcome.clone());
        }
    }

    fn withdraw(&self) {
        self.crew.withdraw(self.key);
    }

    /// Lets the worker go: no new requests, the ones it has finish, a new need starts another.
    fn retire(&mut self) {
        self.crashes = 0;
        match std::mem::replace(&mut self.phase, Phase::Empty) {
            Phase::Ready { worker, .. } => {
                self.withdraw();
                self.crew.drain(worker);
            }
            Phase::Starting { job, .. } => {
                self.crew.end_later(job);
                let retired = StartFailure::Unavailable("it was replaced while it started".into());
                self.answer_all(&Err(retired));
            }
            // Its launch reports to nobody, and is ended then.
            Phase::Launching { .. } => {
                let retired = StartFailure::Unavailable("it was replaced while it started".into());
                self.answer_all(&Err(retired));
            }
            Phase::Empty | Phase::Backoff { .. } => {}
        }
    }

    fn dead(&mut self, job: &JobKey) {
        if matches!(&self.phase, Phase::Ready { worker, .. } if worker.job() == job) {
            tracing::warn!(job.key = %job, "a worker no longer accepts connections; it is ended");
            self.withdraw();
            self.crew.end_later(job.clone());
            self.phase = Phase::Empty;
        }
    }

    fn lost(&mut self) {
        self.withdraw();
        self.phase = Phase::Empty;
        self.answer_all(&Err(StartFailure::Unavailable("the supervisor ended".into())));
    }

    /// Ends a worker that nobody has used for its idle time-out.
    fn look_after(&mut self) {
        let Phase::Ready { worker, idle, .. } = &self.phase else { return };
        if !idle.is_zero() && worker.idle_for() >= *idle {
            tracing::info!(job.key = %worker.job(), content.id = %self.key.0, "idle worker ends");
            self.retire();
        }
    }
}
