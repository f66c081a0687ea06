//! The gate: where does a request go, who is asking, and what of it do they get?

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
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
use crate::engine::{Class, Engine, EngineError};
use crate::error::{BadAnswer, Call, GateError, LoadError};
use crate::head::Head;
use crate::limits::PAGE_BODY_BYTES;
use crate::release::{Release, Spec};
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
}

impl Gate {
    /// Starts the engine, with an empty chain: everything is 404 and everybody anonymous until [`Gate::swap`]. What bindings do by
    /// themselves comes out of the receiver.
    pub fn start(backend: Backend, compiler: Compiler) -> Result<(Self, mpsc::Receiver<GateEvent>), EngineError> {
        let (events, receiver) = mpsc::channel(EVENTS);
        let light = Engine::start(Class::Light)?;
        let gate = Self { light, heavy: OnceLock::new(), compiler, backend, chain: ArcSwap::default(), events };
        Ok((gate, receiver))
    }

    /// A gate with the same engines, other things behind the imports, and an empty chain: releases of one can be called by the
    /// other. For tests and tools.
    pub fn with_backend(&self, backend: Backend) -> (Self, mpsc::Receiver<GateEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS);
        let (light, heavy, compiler) = (self.light.clone(), self.heavy.clone(), self.compiler.clone());
        (Self { light, heavy, compiler, backend, chain: ArcSwap::default(), events }, receiver)
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
        for bound in chain.phase(Phase::Route) {
            if !bound.concerns(head, None) {
                continue;
            }
            match self.decide(bound, head, None, None).await? {
                Decided::Next => {}
                Decided::Forward(forward) => return Ok(Routed::Forward(forward)),
                Decided::Respond(reply) => return Ok(Routed::Respond { plugin: bound.name().into(), reply }),
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
        mut forward: Box<Forward>,
    ) -> Result<Selected, GateError> {
        let content = target.content.as_ref().map(|content| content.guid);
        for bound in chain.phase(Phase::Select) {
            if !bound.concerns(head, content) {
                continue;
            }
            match self.decide(bound, head, Some(target), visitor).await? {
                Decided::Next => {}
                Decided::Forward(answered) => {
                    if let Err(reason) = check::select(&mut forward, *answered) {
                        let error = GateError::Invalid { plugin: bound.name().into(), call: Call::Route, reason };
                        if bound.on_failure() == OnFailure::Fail {
                            return Err(error);
                        }
                        told(&error);
                    }
                }
                Decided::Respond(reply) => return Ok(Selected::Respond { plugin: bound.name().into(), reply }),
            }
        }
        Ok(Selected::Forward(forward))
    }

    /// Asks one routing plugin, and does with its failure what the binding says.
    async fn decide(
        &self,
        bound: &Bound,
        head: &Arc<Head>,
        target: Option<&Arc<TargetView>>,
        visitor: Option<&Arc<Visitor>>,
    ) -> Result<Decided, GateError> {
        let slot = bound.slot(head, visitor.map(Arc::as_ref));
        let subject = self.subject(head, target, visitor);
        let decided = async {
            bound.may_call(slot, Call::Route)?;
            let (decision, _) = run::call(&slot.release, subject.clone(), RouteCall).await?;
            let words = bound.shadow().map(|_| decision_words(&decision));
            let decided = decided(&slot.release, decision, head)?;
            self.copy(bound, &subject, Call::Route, words);
            Ok(decided)
        }
        .await;
        self.ended(bound, slot, decided.as_ref().err());
        match decided {
            Err(error) if bound.on_failure() == OnFailure::Skip => {
                told(&error);
                Ok(Decided::Next)
            }
            decided => decided,
        }
    }

    /// Asks the authenticators in order who is asking for this target. An error is never "nobody": answer it with 503.
    pub async fn authenticate(
        &self,
        chain: &Chain,
        head: &Arc<Head>,
        target: &Arc<TargetView>,
    ) -> Result<Authenticated, GateError> {
        let content = target.content.as_ref().map(|content| content.guid);
        let mut challenge = None;
        for bound in chain.phase(Phase::Authenticate) {
            if !bound.concerns(head, content) {
                continue;
            }
            let slot = bound.slot(head, None);
            let answered = self.identify(bound, slot, head, target).await;
            self.ended(bound, slot, answered.as_ref().err());
            match answered? {
                Answered::Abstain => {}
                Answered::Vouched(vouched) => return Ok(Authenticated::Identity(vouched)),
                Answered::Challenge(asked) => {
                    challenge.get_or_insert(asked);
                }
                Answered::Rejected(reason) => {
                    return Ok(Authenticated::Rejected { plugin: bound.name().into(), reason });
                }
            }
        }
        Ok(Authenticated::Anonymous { challenge })
    }

    async fn identify(
        &self,
        bound: &Bound,
        slot: &Slot,
        head: &Arc<Head>,
        target: &Arc<TargetView>,
    ) -> Result<Answered, GateError> {
        bound.may_call(slot, Call::Authenticate)?;
        let release = &slot.release;
        let subject = self.subject(head, Some(target), None);
        let (outcome, seen) = run::call(release, subject.clone(), AuthenticateCall).await?;
        let words = bound.shadow().map(|_| outcome_words(&outcome));
        let invalid = invalid(release, Call::Authenticate);
        let answered = match outcome {
            auth::Outcome::Abstain => Answered::Abstain,
            auth::Outcome::Authenticated(identity) => {
                Answered::Vouched(Box::new(vouched(release, &seen, identity).map_err(invalid)?))
            }
            // Checked even when an earlier plugin's is kept: a broken plugin should be noticed.
            auth::Outcome::Challenge(reply) => {
                let reply = check::reply(reply, release.grants()).map_err(invalid)?;
                Answered::Challenge(Box::new(Challenge { plugin: Arc::clone(release.name()), reply }))
            }
            auth::Outcome::Rejected(reason) => Answered::Rejected(shown(&reason)),
        };
        self.copy(bound, &subject, Call::Authenticate, words);
        Ok(answered)
    }

    /// Lets the plugin bound as `name` handle a request to a path below `/__plugin__/<name>/`. The caller bounds the body while it
    /// reads it; [`PAGE_BODY_BYTES`] is the limit.
    pub async fn page(&self, chain: &Chain, name: &str, head: &Arc<Head>, body: Bytes) -> Result<Page, GateError> {
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
        let (handled, seen) = run::call(release, self.subject(head, None, None), PageCall(body.into())).await?;
        let reply = |reply| check::reply(reply, release.grants());
        let page = match handled {
            pages::Handled::Reply(answer) => reply(answer).map(Page::Reply),
            pages::Handled::SignedOut(answer) => reply(answer).map(Page::SignedOut),
            pages::Handled::SignedIn((identity, answer)) => vouched(release, &seen, identity)
                .and_then(|vouched| Ok(Page::SignedIn { vouched: Box::new(vouched), reply: reply(answer)? })),
        };
        page.map_err(invalid(release, Call::Page))
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
            if self.events.try_send(event).is_err() {
                tracing::error!(binding = bound.name(), "nobody writes down what the gate did");
            }
        }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("light", &self.light).field("chain", &self.chain.load()).finish_non_exhaustive()
    }
}

/// A checked answer of a routing plugin.
enum Decided {
    Next,
    Forward(Box<Forward>),
    Respond(crate::answer::Reply),
}

/// A checked answer of an authenticator.
enum Answered {
    Abstain,
    Vouched(Box<Vouched>),
    Challenge(Box<Challenge>),
    Rejected(String),
}

fn decided(release: &Release, decision: routing::Decision, head: &Head) -> Result<Decided, GateError> {
    let invalid = invalid(release, Call::Route);
    Ok(match decision {
        routing::Decision::Next => Decided::Next,
        routing::Decision::Forward(forward) => {
            Decided::Forward(Box::new(check::forward(release.name(), forward, head).map_err(invalid)?))
        }
        routing::Decision::Respond(reply) => Decided::Respond(check::reply(reply, release.grants()).map_err(invalid)?),
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

/// A failure that the operator chose to pass over.
fn told(error: &GateError) {
    tracing::warn!(%error, error.kind = error.kind(), "a routing plugin failed and was passed over");
}
