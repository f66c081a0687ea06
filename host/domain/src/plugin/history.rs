//! What was done to the gate: entries that each carry the hash of the one before, so that a changed, removed or inserted
//! entry is found by computing the hashes again. Who can rewrite the whole table can rewrite the chain too: keep its newest
//! hash elsewhere to notice that.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::document::Document;
use super::fields::FieldHasher;
use super::{Action, Actor, BindingName, HistoryHash, PackageDigest, PluginName, ReleaseHash};

/// Something that was done, before it has its place in the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEvent {
    /// By whom.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// To which binding.
    pub binding: Option<BindingName>,
    /// To which plugin.
    pub plugin: Option<PluginName>,
    /// The release that was live, or on trial, before.
    pub from_release: Option<ReleaseHash>,
    /// The release that is now.
    pub to_release: Option<ReleaseHash>,
    /// The package of that release, or the one that was installed or removed.
    pub package: Option<PackageDigest>,
    /// Why, in the operator's words.
    pub reason: String,
    /// What else belongs to the action.
    pub details: Document,
}

/// Where the history ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryHead {
    /// Number of the last entry; 0: there is none.
    pub seq: i64,
    /// Its hash.
    pub hash: HistoryHash,
}

impl HistoryHead {
    /// Of an empty history.
    pub const EMPTY: Self = Self { seq: 0, hash: HistoryHash([0; 32]) };
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Its number; they count from 1 without gaps.
    pub seq: i64,
    /// When, to the microsecond.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What was done.
    #[serde(flatten)]
    pub event: HistoryEvent,
    /// The hash of the entry before.
    pub prev_hash: HistoryHash,
    /// The hash of this one.
    pub hash: HistoryHash,
}

impl HistoryEntry {
    /// The entry for `event` after `head`.
    pub fn after(head: HistoryHead, at: OffsetDateTime, event: HistoryEvent) -> Self {
        let at = at.truncate_to_microsecond();
        let seq = head.seq.saturating_add(1);
        let hash = entry_hash(seq, at, &event, head.hash);
        Self { seq, at, event, prev_hash: head.hash, hash }
    }

    /// Whether it is the one after `head`, as it was written.
    pub fn follows(&self, head: HistoryHead) -> bool {
        head.seq.checked_add(1) == Some(self.seq)
            && self.prev_hash == head.hash
            && self.hash == entry_hash(self.seq, self.at, &self.event, self.prev_hash)
    }

    /// The end of a history whose last entry this is.
    pub fn head(&self) -> HistoryHead {
        HistoryHead { seq: self.seq, hash: self.hash }
    }
}

/// Covers every field. The form never changes: old entries are checked with it.
fn entry_hash(seq: i64, at: OffsetDateTime, event: &HistoryEvent, prev: HistoryHash) -> HistoryHash {
    let mut hasher = FieldHasher::new("lectern plugin history v1");
    hasher
        .bytes(&prev.0)
        .number(seq.into())
        .number(at.unix_timestamp_nanos().div_euclid(1000))
        .bytes(event.actor.to_stored().as_bytes())
        .bytes(event.action.as_str().as_bytes())
        .optional(event.binding.as_ref().map(|name| name.as_str().as_bytes()))
        .optional(event.plugin.as_ref().map(|name| name.as_str().as_bytes()))
        .optional(event.from_release.as_ref().map(|hash| hash.0.as_slice()))
        .optional(event.to_release.as_ref().map(|hash| hash.0.as_slice()))
        .optional(event.package.as_ref().map(|digest| digest.0.as_slice()))
        .bytes(event.reason.as_bytes())
        .bytes(event.details.as_str().as_bytes());
    HistoryHash(hasher.finish())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::Duration;

    fn event() -> HistoryEvent {
        HistoryEvent {
            actor: Actor::User("ada".to_owned()),
            action: Action::Swap,
            binding: Some("login".parse().unwrap()),
            plugin: Some("oidc-login".parse().unwrap()),
            from_release: Some(ReleaseHash([1; 32])),
            to_release: Some(ReleaseHash([2; 32])),
            package: Some(PackageDigest([3; 32])),
            reason: "new client".to_owned(),
            details: Document::default(),
        }
    }

    fn at() -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::nanoseconds(1_234_567_891)
    }

    #[test]
    fn entries_follow_each_other() {
        let first = HistoryEntry::after(HistoryHead::EMPTY, at(), event());
        assert!(first.follows(HistoryHead::EMPTY));
        assert_eq!((first.seq, first.at.nanosecond()), (1, 234_567_000), "as a database keeps it");
        let second = HistoryEntry::after(first.head(), at(), event());
        assert!(second.follows(first.head()) && !second.follows(HistoryHead::EMPTY));
        assert_ne!(first.hash, second.hash);
        let json = serde_json::to_string(&second).unwrap();
        assert!(serde_json::from_str::<HistoryEntry>(&json).unwrap().follows(first.head()), "{json}");
        // Written entries are checked for as long as there are databases: the form is fixed.
        assert_eq!(first.hash.short(), "a27ffb83de35", "{}", first.hash);
    }

    #[test]
    fn every_changed_field_is_noticed() {
        let entry = HistoryEntry::after(HistoryHead::EMPTY, at(), event());
        type Bend = fn(&mut HistoryEntry);
        let bends: [(&str, Bend); 15] = [
            ("seq", |e| e.seq = 2),
            ("at", |e| e.at += Duration::microseconds(1)),
            ("actor", |e| e.event.actor = Actor::Automatic),
            ("user", |e| e.event.actor = Actor::User("automatic".to_owned())),
            ("action", |e| e.event.action = Action::Rollback),
            ("binding", |e| e.event.binding = None),
            ("plugin", |e| e.event.plugin = Some("oidc".parse().unwrap())),
            ("from", |e| e.event.from_release = None),
            ("from and to", |e| std::mem::swap(&mut e.event.from_release, &mut e.event.to_release)),
            ("to", |e| e.event.to_release = Some(ReleaseHash([9; 32]))),
            ("package", |e| e.event.package = None),
            ("reason", |e| e.event.reason.push(' ')),
            ("details", |e| e.event.details = r#"{"a":1}"#.parse().unwrap()),
            ("previous", |e| e.prev_hash.0[0] ^= 1),
            ("hash", |e| e.hash.0[31] ^= 1),
        ];
        for (what, bend) in bends {
            let mut bent = entry.clone();
            bend(&mut bent);
            assert!(!bent.follows(HistoryHead::EMPTY), "{what}");
        }
    }
}
