//! Brings this server's gate to what the database says, one whole chain at a time.
//!
//! What cannot be loaded never opens the gate: a binding that runs goes on as it is, and for one that does not, what it guards
//! is closed (503) until it can be loaded. Each round is complete by itself and may be repeated at any time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lectern_domain::plugin::{
    Binding, BindingName, CandidateMode, GateState, NodeReport, Phase, ReleaseHash, RunningRelease,
};
use lectern_gate::{BindingSpec, Bound, Candidate, Chain, Closed, Limits, Release, Spec, Trial};
use lectern_metadata::plugins::{gate, nodes};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Loaded, Plugins, Refused};

/// Between tries while the database or the store is away.
const RETRY: Duration = Duration::from_secs(2);
/// How often a server says that it is there, and tries again to load what it could not.
const REPORT: Duration = Duration::from_secs(10);
/// Reports older than this are of servers that ended without a word.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// How a round ended.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Converged {
    /// What the gate shows.
    pub(crate) generation: i64,
    /// From reading the database to the new chain, in microseconds.
    pub(crate) micros: u64,
}

impl Plugins {
    /// One round.
    pub(crate) async fn converge(&self) -> anyhow::Result<Converged> {
        let mut loaded = self.loaded.lock().await;
        let began = Instant::now();
        let state = gate::load_gate(&self.database).await?;
        let (chain, shown) = (self.gate.chain(), self.state.load().generation);
        let complete = chain.closed_bindings().is_empty() && !loaded.behind && !loaded.has_due_spares(began);
        if shown == state.generation && chain.generation() != 0 && complete {
            return Ok(Converged { generation: state.generation, micros: micros(began) });
        }
        let mut next = Loaded::default();
        let (mut places, mut closed) = (Vec::new(), Vec::new());
        for binding in state.bindings.iter().filter(|binding| binding.spec.settings.enabled) {
            let name = &binding.spec.name;
            let bound = match self.bound(&state, binding, &loaded, &mut next).await {
                Ok(bound) => bound,
                // The running gate goes on.
                Err(error) => match loaded.bound.get(name) {
                    Some((_, running)) => {
                        tracing::error!(binding = %name, error = crate::cli::chain(&error), "a binding stays as it is");
                        keep(name, running, &loaded, &mut next);
                        next.behind = true;
                        Arc::clone(running)
                    }
                    None => {
                        tracing::error!(binding = %name, error = crate::cli::chain(&error), "a binding cannot be loaded: what it guards is closed");
                        closed.push(Closed {
                            name: name.to_string(),
                            phases: binding.spec.settings.phases.iter().copied().collect(),
                            matcher: binding.spec.settings.matcher.clone(),
                        });
                        continue;
                    }
                },
            };
            // The revision that runs: one that stays as it is, is put together again in the next round.
            next.bound.insert(name.clone(), (bound.spec().revision, Arc::clone(&bound)));
            places.extend(binding.spec.settings.phases.iter().map(|phase| (*phase, Arc::clone(&bound))));
        }
        // Phases in the order of a request; within one, the order of the state.
        places.sort_by_key(|(phase, _)| Phase::ALL.iter().position(|one| one == phase));
        let generation = u64::try_from(state.generation).unwrap_or(0).max(1);
        let before = self.gate.swap(Chain::new(generation, places)?.closing(closed));
        let converged = Converged { generation: state.generation, micros: micros(began) };
        self.state.store(Arc::new(state));
        *loaded = next;
        drop(loaded);
        tracing::info!(generation, micros = converged.micros, "the gate shows a new state");
        self.say_when_drained(&before);
        self.report().await;
        Ok(converged)
    }

    /// Puts one binding together, from what is loaded already as far as possible.
    async fn bound(
        &self,
        state: &GateState,
        binding: &Binding,
        loaded: &Loaded,
        next: &mut Loaded,
    ) -> Result<Arc<Bound>, Refused> {
        let name = &binding.spec.name;
        if let Some((revision, running)) = loaded.bound.get(name)
            && *revision == binding.revision
        {
            keep(name, running, loaded, next);
            // Put together again only where that makes a difference: what it counted begins anew then.
            if !self.gets_spare(state, binding, running, loaded, next).await {
                return Ok(Arc::clone(running));
            }
        }
        let releases = &binding.releases;
        let live = self.release(state, name, releases.live, loaded, next).await?;
        let previous = match releases.previous.filter(|previous| !previous.given_up) {
            Some(previous) => self.spare(state, name, previous.release, loaded, next).await,
            None => None,
        };
        let candidate = match &releases.candidate {
            Some(candidate) => match self.spare(state, name, candidate.release, loaded, next).await {
                Some(release) => {
                    let trial = match &candidate.mode {
                        CandidateMode::Canary(share) => Trial::Canary(share.clone()),
                        CandidateMode::Shadow => Trial::Shadow(self.shadow(name, candidate.release)),
                    };
                    Some(Candidate { release, trial })
                }
                None => None,
            },
            None => None,
        };
        let settings = &binding.spec.settings;
        Ok(Arc::new(Bound::new(BindingSpec {
            name: name.to_string(),
            revision: binding.revision,
            matcher: settings.matcher.clone(),
            on_failure: settings.on_failure,
            budget: settings.budget,
            live,
            previous,
            candidate,
        })))
    }

