//! Who may do what with a content item: the only place where that is decided.
//!
//! A plugin says *who is asking* ([`Principal`]); these functions say what that principal may do. Nothing a plugin
//! answers is an input here except the identity, so no plugin can widen access.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{ContentGuid, KeyId, UserGuid, UserId};
use crate::user::UserRole;

/// Who may open a content item besides its collaborators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessType {
    /// Anybody, signed in or not.
    All,
    /// Anybody with an account.
    LoggedIn,
    /// The users listed.
    Acl,
}

impl AccessType {
    /// The word the protocol uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::LoggedIn => "logged_in",
            Self::Acl => "acl",
        }
    }

    /// Parses the protocol's word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::All, Self::LoggedIn, Self::Acl].into_iter().find(|access| access.as_str() == text)
    }
}

/// How a principal proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrincipalVia {
    /// An API key.
    Key(KeyId),
    /// A signed-in browser session.
    Session,
    /// A signature over the request, made by a program that a user confirmed in a browser.
    Signature,
    /// The key that a process of this content was given: it acts as the content's owner for as long as the process lives.
    Content(ContentGuid),
}

/// Who is asking: a known, unlocked user. There is no principal for an anonymous visitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user's row number.
    pub user: UserId,
    /// The user's GUID.
    pub guid: UserGuid,
    /// The user's name.
    pub username: String,
    /// What the user may do on the server; for a key, at most the key's own role.
    pub role: UserRole,
    /// How this was proved.
    pub via: PrincipalVia,
}

/// What a permission entry gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PermissionRole {
    /// May open the content.
    Viewer,
    /// May also change it: a collaborator. The protocol calls this `owner`.
    Owner,
}

/// The rules of one content item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRules {
    /// The publisher who owns it.
    pub owner: UserId,
    /// Who may open it besides those listed.
    pub access_type: AccessType,
    /// Users listed as viewers.
    pub viewers: BTreeSet<UserId>,
    /// Users listed as collaborators.
    pub editors: BTreeSet<UserId>,
    /// Groups listed.
    pub groups: Vec<GroupEntry>,
}

/// A group listed for a content item. Its members are shared between all items that list it: a group of thousands costs each
/// item one pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntry {
    /// Who belongs to the group.
    pub members: Arc<BTreeSet<UserId>>,
    /// What the entry gives each of them.
    pub role: PermissionRole,
}

impl AccessRules {
    /// Whether an entry, of the user or of a group of theirs, gives `role` itself.
    fn lists(&self, user: UserId, role: PermissionRole) -> bool {
        let users = match role {
            PermissionRole::Viewer => &self.viewers,
            PermissionRole::Owner => &self.editors,
        };
        users.contains(&user) || self.groups.iter().any(|group| group.role == role && group.members.contains(&user))
    }
}

/// The caller's standing with one content item; the protocol's `app_role`. Ordered by what it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppRole {
    /// No standing of its own.
    None,
    /// May open it.
    Viewer,
    /// May change it.
    Editor,
    /// Owns it.
    Owner,
}

/// What is asked of a content item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Open the active version as a visitor.
    Open,
    /// Open a version that is not active (a draft or an older one).
    Preview,
    /// Read its settings, tasks and jobs through the API or the dashboard.
    Inspect,
    /// Change its settings, upload, deploy, delete.
    Change,
}

/// The answer to an [`Action`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed, with this standing.
    Allowed(AppRole),
    /// Not for an anonymous visitor; signing in may help.
    SignIn,
    /// Not for this principal.
    Refused,
}

/// The standing of `principal` with content under `rules`, from ownership and permission entries alone.
///
/// A viewer's account never collaborates, whatever its entry says (the protocol's code 33).
pub fn app_role(principal: &Principal, rules: &AccessRules) -> AppRole {
    let publishes = principal.role >= UserRole::Publisher;
    if principal.user == rules.owner && publishes {
        AppRole::Owner
    } else if rules.lists(principal.user, PermissionRole::Owner) && publishes {
        AppRole::Editor
    } else if principal.user == rules.owner
        || rules.lists(principal.user, PermissionRole::Owner)
        || rules.lists(principal.user, PermissionRole::Viewer)
        || matches!(rules.access_type, AccessType::All | AccessType::LoggedIn)
    {
        AppRole::Viewer
    } else {
        AppRole::None
    }
}

