//! A plugin where it applies: which release answers which request, what becomes of its failures, and when it is given up for the
//! one before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lectern_domain::ContentGuid;
use lectern_domain::plugin::{
    Breaker, BreakerState, Budget, Call as Outcome, Matcher, OnFailure, Passage, Phase, Share,
};
use parking_lot::Mutex;

use crate::error::{Call, GateError};
use crate::head::Head;
use crate::release::Release;
use crate::shadow::Shadow;
use crate::tally::Tally;
use crate::visitor::Visitor;

/// What to bind.
#[derive(Debug, Clone)]
pub struct BindingSpec {
    /// Its name; the releases carry it too.
    pub name: String,
    /// Changes with each change of the binding: tells a binding that stayed from one that was made anew.
    pub revision: i64,
    /// Which requests it concerns.
    pub matcher: Matcher,
    /// What becomes of a request when it fails while routing.
    pub on_failure: OnFailure,
    /// How many failures are tolerated.
    pub budget: Budget,
    /// The release in force.
    pub live: Arc<Release>,
    /// The one before, to go back to.
    pub previous: Option<Arc<Release>>,
    /// One that is being tried.
    pub candidate: Option<Candidate>,
}

/// A release that is being tried.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The release.
    pub release: Arc<Release>,
    /// How.
    pub trial: Trial,
}

/// How a release is tried.
#[derive(Debug, Clone)]
pub enum Trial {
    /// It answers for some visitors.
    Canary(Share),
    /// It sees copies of requests, and its answers are compared.
    Shadow(Arc<Shadow>),
}

/// One release at a binding, with what is known of how it fares.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) release: Arc<Release>,
    breaker: Mutex<Judge>,
    calls: AtomicU64,
    failures: AtomicU64,
    /// Decisions that were found without a call.
    reused: Tally,
}

/// A breaker, and how far it knows of decisions that were found without a call. It is told when something fails: only then it
/// asks for their share.
#[derive(Debug)]
struct Judge {
    breaker: Breaker,
    reused: u64,
    at_ms: u64,
}

/// A binding in force.
#[derive(Debug)]
pub struct Bound {
    spec: BindingSpec,
    live: Slot,
    previous: Option<Slot>,
    canary: Option<(Slot, Share)>,
    shadow: Option<(Arc<Release>, Arc<Shadow>)>,
    /// The live release has used up its budget, and the one before answers.
    fallen: AtomicBool,
    /// The candidate has used up its budget, and nobody gets it any more.
    given_up: AtomicBool,
    began: Instant,
}

/// What a binding did by itself; the server writes it down, so that the other servers and the next start do the same.
#[derive(Debug, Clone)]
pub enum GateEvent {
    /// The live release failed too often: the one before answers.
    RolledBack {
        /// The binding.
        binding: String,
        /// What failed.
        from: Arc<Release>,
        /// What answers now.
        to: Arc<Release>,
        /// Calls that it had answered or failed at this binding.
        calls: u64,
        /// Calls that failed.
        failures: u64,
        /// The last failure.
        because: String,
    },
    /// A candidate failed too often: nobody gets it any more.
    CandidateGivenUp {
        /// The binding.
        binding: String,
        /// What failed.
        candidate: Arc<Release>,
        /// Calls that it had.
        calls: u64,
        /// Calls that failed.
        failures: u64,
        /// The last failure.
        because: String,
    },
    /// A release was found not to be deterministic: nothing more is learned of it in a phase, and every request is a call.
    LearningOff {
        /// The binding.
        binding: String,
        /// The release.
        release: Arc<Release>,
        /// The phase.
        phase: Phase,
        /// What it decided, and what it decided later.
        because: String,
    },
}

/// How a release at a binding fares, for whoever asks.
#[derive(Debug, Clone)]
pub struct Fare {
    /// The release.
    pub release: Arc<Release>,
    /// Requests that it answered or failed at this binding, also without being called.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Requests that it answered without being called.
    pub reused: u64,
    /// Whether it is called, tried again or not called.
    pub breaker: &'static str,
}

impl Slot {
    fn new(release: &Arc<Release>, budget: Budget) -> Self {
        Self {
            release: Arc::clone(release),
            breaker: Mutex::new(Judge { breaker: Breaker::new(budget), reused: 0, at_ms: 0 }),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            reused: Tally::default(),
        }
    }

    /// Counts a decision that was found without a call. Takes no lock.
    pub(crate) fn reuse(&self) {
        self.reused.add();
    }

    /// Requests that it answered or failed.
    fn asked(&self) -> u64 {
        self.calls.load(Ordering::Relaxed) + self.reused.sum()
    }

    fn fare(&self) -> Fare {
        let breaker = match self.breaker.lock().breaker.state() {
            BreakerState::Closed => "closed",
            BreakerState::Open { .. } => "open",
            BreakerState::Probing { .. } => "probing",
        };
        Fare {
            release: Arc::clone(&self.release),
            calls: self.asked(),
            failures: self.failures.load(Ordering::Relaxed),
            reused: self.reused.sum(),
            breaker,
        }
    }
}

