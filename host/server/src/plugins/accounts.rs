//! Accounts of people whom another directory vouches for. Who signed in a moment ago, and is described the same way, is
//! answered from memory: behind a proxy that says with each request who is asking, each request asks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lectern_domain::user::check_username;
use lectern_domain::{Principal, UserGuid, UserId};
use lectern_gate::{Accounts, Profile, SignInRefusal};
use lectern_metadata::users::UserRow;
use lectern_metadata::{Database, DbError, Part, identities};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::view::View;

/// How long an answer is repeated. A link that was ended holds so long; a lock holds at once, as the snapshot shows it.
const MOMENT: Duration = Duration::from_secs(60);
/// A request of a visitor waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// People remembered; each takes up to 2 KiB.
const PEOPLE: usize = 10_000;
/// Sign-ins at a time: each takes a connection, and the view's renewal another.
const SIGN_INS: usize = 4;

/// The accounts of this server.
#[derive(Clone)]
pub(crate) struct LinkedAccounts(Arc<Inner>);

struct Inner {
    view: Arc<View>,
    database: Database,
    /// The runtime of the database's connections.
    runtime: tokio::runtime::Handle,
    recent: Mutex<Recent>,
    permits: Semaphore,
}

impl LinkedAccounts {
    pub(crate) fn new(view: Arc<View>, database: Database, runtime: tokio::runtime::Handle) -> Self {
        let permits = Semaphore::new(SIGN_INS);
        Self(Arc::new(Inner { view, database, runtime, recent: Mutex::default(), permits }))
    }
}

#[async_trait]
impl Accounts for LinkedAccounts {
    async fn sign_in(&self, profile: Profile) -> Result<Principal, SignInRefusal> {
        if let Some(principal) = self.0.remembered(&profile) {
            return Ok(principal);
        }
        let inner = Arc::clone(&self.0);
        // It goes on when the caller stops waiting: an account that is being made is made.
        let asked = self.0.runtime.spawn(async move {
            tokio::time::timeout(PATIENCE, inner.sign_in(profile)).await.unwrap_or_else(|_| {
                tracing::warn!("nobody can be signed in: the database did not answer in time");
                Err(SignInRefusal::Unavailable)
            })
        });
        asked.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a sign-in ended");
            Err(SignInRefusal::Unavailable)
        })
    }
}

impl Inner {
    /// The answer of a moment ago, if it still holds.
    fn remembered(&self, profile: &Profile) -> Option<Principal> {
        let user = self.recent.lock().find(profile, Instant::now())?;
        self.view.current().principal_of_user(user)
    }

    async fn sign_in(&self, profile: Profile) -> Result<Principal, SignInRefusal> {
        let away = |_| SignInRefusal::Unavailable;
        let _permit = self.permits.acquire().await.map_err(away)?;
        // Of the many requests that a page makes, one has asked by now.
        if let Some(principal) = self.remembered(&profile) {
            return Ok(principal);
        }
        let bad_name = check_username(&profile.username).err().map(|error| error.to_string());
        let who = identities::SignIn {
            issuer: profile.issuer.clone(),
            subject: profile.subject.clone(),
            profile: identities::Profile {
                username: profile.username.clone(),
                email: profile.email.clone(),
                first_name: profile.first_name.clone(),
                last_name: profile.last_name.clone(),
            },
            role: profile.role,
            create: (profile.create && bad_name.is_none()).then(|| UserGuid(Uuid::new_v4())),
        };
        let asked_at = Instant::now();
        let user = self.ask(&who).await.map_err(|error| match refusal(&error) {
            SignInRefusal::Unknown if profile.create => bad_name.map_or(SignInRefusal::Unknown, SignInRefusal::Invalid),
            refusal => refusal,
        })?;
        if !self.shows(&user) {
            self.view.refresh(Part::Users).await.map_err(|error| refusal(&error))?;
        }
        let principal = self.view.current().principal_of_user(user.id).ok_or(SignInRefusal::Locked)?;
        self.recent.lock().remember(profile, user.id, asked_at + MOMENT);
        Ok(principal)
    }

    async fn ask(&self, who: &identities::SignIn) -> Result<UserRow, DbError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        let user = identities::sign_in(&tx, who).await?;
        tx.commit().await?;
        Ok(user)
    }

    /// Whether the snapshot has the account as it is: reading all accounts again with each sign-in would be much.
    fn shows(&self, user: &UserRow) -> bool {
        self.view.current().users.get(&user.id).is_some_and(|shown| {
            (&shown.username, shown.role, shown.locked) == (&user.username, user.role, user.locked)
        })
    }
}

fn refusal(error: &DbError) -> SignInRefusal {
    match error {
        DbError::NotFound(_) => SignInRefusal::Unknown,
        DbError::AccountLocked => SignInRefusal::Locked,
        DbError::UsernameTaken => SignInRefusal::NameTaken,
        DbError::BadText | DbError::Refused { .. } => SignInRefusal::Invalid(error.to_string()),
        other => {
            tracing::warn!(error = crate::cli::chain(other), "nobody can be signed in");
            SignInRefusal::Unavailable
        }
    }
}

/// Who signed in of late, in two generations: when the young one is full, the old one is forgotten.
#[derive(Default)]
struct Recent {
    young: People,
    old: People,
}

/// Issuer and subject, and how they were described, whose account it is, and until when the answer holds.
type People = HashMap<(String, String), (Profile, UserId, Instant)>;

impl Recent {
    fn find(&self, profile: &Profile, now: Instant) -> Option<UserId> {
        let person = (profile.issuer.clone(), profile.subject.clone());
        let (described, user, until) = self.young.get(&person).or_else(|| self.old.get(&person))?;
        (described == profile && *until > now).then_some(*user)
    }

    fn remember(&mut self, profile: Profile, user: UserId, until: Instant) {
        if self.young.len() >= PEOPLE / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        let person = (profile.issuer.clone(), profile.subject.clone());
        self.old.remove(&person);
        self.young.insert(person, (profile, user, until));
    }
}

#[cfg(test)]
mod tests;
