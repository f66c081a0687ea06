//! What a pool's owner does: starts workers, lets them go, and says why it cannot.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use lectern_domain::scaling::budget::{Grant, Idle};
use lectern_edge::{StartFailure, Worker};
use tokio::sync::mpsc;

use super::super::new_job_key;
use super::super::zygotes::Spare;
use super::{Crew, Keeper, Key, Member, Order, State, Terms};

impl Keeper {
    /// Starts one worker, if the machine has room for it.
    pub(super) fn launch(&mut self, terms: &Terms, demanded: bool) -> bool {
        if self.crew.stopping.is_cancelled() {
            self.pool.fail(&StartFailure::Unavailable("the server is being stopped".into()));
            return false;
        }
        let job = match new_job_key() {
            Ok(job) => job,
            Err(error) => {
                self.failed(StartFailure::Unavailable(error.to_string()));
                return false;
            }
        };
        let urgent = demanded && self.members.is_empty();
        let (crew, key) = (&self.crew, self.key);
        let idle = crew.idle(key).chain(crew.zygotes.idle());
        match crew.machine.ask(key, &job, urgent, crew.zygotes.bytes(), idle) {
            Grant::Start => {}
            Grant::Reclaim(Spare::Zygote(name), short) => {
                tracing::info!(content.id = %key.0, zygote = %name, reason = %short, "a zygote ends to make room");
                crew.end_zygote_later(name);
                self.shortage = Some(short);
                return false;
            }
            Grant::Reclaim(Spare::Worker(key, other), short) => {
                tracing::info!(
                    content.id = %self.key.0, job.key = %other, reason = %short,
                    "an idle worker of content {} ends to make room", key.0
                );
                self.crew.tell_now(&key, Order::Reclaim(other));
                self.shortage = Some(short);
                return false;
            }
            Grant::Wait(short) => {
                self.shortage = Some(short);
                return false;
            }
        }
        let (settled, until_settled) = tokio::sync::oneshot::channel();
        let limit = terms.settings.init_timeout;
        self.members.push(Member { job: job.clone(), state: State::Launching { limit, settled } });
        let (crew, report) = (Arc::clone(&self.crew), self.launched.clone());
        let (content, bundle) = (Arc::clone(&terms.content), Arc::clone(&terms.bundle));
        self.crew.tasks.spawn(async move {
            let (outcome, turn) = match crew.launch(&content, &bundle, &job, limit, demanded).await {
                Ok(turn) => (Ok(()), Some(turn)),
                Err(failure) => {
                    crew.machine.gone(&job);
                    crew.zygotes.left(&job);
                    (Err(failure), None)
                }
            };
            // The pool may be gone: then its worker is stopped with it.
            if let Err(mpsc::error::SendError((job, Ok(())))) = report.send((job, outcome)).await {
                return crew.end(&job).await;
            }
            if let Some(turn) = turn {
                turn.until(until_settled).await;
            }
        });
        true
    }

    /// Lets workers go, by their indices.
    pub(super) fn let_go(&mut self, indices: &[usize]) {
        if indices.is_empty() {
            return;
        }
        let mut index = 0;
        let mut leaving = Vec::new();
        self.members.retain(|member| {
            let leaves = indices.contains(&index);
            leaving.extend(member.worker().filter(|_| leaves).cloned());
            index += 1;
            !leaves
        });
        self.show();
        for worker in leaving {
            let idle = worker.idle_for().as_secs();
            tracing::info!(job.key = %worker.job(), content.id = %self.key.0, idle_s = idle, "a worker that is not needed ends");
            self.drain(worker);
        }
    }

    pub(super) fn drain(&self, worker: Arc<Worker>) {
        worker.close();
        self.crew.machine.ending(worker.job());
        self.crew.drain(self.key.0, worker);
    }

    /// Tells the request path who there is.
    pub(super) fn show(&self) {
        self.pool.show(self.members.iter().filter_map(|member| member.worker().cloned()).collect());
    }

    /// Says that the machine has no room for another worker, or has again.
    pub(super) fn say_shortage(&self) {
        match self.shortage {
            Some(short) => {
                let text = short.to_string();
                tracing::warn!(content.id = %self.key.0, bundle.id = %self.key.1, reason = text, "no further worker is started");
                self.pool.hold_back(Some(&text));
            }
            None => {
                tracing::info!(content.id = %self.key.0, bundle.id = %self.key.1, "workers can be started again");
                self.pool.hold_back(None);
            }
        }
    }
}

impl Crew {
    /// Workers of other pools that have nothing to do and are above their pool's minimum.
    fn idle(&self, except: Key) -> impl Iterator<Item = Idle<Spare>> {
        let pools = self.pools.load();
        let mut idle = Vec::new();
        for (key, face) in pools.iter().filter(|(key, _)| **key != except) {
            if face.spare.load(Relaxed) == 0 {
                continue;
            }
            for worker in face.pool.workers().iter().filter(|worker| worker.in_flight() == 0) {
                let spare = Spare::Worker(*key, worker.job().clone());
                idle.push(Idle { worker: spare, idle: worker.idle_for(), zygote: false });
            }
        }
        idle.into_iter()
    }
}
