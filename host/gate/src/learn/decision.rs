//! What goes into a tree and comes out of it: decisions, and what became of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::record::{Line, Recorder};
use super::taint::NotLearned;

/// What a plugin decided, already checked. A clone is made on every hit: use an `Arc`.
pub trait Decision: Clone {
    /// Bytes it keeps in memory.
    fn bytes(&self) -> usize;
    /// A few words for operators. They are shown: no credentials, no fields that may hold one.
    fn describe(&self) -> String;
    /// Whether it is the same decision.
    fn same(&self, other: &Self) -> bool;
}

/// What a walk found.
#[derive(Debug)]
pub enum Walk<D> {
    /// The decision.
    Hit(Hit<D>),
    /// Nothing: call the plugin, answer its questions through the recorder, and hand that to [`super::Learned::learn`].
    Miss(Recorder),
    /// Learning is off or rests: call the plugin with [`Recorder::idle`].
    Off,
}

/// A decision found again.
pub struct Hit<D> {
    /// The decision.
    pub decision: D,
    /// Lines to be written to the log again.
    pub lines: Option<Arc<[Line]>>,
    /// `Some`: the plugin should be called all the same, and the result handed to [`super::Learned::learn`], which compares.
    pub rerun: Option<Recorder>,
}

impl<D> fmt::Debug for Hit<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hit").field("rerun", &self.rerun.is_some()).finish_non_exhaustive()
    }
}

/// Whether the caller wants a decision learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learnable {
    /// It may be reused whenever all answers are the same; with a time to live, for so long.
    Yes {
        /// The time to live that the plugin gave.
        ttl: Option<Duration>,
    },
    /// It may not. [`NotLearned::DenialWithoutIdentity`] is the caller's to see: never learn a denial of a visitor without
    /// identity. A hit takes half a microsecond and a call ten: who measures that learns which paths are in use.
    No(NotLearned),
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its decision was learned.
    Learned,
    /// Its decision was known; the call confirmed it.
    Known,
    /// It was not learned.
    NotLearned(NotLearned),
    /// It showed that the plugin is not deterministic: learning is off. Tell the operator.
    SwitchedOff(Off),
}

/// Why learning is off for good: the same answers had different consequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Off {
    /// Another decision.
    Decided {
        /// What was learned, in words.
        learned: String,
        /// What a fresh call decided.
        fresh: String,
    },
    /// Another question.
    Asked {
        /// After so many answers.
        after: usize,
        /// What was asked then, if anything.
        learned: Option<&'static str>,
        /// What a fresh call asked, if anything.
        fresh: Option<&'static str>,
    },
    /// The use of something that is not repeatable.
    Tainted {
        /// What was used.
        by: &'static str,
    },
}

impl fmt::Display for Off {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the plugin is not deterministic: for the same answers ")?;
        match self {
            Self::Decided { learned, fresh } => write!(f, "it decided `{learned}` once and `{fresh}` later"),
            Self::Asked { after, learned, fresh } => {
                let next =
                    |kind: &Option<&str>| kind.map_or("decided".to_owned(), |kind| format!("asked for `{kind}`"));
                let other = if learned == fresh { " of another name" } else { "" };
                write!(f, "it {} once and {}{other} later, after {after} answers", next(learned), next(fresh))
            }
            Self::Tainted { by } => write!(f, "it decided at once first and used {by} later"),
        }
    }
}
