//! Browser sessions: rows named by the hash of their token, shown in the snapshot before the answer that sets the cookie.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lectern_domain::UserGuid;
use lectern_edge::{NewSession, Sessions, Unavailable};
use lectern_metadata::{Database, DbError, Part, sessions, users};
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
        {
            let client = self.database.client().await.map_err(failed)?;
            let user = users::get_by_guid(&client, user).await.map_err(failed)?;
            let user = user.ok_or_else(|| failed(DbError::NotFound("user")))?;
            // What does not fit is left out: fewer groups give less.
            let groups = groups.get(..sessions::MOST_GROUPS).unwrap_or(&groups);
            let source = plugin.parse().ok();
            sessions::create(&client, &credentials::secret_hash(&token), user.id, expires_at, groups, source.as_ref())
                .await
                .map_err(failed)?;
        }
        self.view.refresh(Part::Sessions).await.map_err(failed)?;
        Ok(NewSession { token, max_age: LIFETIME })
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
