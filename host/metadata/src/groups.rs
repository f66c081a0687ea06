//! Groups of accounts and their members.

use lectern_domain::access::PermissionRole;
use lectern_domain::{AccessType, ContentGuid, ContentId, GroupGuid, GroupId, UserGuid, UserId};
use tokio_postgres::Row;

use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;
use crate::users::{UserPage, UserRow};

/// One group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// Row number.
    pub id: GroupId,
    /// GUID.
    pub guid: GroupGuid,
    /// Name, unique without letter case.
    pub name: String,
    /// Whose group it is.
    pub owner: Option<(UserId, UserGuid)>,
    /// What another directory calls it; then that directory says who belongs.
    pub unique_id: Option<String>,
}

const COLUMNS: &str = "g.id, g.guid, g.name, g.unique_id, g.owner_id, o.guid AS owner_guid";

impl GroupRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        let owner = row::get::<Option<i64>>(row, "owner_id")?.map(UserId);
        let owner_guid = row::get::<Option<uuid::Uuid>>(row, "owner_guid")?.map(UserGuid);
        Ok(Self {
            id: GroupId(row::get(row, "id")?),
            guid: GroupGuid(row::get(row, "guid")?),
            name: row::get(row, "name")?,
            owner: owner.zip(owner_guid),
            unique_id: row::get(row, "unique_id")?,
        })
    }
}

/// One page of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPage {
    /// The groups, by name.
    pub groups: Vec<GroupRow>,
    /// How many there are on all pages.
    pub total: i64,
}

/// A group to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGroup {
    /// GUID, made by the caller.
    pub guid: GroupGuid,
    /// Its name, 1 to 255 characters.
    pub name: String,
    /// Whose group it is.
    pub owner: Option<UserId>,
    /// What another directory calls it.
    pub unique_id: Option<String>,
}

/// Creates a group. [`DbError::GroupNameTaken`] when the name, or the other directory's name for it, is in use.
pub async fn create(client: &impl GenericClient, group: &NewGroup) -> Result<GroupRow, DbError> {
    let sql = format!(
        "WITH g AS (INSERT INTO groups (guid, name, owner_id, unique_id) VALUES ($1, $2, $3, $4) RETURNING *) \
         SELECT {COLUMNS} FROM g LEFT JOIN users o ON o.id = g.owner_id"
    );
    let owner = group.owner.map(|owner| owner.0);
    let row = row::query_one(client, &sql, &[&group.guid.0, &group.name, &owner, &group.unique_id]).await?;
    GroupRow::from_row(&row)
}

/// The group of this GUID.
pub async fn get_by_guid(client: &impl GenericClient, guid: GroupGuid) -> Result<Option<GroupRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM groups g LEFT JOIN users o ON o.id = g.owner_id WHERE g.guid = $1");
    row::query_opt(client, &sql, &[&guid.0]).await?.as_ref().map(GroupRow::from_row).transpose()
}

/// The group that another directory calls this.
pub async fn get_by_unique_id(client: &impl GenericClient, unique_id: &str) -> Result<Option<GroupRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM groups g LEFT JOIN users o ON o.id = g.owner_id WHERE g.unique_id = $1");
    row::query_opt(client, &sql, &[&unique_id]).await?.as_ref().map(GroupRow::from_row).transpose()
}

/// Lists groups by name: `limit` of them after skipping `offset`, and the number of all whose name begins with `prefix`.
pub async fn list(
    client: &impl GenericClient,
    prefix: Option<&str>,
    offset: i64,
    limit: i64,
) -> Result<GroupPage, DbError> {
    const MATCHES: &str = "($1::text IS NULL OR starts_with(lower(g.name), lower($1)))";
    let total = format!("SELECT count(*) AS total FROM groups g WHERE {MATCHES}");
    let total = row::query_one(client, &total, &[&prefix]).await?;
    let page = format!(
        "SELECT {COLUMNS} FROM groups g LEFT JOIN users o ON o.id = g.owner_id WHERE {MATCHES} \
         ORDER BY lower(g.name) OFFSET $2 LIMIT $3"
    );
    let rows = row::query(client, &page, &[&prefix, &offset.max(0), &limit.max(0)]).await?;
    let groups = rows.iter().map(GroupRow::from_row).collect::<Result<_, _>>()?;
    Ok(GroupPage { groups, total: row::get(&total, "total")? })
}

