//! What happens to the workers of a pool, and what is made of it.

use lectern_domain::JobKey;
use lectern_domain::worker::{Ending, ExitStatus};
use lectern_edge::{StartFailure, Worker};
use lectern_supervisor::{Exited, WorkerState, WorkerStatus};
use tokio::time::Instant;

use super::{BACKOFF, Keeper, Member, State};

/// How a process ended, in words for its publisher: the supervisor's own message also names places of this host.
fn exit_words(exited: &Exited) -> String {
    match exited.status {
        Some(ExitStatus::Code(code)) => format!("it exited with status {code}"),
        Some(ExitStatus::Signal(signal)) => format!("signal {signal} ended it"),
        None => exited.message.clone(),
    }
}

impl Keeper {
    fn find(&self, job: &JobKey) -> Option<usize> {
        self.members.iter().position(|member| member.job == *job)
    }

    pub(super) fn launched(&mut self, job: &JobKey, outcome: Result<(), StartFailure>) {
        let Some(index) = self.find(job) else {
            // Retired while it was being launched.
            if outcome.is_ok() {
                self.crew.end_later(job.clone());
            }
            return;
        };
        match outcome {
            // Its readiness may have been reported before.
            Ok(()) => {
                let member = self.members.remove(index);
                let state = match member.state {
                    State::Launching { limit, settled } => State::Starting { limit, settled: Some(settled) },
                    state => state,
                };
                self.members.insert(index, Member { job: member.job, state });
            }
            Err(failure) => {
                self.members.remove(index);
                self.failed(failure);
            }
        }
    }

    pub(super) fn changed(&mut self, status: &WorkerStatus) {
        let Some(index) = self.find(&status.job) else { return self.left(status) };
        match (&self.members[index].state, &status.state) {
            (State::Launching { .. } | State::Starting { .. }, WorkerState::Ready) => {
                self.crew.zygotes.count(status);
                self.ready(index, status);
            }
            (State::Launching { limit, .. } | State::Starting { limit, .. }, WorkerState::Exited(exited)) => {
                let failure = match exited.ending {
                    Ending::NeverListened => StartFailure::NeverListened { job: status.job.clone(), limit: *limit },
                    Ending::Stopped => StartFailure::Unavailable("it was stopped while it started".into()),
                    Ending::NotStarted | Ending::FailedToStart | Ending::Crashed => {
                        StartFailure::Crashed { job: status.job.clone(), reason: exit_words(exited) }
                    }
                };
                self.members.remove(index);
                self.failed(failure);
            }
            (State::Ready { since, worker }, WorkerState::Draining | WorkerState::Exited(_)) => {
                worker.close();
                self.leaving.push((status.job.clone(), since.elapsed()));
                self.members.remove(index);
                self.show();
                self.left(status);
            }
            _ => {}
        }
    }

    /// Notes how a worker ended that this pool had not told to.
    fn left(&mut self, status: &WorkerStatus) {
        let WorkerState::Exited(exited) = &status.state else { return };
        let Some(index) = self.leaving.iter().position(|(job, _)| *job == status.job) else { return };
        let (job, served) = self.leaving.swap_remove(index);
        if exited.ending == Ending::Stopped {
            tracing::info!(job.key = %job, content.id = %status.content, "a worker was stopped");
            return;
        }
        tracing::warn!(job.key = %job, content.id = %status.content, reason = exited.message, "a worker ended by itself");
        self.crashes = BACKOFF.count(self.crashes, served);
        self.pause(&StartFailure::Ended { job, reason: exit_words(exited), served });
    }

    fn ready(&mut self, index: usize, status: &WorkerStatus) {
        let worker = Worker::of_account(status.job.clone(), status.socket.clone(), status.account.map(|a| a.uid));
        self.members[index].state = State::Ready { worker, since: Instant::now() };
        self.pool.refuse(None);
        self.show();
    }

    pub(super) fn adopt(&mut self, status: &WorkerStatus) {
        if self.find(&status.job).is_some() {
            return;
        }
        let limit = self.crew.settings.defaults.init_timeout;
        self.members.push(Member { job: status.job.clone(), state: State::Starting { limit, settled: None } });
        if status.state == WorkerState::Ready {
            self.ready(self.members.len() - 1, status);
        }
    }

    /// A worker could not be started.
    pub(super) fn failed(&mut self, failure: StartFailure) {
        tracing::warn!(
            content.id = %self.key.0, bundle.id = %self.key.1, error = crate::cli::chain(&failure),
            "a worker could not be started"
        );
        self.crashes = self.crashes.saturating_add(1);
        // While there are others, or another one starts, those who wait may still be served.
        if self.members.is_empty() {
            self.pool.fail(&failure);
        }
        self.pause(&failure);
    }

    /// Starts nothing for a while, which grows with the crashes in a row. Those who wait go on waiting through a short pause; a long one
    /// they are told of, if there is nobody else to serve them.
    fn pause(&mut self, failure: &StartFailure) {
        let pause = BACKOFF.delay(self.crashes);
        let until = Instant::now() + pause;
        self.pause = Some(until);
        self.pool.refuse(Some((until.into_std(), failure.clone())));
        if self.members.is_empty() && pause > BACKOFF.base {
            let (job, last) = (failure.job().cloned(), failure.to_string());
            self.pool.fail(&StartFailure::BackOff { retry_after: pause, job, last });
        }
    }

    pub(super) fn forgive(&mut self) {
        self.crashes = 0;
        self.pause = None;
        self.pool.refuse(None);
    }

    /// Lets all workers go: no new requests, those they have finish, a new need starts others.
    pub(super) fn retire(&mut self) {
        self.forgive();
        for member in std::mem::take(&mut self.members) {
            match member.state {
                State::Ready { worker, .. } => self.drain(worker),
                State::Starting { .. } => self.crew.end_later(member.job),
                // Its launch reports a worker that is not known, and it is ended then.
                State::Launching { .. } => {}
            }
        }
        self.show();
    }

    /// Lets one worker go that another pool needs the room of.
    pub(super) fn reclaim(&mut self, job: &JobKey) {
        let min = self.terms().map_or(0, |terms| terms.settings.min);
        let Some(index) = self.find(job) else { return };
        let idle = self.members[index].worker().is_some_and(|worker| worker.in_flight() == 0);
        if idle && self.members.len() > min {
            self.let_go(&[index]);
        }
    }

    pub(super) fn dead(&mut self, job: &JobKey) {
        let Some(index) = self.find(job) else { return };
        if let Some(worker) = self.members[index].worker() {
            tracing::warn!(job.key = %job, "a worker no longer accepts connections; it is ended");
            worker.close();
            self.crew.machine.ending(job);
            self.crew.end_later(job.clone());
            self.members.remove(index);
            self.show();
        }
    }

    pub(super) fn lost(&mut self) {
        self.leaving.clear();
        for member in std::mem::take(&mut self.members) {
            if let State::Ready { worker, .. } = member.state {
                worker.close();
            }
        }
        self.show();
        let lost = StartFailure::Unavailable("the supervisor ended".into());
        self.pause = Some(Instant::now() + BACKOFF.base);
        self.pool.fail(&lost);
    }
}
