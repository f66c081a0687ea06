//! Decisions that are found again instead of calling the plugin: the trees of one release, and how a request uses them.
//!
//! Each phase has a tree of its own, also where one component stands in two: the phase is no question, so route and select would
//! share answers that they must not.
//!
//! Never learned are:
//!
//! - calls that failed, whatever the reason, pages and checks;
//! - calls on instances that were used before: they may have answered from memory of other visitors;
//! - calls at a binding with a shadow: the candidate is to see every request, so each one is a call of the live release too;
//! - denials of visitors without identity: `rejected` of an authenticator, and a reply in the phase select to somebody unknown. A
//!   decision that is found takes half a microsecond and a call ten: an outsider could tell what was asked before, and guess keys at
//!   the price of a walk. (A plugin that refuses somebody known without having asked who it is refuses everybody, and that is
//!   found for the unknown too.) A challenge is learned: it is no denial yet, anonymous visitors of public content get one each time, and
//!   whoever receives it learns nothing but what kind of request it was. So are all answers in the phase route, where nobody
//!   is known: the path of what exists is found as fast as the path of what does not, while leaving out `next` would make the
//!   difference that is to be avoided.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use lectern_domain::plugin::Phase;

use crate::decision::{Answered, Decided};
use crate::evaluate::Evaluator;
use crate::learn::{
    Counters, Decision, Hit, Key, Learnable, Learned, NotLearned, Outcome, Recorder, Report, Settings, Walk,
};
use crate::log;

/// What one release decided before.
#[derive(Debug, Default)]
pub(crate) struct Trees {
    route: Option<Learned<Decided>>,
    select: Option<Learned<Decided>>,
    authenticate: Option<Learned<Answered>>,
}

impl Trees {
    /// Empty ones for the phases that the component can stand in.
    pub(crate) fn new(settings: &Settings, routes: bool, authenticates: bool) -> Self {
        // Threads that serve: one for each processor.
        let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            route: routes.then(|| tree(threads, settings)).flatten(),
            select: routes.then(|| tree(threads, settings)).flatten(),
            authenticate: authenticates.then(|| tree(threads, settings)).flatten(),
        }
    }

    /// The tree of a phase in which decisions about requests are made.
    pub(crate) fn deciding(&self, phase: Phase) -> Option<&Learned<Decided>> {
        match phase {
            Phase::Route => self.route.as_ref(),
            Phase::Select => self.select.as_ref(),
            Phase::Authenticate => None,
        }
    }

    /// The tree of the phase authenticate.
    pub(crate) fn identifying(&self) -> Option<&Learned<Answered>> {
        self.authenticate.as_ref()
    }

    /// The counts of all phases.
    pub(crate) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for one in [&self.route, &self.select].into_iter().flatten() {
            sum.add(&one.counters());
        }
        if let Some(one) = &self.authenticate {
            sum.add(&one.counters());
        }
        sum
    }

    /// Why learning is off for good in a phase, if it is.
    pub(crate) fn off(&self, phase: Phase) -> Option<String> {
        match phase {
            Phase::Route | Phase::Select => self.deciding(phase)?.off().map(ToString::to_string),
            Phase::Authenticate => self.authenticate.as_ref()?.off().map(ToString::to_string),
        }
    }

    /// What was learned in a phase.
    pub(crate) fn explain(&self, phase: Phase, now_ms: u64, known: &dyn Fn(&str) -> bool) -> Option<Report> {
        match phase {
            Phase::Route | Phase::Select => Some(self.deciding(phase)?.explain(now_ms, known)),
            Phase::Authenticate => Some(self.authenticate.as_ref()?.explain(now_ms, known)),
        }
    }
}

fn tree<D: Decision>(threads: NonZeroUsize, settings: &Settings) -> Option<Learned<D>> {
    match Key::random() {
        Ok(key) => Some(Learned::new(threads, settings, key)),
        Err(error) => {
            // It costs speed and nothing else.
            tracing::error!(%error, "nothing is learned: the machine has no randomness");
            None
        }
    }
}

/// What is known before a plugin is called.
#[expect(clippy::large_enum_variant, reason = "moved once, before a call that costs a thousand times as much")]
pub(crate) enum Found<D> {
    /// The decision.
    Answer(D),
    /// The plugin has to be called, and its questions go through the recorder. `known`: only to compare.
    Call { recorder: Recorder, known: Option<D> },
}