impl Bound {
    /// Puts a binding together.
    pub fn new(spec: BindingSpec) -> Self {
        let slot = |release: &Arc<Release>| Slot::new(release, spec.budget);
        let (mut canary, mut shadow) = (None, None);
        match &spec.candidate {
            Some(Candidate { release, trial: Trial::Canary(share) }) => canary = Some((slot(release), share.clone())),
            Some(Candidate { release, trial: Trial::Shadow(to) }) => {
                shadow = Some((Arc::clone(release), Arc::clone(to)))
            }
            None => {}
        }
        Self {
            live: slot(&spec.live),
            previous: spec.previous.as_ref().map(slot),
            canary,
            shadow,
            fallen: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            began: Instant::now(),
            spec,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What it was made of.
    pub fn spec(&self) -> &BindingSpec {
        &self.spec
    }

    /// The release that answers most requests: the live one, or the one before after a fall.
    pub fn answering(&self) -> &Arc<Release> {
        &self.usual().release
    }

    /// How its releases fare: the live one, the one before and the canary, as far as there are any.
    pub fn fares(&self) -> (Fare, Option<Fare>, Option<Fare>) {
        (self.live.fare(), self.previous.as_ref().map(Slot::fare), self.canary.as_ref().map(|(slot, _)| slot.fare()))
    }

    /// Whether the live release was given up for the one before.
    pub fn has_fallen(&self) -> bool {
        self.fallen.load(Ordering::Acquire)
    }

    pub(crate) fn concerns(&self, head: &Head, content: Option<ContentGuid>) -> bool {
        let matcher = &self.spec.matcher;
        matcher.is_everything() || matcher.matches(&head.host(), head.path.decoded(), content)
    }

    pub(crate) fn on_failure(&self) -> OnFailure {
        self.spec.on_failure
    }

    pub(crate) fn shadow(&self) -> Option<(&Arc<Release>, &Arc<Shadow>)> {
        self.shadow.as_ref().map(|(release, shadow)| (release, shadow))
    }

    /// The release that answers this request.
    pub(crate) fn slot(&self, head: &Head, visitor: Option<&Visitor>) -> &Slot {
        if let Some((slot, share)) = &self.canary
            && !self.given_up.load(Ordering::Relaxed)
        {
            let user = visitor.and_then(|visitor| visitor.username.as_deref());
            let steady = match visitor {
                Some(visitor) => visitor.subject.clone(),
                None => head.client_ip.to_string(),
            };
            if share.includes(user, &steady, &self.spec.name) {
                return slot;
            }
        }
        self.usual()
    }

    fn usual(&self) -> &Slot {
        match &self.previous {
            Some(previous) if self.fallen.load(Ordering::Acquire) => previous,
            Some(_) | None => &self.live,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether a release may be called now.
    pub(crate) fn may_call(&self, slot: &Slot, call: Call) -> Result<(), GateError> {
        match slot.breaker.lock().breaker.ask(self.now_ms()) {
            Passage::Go | Passage::Probe => Ok(()),
            Passage::Wait(ms) => {
                let error = GateError::Broken {
                    plugin: Arc::clone(slot.release.name()),
                    call,
                    retry_after: Duration::from_millis(ms),
                };
                slot.release.stats().ended(&error);
                Err(error)
            }
        }
    }

    /// Counts how a call ended. An event says that the binding has changed by itself.
    pub(crate) fn ended(&self, slot: &Slot, failure: Option<&GateError>) -> Option<GateEvent> {
        let outcome = match failure {
            None => Outcome::Answered,
            Some(error) if error.is_the_plugins() => Outcome::Failed,
            Some(_) => return None,
        };
        slot.calls.fetch_add(1, Ordering::Relaxed);
        if outcome == Outcome::Failed {
            slot.failures.fetch_add(1, Ordering::Relaxed);
        }
        let over = {
            let (mut judge, now_ms) = (slot.breaker.lock(), self.now_ms());
            if outcome == Outcome::Failed {
                let reused = slot.reused.sum();
                let (new, since_ms) = (reused.saturating_sub(judge.reused), judge.at_ms);
                judge.breaker.count_reused(new, since_ms, now_ms);
                (judge.reused, judge.at_ms) = (reused, now_ms);
            }
            judge.breaker.count(outcome, now_ms)
        };
        let because = failure.filter(|_| over)?.to_string();
        let (calls, failures) = (slot.asked(), slot.failures.load(Ordering::Relaxed));
        let binding = self.spec.name.clone();
        if self.canary.as_ref().is_some_and(|(canary, _)| std::ptr::eq(canary, slot)) {
            let first = !self.given_up.swap(true, Ordering::AcqRel);
            let candidate = Arc::clone(&slot.release);
            return first.then_some(GateEvent::CandidateGivenUp { binding, candidate, calls, failures, because });
        }
        let previous = self.previous.as_ref().filter(|_| std::ptr::eq(&raw const self.live, slot))?;
        let first = !self.fallen.swap(true, Ordering::AcqRel);
        let (from, to) = (Arc::clone(&slot.release), Arc::clone(&previous.release));
        first.then_some(GateEvent::RolledBack { binding, from, to, calls, failures, because })
    }
}
