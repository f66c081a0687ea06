//! What a user may sign in to.

use lectern_domain::{ContentGuid, IntegrationGuid, OAuthSessionGuid, UserId};
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

/// An integration that visitors sign in to, as one of them sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Which.
    pub guid: IntegrationGuid,
    /// Its name.
    pub name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// The user's session with it, and when its tokens last changed.
    pub session: Option<(OAuthSessionGuid, OffsetDateTime)>,
    /// The content that uses it. Whether the user may open any of it is for the caller to look up.
    pub content: Vec<ContentGuid>,
}

/// All integrations that visitors sign in to, in the order they were made, as `user` sees them; one when `of` says which.
pub async fn list(
    client: &impl GenericClient,
    user: UserId,
    of: Option<IntegrationGuid>,
) -> Result<Vec<Offer>, DbError> {
    let sql = "SELECT i.guid, i.name, i.description, s.guid AS session, s.updated_at, \
                 ARRAY(SELECT c.guid FROM oauth_associations a JOIN content c ON c.id = a.content_id \
                       WHERE a.integration_id = i.id ORDER BY a.id) AS content \
               FROM oauth_integrations i LEFT JOIN oauth_sessions s ON s.integration_id = i.id AND s.user_id = $1 \
               WHERE i.auth_type = 'Viewer' AND ($2::uuid IS NULL OR i.guid = $2) ORDER BY i.id";
    let read = |row: &Row| {
        let (session, at): (Option<Uuid>, Option<OffsetDateTime>) =
            (row::get(row, "session")?, row::get(row, "updated_at")?);
        let content: Vec<Uuid> = row::get(row, "content")?;
        Ok(Offer {
            guid: IntegrationGuid(row::get(row, "guid")?),
            name: row::get(row, "name")?,
            description: row::get(row, "description")?,
            session: session.map(OAuthSessionGuid).zip(at),
            content: content.into_iter().map(ContentGuid).collect(),
        })
    };
    row::query(client, sql, &[&user.0, &of.map(|guid| guid.0)]).await?.iter().map(read).collect()
}
