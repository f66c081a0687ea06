//! The gate: where does a request go, who is asking, and what of it do they get?

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use lectern_domain::ContentGuid;
use lectern_domain::plugin::{OnFailure, Phase};
use tokio::sync::mpsc;

use crate::answer::{Authenticated, Challenge, Forward, Page, Routed, Selected, Vouched};
use crate::backend::Backend;
use crate::bindings::exports::lectern::plugin::{auth, pages, routing};
use crate::bindings::lectern::plugin::types;
use crate::bound::{Bound, GateEvent, Slot};
use crate::chain::Chain;
use crate::check::{self, shown};
use crate::compile::Compiler;
use crate::decision::{Answered, Decided};
use crate::engine::{Class, Engine, EngineError};
use crate::error::{BadAnswer, Call, GateError, LoadError};
use crate::evaluate::Evaluator;
use crate::head::Head;
use crate::learn::{Learned, Recorder};
use crate::limits::PAGE_BODY_BYTES;
use crate::release::{Release, Spec};
use crate::reuse::{self, Found};
use crate::run::{self, AuthenticateCall, PageCall, RouteCall, Seen};
use crate::shadow::{Copy, decision_words, outcome_words};
use crate::state::{Effects, Subject};
use crate::visitor::{TargetView, Visitor};

/// Events that wait to be written down. A binding makes one in its life; more bindings than this do not fall at once.
const EVENTS: usize = 256;

/// Runs the plugins. Shared by all threads; its futures may be polled on any runtime of tokio, current-thread ones too.
pub struct Gate {
    light: Engine,
    /// Started when the first heavy component is loaded: most servers have none.
    heavy: OnceLock<Engine>,
    compiler: Compiler,
    backend: Backend,
    chain: ArcSwap<Chain>,
    events: mpsc::Sender<GateEvent>,
    /// Whether decisions are learned here.
    learns: bool,
}

impl Gate {
    /// Starts the engine, with an empty chain: everything is 404 and everybody anonymous until [`Gate::swap`]. What bindings do by
    /// themselves comes out of the receiver.
    pub fn start(backend: Backend, compiler: Compiler) -> Result<(Self, mpsc::Receiver<GateEvent>), EngineError> {
        let (events, receiver) = mpsc::channel(EVENTS);
        let light = Engine::start(Class::Light)?;
        let gate =
            Self { light, heavy: OnceLock::new(), compiler, backend, chain: ArcSwap::default(), events, learns: true };
        Ok((gate, receiver))
    }

