//! The in-memory view that the request path reads: content, access, vanity paths, keys and sessions.
//!
//! A snapshot is immutable and swapped whole, so one request sees one state; it holds all that serving needs, so content
//! is served while the database is away.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use time::OffsetDateTime;

use crate::access::{AccessRules, Principal, PrincipalVia};
use crate::app_mode::AppMode;
use crate::confinement::OwnLimits;
use crate::content::ProcessSettings;
use crate::ids::{BundleHash, BundleId, ContentGuid, ContentId, KeyId, UserGuid, UserId};
use crate::launch::Prepared;
use crate::picture::Kind;
use crate::user::UserRole;

/// One bundle that can be served.
#[derive(Debug, Clone, PartialEq)]
pub struct BundleEntry {
    /// Its number.
    pub id: BundleId,
    /// Its bytes.
    pub hash: BundleHash,
    /// What starting it needs.
    pub prepared: Prepared,
}

/// One content item.
#[derive(Debug, Clone, PartialEq)]
pub struct ContentEntry {
    /// Row number.
    pub id: ContentId,
    /// GUID.
    pub guid: ContentGuid,
    /// Name, unique per owner.
    pub name: String,
    /// Title, when set.
    pub title: Option<String>,
    /// What kind of content it is; `Unknown` before the first deployment.
    pub mode: AppMode,
    /// Who may do what.
    pub access: AccessRules,
    /// The bundle served at the content's address.
    pub active: Option<BundleId>,
    /// Bundles that have been prepared: the active one, drafts and older ones.
    pub bundles: BTreeMap<BundleId, Arc<BundleEntry>>,
    /// Shown instead of the content while it is locked (Markdown); `None`: not locked.
    pub locked_message: Option<String>,
    /// Scheduler settings.
    pub processes: ProcessSettings,
    /// Limits of its processes that its publisher has set.
    pub limits: OwnLimits,
    /// The publisher's environment variables, encrypted: name, ciphertext.
    pub sealed_variables: Vec<(String, Vec<u8>)>,
    /// Vanity path, with a leading and a trailing slash.
    pub vanity: Option<String>,
    /// Its picture, when it has one.
    pub thumbnail: Option<Picture>,
    /// It uses integrations: it is told who visits, by tokens that it can exchange.
    pub has_integrations: bool,
    /// Names its default variant in addresses, as `v<key>`.
    pub variant_key: String,
}

/// A content item's picture; its bytes are elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// What kind of picture it is.
    pub kind: Kind,
    /// BLAKE3 of its bytes.
    pub hash: [u8; 32],
}

impl ContentEntry {
    /// The bundle served at the content's address.
    pub fn active_bundle(&self) -> Option<&Arc<BundleEntry>> {
        self.bundles.get(&self.active?)
    }
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEntry {
    /// Row number.
    pub id: UserId,
    /// GUID.
    pub guid: UserGuid,
    /// User name.
    pub username: String,
    /// What the account may do.
    pub role: UserRole,
    /// Locked accounts are no principals.
    pub locked: bool,
}

/// One API key, found by the BLAKE3 hash of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// Row number.
    pub id: KeyId,
    /// Whose key it is.
    pub user: UserId,
    /// The most it may do; the user's own role bounds it too.
    pub role: UserRole,
    /// When it ends by itself.
    pub expires_at: Option<OffsetDateTime>,
    /// A number that changes with each change of the record.
    pub stamp: i64,
}

/// One browser session, found by the BLAKE3 hash of its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEntry {
    /// Whose session it is.
    pub user: UserId,
    /// When it ends.
    pub expires_at: OffsetDateTime,
    /// The groups that the visitor belongs to, as who signed them in says.
    pub groups: Arc<[String]>,
}

/// The whole view.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Content by GUID.
    pub content: Arc<HashMap<ContentGuid, Arc<ContentEntry>>>,
    /// Vanity paths (with leading and trailing slash) to content.
    pub vanities: Arc<HashMap<String, ContentGuid>>,
    /// The names of the groups that users belong to, in order; users without groups are left out.
    pub groups: Arc<HashMap<UserId, Arc<[String]>>>,
    /// Accounts by row number.
    pub users: Arc<HashMap<UserId, Arc<UserEntry>>>,
    /// API keys by the hash of their text.
    pub keys: Arc<HashMap<[u8; 32], KeyEntry>>,
    /// Sessions by the hash of their token.
    pub sessions: Arc<HashMap<[u8; 32], SessionEntry>>,
}

/// Most path segments a vanity path may have: bounds the look-ups one request can cause.
pub const MAX_VANITY_SEGMENTS: usize = 8;

