//! What plugins may ask about accounts and content, answered from the snapshot; passwords from the database.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use lectern_domain::access::PrincipalVia;
use lectern_domain::snapshot::UserEntry;
use lectern_domain::{ContentGuid, Principal, UserId};
use lectern_gate::{Directory, PasswordRefusal};
use lectern_metadata::users::UserRow;
use lectern_metadata::{Database, DbError, users};
use parking_lot::Mutex;
use time::OffsetDateTime;

use crate::content_keys::ContentKeys;
use crate::credentials;
use crate::uses::Uses;
use crate::view::View;

/// Failed tries that an address may make before it must wait.
const FREE_TRIES: u32 = 10;
/// How long it must wait then; each further failure within it starts it anew.
const PENALTY: Duration = Duration::from_secs(60);
/// Addresses remembered; beyond, those whose time is over are forgotten, then all.
const ADDRESSES: usize = 10_000;

/// Counts failed sign-ins by address.
#[derive(Default)]
struct Throttle(Mutex<HashMap<IpAddr, (u32, Instant)>>);

impl Throttle {
    /// How long `client` must still wait at `now`.
    fn wait(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let tries = self.0.lock();
        let (failed, last) = tries.get(&client)?;
        let until = *last + PENALTY;
        (*failed >= FREE_TRIES && until > now).then(|| until - now)
    }

    fn failed(&self, client: IpAddr, now: Instant) {
        let mut tries = self.0.lock();
        if tries.len() >= ADDRESSES {
            tries.retain(|_, (_, last)| *last + PENALTY > now);
            if tries.len() >= ADDRESSES {
                tries.clear();
            }
        }
        let (failed, last) = tries.entry(client).or_insert((0, now));
        if *last + PENALTY <= now {
            *failed = 0;
        }
        *failed += 1;
        *last = now;
    }

    fn succeeded(&self, client: IpAddr) {
        self.0.lock().remove(&client);
    }
}

/// Users by name in lower case. The snapshot keeps none: few ask, but a plugin may ask with each request.
#[derive(Default)]
struct Names(ArcSwapOption<Index>);

struct Index {
    /// Whose names they are: another map is another state.
    of: Users,
    by_name: HashMap<String, UserId>,
}

type Users = Arc<HashMap<UserId, Arc<UserEntry>>>;

impl Names {
    /// The user of this name; letter case does not matter. Names are ASCII.
    fn find(&self, users: &Users, name: &str) -> Option<UserId> {
        let name = name.to_ascii_lowercase();
        if let Some(index) = self.0.load().as_deref()
            && Arc::ptr_eq(&index.of, users)
        {
            return index.by_name.get(&name).copied();
        }
        let by_name = users.values().map(|user| (user.username.to_ascii_lowercase(), user.id)).collect();
        let index = Index { of: Arc::clone(users), by_name };
        let found = index.by_name.get(&name).copied();
        self.0.store(Some(Arc::new(index)));
        found
    }
}

/// The directory of this server.
pub(crate) struct ServerDirectory {
    view: Arc<View>,
    database: Database,
    throttle: Throttle,
    names: Names,
    uses: Arc<Uses>,
    keys: Arc<ContentKeys>,
    /// The runtime of the database's connections; calls come from threads with runtimes of their own.
    runtime: tokio::runtime::Handle,
}

impl ServerDirectory {
    pub(crate) fn new(
        view: Arc<View>,
        database: Database,
        keys: Arc<ContentKeys>,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        let (throttle, names, uses) = Default::default();
        Self { view, database, throttle, names, uses, keys, runtime }
    }

    /// The uses of keys, for who writes them down.
    pub(crate) fn uses(&self) -> Arc<Uses> {
        Arc::clone(&self.uses)
    }

    /// The account of this name, if this is its password, whatever state it is in. Failures are counted against `client`.
    pub(crate) async fn account_with(
        &self,
        client: IpAddr,
        username: &str,
        password: &str,
    ) -> Result<UserRow, PasswordRefusal> {
        if let Some(wait) = self.throttle.wait(client, Instant::now()) {
            return Err(PasswordRefusal::Throttled(wait));
        }
        let checking = self.runtime.spawn(check(self.database.clone(), username.to_owned(), password.to_owned()));
        let found = checking.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a password check ended");
            Err(PasswordRefusal::Unavailable)
        })?;
        match &found {
            Some(_) => self.throttle.succeeded(client),
            None => self.throttle.failed(client, Instant::now()),
        }
        found.ok_or(PasswordRefusal::Wrong)
    }
}

