//! A binding: where a plugin's releases are asked, which of them, and how each change moves them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Actor, BadMatcher, BindingName, Budget, Matcher, OnFailure, Phase, PluginName, ReleaseHash, Share};

/// When and for what a binding's plugin is asked, and how its failures count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindingSettings {
    /// The phases it stands in, at least one.
    pub phases: BTreeSet<Phase>,
    /// Its place among the bindings of a phase: small ones are asked first, equal ones in the order of their names.
    pub position: i32,
    /// Which requests it concerns.
    #[serde(default)]
    pub matcher: Matcher,
    /// What becomes of a request when routing fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How many failures it tolerates.
    #[serde(default)]
    pub budget: Budget,
    /// A binding that is not enabled is kept and not asked.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

fn enabled() -> bool {
    true
}

/// Settings that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBinding {
    /// It would never be asked.
    #[error("a binding needs at least one phase: route, authenticate or select")]
    NoPhase,
    /// Its matcher does not fit.
    #[error(transparent)]
    Matcher(#[from] BadMatcher),
}

impl BindingSettings {
    /// Checks what the types cannot say.
    pub fn check(&self) -> Result<(), BadBinding> {
        if self.phases.is_empty() {
            return Err(BadBinding::NoPhase);
        }
        self.phases.iter().try_for_each(|phase| Ok(self.matcher.check(*phase)?))
    }
}

/// A binding as an operator asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingSpec {
    /// Its name.
    pub name: BindingName,
    /// The plugin whose releases it holds; for good.
    pub plugin: PluginName,
    /// The rest, which may change.
    #[serde(flatten)]
    pub settings: BindingSettings,
}

/// How a candidate is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", content = "share", rename_all = "lowercase")]
pub enum CandidateMode {
    /// It sees copies of requests; its answers are compared and thrown away.
    Shadow,
    /// It answers for a share of visitors.
    Canary(Share),
}

/// A release on trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which.
    pub release: ReleaseHash,
    /// How.
    #[serde(flatten)]
    pub mode: CandidateMode,
}

/// The release that was live before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Which.
    pub release: ReleaseHash,
    /// It failed over its budget: an operator may go back to it, the server by itself does not.
    pub given_up: bool,
}

/// The releases of a binding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Releases {
    /// The one that answers.
    pub live: ReleaseHash,
    /// The one to go back to.
    pub previous: Option<Previous>,
    /// The one on trial.
    pub candidate: Option<Candidate>,
}

/// A change of a binding that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Other settings.
    Settings(BindingSettings),
    /// This release becomes the live one.
    Swap(ReleaseHash),
    /// The previous release becomes the live one, and the live one the previous.
    Rollback,
    /// This release is put on trial, instead of the one before.
    Offer(Candidate),
    /// The trial ends without a change.
    Withdraw,
    /// The candidate becomes the live release.
    Promote,
}

/// A change that changes nothing, or has nothing to work on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// The release is live already.
    #[error("release {} is the live one already", .0.short())]
    AlreadyLive(ReleaseHash),
    /// No release was live before.
    #[error("there is no previous release to go back to")]
    NoPrevious,
    /// No release is on trial.
    #[error("there is no candidate")]
    NoCandidate,
}

/// What the server does by itself about a release that failed over its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// The previous release is live again.
    RolledBack,
    /// The candidate is no longer on trial.
    Withdrawn,
}

impl Releases {
    /// A new binding's.
    pub fn only(live: ReleaseHash) -> Self {
        Self { live, previous: None, candidate: None }
    }

    /// The releases after a change that an operator asked for.
    pub fn after(&self, change: &Change) -> Result<Self, ChangeRefused> {
        match change {
            Change::Settings(_) => Ok(self.clone()),
            Change::Swap(to) if *to == self.live => Err(ChangeRefused::AlreadyLive(*to)),
            Change::Swap(to) => Ok(self.with_live(*to, false)),
            Change::Rollback => {
                let previous = self.previous.ok_or(ChangeRefused::NoPrevious)?;
                Ok(self.with_live(previous.release, false))
            }
            Change::Offer(candidate) if candidate.release == self.live => {
                Err(ChangeRefused::AlreadyLive(candidate.release))
            }
            Change::Offer(candidate) => Ok(Self { candidate: Some(candidate.clone()), ..self.clone() }),
            Change::Withdraw => {
                self.candidate.as_ref().ok_or(ChangeRefused::NoCandidate)?;
                Ok(Self { candidate: None, ..self.clone() })
            }
            Change::Promote => {
                let candidate = self.candidate.as_ref().ok_or(ChangeRefused::NoCandidate)?;
                Ok(self.with_live(candidate.release, false))
            }
        }
    }

    /// The releases after `failed` used up its budget; `None` when there is nothing to do: it is gone already, or what was
    /// before it was given up too. So two bad releases never take turns, and several servers may report the same failure.
    pub fn after_failure(&self, failed: ReleaseHash) -> Option<(Self, GivenUp)> {
        if self.candidate.as_ref().is_some_and(|candidate| candidate.release == failed) {
            return Some((Self { candidate: None, ..self.clone() }, GivenUp::Withdrawn));
        }
        let previous = self.previous.filter(|previous| self.live == failed && !previous.given_up)?;
        Some((self.with_live(previous.release, true), GivenUp::RolledBack))
    }