    /// A gate with the same engines, other things behind the imports, and an empty chain: releases of one can be called by the
    /// other. It learns nothing, as what a release decided belongs to one clock: every request is a call. For tests and tools.
    pub fn with_backend(&self, backend: Backend) -> (Self, mpsc::Receiver<GateEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS);
        let (light, heavy, compiler) = (self.light.clone(), self.heavy.clone(), self.compiler.clone());
        (Self { light, heavy, compiler, backend, chain: ArcSwap::default(), events, learns: false }, receiver)
    }

    /// Compiles a component, links it with what it was granted and runs its check. It takes no traffic until a chain with it is
    /// swapped in.
    pub async fn load(&self, spec: Spec) -> Result<Arc<Release>, LoadError> {
        let engine = match Class::of(spec.component.len()) {
            Class::Light => &self.light,
            Class::Heavy => self.heavy().map_err(|cause| LoadError::Engine { plugin: spec.name.clone(), cause })?,
        };
        let release = Release::compile(engine, &self.compiler, spec).await?;
        release.check(&self.backend).await?;
        Ok(Arc::new(release))
    }

    fn heavy(&self) -> Result<&Engine, EngineError> {
        if let Some(engine) = self.heavy.get() {
            return Ok(engine);
        }
        let engine = Engine::start(Class::Heavy)?;
        Ok(self.heavy.get_or_init(|| engine))
    }

    /// The chain in force. A request takes it once and passes it to every call, so that it sees one set of plugins.
    pub fn chain(&self) -> Arc<Chain> {
        self.chain.load_full()
    }

    /// Puts another chain in force and returns the one before, whose requests in flight end with it.
    pub fn swap(&self, chain: Chain) -> Arc<Chain> {
        self.chain.swap(Arc::new(chain))
    }

    /// What stands behind the imports.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Asks the plugins of the phase route in order where the request goes.
    pub async fn route(&self, chain: &Chain, head: &Arc<Head>) -> Result<Routed, GateError> {
        open(chain, Phase::Route, head, None)?;
        for bound in chain.phase(Phase::Route) {
            if !bound.concerns(head, None) {
                continue;
            }
            match self.decide(Visit { bound, phase: Phase::Route, head, target: None, visitor: None }).await? {
                Decided::Next => {}
                Decided::Forward(forward) => return Ok(Routed::Forward(forward)),
                Decided::Respond(reply) => {
                    let plugin = Arc::clone(bound.spec().live.name());
                    return Ok(Routed::Respond { plugin, reply: Arc::unwrap_or_clone(reply) });
                }
            }
        }
        Ok(Routed::NotMine)
    }

    /// Asks the plugins of the phase select what this visitor, who has been admitted, gets of the target.
    pub async fn select(
        &self,
        chain: &Chain,
        head: &Arc<Head>,
        target: &Arc<TargetView>,
        visitor: Option<&Arc<Visitor>>,
        mut forward: Arc<Forward>,
    ) -> Result<Selected, GateError> {
        let content = target.content.as_ref().map(|content| content.guid);
        open(chain, Phase::Select, head, content)?;
        for bound in chain.phase(Phase::Select) {
            if !bound.concerns(head, content) {
                continue;
            }
            match self.decide(Visit { bound, phase: Phase::Select, head, target: Some(target), visitor }).await? {
                Decided::Next => {}
                Decided::Forward(answered) => {
                    if let Err(reason) = check::select(Arc::make_mut(&mut forward), &answered) {
                        let error = GateError::Invalid { plugin: bound.name().into(), call: Call::Route, reason };
                        if bound.on_failure() == OnFailure::Fail {
                            return Err(error);
                        }
                        told(&error);
                    }
                }
                Decided::Respond(reply) => {
                    let plugin = Arc::clone(bound.spec().live.name());
                    return Ok(Selected::Respond { plugin, reply: Arc::unwrap_or_clone(reply) });
                }
            }
        }
        Ok(Selected::Forward(forward))
    }

    /// Asks one routing plugin, and does with its failure what the binding says. A decision that is found without a call is there at
    /// once: no turn is waited for, no timer set, nothing allocated.
    async fn decide(&self, visit: Visit<'_>) -> Result<Decided, GateError> {
        let Visit { bound, phase, head, visitor, .. } = visit;
        let slot = bound.slot(head, visitor.map(Arc::as_ref));
        let tree = self.learned(bound, slot.release.trees.deciding(phase));
        let decided = match reuse::find(tree, &mut self.evaluator(slot, &visit)) {
            Found::Answer(decided) => self.reused(bound, slot, decided, head),
            Found::Call { recorder, known } => {
                let called = Box::pin(self.call_route(visit, slot, tree, recorder)).await;
                self.ended(bound, slot, called.as_ref().err());
                or_known(called, known)
            }
        };
        match decided {
            Err(error) if bound.on_failure() == OnFailure::Skip => {
                told(&error);
                Ok(Decided::Next)
            }
            decided => decided,
        }
    }

    /// A decision that was made about another request: what of its check depends on the request is checked again.
    fn reused(&self, bound: &Bound, slot: &Slot, decided: Decided, head: &Head) -> Result<Decided, GateError> {
        match decided.fits(head).map_err(invalid(&slot.release, Call::Route)) {
            Ok(()) => {
                slot.reuse();
                Ok(decided)
            }
            Err(error) => {
                self.ended(bound, slot, Some(&error));
                Err(error)
            }
        }
    }

    async fn call_route(
        &self,
        visit: Visit<'_>,
        slot: &Slot,
        tree: Option<&Learned<Decided>>,
        recorder: Recorder,
    ) -> Result<Decided, GateError> {
        let Visit { bound, phase, head, target, visitor } = visit;
        bound.may_call(slot, Call::Route)?;
        let subject = self.subject(head, target, visitor);
        let (decision, seen) = run::call(&slot.release, subject.clone(), recorder, RouteCall).await?;
        let words = bound.shadow().map(|_| decision_words(&decision));
        let decided = decided(&slot.release, decision, head)?;
        self.copy(bound, &subject, Call::Route, words);
        let (learnable, now_ms) =
            (reuse::learnable(phase, &decided, visitor.is_some()), self.backend.clock.unix_millis());
        let off = reuse::keep(tree, slot.release.name(), seen.recorder, &decided, learnable, now_ms);
        self.learning_off(bound, slot, phase, off);
        Ok(decided)
    }

    /// Asks the authenticators in order who is asking for this target. An error is never "nobody": answer it with 503.
    pub async fn authenticate(
        &self,
        chain: &Chain,
        head: &Arc<Head>,
        target: &Arc<TargetView>,
    ) -> Result<Authenticated, GateError> {
        let content = target.content.as_ref().map(|content| content.guid);
        open(chain, Phase::Authenticate, head, content)?;
        let mut challenge = None;
        for bound in chain.phase(Phase::Authenticate) {
            if !bound.concerns(head, content) {
                continue;
            }
            let visit = Visit { bound, phase: Phase::Authenticate, head, target: Some(target), visitor: None };
            match self.identify(visit).await? {
                Answered::Abstain => {}
                Answered::Vouched(vouched) => return Ok(Authenticated::Identity(vouched)),
                Answered::Challenge(asked) => {
                    challenge.get_or_insert(asked);
                }
                Answered::Rejected(reason) => {
                    return Ok(Authenticated::Rejected { plugin: bound.name().into(), reason: (*reason).into() });
                }
            }
        }
        Ok(Authenticated::Anonymous { challenge })
    }

    /// Asks one authenticator. As in [`Gate::decide`], an answer that is found is there at once.
    async fn identify(&self, visit: Visit<'_>) -> Result<Answered, GateError> {
        let Visit { bound, head, .. } = visit;
        let slot = bound.slot(head, None);
        let tree = self.learned(bound, slot.release.trees.identifying());
        match reuse::find(tree, &mut self.evaluator(slot, &visit)) {
            Found::Answer(answered) => {
                slot.reuse();
                Ok(answered)
            }
            Found::Call { recorder, known } => {
                let called = Box::pin(self.call_authenticate(visit, slot, tree, recorder)).await;
                self.ended(bound, slot, called.as_ref().err());
                or_known(called, known)
            }
        }
    }

    async fn call_authenticate(
        &self,
        visit: Visit<'_>,
        slot: &Slot,
        tree: Option<&Learned<Answered>>,
        recorder: Recorder,
    ) -> Result<Answered, GateError> {
        let Visit { bound, head, target, .. } = visit;
        bound.may_call(slot, Call::Authenticate)?;
        let release = &slot.release;
        let subject = self.subject(head, target, None);
        let (outcome, seen) = run::call(release, subject.clone(), recorder, AuthenticateCall).await?;
        let words = bound.shadow().map(|_| outcome_words(&outcome));
        let invalid = invalid(release, Call::Authenticate);
        let answered = match outcome {
            auth::Outcome::Abstain => Answered::Abstain,
            auth::Outcome::Authenticated(identity) => {
                Answered::Vouched(Arc::new(vouched(release, &seen, identity).map_err(invalid)?))
            }
            // Checked even when an earlier plugin's is kept: a broken plugin should be noticed.
            auth::Outcome::Challenge(reply) => {
                let reply = check::reply(reply, release.grants()).map_err(invalid)?;
                Answered::Challenge(Arc::new(Challenge { plugin: Arc::clone(release.name()), reply }))
            }
            auth::Outcome::Rejected(reason) => Answered::Rejected(shown(&reason).into()),
        };
        self.copy(bound, &subject, Call::Authenticate, words);
        let (learnable, now_ms) = (reuse::learnable_answer(&answered), self.backend.clock.unix_millis());
        let off = reuse::keep(tree, release.name(), seen.recorder, &answered, learnable, now_ms);
        self.learning_off(bound, slot, Phase::Authenticate, off);
        Ok(answered)
    }

    /// Lets the plugin bound as `name` handle a request to a path below `/__plugin__/<name>/`. The caller bounds the body while it
    /// reads it; [`PAGE_BODY_BYTES`] is the limit.
    pub async fn page(&self, chain: &Chain, name: &str, head: &Arc<Head>, body: Bytes) -> Result<Page, GateError> {
        if chain.has_closed(name) {
            return Err(not_loaded(name, Call::Page));
        }
        let Some(bound) = chain.binding(name) else { return Ok(Page::NoSuchPlugin) };
        let slot = bound.slot(head, None);
        if slot.release.pages.is_none() {
            return Ok(Page::NoSuchPlugin);
        }
        if body.len() > PAGE_BODY_BYTES {
            return Err(GateError::BodyTooLarge { plugin: Arc::clone(slot.release.name()), got: body.len() });
        }
        let page = self.handle(bound, slot, head, body).await;
        self.ended(bound, slot, page.as_ref().err());
        page
    }

    async fn handle(&self, bound: &Bound, slot: &Slot, head: &Arc<Head>, body: Bytes) -> Result<Page, GateError> {
        bound.may_call(slot, Call::Page)?;
        let release = &slot.release;
        let (handled, seen) =
            run::call(release, self.subject(head, None, None), Recorder::idle(), PageCall(body.into())).await?;
        let reply = |reply| check::reply(reply, release.grants());
        let page = match handled {
            pages::Handled::Reply(answer) => reply(answer).map(Page::Reply),
            pages::Handled::SignedOut(answer) => reply(answer).map(Page::SignedOut),
            pages::Handled::SignedIn((identity, answer)) => vouched(release, &seen, identity)
                .and_then(|vouched| Ok(Page::SignedIn { vouched: Box::new(vouched), reply: reply(answer)? })),
        };
        page.map_err(invalid(release, Call::Page))
    }

    /// The tree to look in. A shadow is to see every request, so a binding with one makes a call for each.
    fn learned<'a, D>(&self, bound: &Bound, tree: Option<&'a Learned<D>>) -> Option<&'a Learned<D>> {
        tree.filter(|_| self.learns && bound.shadow().is_none())
    }

    fn evaluator<'a>(&'a self, slot: &'a Slot, visit: &Visit<'a>) -> Evaluator<'a> {
        Evaluator {
            plugin: slot.release.name(),
            head: Some(visit.head),
            visitor: visit.visitor.map(Arc::as_ref),
            target: visit.target.map(Arc::as_ref),
            backend: &self.backend,
            effects: Effects::Real,
        }
    }

    fn subject(&self, head: &Arc<Head>, target: Option<&Arc<TargetView>>, visitor: Option<&Arc<Visitor>>) -> Subject {
        Subject {
            head: Some(Arc::clone(head)),
            visitor: visitor.map(Arc::clone),
            target: target.map(Arc::clone),
            backend: self.backend.clone(),
            effects: Effects::Real,
        }
    }

    /// Gives a shadow its copy.
    fn copy(&self, bound: &Bound, subject: &Subject, call: Call, live: Option<String>) {
        if let (Some((candidate, shadow)), Some(live)) = (bound.shadow(), live) {
            shadow.send(Copy { subject: subject.clone(), call, live, candidate: Arc::clone(candidate) });
        }
    }

    /// Counts how a call ended, and tells what the binding did about it.
    fn ended(&self, bound: &Bound, slot: &Slot, failure: Option<&GateError>) {
        if let Some(event) = bound.ended(slot, failure) {
            tracing::error!(?event, "a plugin failed too often");
            self.tell(bound, event);
        }
    }

    /// Tells that nothing more is learned of a release in a phase, and why.
    fn learning_off(&self, bound: &Bound, slot: &Slot, phase: Phase, off: Option<String>) {
        if let Some(because) = off {
            let (binding, release) = (bound.name().to_owned(), Arc::clone(&slot.release));
            self.tell(bound, GateEvent::LearningOff { binding, release, phase, because });
        }
    }

    fn tell(&self, bound: &Bound, event: GateEvent) {
        if self.events.try_send(event).is_err() {
            tracing::error!(binding = bound.name(), "nobody writes down what the gate did");
        }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("light", &self.light).field("chain", &self.chain.load()).finish_non_exhaustive()
    }
}