/// Deletes a group, its memberships and its permissions; `false` when there is none.
pub async fn delete(client: &impl GenericClient, group: GroupId) -> Result<bool, DbError> {
    Ok(row::execute(client, "DELETE FROM groups WHERE id = $1", &[&group.0]).await? > 0)
}

/// One page of a group's members, in the order they were added.
pub async fn members(
    client: &impl GenericClient,
    group: GroupId,
    offset: i64,
    limit: i64,
) -> Result<UserPage, DbError> {
    let sql = "SELECT count(*) AS total FROM group_members WHERE group_id = $1";
    let total = row::query_one(client, sql, &[&group.0]).await?;
    let sql = format!(
        "SELECT {} FROM group_members m JOIN users u ON u.id = m.user_id WHERE m.group_id = $1 \
         ORDER BY m.id OFFSET $2 LIMIT $3",
        crate::users::COLUMNS
    );
    let rows = row::query(client, &sql, &[&group.0, &offset.max(0), &limit.max(0)]).await?;
    let users = rows.iter().map(UserRow::from_row).collect::<Result<_, _>>()?;
    Ok(UserPage { users, total: row::get(&total, "total")? })
}

/// Adds a member. [`DbError::AlreadyMember`] when the user belongs to it, [`DbError::NotFound`] when one of the two is gone.
pub async fn add_member(client: &impl GenericClient, group: GroupId, user: UserId) -> Result<(), DbError> {
    let sql = "INSERT INTO group_members (group_id, user_id) VALUES ($1, $2)";
    row::execute(client, sql, &[&group.0, &user.0]).await.map(drop)
}

/// Removes a member; `false` when the user does not belong to the group.
pub async fn remove_member(client: &impl GenericClient, group: GroupId, user: UserId) -> Result<bool, DbError> {
    let sql = "DELETE FROM group_members WHERE group_id = $1 AND user_id = $2";
    Ok(row::execute(client, sql, &[&group.0, &user.0]).await? > 0)
}

/// Makes the user a member of those groups of other directories that are called one of `names` there, and of no other such
/// group; groups kept here stay as they are. Answers whether anything changed.
///
/// Without names a user who has a password here stays where they are: who signed in with it brought no word of a directory.
pub async fn follow(tx: &Transaction<'_>, user: UserId, names: &[String]) -> Result<bool, DbError> {
    let sql = "DELETE FROM group_members m USING groups g WHERE g.id = m.group_id AND m.user_id = $1 \
               AND g.unique_id IS NOT NULL AND NOT g.unique_id = ANY ($2) AND (cardinality($2::text[]) > 0 \
               OR EXISTS (SELECT 1 FROM users u WHERE u.id = $1 AND u.password_hash IS NULL))";
    let left = row::execute(tx, sql, &[&user.0, &names]).await?;
    let sql = "INSERT INTO group_members (group_id, user_id) SELECT g.id, $1 FROM groups g WHERE g.unique_id = ANY ($2) \
               ORDER BY g.id ON CONFLICT DO NOTHING";
    let joined = row::execute(tx, sql, &[&user.0, &names]).await?;
    Ok(left + joined > 0)
}

/// A content item that lists a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingRow {
    /// The item.
    pub content: ContentId,
    /// Its GUID.
    pub guid: ContentGuid,
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: Option<String>,
    /// Its owner.
    pub owner: UserId,
    /// Who may open it besides those listed.
    pub access_type: AccessType,
    /// What the group's entry gives.
    pub role: PermissionRole,
}

/// The content items that list the group, by name.
pub async fn content(client: &impl GenericClient, group: GroupId) -> Result<Vec<ListingRow>, DbError> {
    let sql = "SELECT c.id, c.guid, c.name, c.title, c.owner_id, c.access_type, p.role FROM permissions p \
               JOIN content c ON c.id = p.content_id WHERE p.group_id = $1 ORDER BY lower(c.name), c.id";
    let read = |row: &Row| {
        Ok(ListingRow {
            content: ContentId(row::get(row, "id")?),
            guid: ContentGuid(row::get(row, "guid")?),
            name: row::get(row, "name")?,
            title: row::get(row, "title")?,
            owner: UserId(row::get(row, "owner_id")?),
            access_type: row::access_type(row, "access_type")?,
            role: row::permission_role(row, "role")?,
        })
    };
    row::query(client, sql, &[&group.0]).await?.iter().map(read).collect()
}