    fn with_live(&self, live: ReleaseHash, given_up: bool) -> Self {
        let candidate = self.candidate.clone().filter(|candidate| candidate.release != live);
        Self { live, previous: Some(Previous { release: self.live, given_up }), candidate }
    }
}

/// A binding as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Binding {
    /// What was asked for.
    #[serde(flatten)]
    pub spec: BindingSpec,
    /// Its releases.
    #[serde(flatten)]
    pub releases: Releases,
    /// Increases with each change: who changes it says which revision they saw.
    pub revision: i64,
    /// Who changed it last.
    pub changed_by: Actor,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub changed_at: OffsetDateTime,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const fn hash(byte: u8) -> ReleaseHash {
        ReleaseHash([byte; 32])
    }

    /// `live`, `previous` (with `given_up`), `candidate` by their first bytes; 0: none.
    fn releases(live: u8, previous: u8, given_up: bool, candidate: u8) -> Releases {
        Releases {
            live: hash(live),
            previous: (previous > 0).then(|| Previous { release: hash(previous), given_up }),
            candidate: (candidate > 0).then(|| Candidate { release: hash(candidate), mode: CandidateMode::Shadow }),
        }
    }

    #[test]
    fn changes_move_releases() {
        let offer = |byte| Change::Offer(Candidate { release: hash(byte), mode: CandidateMode::Shadow });
        let cases = [
            (releases(1, 0, false, 0), Change::Swap(hash(2)), Ok(releases(2, 1, false, 0))),
            (releases(2, 1, false, 0), Change::Swap(hash(3)), Ok(releases(3, 2, false, 0))),
            (releases(2, 1, true, 0), Change::Swap(hash(1)), Ok(releases(1, 2, false, 0))),
            (releases(1, 0, false, 0), Change::Swap(hash(1)), Err(ChangeRefused::AlreadyLive(hash(1)))),
            (releases(1, 0, false, 2), Change::Swap(hash(3)), Ok(releases(3, 1, false, 2))),
            (releases(1, 0, false, 2), Change::Swap(hash(2)), Ok(releases(2, 1, false, 0))),
            (releases(2, 1, false, 0), Change::Rollback, Ok(releases(1, 2, false, 0))),
            (releases(2, 1, true, 0), Change::Rollback, Ok(releases(1, 2, false, 0))),
            (releases(2, 1, false, 1), Change::Rollback, Ok(releases(1, 2, false, 0))),
            (releases(1, 0, false, 2), Change::Rollback, Err(ChangeRefused::NoPrevious)),
            (releases(1, 0, false, 0), offer(2), Ok(releases(1, 0, false, 2))),
            (releases(1, 0, false, 2), offer(3), Ok(releases(1, 0, false, 3))),
            (releases(1, 0, false, 0), offer(1), Err(ChangeRefused::AlreadyLive(hash(1)))),
            (releases(1, 3, false, 2), Change::Withdraw, Ok(releases(1, 3, false, 0))),
            (releases(1, 3, false, 0), Change::Withdraw, Err(ChangeRefused::NoCandidate)),
            (releases(1, 3, false, 2), Change::Promote, Ok(releases(2, 1, false, 0))),
            (releases(1, 3, false, 0), Change::Promote, Err(ChangeRefused::NoCandidate)),
        ];
        for (before, change, expected) in cases {
            assert_eq!(before.after(&change), expected, "{before:?} {change:?}");
        }
    }

    #[test]
    fn failures_never_flip_back_and_forth() {
        let cases = [
            (releases(2, 1, false, 0), 2, Some((releases(1, 2, true, 0), GivenUp::RolledBack))),
            (releases(1, 2, true, 0), 2, None),
            (releases(1, 2, true, 0), 1, None),
            (releases(2, 0, false, 0), 2, None),
            (releases(1, 0, false, 2), 2, Some((releases(1, 0, false, 0), GivenUp::Withdrawn))),
            (releases(2, 1, false, 3), 2, Some((releases(1, 2, true, 3), GivenUp::RolledBack))),
            (releases(2, 1, false, 3), 9, None),
        ];
        for (before, failed, expected) in cases {
            assert_eq!(before.after_failure(hash(failed)), expected, "{before:?} {failed}");
        }
    }

    #[test]
    fn settings_are_checked_for_each_phase() {
        let settings = BindingSettings {
            phases: [Phase::Authenticate].into(),
            position: 10,
            matcher: Matcher::default(),
            on_failure: OnFailure::Fail,
            budget: Budget::default(),
            enabled: true,
        };
        assert_eq!(settings.check(), Ok(()));
        assert_eq!(BindingSettings { phases: [].into(), ..settings.clone() }.check(), Err(BadBinding::NoPhase));
        let content = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162".parse().unwrap();
        let matcher = Matcher { content: [content].into(), ..Matcher::default() };
        let both = BindingSettings { phases: [Phase::Route, Phase::Select].into(), matcher, ..settings.clone() };
        assert_eq!(both.check(), Err(BadBinding::Matcher(BadMatcher::ContentWhileRouting)));
        let short: BindingSettings = serde_json::from_str(r#"{"phases":["authenticate"],"position":10}"#).unwrap();
        assert_eq!(short, settings);
        let candidate = Candidate { release: hash(1), mode: CandidateMode::Canary(Share::default()) };
        let json = serde_json::to_string(&candidate).unwrap();
        assert_eq!(serde_json::from_str::<Candidate>(&json).unwrap(), candidate, "{json}");
    }
}