    pub(super) async fn release(
        &self,
        state: &GateState,
        name: &BindingName,
        hash: ReleaseHash,
        loaded: &Loaded,
        next: &mut Loaded,
    ) -> Result<Arc<Release>, Refused> {
        let key = (name.clone(), hash);
        let release = match next.releases.get(&key).or_else(|| loaded.releases.get(&key)) {
            Some(release) => Arc::clone(release),
            None => {
                let row = state
                    .releases
                    .get(&hash)
                    .ok_or_else(|| Refused::NotFound(format!("there is no release {hash}")))?;
                self.load(name, &row.spec).await?
            }
        };
        next.releases.insert(key, Arc::clone(&release));
        Ok(release)
    }

    /// Loads a release as it is bound under this name.
    pub(super) async fn load(
        &self,
        name: &BindingName,
        spec: &lectern_domain::plugin::ReleaseSpec,
    ) -> Result<Arc<Release>, Refused> {
        let package = self.package(spec.package).await?;
        let component: Arc<[u8]> = package.parts.component.into();
        let limits = Limits::of(lectern_gate::Class::of(component.len()));
        let spec = Spec {
            name: name.to_string(),
            component,
            config: spec.config.to_object(),
            grants: spec.grants.clone(),
            limits,
            instances: spec.instances,
        };
        Ok(self.gate.load(spec).await?)
    }

    /// Says when the last request of the chain before has ended.
    fn say_when_drained(&self, before: &Arc<Chain>) {
        let (generation, weak, began) = (before.generation(), Arc::downgrade(before), Instant::now());
        self.tasks.spawn(async move {
            // A call ends within its wall time; a connection may hold a chain for as long as its request lives.
            while weak.strong_count() > 0 {
                if began.elapsed() > Duration::from_secs(600) {
                    tracing::warn!(generation, "requests of an old chain are still running after ten minutes");
                    return;
                }
                // Nothing tells of the last reader; as fine as what is reported, and over within milliseconds.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tracing::info!(generation, drained_micros = micros(began), "the last request of an old chain has ended");
        });
    }

    /// Says what runs here. The next report makes good for one that was lost.
    pub(super) async fn report(&self) {
        let report = self.node_report().await;
        let told = async { nodes::report(&self.database.client().await?, &report).await };
        if let Err(error) = told.await {
            tracing::debug!(error = crate::cli::chain(&error), "report what the gate runs");
        }
    }

    /// What runs here, which is not what the database says while a release cannot be loaded.
    pub(crate) async fn node_report(&self) -> NodeReport {
        let loaded = self.loaded.lock().await;
        let (chain, state) = (self.gate.chain(), self.state.load());
        let mut releases = std::collections::BTreeMap::new();
        for binding in &state.bindings {
            let name = &binding.spec.name;
            let Some(bound) = chain.binding(name.as_str()) else { continue };
            let word = match bound.spec().revision == binding.revision {
                _ if bound.has_fallen() => "fallen",
                true => "live",
                false => "behind",
            };
            let running = bound.answering();
            let found = loaded.releases.iter().find(|((of, _), release)| of == name && Arc::ptr_eq(release, running));
            if let Some(((_, release), _)) = found {
                releases.insert(name.clone(), RunningRelease { release: *release, state: word.to_owned() });
            }
        }
        NodeReport { server: self.server, hostname: self.hostname.clone(), generation: state.generation, releases }
    }

    /// Follows the database until `stop`: a round whenever `changed`, a report now and then.
    pub(crate) async fn follow(self: Arc<Self>, changed: Arc<Notify>, stop: CancellationToken) {
        let mut report = tokio::time::interval(REPORT);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = report.tick() => {
                    let loaded = self.loaded.lock().await;
                    let behind = loaded.behind || loaded.has_due_spares(Instant::now());
                    drop(loaded);
                    if behind || !self.gate.chain().closed_bindings().is_empty() {
                        // Whatever kept it may have passed.
                        changed.notify_one();
                    }
                    self.report().await;
                    if let Ok(client) = self.database.client().await {
                        // Tried again with the next report.
                        let _ = nodes::sweep(&client, FORGOTTEN).await;
                    }
                }
                () = changed.notified() => {
                    while let Err(error) = self.converge().await {
                        tracing::error!(error = crate::cli::chain(error.as_ref()), "the gate cannot follow; it goes on as it is");
                        tokio::select! {
                            () = stop.cancelled() => break,
                            () = tokio::time::sleep(RETRY) => {}
                        }
                    }
                }
            }
        }
        if let Ok(client) = self.database.client().await {
            // A server that ends is missed by its age otherwise.
            let _ = nodes::forget(&client, self.server).await;
        }
        self.tasks.close();
    }
}

/// Keeps the releases of a binding that stays.
fn keep(name: &BindingName, running: &Arc<Bound>, loaded: &Loaded, next: &mut Loaded) {
    let spec = running.spec();
    let mut held: Vec<&Arc<Release>> = vec![&spec.live];
    held.extend(spec.previous.as_ref());
    held.extend(spec.candidate.as_ref().map(|candidate| &candidate.release));
    let kept: HashMap<_, _> = loaded
        .releases
        .iter()
        .filter(|((of, _), release)| of == name && held.iter().any(|one| Arc::ptr_eq(one, release)))
        .map(|(key, release)| (key.clone(), Arc::clone(release)))
        .collect();
    next.releases.extend(kept);
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
