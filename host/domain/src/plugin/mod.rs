//! What the gate's plugins are, may do and apply to: values that the package reader, the gate, the database and the
//! command line share.

mod binding;
mod bound;
mod breaker;
mod deeds;
mod document;
pub(crate) mod fields;
mod grants;
mod history;
mod names;
mod release;
mod shadow;
mod state;

pub use binding::{BadMatcher, BadShare, Matcher, Share, share_of};
pub use bound::{
    BadBinding, Binding, BindingSettings, BindingSpec, Candidate, CandidateMode, Change, ChangeRefused, GivenUp,
    Previous, Releases,
};
pub use breaker::{Breaker, BreakerState, Budget, Call, Passage};
pub use deeds::{Action, Actor};
pub use document::{BadDocument, Document};
pub use grants::{BadGrant, Grant, GrantKind, Grants, GrantsRefused, Origin};
pub use history::{HistoryEntry, HistoryEvent, HistoryHead};
pub use names::{BadDigest, BadPluginName, BindingName, HistoryHash, PackageDigest, PluginName, ReleaseHash};
pub use release::ReleaseSpec;
pub use shadow::{MOST_FINGERPRINTS, OTHER_FINGERPRINT, ShadowBatch, ShadowDifference, fold_differences};
pub use state::{GateState, NodeReport, Package, Release, RunningRelease, SealedSecret, TrustedKey};

use serde::{Deserialize, Serialize};

/// When a binding's plugin is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Where does the request go? Asked first; nobody is known yet.
    Route,
    /// Who is asking? Asked when the target is known.
    Authenticate,
    /// Which version of the target, with which fields, or a refusal? Asked last, with the visitor known.
    Select,
}

impl Phase {
    /// All, in the order of a request.
    pub const ALL: [Self; 3] = [Self::Route, Self::Authenticate, Self::Select];

    /// The word in commands, tables and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Authenticate => "authenticate",
            Self::Select => "select",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}

/// What a component can be asked, as its manifest says and its exports show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// `routing.route`, in the phases route and select.
    Route,
    /// `auth.authenticate`.
    Authenticate,
    /// `pages.handle`, below `/__plugin__/<name>/`.
    Pages,
}

impl Hook {
    /// The word in manifests and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Authenticate => "authenticate",
            Self::Pages => "pages",
        }
    }
}

/// What becomes of a request when a routing plugin fails. Authentication knows no choice: a failure there denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The client gets 503.
    #[default]
    Fail,
    /// The next plugin is asked, as if this one had answered "not mine".
    Skip,
}

impl OnFailure {
    /// The word in commands, tables and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Fail, Self::Skip].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// How instances of a component are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Instances {
    /// A new one for every call: nothing that one visitor sent can reach another.
    #[default]
    Fresh,
    /// A bounded pool of used ones, for heavy guests (Python, JavaScript). What a guest keeps in memory reaches later calls.
    Warm,
}

impl Instances {
    /// The word in manifests, tables and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Warm => "warm",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Fresh, Self::Warm].into_iter().find(|instances| instances.as_str() == text)
    }
}