/// One request at one binding.
#[derive(Clone, Copy)]
struct Visit<'a> {
    bound: &'a Bound,
    phase: Phase,
    head: &'a Arc<Head>,
    target: Option<&'a Arc<TargetView>>,
    visitor: Option<&'a Arc<Visitor>>,
}

/// What to answer after a call: when one that was made only to compare was not or could not be made in time, the request has its
/// decision all the same. What the plugin itself did wrong is the request's answer, as it would be without learning.
fn or_known<D>(called: Result<D, GateError>, known: Option<D>) -> Result<D, GateError> {
    use GateError::{Broken, Busy, Host, Limit};
    match (called, known) {
        (Err(error @ (Broken { .. } | Busy { .. } | Host { .. } | Limit { .. })), Some(known)) => {
            tracing::warn!(%error, error.kind = error.kind(), "a plugin failed where its decision is known");
            Ok(known)
        }
        (called, _) => called,
    }
}

fn decided(release: &Release, decision: routing::Decision, head: &Head) -> Result<Decided, GateError> {
    let invalid = invalid(release, Call::Route);
    Ok(match decision {
        routing::Decision::Next => Decided::Next,
        routing::Decision::Forward(forward) => {
            Decided::Forward(Arc::new(check::forward(release.name(), forward, head).map_err(invalid)?))
        }
        routing::Decision::Respond(reply) => {
            Decided::Respond(Arc::new(check::reply(reply, release.grants()).map_err(invalid)?))
        }
    })
}

