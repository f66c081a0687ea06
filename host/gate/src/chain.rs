//! The bindings that a request passes, by phase and in order. Immutable: a change is another chain.

use std::sync::Arc;

use lectern_domain::ContentGuid;
use lectern_domain::plugin::{Budget, Matcher, OnFailure, Phase};

use crate::bound::{BindingSpec, Bound};
use crate::head::Head;
use crate::release::Release;

/// A chain that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A place for a plugin that cannot take it.
    #[error("{name} stands in the phase {} but does not export {export}", phase.as_str())]
    Unfit {
        /// The binding.
        name: String,
        /// The phase.
        phase: Phase,
        /// What is missing.
        export: &'static str,
    },
    /// Two bindings of one name, or one listed twice in a phase.
    #[error("{0} is listed twice")]
    Twice(String),
}

/// The bindings of each phase, each in the order in which they are asked. One binding may stand in several.
#[derive(Debug, Default)]
pub struct Chain {
    generation: u64,
    route: Vec<Arc<Bound>>,
    authenticate: Vec<Arc<Bound>>,
    select: Vec<Arc<Bound>>,
    closed: Vec<Closed>,
}

/// A binding that should be in force and cannot be: what it guards is closed.
#[derive(Debug, Clone)]
pub struct Closed {
    /// Its name.
    pub name: String,
    /// The phases that it stands in.
    pub phases: Vec<Phase>,
    /// Which requests it concerns.
    pub matcher: Matcher,
}

impl Chain {
    /// Puts a chain together. `generation` tells it from those before and after.
    pub fn new(generation: u64, places: impl IntoIterator<Item = (Phase, Arc<Bound>)>) -> Result<Self, ChainError> {
        let mut chain = Self { generation, ..Self::default() };
        for (phase, bound) in places {
            let spec = bound.spec();
            let releases = [Some(&spec.live), spec.previous.as_ref(), spec.candidate.as_ref().map(|one| &one.release)];
            let (fits, export): (fn(&Release) -> bool, _) = match phase {
                Phase::Route | Phase::Select => (Release::routes, "routing"),
                Phase::Authenticate => (Release::authenticates, "auth"),
            };
            if !releases.into_iter().flatten().all(|release| fits(release)) {
                return Err(ChainError::Unfit { name: bound.name().to_owned(), phase, export });
            }
            // One name is one binding, whatever its phases.
            let clash = chain.bindings().any(|(_, other)| other.name() == bound.name() && !Arc::ptr_eq(other, &bound));
            let list = match phase {
                Phase::Route => &mut chain.route,
                Phase::Authenticate => &mut chain.authenticate,
                Phase::Select => &mut chain.select,
            };
            if clash || list.iter().any(|other| other.name() == bound.name()) {
                return Err(ChainError::Twice(bound.name().to_owned()));
            }
            list.push(bound);
        }
        Ok(chain)
    }

    /// With bindings that could not be loaded: requests that they concern fail, because nobody else may decide them.
    #[must_use]
    pub fn closing(mut self, closed: Vec<Closed>) -> Self {
        self.closed = closed;
        self
    }

    /// The binding that keeps a request from this phase, if one does.
    pub(crate) fn closed(&self, phase: Phase, head: &Head, content: Option<ContentGuid>) -> Option<&str> {
        self.closed
            .iter()
            .find(|one| one.phases.contains(&phase) && one.matcher.matches(&head.host(), head.path.decoded(), content))
            .map(|one| one.name.as_str())
    }

    /// Whether the pages of this name are those of a binding that could not be loaded.
    pub(crate) fn has_closed(&self, name: &str) -> bool {
        self.closed.iter().any(|one| one.name == name)
    }

    /// The bindings that could not be loaded.
    pub fn closed_bindings(&self) -> &[Closed] {
        &self.closed
    }

    /// A chain of releases that concern everything, have nothing to go back to and may fail as often as they like: for tests and
    /// tools.
    pub fn of(releases: impl IntoIterator<Item = (Phase, Arc<Release>)>) -> Result<Self, ChainError> {
        let mut made: Vec<(Phase, Arc<Bound>)> = Vec::new();
        for (phase, release) in releases {
            let known = made.iter().map(|(_, bound)| bound).find(|bound| Arc::ptr_eq(&bound.spec().live, &release));
            let bound = match known {
                Some(bound) => Arc::clone(bound),
                None => Arc::new(Bound::new(BindingSpec {
                    name: release.name().to_string(),
                    revision: 0,
                    matcher: Matcher::default(),
                    on_failure: OnFailure::Fail,
                    budget: Budget::ENDLESS,
                    live: release,
                    previous: None,
                    candidate: None,
                })),
            };
            made.push((phase, bound));
        }
        Self::new(0, made)
    }

    /// Which change of the bindings it shows.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The bindings of a phase, in order.
    pub fn phase(&self, phase: Phase) -> &[Arc<Bound>] {
        match phase {
            Phase::Route => &self.route,
            Phase::Authenticate => &self.authenticate,
            Phase::Select => &self.select,
        }
    }

    /// All places.
    pub fn bindings(&self) -> impl Iterator<Item = (Phase, &Arc<Bound>)> {
        Phase::ALL.into_iter().flat_map(|phase| self.phase(phase).iter().map(move |bound| (phase, bound)))
    }

    /// The binding of this name.
    pub fn binding(&self, name: &str) -> Option<&Arc<Bound>> {
        self.bindings().map(|(_, bound)| bound).find(|bound| bound.name() == name)
    }
}
