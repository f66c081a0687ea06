//! The accounts and the content of a case.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use lectern_domain::{ContentGuid, KeyId, Principal, PrincipalVia, UserId};
use lectern_gate::{Directory, PasswordRefusal};
use lectern_packages::cases::{User, World};

/// The token in the session cookie of a case's request, where the case has a session.
pub(crate) const SESSION: &str = "the-session-of-this-case";

/// Answers from the world of a case.
pub(crate) struct People(pub(crate) Arc<World>);

/// The principal of a user of the world.
pub(crate) fn principal(world: &World, user: &User, via: PrincipalVia) -> Principal {
    let row = world.users.iter().position(|other| other.name == user.name).unwrap_or(0);
    Principal {
        user: UserId(i64::try_from(row).unwrap_or(0) + 1),
        guid: user.guid,
        username: user.name.clone(),
        role: user.role,
        via,
    }
}

impl People {
    /// The user of this name, whatever the case of its letters.
    fn named(&self, name: &str) -> Option<&User> {
        self.0.users.iter().find(|user| user.name.eq_ignore_ascii_case(name) && !user.locked)
    }
}

#[async_trait]
impl Directory for People {
    fn find_vanity(&self, path: &str) -> Option<(ContentGuid, usize)> {
        let fits = |vanity: &str| path.starts_with(vanity) || vanity.strip_suffix('/') == Some(path);
        let (vanity, guid) = self.0.vanities.iter().filter(|(vanity, _)| fits(vanity)).max_by_key(|(v, _)| v.len())?;
        Some((*guid, vanity.matches('/').count() - 1))
    }

    fn key_digest(&self, key: &str) -> [u8; 32] {
        *blake3::hash(key.as_bytes()).as_bytes()
    }

    fn find_key_by_digest(&self, digest: &[u8; 32]) -> Option<Principal> {
        let mut keys = self.0.keys.iter().zip(1_i64..);
        let ((_, name), number) = keys.find(|((key, _), _)| self.key_digest(key) == *digest)?;
        Some(principal(&self.0, self.named(name)?, PrincipalVia::Key(KeyId(number))))
    }

    fn find_user(&self, name: &str) -> Option<Principal> {
        self.named(name).map(|user| principal(&self.0, user, PrincipalVia::Session))
    }

    fn find_session(&self, token: &str) -> Option<(Principal, Arc<[String]>)> {
        let user = self.named(self.0.session.as_deref().filter(|_| token == SESSION)?)?;
        Some((principal(&self.0, user, PrincipalVia::Session), Arc::from(user.groups.clone())))
    }

    async fn check_password(&self, _: IpAddr, username: &str, password: &str) -> Result<Principal, PasswordRefusal> {
        let user = self.named(username).filter(|user| self.0.passwords.get(&user.name).is_some_and(|p| p == password));
        user.map(|user| principal(&self.0, user, PrincipalVia::Session)).ok_or(PasswordRefusal::Wrong)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lectern_domain::UserRole;

    use super::*;

    fn user(name: &str, locked: bool) -> User {
        User {
            name: name.into(),
            guid: "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162".parse().unwrap(),
            display_name: None,
            groups: vec!["g".into()],
            role: UserRole::Viewer,
            locked,
            linked: None,
        }
    }

    #[tokio::test]
    async fn locked_accounts_are_nobody() {
        let world = World {
            users: vec![user("ada", false), user("eve", true)],
            keys: [("k1".into(), "ada".into()), ("k2".into(), "eve".into())].into(),
            passwords: [("ada".into(), "a".into()), ("eve".into(), "e".into())].into(),
            session: Some("eve".into()),
            ..World::default()
        };
        let people = People(Arc::new(world));
        let client = IpAddr::from([192, 0, 2, 7]);
        let find_key = |key| people.find_key_by_digest(&people.key_digest(key)).map(|found| found.username);
        assert_eq!([find_key("k1"), find_key("k2"), find_key("k3")], [Some("ada".into()), None, None]);
        assert!(people.find_user("ADA").is_some() && people.find_user("eve").is_none());
        assert!(people.check_password(client, "Ada", "a").await.is_ok());
        assert!(people.check_password(client, "eve", "e").await.is_err());
        assert!(people.find_session(SESSION).is_none());
    }

    #[test]
    fn the_longest_vanity_path_counts() {
        let (one, two) = ("0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162", "1f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162");
        let vanities = [("/a/".into(), one.parse().unwrap()), ("/a/b/".into(), two.parse().unwrap())].into();
        let people = People(Arc::new(World { vanities, ..World::default() }));
        for (path, expected) in [
            ("/a", Some((one, 1))),
            ("/a/", Some((one, 1))),
            ("/a/bc", Some((one, 1))),
            ("/a/b", Some((two, 2))),
            ("/a/b/c", Some((two, 2))),
            ("/ab", None),
            ("/", None),
        ] {
            let found = people.find_vanity(path).map(|(guid, segments)| (guid.to_string(), segments));
            assert_eq!(found, expected.map(|(guid, segments)| (guid.to_owned(), segments)), "{path}");
        }
    }
}
