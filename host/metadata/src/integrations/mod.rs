//! Integrations as administrators describe them, and who may use them. Secrets are sealed before they come here.

pub mod associations;
pub mod offers;
pub mod renewals;
pub mod sessions;
pub mod visitor_keys;

use lectern_domain::integrations::AuthType;
use lectern_domain::{GroupGuid, IntegrationGuid, IntegrationId, IntegrationPermissionGuid, UserGuid, UserId};
use serde_json::Value;
use time::OffsetDateTime;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::hidden::Hidden;
use crate::row;

/// Most integrations of a server: a list of all is one answer, and each is made by hand.
pub const MOST_INTEGRATIONS: i64 = 1000;

/// What may be changed of an integration.
#[derive(Clone, PartialEq)]
pub struct IntegrationFields {
    /// For people; may be absent.
    pub name: Option<String>,
    /// For people; may be absent.
    pub description: Option<String>,
    /// How it comes to credentials; follows from the configuration.
    pub auth_type: AuthType,
    /// The configuration without what is secret: a JSON object.
    pub config: Value,
    /// What is secret of it, sealed for [`lectern_domain::integrations::Place::Integration`]; `None`: nothing is.
    pub sealed: Option<Vec<u8>>,
}

impl std::fmt::Debug for IntegrationFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IntegrationFields")
            .field("name", &self.name)
            .field("auth_type", &self.auth_type)
            .field("has_secrets", &self.sealed.is_some())
            .finish_non_exhaustive()
    }
}

/// One integration.
#[derive(Debug, Clone, PartialEq)]
pub struct IntegrationRow {
    /// Row number.
    pub id: IntegrationId,
    /// GUID.
    pub guid: IntegrationGuid,
    /// Which fields its configuration has.
    pub template: String,
    /// What may be changed.
    pub fields: IntegrationFields,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it last changed.
    pub updated_at: OffsetDateTime,
}

/// Who may use an integration in content of theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listed {
    /// An account.
    User(UserGuid),
    /// All members of a group.
    Group(GroupGuid),
}

/// An entry in the list of who may use an integration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrationPermission {
    /// Row number.
    pub id: i64,
    /// GUID.
    pub guid: IntegrationPermissionGuid,
    /// Which integration's.
    pub integration: IntegrationGuid,
    /// Who.
    pub listed: Listed,
}

const COLUMNS: &str =
    "i.id, i.guid, i.name, i.description, i.template, i.auth_type, i.config, i.sealed, i.created_at, i.updated_at";

/// True of the integrations that the user numbered `$1` may use: those without a list, and those that list the user or a group of
/// the user's.
const USABLE: &str = "(NOT EXISTS (SELECT 1 FROM oauth_integration_permissions p WHERE p.integration_id = i.id) \
     OR EXISTS (SELECT 1 FROM oauth_integration_permissions p WHERE p.integration_id = i.id AND (p.user_id = $1 \
        OR p.group_id IN (SELECT m.group_id FROM group_members m WHERE m.user_id = $1))))";

pub(super) fn auth_type(row: &Row, column: &str) -> Result<AuthType, DbError> {
    let text: &str = row::get(row, column)?;
    AuthType::parse(text).ok_or_else(|| DbError::Corrupt { what: "kind of integration", value: text.to_owned() })
}

impl IntegrationRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        let Json(config): Json<Value> = row::get(row, "config")?;
        Ok(Self {
            id: IntegrationId(row::get(row, "id")?),
            guid: IntegrationGuid(row::get(row, "guid")?),
            template: row::get(row, "template")?,
            fields: IntegrationFields {
                name: row::get(row, "name")?,
                description: row::get(row, "description")?,
                auth_type: auth_type(row, "auth_type")?,
                config,
                sealed: row::get(row, "sealed")?,
            },
            created_at: row::get(row, "created_at")?,
            updated_at: row::get(row, "updated_at")?,
        })
    }
}

/// Makes an integration; `None` when there are [`MOST_INTEGRATIONS`].
pub async fn create(
    client: &impl GenericClient,
    guid: IntegrationGuid,
    template: &str,
    fields: &IntegrationFields,
) -> Result<Option<IntegrationRow>, DbError> {
    let sql = format!(
        "WITH i AS (INSERT INTO oauth_integrations (guid, template, name, description, auth_type, config, sealed) \
           SELECT $1, $2, $3, $4, $5, $6, $7 WHERE (SELECT count(*) FROM oauth_integrations) < $8 RETURNING *) \
         SELECT {COLUMNS} FROM i"
    );
    let IntegrationFields { name, description, auth_type, config, sealed } = fields;
    let sealed = Hidden(sealed.as_deref());
    let params: row::Params<'_> =
        &[&guid.0, &template, name, description, &auth_type.as_str(), &Json(config), &sealed, &MOST_INTEGRATIONS];
    row::query_opt(client, &sql, params).await?.as_ref().map(IntegrationRow::from_row).transpose()
}

/// All integrations, in the order they were made.
pub async fn list(client: &impl GenericClient) -> Result<Vec<IntegrationRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM oauth_integrations i ORDER BY i.id");
    row::query(client, &sql, &[]).await?.iter().map(IntegrationRow::from_row).collect()
}

/// The integrations that a user may use in content, in the order they were made.
pub async fn list_usable(client: &impl GenericClient, user: UserId) -> Result<Vec<IntegrationRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM oauth_integrations i WHERE {USABLE} ORDER BY i.id");
    row::query(client, &sql, &[&user.0]).await?.iter().map(IntegrationRow::from_row).collect()
}