impl Snapshot {
    /// The content whose vanity path is the longest prefix of `path`, with the number of segments of that vanity path.
    ///
    /// `path` is normalised and begins with a slash; `/app` finds the vanity path `/app/`.
    pub fn find_vanity(&self, path: &str) -> Option<(ContentGuid, usize)> {
        if self.vanities.is_empty() {
            return None;
        }
        let ends: Vec<usize> = path
            .char_indices()
            .skip(1)
            .filter_map(|(at, c)| (c == '/').then_some(at))
            .chain((!path.ends_with('/')).then_some(path.len()))
            .take(MAX_VANITY_SEGMENTS)
            .collect();
        ends.iter().enumerate().rev().find_map(|(index, &end)| {
            let guid = self.vanities.get(&format!("{}/", &path[..end]))?;
            Some((*guid, index + 1))
        })
    }

    /// The principal behind an API key with this hash, at `now`: `None` when the key is unknown or has expired, or its user is
    /// gone or locked.
    pub fn principal_of_key(&self, hash: &[u8; 32], now: OffsetDateTime) -> Option<Principal> {
        let key = self.keys.get(hash).filter(|key| key.expires_at.is_none_or(|end| end > now))?;
        self.principal(key.user, key.role, PrincipalVia::Key(key.id))
    }

    /// The principal behind a session token with this hash, at `now`.
    pub fn principal_of_session(&self, hash: &[u8; 32], now: OffsetDateTime) -> Option<Principal> {
        let session = self.sessions.get(hash).filter(|session| session.expires_at > now)?;
        self.principal(session.user, UserRole::Administrator, PrincipalVia::Session)
    }

    /// The principal that a user is who was proved elsewhere: `None` when the user is gone or locked.
    pub fn principal_of_user(&self, user: UserId) -> Option<Principal> {
        self.principal(user, UserRole::Administrator, PrincipalVia::Session)
    }

    /// The principal that a process of `content` acts as: the owner of this moment. `None` when the content is gone, or its owner
    /// gone or locked.
    pub fn principal_of_content(&self, content: ContentGuid) -> Option<Principal> {
        let owner = self.content.get(&content)?.access.owner;
        self.principal(owner, UserRole::Administrator, PrincipalVia::Content(content))
    }

    fn principal(&self, user: UserId, cap: UserRole, via: PrincipalVia) -> Option<Principal> {
        let user = self.users.get(&user).filter(|user| !user.locked)?;
        Some(Principal {
            user: user.id,
            guid: user.guid,
            username: user.username.clone(),
            role: user.role.min(cap),
            via,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn guid(n: u128) -> ContentGuid {
        ContentGuid(Uuid::from_u128(n))
    }

    #[test]
    fn the_longest_vanity_path_wins() {
        let vanities = HashMap::from([("/a/".to_owned(), guid(1)), ("/a/b/".to_owned(), guid(2))]);
        let view = Snapshot { vanities: Arc::new(vanities), ..Snapshot::default() };
        let cases = [
            ("/a", Some((1, 1))),
            ("/a/", Some((1, 1))),
            ("/a/x/y", Some((1, 1))),
            ("/a/b", Some((2, 2))),
            ("/a/b/c", Some((2, 2))),
            ("/ab", None),
            ("/", None),
            ("/x/a/b", None),
        ];
        for (path, expected) in cases {
            assert_eq!(view.find_vanity(path), expected.map(|(n, segments)| (guid(n), segments)), "{path}");
        }
    }

    #[test]
    fn principals_end_with_their_record() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let user = |locked| UserEntry {
            id: UserId(1),
            guid: UserGuid(Uuid::from_u128(1)),
            username: "ada".into(),
            role: UserRole::Publisher,
            locked,
        };
        let view = |locked| Snapshot {
            users: Arc::new([(UserId(1), Arc::new(user(locked)))].into()),
            keys: Arc::new(
                [(
                    [1; 32],
                    KeyEntry {
                        id: KeyId(1),
                        user: UserId(1),
                        role: UserRole::Viewer,
                        expires_at: Some(now + time::Duration::HOUR),
                        stamp: 1,
                    },
                )]
                .into(),
            ),
            sessions: Arc::new(
                [(
                    [2; 32],
                    SessionEntry { user: UserId(1), expires_at: now + time::Duration::HOUR, groups: Arc::new([]) },
                )]
                .into(),
            ),
            ..Snapshot::default()
        };
        let open = view(false);
        assert_eq!(open.principal_of_key(&[1; 32], now).map(|p| p.role), Some(UserRole::Viewer), "a key caps the role");
        assert_eq!(open.principal_of_session(&[2; 32], now).map(|p| p.role), Some(UserRole::Publisher));
        assert_eq!(open.principal_of_session(&[2; 32], now + time::Duration::HOUR), None, "expired");
        assert_eq!(open.principal_of_key(&[1; 32], now + time::Duration::HOUR), None, "expired");
        assert_eq!(open.principal_of_key(&[9; 32], now), None);
        assert_eq!(open.principal_of_user(UserId(1)).map(|p| p.role), Some(UserRole::Publisher));
        assert_eq!(open.principal_of_user(UserId(2)), None);
        assert_eq!(view(true).principal_of_user(UserId(1)), None, "locked");
        assert_eq!(view(true).principal_of_key(&[1; 32], now), None, "locked");
        assert_eq!(view(true).principal_of_session(&[2; 32], now), None, "locked");
    }
}