/// Decides whether `principal` (`None`: anonymous) may do `action` under `rules`.
///
/// Administrators may inspect and change every item, but open one only as its rules say: they can list themselves,
/// which leaves a trace.
pub fn decide(principal: Option<&Principal>, rules: &AccessRules, action: Action) -> Verdict {
    let Some(principal) = principal else {
        return match (action, rules.access_type) {
            (Action::Open, AccessType::All) => Verdict::Allowed(AppRole::None),
            (Action::Open, AccessType::LoggedIn | AccessType::Acl)
            | (Action::Preview | Action::Inspect | Action::Change, _) => Verdict::SignIn,
        };
    };
    let standing = app_role(principal, rules);
    let administers = principal.role == UserRole::Administrator;
    let allowed = match action {
        Action::Open => standing >= AppRole::Viewer,
        Action::Inspect => standing >= AppRole::Viewer || administers,
        Action::Preview | Action::Change => standing >= AppRole::Editor || administers,
    };
    if allowed { Verdict::Allowed(standing) } else { Verdict::Refused }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const OWNER: i64 = 1;
    const EDITOR: i64 = 2;
    const VIEWER: i64 = 3;
    const STRANGER: i64 = 4;

    fn user(id: i64, role: UserRole) -> Option<Principal> {
        Some(Principal {
            user: UserId(id),
            guid: UserGuid(Uuid::from_u128(id as u128)),
            username: format!("user{id}"),
            role,
            via: PrincipalVia::Session,
        })
    }

    fn rules(access_type: AccessType) -> AccessRules {
        AccessRules {
            owner: UserId(OWNER),
            access_type,
            viewers: [UserId(VIEWER)].into(),
            editors: [UserId(EDITOR)].into(),
            groups: Vec::new(),
        }
    }

    #[test]
    fn every_kind_of_visitor_against_every_access_type() {
        use AccessType::{Acl, All, LoggedIn};
        use Action::{Change, Inspect, Open, Preview};
        use UserRole::{Administrator, Publisher, Viewer};
        use Verdict::{Refused, SignIn};
        let ok = Verdict::Allowed;
        let (none, viewer, editor, owner) = (AppRole::None, AppRole::Viewer, AppRole::Editor, AppRole::Owner);
        // Per visitor: what Open gives for all, logged_in, acl; then Preview, Inspect, Change for acl.
        let table = [
            (None, [ok(none), SignIn, SignIn], [SignIn, SignIn, SignIn]),
            (user(STRANGER, Viewer), [ok(viewer), ok(viewer), Refused], [Refused, Refused, Refused]),
            (user(STRANGER, Publisher), [ok(viewer), ok(viewer), Refused], [Refused, Refused, Refused]),
            (user(VIEWER, Viewer), [ok(viewer), ok(viewer), ok(viewer)], [Refused, ok(viewer), Refused]),
            (user(EDITOR, Publisher), [ok(editor), ok(editor), ok(editor)], [ok(editor), ok(editor), ok(editor)]),
            // A collaborator whose account is only a viewer's opens, and changes nothing.
            (user(EDITOR, Viewer), [ok(viewer), ok(viewer), ok(viewer)], [Refused, ok(viewer), Refused]),
            (user(OWNER, Publisher), [ok(owner), ok(owner), ok(owner)], [ok(owner), ok(owner), ok(owner)]),
            (user(OWNER, Viewer), [ok(viewer), ok(viewer), ok(viewer)], [Refused, ok(viewer), Refused]),
            (user(STRANGER, Administrator), [ok(viewer), ok(viewer), Refused], [ok(none), ok(none), ok(none)]),
        ];
        for (principal, open, manage) in &table {
            let principal = principal.as_ref();
            for (access, expected) in [All, LoggedIn, Acl].into_iter().zip(open) {
                assert_eq!(decide(principal, &rules(access), Open), *expected, "{principal:?} opens {access:?}");
            }
            for (action, expected) in [Preview, Inspect, Change].into_iter().zip(manage) {
                assert_eq!(decide(principal, &rules(Acl), action), *expected, "{principal:?} {action:?}");
            }
        }
    }

    /// Two groups that share a member; the stronger entry counts.
    #[test]
    fn groups_give_what_their_entries_give() {
        const BOTH: i64 = 5;
        let group = |members: &[i64], role| GroupEntry {
            members: Arc::new(members.iter().copied().map(UserId).collect()),
            role,
        };
        let mut rules = rules(AccessType::Acl);
        rules.groups =
            vec![group(&[STRANGER, BOTH], PermissionRole::Viewer), group(&[BOTH, EDITOR], PermissionRole::Owner)];
        for (id, role, expected) in [
            (STRANGER, UserRole::Publisher, AppRole::Viewer),
            (BOTH, UserRole::Publisher, AppRole::Editor),
            // A viewer's account, or a viewer's key, never collaborates.
            (BOTH, UserRole::Viewer, AppRole::Viewer),
            (VIEWER, UserRole::Publisher, AppRole::Viewer),
            (6, UserRole::Administrator, AppRole::None),
            (OWNER, UserRole::Publisher, AppRole::Owner),
        ] {
            let who = user(id, role);
            assert_eq!(who.as_ref().map(|who| app_role(who, &rules)), Some(expected), "{who:?}");
        }
    }

    #[test]
    fn words_round_trip() {
        for access in [AccessType::All, AccessType::LoggedIn, AccessType::Acl] {
            assert_eq!(AccessType::parse(access.as_str()), Some(access));
        }
        assert_eq!(AccessType::parse("everyone"), None);
    }
}