/// One integration.
pub async fn get(client: &impl GenericClient, guid: IntegrationGuid) -> Result<Option<IntegrationRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM oauth_integrations i WHERE i.guid = $1");
    row::query_opt(client, &sql, &[&guid.0]).await?.as_ref().map(IntegrationRow::from_row).transpose()
}

/// One integration, locked until the transaction ends: who changes a part of it keeps the rest.
pub async fn lock(tx: &Transaction<'_>, guid: IntegrationGuid) -> Result<Option<IntegrationRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM oauth_integrations i WHERE i.guid = $1 FOR UPDATE");
    row::query_opt(tx, &sql, &[&guid.0]).await?.as_ref().map(IntegrationRow::from_row).transpose()
}

/// One integration that a user may use in content.
pub async fn get_usable(
    client: &impl GenericClient,
    user: UserId,
    guid: IntegrationGuid,
) -> Result<Option<IntegrationRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM oauth_integrations i WHERE i.guid = $2 AND {USABLE}");
    row::query_opt(client, &sql, &[&user.0, &guid.0]).await?.as_ref().map(IntegrationRow::from_row).transpose()
}

/// Changes an integration. [`DbError::NotFound`] when there is none.
pub async fn change(
    client: &impl GenericClient,
    guid: IntegrationGuid,
    fields: &IntegrationFields,
) -> Result<IntegrationRow, DbError> {
    let sql = format!(
        "WITH i AS (UPDATE oauth_integrations SET name = $2, description = $3, auth_type = $4, config = $5, sealed = $6, \
           updated_at = now() WHERE guid = $1 RETURNING *) \
         SELECT {COLUMNS} FROM i"
    );
    let IntegrationFields { name, description, auth_type, config, sealed } = fields;
    let sealed = Hidden(sealed.as_deref());
    let params: row::Params<'_> = &[&guid.0, name, description, &auth_type.as_str(), &Json(config), &sealed];
    let row = row::query_opt(client, &sql, params).await?;
    IntegrationRow::from_row(&row.ok_or(DbError::NotFound("integration"))?)
}

/// Ends what came of an integration: sessions with its provider, ways to it, and keys of visitors.
pub async fn end_credentials(tx: &Transaction<'_>, integration: IntegrationId) -> Result<(), DbError> {
    for sql in [
        "DELETE FROM oauth_sessions WHERE integration_id = $1",
        "DELETE FROM oauth_logins WHERE integration_id = $1",
        "DELETE FROM api_keys WHERE association_id IN (SELECT id FROM oauth_associations WHERE integration_id = $1)",
    ] {
        row::execute(tx, sql, &[&integration.0]).await?;
    }
    Ok(())
}

/// Deletes an integration and with it who uses it and who signed in to it; `false` when there is none.
pub async fn delete(client: &impl GenericClient, guid: IntegrationGuid) -> Result<bool, DbError> {
    Ok(row::execute(client, "DELETE FROM oauth_integrations WHERE guid = $1", &[&guid.0]).await? > 0)
}

/// Who may use integrations: the entries of all of them, in order; of one when `of` says which.
pub async fn permissions(
    client: &impl GenericClient,
    of: Option<IntegrationGuid>,
) -> Result<Vec<IntegrationPermission>, DbError> {
    let sql = "SELECT p.id, p.guid, i.guid AS integration, u.guid AS user_guid, g.guid AS group_guid \
               FROM oauth_integration_permissions p JOIN oauth_integrations i ON i.id = p.integration_id \
               LEFT JOIN users u ON u.id = p.user_id LEFT JOIN groups g ON g.id = p.group_id \
               WHERE $1::uuid IS NULL OR i.guid = $1 ORDER BY p.id";
    let read = |row: &Row| {
        let (user, group): (Option<uuid::Uuid>, Option<uuid::Uuid>) =
            (row::get(row, "user_guid")?, row::get(row, "group_guid")?);
        let listed = match (user, group) {
            (Some(user), _) => Listed::User(UserGuid(user)),
            (None, Some(group)) => Listed::Group(GroupGuid(group)),
            (None, None) => return Err(DbError::NotFound("user")),
        };
        Ok(IntegrationPermission {
            id: row::get(row, "id")?,
            guid: IntegrationPermissionGuid(row::get(row, "guid")?),
            integration: IntegrationGuid(row::get(row, "integration")?),
            listed,
        })
    };
    row::query(client, sql, &[&of.map(|guid| guid.0)]).await?.iter().map(read).collect()
}

/// Makes `entries` the list of who may use an integration. [`DbError::NotFound`] when one of them does not exist.
pub async fn replace_permissions(
    tx: &Transaction<'_>,
    integration: IntegrationId,
    entries: &[(IntegrationPermissionGuid, Listed)],
) -> Result<(), DbError> {
    let sql = "DELETE FROM oauth_integration_permissions WHERE integration_id = $1";
    row::execute(tx, sql, &[&integration.0]).await?;
    for (guid, listed) in entries {
        let (sql, who, what) = match listed {
            Listed::User(user) => (
                "INSERT INTO oauth_integration_permissions (guid, integration_id, user_id) \
                 SELECT $1, $2, id FROM users WHERE guid = $3",
                user.0,
                "user",
            ),
            Listed::Group(group) => (
                "INSERT INTO oauth_integration_permissions (guid, integration_id, group_id) \
                 SELECT $1, $2, id FROM groups WHERE guid = $3",
                group.0,
                "group",
            ),
        };
        if row::execute(tx, sql, &[&guid.0, &integration.0, &who]).await? == 0 {
            return Err(DbError::NotFound(what));
        }
    }
    Ok(())
}
