//! Who is listed for a content item besides its owner: users and groups.

use std::collections::HashMap;

use lectern_domain::access::PermissionRole;
use lectern_domain::{ContentId, GroupGuid, GroupId, UserGuid, UserId};
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

/// Whom an entry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grantee {
    /// One user.
    User(UserId, UserGuid),
    /// All members of a group.
    Group(GroupId, GroupGuid),
}

impl Grantee {
    /// The GUID of the user or the group.
    pub fn guid(&self) -> Uuid {
        match self {
            Self::User(_, guid) => guid.0,
            Self::Group(_, guid) => guid.0,
        }
    }

    /// Reads `user_id`, `user_guid`, `group_id` and `group_guid`.
    pub(crate) fn from_row(row: &Row) -> Result<Self, DbError> {
        match (row::get::<Option<i64>>(row, "user_id")?, row::get::<Option<i64>>(row, "group_id")?) {
            (Some(user), _) => Ok(Self::User(UserId(user), UserGuid(row::get(row, "user_guid")?))),
            (None, Some(group)) => Ok(Self::Group(GroupId(group), GroupGuid(row::get(row, "group_guid")?))),
            (None, None) => Err(DbError::Corrupt { what: "permission", value: "for nobody".to_owned() }),
        }
    }

    /// The row number of the user and of the group: one of the two.
    pub(crate) fn ids(&self) -> (Option<i64>, Option<i64>) {
        match self {
            Self::User(id, _) => (Some(id.0), None),
            Self::Group(id, _) => (None, Some(id.0)),
        }
    }
}

/// One entry of a content item's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionRow {
    /// Row number.
    pub id: i64,
    /// The content item.
    pub content: ContentId,
    /// Who is listed.
    pub grantee: Grantee,
    /// The user's or the group's name.
    pub name: String,
    /// What the entry gives.
    pub role: PermissionRole,
    /// When it was added.
    pub created_at: OffsetDateTime,
}

const COLUMNS: &str = "p.id, p.content_id, p.user_id, p.group_id, u.guid AS user_guid, g.guid AS group_guid, \
                       coalesce(u.username, g.name) AS name, p.role, p.created_at";
const JOINS: &str = "LEFT JOIN users u ON u.id = p.user_id LEFT JOIN groups g ON g.id = p.group_id";

impl PermissionRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row::get(row, "id")?,
            content: ContentId(row::get(row, "content_id")?),
            grantee: Grantee::from_row(row)?,
            name: row::get(row, "name")?,
            role: row::permission_role(row, "role")?,
            created_at: row::get(row, "created_at")?,
        })
    }
}

/// Lists a user or a group. [`DbError::AlreadyListed`] or [`DbError::GroupAlreadyListed`] when there is an entry,
/// [`DbError::NotFound`] when one of the two does not exist. That the owner is not listed is the caller's rule.
pub async fn add(
    client: &impl GenericClient,
    content: ContentId,
    grantee: &Grantee,
    role: PermissionRole,
) -> Result<PermissionRow, DbError> {
    let sql = format!(
        "WITH p AS (INSERT INTO permissions (content_id, user_id, group_id, role) VALUES ($1, $2, $3, $4) RETURNING *) \
         SELECT {COLUMNS} FROM p {JOINS} WHERE coalesce(u.id, g.id) IS NOT NULL"
    );
    let (user, group) = grantee.ids();
    // The foreign key is checked when the statement ends; a user that is gone makes the join empty before that.
    let row = row::query_opt(client, &sql, &[&content.0, &user, &group, &row::permission_word(role)]).await?;
    let gone = DbError::NotFound(if user.is_some() { "user" } else { "group" });
    PermissionRow::from_row(&row.ok_or(gone)?)
}

/// The entries of a content item, in the order they were added.
pub async fn list(client: &impl GenericClient, content: ContentId) -> Result<Vec<PermissionRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM permissions p {JOINS} WHERE p.content_id = $1 ORDER BY p.id");
    row::query(client, &sql, &[&content.0]).await?.iter().map(PermissionRow::from_row).collect()
}

/// What the entries of one user and of the user's groups give, by content item: the strongest of each.
pub async fn of_user(client: &impl GenericClient, user: UserId) -> Result<HashMap<ContentId, PermissionRole>, DbError> {
    // The two words in the order of what they give: `owner` comes before `viewer`.
    let sql = "SELECT content_id, min(role) AS role FROM permissions WHERE user_id = $1 \
               OR group_id IN (SELECT group_id FROM group_members WHERE user_id = $1) GROUP BY content_id";
    let rows = row::query(client, sql, &[&user.0]).await?;
    rows.iter().map(|row| Ok((ContentId(row::get(row, "content_id")?), row::permission_role(row, "role")?))).collect()
}

/// One entry of a content item.
pub async fn get(client: &impl GenericClient, content: ContentId, id: i64) -> Result<Option<PermissionRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM permissions p {JOINS} WHERE p.content_id = $1 AND p.id = $2");
    row::query_opt(client, &sql, &[&content.0, &id]).await?.as_ref().map(PermissionRow::from_row).transpose()
}

/// Changes what an entry gives. [`DbError::NotFound`] when the content item has no such entry.
pub async fn set_role(
    client: &impl GenericClient,
    content: ContentId,
    id: i64,
    role: PermissionRole,
) -> Result<PermissionRow, DbError> {
    let sql = format!(
        "WITH p AS (UPDATE permissions SET role = $3 WHERE content_id = $1 AND id = $2 RETURNING *) \
         SELECT {COLUMNS} FROM p {JOINS}"
    );
    let row = row::query_opt(client, &sql, &[&content.0, &id, &row::permission_word(role)]).await?;
    PermissionRow::from_row(&row.ok_or(DbError::NotFound("permission"))?)
}

/// Removes an entry; `false` when the content item has no such entry.
pub async fn remove(client: &impl GenericClient, content: ContentId, id: i64) -> Result<bool, DbError> {
    let sql = "DELETE FROM permissions WHERE content_id = $1 AND id = $2";
    Ok(row::execute(client, sql, &[&content.0, &id]).await? > 0)
}
