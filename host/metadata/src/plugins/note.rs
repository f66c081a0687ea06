//! Who changes something, and why.

use lectern_domain::plugin::{Action, Actor, Document, HistoryEvent};
use serde_json::{Map, Value};

/// What a change adds to the history besides itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// By whom.
    pub actor: Actor,
    /// Why; at most 1000 characters, may be empty.
    pub reason: String,
    /// What else should be kept with it. The change adds its own fields.
    pub details: Map<String, Value>,
}

impl Note {
    /// Without details.
    pub fn new(actor: Actor, reason: impl Into<String>) -> Self {
        Self { actor, reason: reason.into(), details: Map::new() }
    }

    /// The event, still about nothing in particular. `own` are the change's own details.
    pub(super) fn event(&self, action: Action, own: impl IntoIterator<Item = (&'static str, Value)>) -> HistoryEvent {
        let mut details = self.details.clone();
        details.extend(own.into_iter().map(|(key, value)| (key.to_owned(), value)));
        HistoryEvent {
            actor: self.actor.clone(),
            action,
            binding: None,
            plugin: None,
            from_release: None,
            to_release: None,
            package: None,
            reason: self.reason.clone(),
            details: Document::new(details),
        }
    }
}
