//! Browser sessions: rows named by the hash of their token, shown in the snapshot before the answer that sets the cookie.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lectern_domain::UserGuid;
use lectern_domain::audit::{Action, Actor};
use lectern_edge::{NewSession, Sessions, Unavailable};
use lectern_metadata::{Database, DbError, Part, audit, groups, sessions, users};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::credentials;
use crate::view::View;

/// How long a session lasts: a working day and the evening.
const LIFETIME: Duration = Duration::from_secs(16 * 3600);
/// How often rows of sessions that ended are removed.
const SWEEP: Duration = Duration::from_secs(3600);

/// The sessions of this server.
#[derive(Clone)]
pub(crate) struct DatabaseSessions {
    pub(crate) database: Database,
    pub(crate) view: Arc<View>,
    /// The runtime of the database's connections.
    pub(crate) runtime: tokio::runtime::Handle,
}

impl DatabaseSessions {
    /// Removes what has ended, until `stop`.
    pub(crate) async fn sweep(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => {}
            }
            let swept = async { sessions::delete_expired(&self.database.client().await?).await };
            match swept.await {
                Ok(count) => tracing::debug!(count, "sessions that ended were removed"),
                Err(error) => tracing::debug!(error = crate::cli::chain(&error), "remove sessions that ended"),
            }
        }
    }

    async fn make(self, user: UserGuid, groups: Vec<String>, plugin: String) -> Result<NewSession, Unavailable> {
        let failed = |cause: DbError| unavailable("make a session", cause);
        let token = credentials::new_secret()
            .map_err(|cause| Unavailable { what: "make a session".into(), cause: Some(cause.into()) })?;
        let expires_at = OffsetDateTime::now_utc() + LIFETIME;
        let hash = credentials::secret_hash(&token);
        let moved = self.store(&hash, user, expires_at, &groups, &plugin).await.map_err(failed)?;
        self.view.refresh(Part::Sessions).await.map_err(failed)?;
        if moved {
            self.view.refresh(Part::Content).await.map_err(failed)?;
        }
        Ok(NewSession { token, max_age: LIFETIME })
    }

    /// Stores a session, and lets the groups of other directories follow what `plugin` says. Answers whether the user belongs to
    /// other groups now.
    async fn store(
        &self,
        hash: &[u8; 32],
        user: UserGuid,
        expires_at: OffsetDateTime,
        names: &[String],
        plugin: &str,
    ) -> Result<bool, DbError> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        let user = users::get_by_guid(&tx, user).await?.ok_or(DbError::NotFound("user"))?;
        // What does not fit is left out: fewer groups give less.
        let names = names.get(..sessions::MOST_GROUPS).unwrap_or(names);
        let source = plugin.parse().ok();
        sessions::create(&tx, hash, user.id, expires_at, names, source.as_ref()).await?;
        users::touch_active(&tx, user.id).await?;
        let moved = groups::follow(&tx, user.id, names).await?;
        if moved {
            let followed = Action::MembershipsFollowed { user: &user.username };
            audit::append(&tx, Actor::server(), &followed).await?;
        }
        tx.commit().await?;
        Ok(moved)
    }

    /// Begins a session that no plugin made.
    pub(crate) async fn begin(&self, user: UserGuid) -> Result<NewSession, Unavailable> {
        self.clone().make(user, Vec::new(), String::new()).await
    }

    async fn remove(self, token: String) -> Result<(), Unavailable> {
        let failed = |cause: DbError| unavailable("end a session", cause);
        {
            let client = self.database.client().await.map_err(failed)?;
            sessions::delete(&client, &credentials::secret_hash(&token)).await.map_err(failed)?;
        }
        self.view.refresh(Part::Sessions).await.map_err(failed)
    }
}

fn unavailable(what: &str, cause: DbError) -> Unavailable {
    Unavailable { what: what.to_owned(), cause: Some(Box::new(cause)) }
}

fn ended(error: tokio::task::JoinError) -> Unavailable {
    Unavailable { what: "work on sessions".into(), cause: Some(Box::new(error)) }
}

#[async_trait]
impl Sessions for DatabaseSessions {
    async fn create(&self, user: UserGuid, groups: Vec<String>, plugin: &str) -> Result<NewSession, Unavailable> {
        self.runtime.spawn(self.clone().make(user, groups, plugin.to_owned())).await.map_err(ended)?
    }

    async fn end(&self, token: &str) -> Result<(), Unavailable> {
        self.runtime.spawn(self.clone().remove(token.to_owned())).await.map_err(ended)?
    }
}