/// Looks for the decision about the request that the evaluator answers for. On a hit its log lines are written again, under this
/// request's id.
pub(crate) fn find<D: Decision>(tree: Option<&Learned<D>>, asker: &mut Evaluator<'_>) -> Found<D> {
    let Some(tree) = tree else { return Found::Call { recorder: Recorder::idle(), known: None } };
    let clock = &asker.backend.clock;
    match tree.walk(asker, || clock.unix_millis()) {
        Walk::Hit(Hit { decision, rerun: Some(recorder), .. }) => Found::Call { recorder, known: Some(decision) },
        Walk::Hit(Hit { decision, lines, rerun: None }) => {
            let id = asker.head.map_or("", |head| head.id.as_str());
            for line in lines.iter().flat_map(|lines| lines.iter()) {
                log::write(line.level, asker.plugin, id, &line.text);
            }
            Found::Answer(decision)
        }
        Walk::Miss(recorder) => Found::Call { recorder, known: None },
        Walk::Off => Found::Call { recorder: Recorder::idle(), known: None },
    }
}

/// Takes in a call that ended well. `now_ms` is read after it. Answers why nothing more is learned, once: when that is found.
pub(crate) fn keep<D: Decision>(
    tree: Option<&Learned<D>>,
    plugin: &Arc<str>,
    recorder: Recorder,
    decision: &D,
    learnable: Learnable,
    now_ms: u64,
) -> Option<String> {
    let Outcome::SwitchedOff(off) = tree?.learn(recorder, decision, learnable, now_ms) else { return None };
    tracing::error!(plugin.name = &**plugin, %off, "nothing more is learned from this plugin: every request is a call");
    Some(off.to_string())
}

/// Whether a decision about a request may be learned.
pub(crate) fn learnable(phase: Phase, decided: &Decided, visitor_is_known: bool) -> Learnable {
    match (phase, decided) {
        (Phase::Select, Decided::Respond(_)) if !visitor_is_known => Learnable::No(NotLearned::DenialWithoutIdentity),
        _ => Learnable::Yes { ttl: None },
    }
}

/// Whether an answer about who is asking may be learned. An identity may say for how long.
pub(crate) fn learnable_answer(answered: &Answered) -> Learnable {
    match answered {
        Answered::Rejected(_) => Learnable::No(NotLearned::DenialWithoutIdentity),
        Answered::Vouched(vouched) => Learnable::Yes { ttl: vouched.identity.ttl },
        Answered::Abstain | Answered::Challenge(_) => Learnable::Yes { ttl: None },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::backend::Backend;
    use crate::evaluate::tests::{Alone, ada};
    use crate::head::tests::head;
    use crate::learn::Question;
    use crate::state::Effects;

    /// A component that is not a function of its answers cannot be built with what components are given, as far as is known. Were
    /// there one, this is what becomes of it.
    #[test]
    fn a_plugin_that_changes_its_mind_is_never_learned_from_again() {
        let trees = Trees::new(&Settings::default(), true, false);
        let backend = Backend::with_directory(Arc::new(Alone(ada())));
        let head = head("/", &[]);
        let mut evaluator = Evaluator {
            plugin: "p",
            head: Some(&head),
            visitor: None,
            target: None,
            backend: &backend,
            effects: Effects::Real,
        };
        let tree = trees.deciding(Phase::Route);
        let told = std::cell::Cell::new(0);
        let mut call = |decision: Decided| {
            let Found::Call { mut recorder, known } = find(tree, &mut evaluator) else { panic!("no call") };
            recorder.ask(Question::Method, &mut evaluator);
            let off = keep(tree, &"p".into(), recorder, &decision, Learnable::Yes { ttl: None }, 0);
            told.set(told.get() + u32::from(off.is_some()));
            known.is_some()
        };
        let reply = |status: u16| {
            let (headers, body) = (http::HeaderMap::new(), bytes::Bytes::new());
            Decided::Respond(Arc::new(crate::answer::Reply { status: status.try_into().unwrap(), headers, body }))
        };
        assert!(!call(reply(200)) && call(reply(200)));
        assert_eq!((trees.off(Phase::Route), trees.counters().differences), (None, 0));
        assert!(call(reply(404)));
        let why = trees.off(Phase::Route).unwrap();
        assert!(why.contains("`respond 200` once and `respond 404` later"), "{why}");
        assert!(!call(reply(200)) && !call(reply(200)), "every request is a call, and none is compared");
        assert_eq!((trees.counters().differences, trees.counters().leaves), (1, 0));
        assert_eq!(told.get(), 1, "it is told once");
        assert_eq!(trees.off(Phase::Select), None, "the phases are apart");
        assert!(trees.explain(Phase::Route, 0, &|_| true).unwrap().to_string().starts_with("off: "));
    }
}