fn vouched(release: &Release, seen: &Seen, identity: types::Identity) -> Result<Vouched, BadAnswer> {
    let identity = check::identity(identity)?;
    let principal = seen.vouched(&identity.subject);
    Ok(Vouched { plugin: Arc::clone(release.name()), identity, principal })
}

fn invalid(release: &Release, call: Call) -> impl FnOnce(BadAnswer) -> GateError {
    let plugin = Arc::clone(release.name());
    move |reason| {
        let error = GateError::Invalid { plugin, call, reason };
        release.stats().ended(&error);
        error
    }
}

/// Refuses a request that a binding concerns which should be in force and could not be loaded.
fn open(chain: &Chain, phase: Phase, head: &Head, content: Option<ContentGuid>) -> Result<(), GateError> {
    let call = if phase == Phase::Authenticate { Call::Authenticate } else { Call::Route };
    chain.closed(phase, head, content).map_or(Ok(()), |name| Err(not_loaded(name, call)))
}

fn not_loaded(name: &str, call: Call) -> GateError {
    GateError::Host { plugin: name.into(), call, detail: "it could not be loaded; the server tries again".into() }
}

/// A failure that the operator chose to pass over.
fn told(error: &GateError) {
    tracing::warn!(%error, error.kind = error.kind(), "a routing plugin failed and was passed over");
}
