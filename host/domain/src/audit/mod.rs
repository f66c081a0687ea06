//! The audit log: who changed what on the server. Entries each carry the hash of the one before, so that a changed, removed
//! or inserted entry is found by computing the hashes again. Who can rewrite the whole table can rewrite the chain too: keep
//! its newest hash elsewhere to notice that.

mod action;

pub use action::{Action, Item, VariableNames};

use time::OffsetDateTime;

use crate::access::{Principal, PrincipalVia};
use crate::ids::{ContentGuid, UserGuid, UserId};
use crate::plugin::fields::FieldHasher;

/// Most characters of an entry's text: a sentence with a handful of names. Longer ones (a change of hundreds of variables)
/// are cut, and say so.
pub const MOST_TEXT: usize = 2000;

/// Who did something. Outlives the account: names it by value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The account; `None`: no account did it.
    pub user: Option<(UserId, UserGuid)>,
    /// The account's name at the time, or who else it was, in words with a space: no account is called so.
    pub description: String,
}

impl Actor {
    /// An account.
    pub fn account(id: UserId, guid: UserGuid, username: &str) -> Self {
        Self { user: Some((id, guid)), description: username.to_owned() }
    }

    /// The process of a content item, which acts as its owner.
    pub fn content(id: UserId, guid: UserGuid, username: &str, content: ContentGuid) -> Self {
        Self { user: Some((id, guid)), description: format!("{username}, by content {content}") }
    }

    /// Whoever may use the admin socket of the host.
    pub fn admin_socket() -> Self {
        Self { user: None, description: "the admin socket".to_owned() }
    }

    /// The server itself.
    pub fn server() -> Self {
        Self { user: None, description: "the server".to_owned() }
    }

    /// Who holds the secret of the bootstrap.
    pub fn bootstrap() -> Self {
        Self { user: None, description: "the bootstrap token".to_owned() }
    }

    /// Another directory of accounts, by its issuer.
    pub fn directory(issuer: &str) -> Self {
        // Issuers are addresses, but nothing bounds them here.
        let issuer: String = issuer.chars().take(200).collect();
        Self { user: None, description: format!("the directory {issuer}") }
    }

    /// An account of which only the name is known, or whoever else changed the gate.
    pub fn of_gate(actor: &crate::plugin::Actor) -> Self {
        Self { user: None, description: actor.to_string() }
    }
}

impl From<&Principal> for Actor {
    fn from(who: &Principal) -> Self {
        match who.via {
            PrincipalVia::Content(content) => Self::content(who.user, who.guid, &who.username, content),
            PrincipalVia::Key(_) | PrincipalVia::Session | PrincipalVia::Signature => {
                Self::account(who.user, who.guid, &who.username)
            }
        }
    }
}

/// The hash of an entry: BLAKE3 over its fields and the hash before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHash(pub [u8; 32]);

impl std::fmt::Display for EntryHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of the last entry; 0: there is none.
    pub seq: i64,
    /// Its hash.
    pub hash: EntryHash,
}

impl Head {
    /// Of an empty log.
    pub const EMPTY: Self = Self { seq: 0, hash: EntryHash([0; 32]) };
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number; they count from 1 without gaps.
    pub seq: i64,
    /// When, to the microsecond.
    pub at: OffsetDateTime,
    /// By whom.
    pub actor: Actor,
    /// The action's word.
    pub action: String,
    /// What was done, as a sentence without a subject; at most [`MOST_TEXT`] characters.
    pub text: String,
    /// The hash of the entry before.
    pub prev_hash: EntryHash,
    /// The hash of this one.
    pub hash: EntryHash,
}

impl Entry {
    /// The entry for `action` after `head`.
    pub fn after(head: Head, at: OffsetDateTime, actor: Actor, action: &Action<'_>) -> Self {
        let mut entry = Self {
            seq: head.seq.saturating_add(1),
            at: at.truncate_to_microsecond(),
            actor,
            action: action.word().to_owned(),
            text: short(action.text()),
            prev_hash: head.hash,
            hash: head.hash,
        };
        entry.hash = entry.computed();
        entry
    }

    /// Whether it is the one after `head`, as it was written.
    pub fn follows(&self, head: Head) -> bool {
        head.seq.checked_add(1) == Some(self.seq) && self.prev_hash == head.hash && self.hash == self.computed()
    }

    /// The end of a log whose last entry this is.
    pub fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }

    /// Covers every field. The form never changes: old entries are checked with it.
    fn computed(&self) -> EntryHash {
        let mut hasher = FieldHasher::new("lectern audit log v1");
        let user = self.actor.user.map(|(id, guid)| (id.0.to_le_bytes(), guid.0));
        hasher
            .bytes(&self.prev_hash.0)
            .number(self.seq.into())
            .number(self.at.unix_timestamp_nanos().div_euclid(1000))
            .optional(user.as_ref().map(|(id, _)| id.as_slice()))
            .optional(user.as_ref().map(|(_, guid)| guid.as_bytes().as_slice()))
            .bytes(self.actor.description.as_bytes())
            .bytes(self.action.as_bytes())
            .bytes(self.text.as_bytes());
        EntryHash(hasher.finish())
    }
}

fn short(text: String) -> String {
    match text.char_indices().nth(MOST_TEXT) {
        None => text,
        Some(_) => text.chars().take(MOST_TEXT - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests;