/// The account of this name, if this is its password and whatever state it is in. Unknown accounts cost the same time.
async fn check(database: Database, username: String, password: String) -> Result<Option<UserRow>, PasswordRefusal> {
    let away = |error: &dyn std::error::Error| {
        tracing::warn!(error = crate::cli::chain(error), "a password cannot be checked");
        PasswordRefusal::Unavailable
    };
    let found = {
        let client = database.client().await.map_err(|error| away(&error))?;
        match users::password_hash_of(&client, &username).await {
            // Nobody has a name that the database cannot hold.
            Err(DbError::BadText) => None,
            found => found.map_err(|error| away(&error))?,
        }
    };
    let (user, stored) = match found {
        Some((user, hash)) => (Some(user), hash.map(|hash| hash.0)),
        None => (None, None),
    };
    let fits = credentials::password_fits(password, stored).await.map_err(|error| away(error.as_ref()))?;
    Ok(user.filter(|_| fits))
}

#[async_trait]
impl Directory for ServerDirectory {
    fn find_vanity(&self, path: &str) -> Option<(ContentGuid, usize)> {
        self.view.current().find_vanity(path)
    }

    fn key_digest(&self, key: &str) -> [u8; 32] {
        credentials::secret_hash(key)
    }

    fn find_key_by_digest(&self, digest: &[u8; 32]) -> Option<Principal> {
        let view = self.view.current();
        let Some(principal) = view.principal_of_key(digest, OffsetDateTime::now_utc()) else {
            return view.principal_of_content(self.keys.content_of_key(digest)?);
        };
        if let PrincipalVia::Key(key) = principal.via {
            self.uses.note(key);
        }
        Some(principal)
    }

    fn find_user(&self, name: &str) -> Option<Principal> {
        let snapshot = self.view.current();
        snapshot.principal_of_user(self.names.find(&snapshot.users, name)?)
    }

    fn find_session(&self, token: &str) -> Option<(Principal, Arc<[String]>)> {
        let view = self.view.current();
        let hash = credentials::secret_hash(token);
        let principal = view.principal_of_session(&hash, OffsetDateTime::now_utc())?;
        let groups = view.sessions.get(&hash).map_or(Arc::default(), |session| Arc::clone(&session.groups));
        Some((principal, groups))
    }

    async fn check_password(
        &self,
        client: IpAddr,
        username: &str,
        password: &str,
    ) -> Result<Principal, PasswordRefusal> {
        let user = self.account_with(client, username, password).await?;
        // The sign-in page tells nobody what state an account is in.
        if user.locked || !user.confirmed {
            return Err(PasswordRefusal::Wrong);
        }
        Ok(Principal {
            user: user.id,
            guid: user.guid,
            username: user.username,
            role: user.role,
            via: PrincipalVia::Session,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lectern_domain::{UserGuid, UserRole};
    use uuid::Uuid;

    #[test]
    fn names_are_found_in_the_users_of_the_moment() {
        let users = |names: &[(i64, &str)]| -> Users {
            let user = |(id, name): &(i64, &str)| {
                let (guid, role) = (UserGuid(Uuid::nil()), UserRole::Viewer);
                let user = UserEntry { id: UserId(*id), guid, username: (*name).to_owned(), role, locked: false };
                (UserId(*id), Arc::new(user))
            };
            Arc::new(names.iter().map(user).collect())
        };
        let (before, after) = (users(&[(1, "Ada"), (2, "bob")]), users(&[(1, "grace"), (2, "bob")]));
        let names = Names::default();
        for (of, name, expected) in [
            (&before, "ada", Some(1)),
            (&before, "ADA", Some(1)),
            (&before, "Bob", Some(2)),
            (&before, "grace", None),
            (&before, "", None),
            (&before, "ada ", None),
            (&after, "ada", None),
            (&after, "Grace", Some(1)),
            (&before, "ada", Some(1)),
        ] {
            assert_eq!(names.find(of, name), expected.map(UserId), "{name}");
        }
    }

    #[test]
    fn many_failures_make_an_address_wait() {
        let throttle = Throttle::default();
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let now = Instant::now();
        for _ in 0..FREE_TRIES {
            assert_eq!(throttle.wait(one, now), None);
            throttle.failed(one, now);
        }
        assert_eq!(throttle.wait(one, now), Some(PENALTY));
        assert_eq!(throttle.wait(other, now), None, "others are not concerned");
        assert_eq!(throttle.wait(one, now + PENALTY), None, "it passes");
        throttle.failed(one, now + PENALTY);
        assert_eq!(throttle.wait(one, now + PENALTY), None, "and the count begins anew");
        throttle.succeeded(one);
        assert_eq!(throttle.0.lock().len(), 0);
    }

    #[test]
    fn addresses_are_bounded() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..=u32::try_from(ADDRESSES).unwrap_or(0) {
            throttle.failed(IpAddr::from(n.to_be_bytes()), now);
        }
        assert!(throttle.0.lock().len() <= ADDRESSES);
    }
}
