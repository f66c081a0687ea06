//! Execution environments as administrators describe them, and who may use them.

use lectern_domain::{EnvironmentGuid, EnvironmentPermissionGuid};
use serde_json::Value;
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::permissions::Grantee;
use crate::row;

/// What may be changed of an environment.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentFields {
    /// For people; may be absent.
    pub title: Option<String>,
    /// For people; may be absent.
    pub description: Option<String>,
    /// `any`, `exact` or `none`.
    pub matching: String,
    /// Path of a script that starts content.
    pub supervisor: Option<String>,
    /// Installations of Python, Quarto, R and TensorFlow.
    pub languages: [Option<Value>; 4],
    /// A JSON array.
    pub volume_mounts: Value,
}

/// One environment.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentRow {
    /// Row number.
    pub id: i64,
    /// GUID.
    pub guid: EnvironmentGuid,
    /// The cluster it is for.
    pub cluster_name: String,
    /// The image's name, unique in its cluster.
    pub name: String,
    /// What may be changed.
    pub fields: EnvironmentFields,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it last changed.
    pub updated_at: OffsetDateTime,
}

/// An account or a group that may use an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentPermission {
    /// Row number.
    pub id: i64,
    /// GUID.
    pub guid: EnvironmentPermissionGuid,
    /// Who is listed.
    pub grantee: Grantee,
    /// The user's or the group's name.
    pub name: String,
}

const COLUMNS: &str = "e.id, e.guid, e.title, e.description, e.cluster_name, e.name, e.matching, e.supervisor, e.python, \
                       e.quarto, e.r, e.tensorflow, e.volume_mounts, e.created_at, e.updated_at";

impl EnvironmentRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row::get(row, "id")?,
            guid: EnvironmentGuid(row::get(row, "guid")?),
            cluster_name: row::get(row, "cluster_name")?,
            name: row::get(row, "name")?,
            fields: EnvironmentFields {
                title: row::get(row, "title")?,
                description: row::get(row, "description")?,
                matching: row::get(row, "matching")?,
                supervisor: row::get(row, "supervisor")?,
                languages: [
                    row::get(row, "python")?,
                    row::get(row, "quarto")?,
                    row::get(row, "r")?,
                    row::get(row, "tensorflow")?,
                ],
                volume_mounts: row::get(row, "volume_mounts")?,
            },
            created_at: row::get(row, "created_at")?,
            updated_at: row::get(row, "updated_at")?,
        })
    }
}

/// Makes an environment. [`DbError::EnvironmentTaken`] when its cluster has one of this name.
pub async fn create(
    client: &impl GenericClient,
    guid: EnvironmentGuid,
    cluster_name: &str,
    name: &str,
    fields: &EnvironmentFields,
) -> Result<EnvironmentRow, DbError> {
    let sql = format!(
        "WITH e AS (INSERT INTO environments (guid, cluster_name, name, title, description, matching, supervisor, python, \
           quarto, r, tensorflow, volume_mounts) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING *) \
         SELECT {COLUMNS} FROM e"
    );
    let EnvironmentFields { title, description, matching, supervisor, languages, volume_mounts } = fields;
    let [python, quarto, r, tensorflow] = languages;
    let row = row::query_one(
        client,
        &sql,
        &[
            &guid.0,
            &cluster_name,
            &name,
            title,
            description,
            matching,
            supervisor,
            python,
            quarto,
            r,
            tensorflow,
            volume_mounts,
        ],
    )
    .await?;
    EnvironmentRow::from_row(&row)
}

/// All environments, in the order they were made.
pub async fn list(client: &impl GenericClient) -> Result<Vec<EnvironmentRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM environments e ORDER BY e.id");
    row::query(client, &sql, &[]).await?.iter().map(EnvironmentRow::from_row).collect()
}

/// One environment.
pub async fn get(client: &impl GenericClient, guid: EnvironmentGuid) -> Result<Option<EnvironmentRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM environments e WHERE e.guid = $1");
    row::query_opt(client, &sql, &[&guid.0]).await?.as_ref().map(EnvironmentRow::from_row).transpose()
}

