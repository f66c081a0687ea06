//! Which content uses which integrations.

use lectern_domain::integrations::AuthType;
use lectern_domain::{ContentGuid, ContentId, IntegrationGuid, IntegrationId, UserId};
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::auth_type;
use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;

/// Most integrations of one content item: a handful of services, each looked through when a token is exchanged.
pub const MOST_OF_ONE: usize = 50;

/// Most associations of one integration that a list shows.
const MOST_LISTED: i64 = 10_000;

/// That a content item uses an integration.
#[derive(Debug, Clone, PartialEq)]
pub struct AssociationRow {
    /// Row number.
    pub id: i64,
    /// Which item.
    pub content: ContentGuid,
    /// Which integration.
    pub integration: IntegrationId,
    /// Its GUID.
    pub integration_guid: IntegrationGuid,
    /// Its name.
    pub name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Its template.
    pub template: String,
    /// How it comes to credentials.
    pub auth_type: AuthType,
    /// When they were put together.
    pub created_at: OffsetDateTime,
}

const SELECT: &str = "SELECT a.id, c.guid AS content, i.id AS integration, i.guid AS integration_guid, i.name, i.description, \
                      i.template, i.auth_type, a.created_at FROM oauth_associations a \
                      JOIN content c ON c.id = a.content_id JOIN oauth_integrations i ON i.id = a.integration_id";

impl AssociationRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row::get(row, "id")?,
            content: ContentGuid(row::get(row, "content")?),
            integration: IntegrationId(row::get(row, "integration")?),
            integration_guid: IntegrationGuid(row::get(row, "integration_guid")?),
            name: row::get(row, "name")?,
            description: row::get(row, "description")?,
            template: row::get(row, "template")?,
            auth_type: auth_type(row, "auth_type")?,
            created_at: row::get(row, "created_at")?,
        })
    }
}

/// The integrations of a content item, in the order they were chosen.
pub async fn of_content(client: &impl GenericClient, content: ContentGuid) -> Result<Vec<AssociationRow>, DbError> {
    let sql = format!("{SELECT} WHERE c.guid = $1 ORDER BY a.id");
    row::query(client, &sql, &[&content.0]).await?.iter().map(AssociationRow::from_row).collect()
}

/// The content items that use an integration, in the order they chose it.
pub async fn of_integration(
    client: &impl GenericClient,
    integration: IntegrationId,
) -> Result<Vec<AssociationRow>, DbError> {
    let sql = format!("{SELECT} WHERE a.integration_id = $1 ORDER BY a.id LIMIT $2");
    row::query(client, &sql, &[&integration.0, &MOST_LISTED]).await?.iter().map(AssociationRow::from_row).collect()
}

/// Makes `integrations` the ones of a content item, in this order for those that are new. Those that stay are not touched, nor are
/// the keys of visitors that came of them. `usable_by` says whose list of integrations new ones must be in; `None`: anybody's.
///
/// [`DbError::NotFound`] when an integration does not exist, or may not be used.
pub async fn replace(
    tx: &Transaction<'_>,
    content: ContentId,
    integrations: &[IntegrationGuid],
    usable_by: Option<UserId>,
) -> Result<(), DbError> {
    let wanted: Vec<uuid::Uuid> = integrations.iter().map(|guid| guid.0).collect();
    let sql = "DELETE FROM oauth_associations WHERE content_id = $1 AND integration_id NOT IN \
               (SELECT id FROM oauth_integrations WHERE guid = ANY ($2))";
    row::execute(tx, sql, &[&content.0, &wanted]).await?;
    let sql = "SELECT i.guid FROM oauth_associations a JOIN oauth_integrations i ON i.id = a.integration_id \
               WHERE a.content_id = $1";
    let kept: Vec<uuid::Uuid> =
        row::query(tx, sql, &[&content.0]).await?.iter().map(|row| row::get(row, "guid")).collect::<Result<_, _>>()?;
    for guid in integrations.iter().filter(|guid| !kept.contains(&guid.0)) {
        let found = match usable_by {
            Some(user) => super::get_usable(tx, user, *guid).await?,
            None => super::get(tx, *guid).await?,
        };
        let integration = found.ok_or(DbError::NotFound("integration"))?;
        let sql = "INSERT INTO oauth_associations (content_id, integration_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        row::execute(tx, sql, &[&content.0, &integration.id.0]).await?;
    }
    Ok(())
}