/// Changes an environment. [`DbError::NotFound`] when there is none.
pub async fn change(
    client: &impl GenericClient,
    guid: EnvironmentGuid,
    fields: &EnvironmentFields,
) -> Result<EnvironmentRow, DbError> {
    let sql = format!(
        "WITH e AS (UPDATE environments SET title = $2, description = $3, matching = $4, supervisor = $5, python = $6, \
           quarto = $7, r = $8, tensorflow = $9, volume_mounts = $10, updated_at = now() WHERE guid = $1 RETURNING *) \
         SELECT {COLUMNS} FROM e"
    );
    let EnvironmentFields { title, description, matching, supervisor, languages, volume_mounts } = fields;
    let [python, quarto, r, tensorflow] = languages;
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 10] =
        [&guid.0, title, description, matching, supervisor, python, quarto, r, tensorflow, volume_mounts];
    let row = row::query_opt(client, &sql, &values).await?;
    EnvironmentRow::from_row(&row.ok_or(DbError::NotFound("environment"))?)
}

/// Deletes an environment; `false` when there is none.
pub async fn delete(client: &impl GenericClient, guid: EnvironmentGuid) -> Result<bool, DbError> {
    Ok(row::execute(client, "DELETE FROM environments WHERE guid = $1", &[&guid.0]).await? > 0)
}

const PERMISSION: &str = "p.id, p.guid, p.user_id, p.group_id, u.guid AS user_guid, g.guid AS group_guid, \
                          coalesce(u.username, g.name) AS name";
const PRINCIPALS: &str = "LEFT JOIN users u ON u.id = p.user_id LEFT JOIN groups g ON g.id = p.group_id";

fn permission(row: &Row) -> Result<EnvironmentPermission, DbError> {
    Ok(EnvironmentPermission {
        id: row::get(row, "id")?,
        guid: EnvironmentPermissionGuid(row::get(row, "guid")?),
        grantee: Grantee::from_row(row)?,
        name: row::get(row, "name")?,
    })
}

/// Who may use an environment, in the order they were listed.
pub async fn permissions(client: &impl GenericClient, environment: i64) -> Result<Vec<EnvironmentPermission>, DbError> {
    let sql = format!(
        "SELECT {PERMISSION} FROM environment_permissions p {PRINCIPALS} WHERE p.environment_id = $1 ORDER BY p.id"
    );
    row::query(client, &sql, &[&environment]).await?.iter().map(permission).collect()
}

/// Lists an account or a group. [`DbError::AlreadyListed`] or [`DbError::GroupAlreadyListed`] when it is listed already.
pub async fn permit(
    client: &impl GenericClient,
    environment: i64,
    guid: EnvironmentPermissionGuid,
    grantee: &Grantee,
) -> Result<EnvironmentPermission, DbError> {
    let sql = format!(
        "WITH p AS (INSERT INTO environment_permissions (guid, environment_id, user_id, group_id) VALUES ($1, $2, $3, $4) \
           RETURNING *) \
         SELECT {PERMISSION} FROM p {PRINCIPALS} WHERE coalesce(u.id, g.id) IS NOT NULL"
    );
    let (user, group) = grantee.ids();
    let row = row::query_opt(client, &sql, &[&guid.0, &environment, &user, &group]).await?;
    permission(&row.ok_or(DbError::NotFound(if user.is_some() { "user" } else { "group" }))?)
}

/// Takes an account or a group off the list; `false` when there is no such entry.
pub async fn forbid(
    client: &impl GenericClient,
    environment: i64,
    guid: EnvironmentPermissionGuid,
) -> Result<bool, DbError> {
    let sql = "DELETE FROM environment_permissions WHERE environment_id = $1 AND guid = $2";
    Ok(row::execute(client, sql, &[&environment, &guid.0]).await? > 0)
}
