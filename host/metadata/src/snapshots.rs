//! Loads the in-memory view that the request path reads. Each part takes a fixed number of queries.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use deadpool_postgres::Transaction;
use lectern_domain::access::{AccessRules, GroupEntry, PermissionRole};
use lectern_domain::confinement::OwnLimits;
use lectern_domain::picture::Kind;
use lectern_domain::snapshot::{BundleEntry, ContentEntry, KeyEntry, Picture, SessionEntry, Snapshot, UserEntry};
use lectern_domain::{BundleHash, BundleId, ContentGuid, ContentId, GroupId, KeyId, UserGuid, UserId};
use serde_json::{Map, Value};
use tokio_postgres::types::Json;
use tokio_postgres::{IsolationLevel, Row};
use tracing::error;

use crate::content::process_settings;
use crate::database::{Client, Database, GenericClient};
use crate::error::DbError;
use crate::row;

/// Content by GUID.
pub type ContentMap = HashMap<ContentGuid, Arc<ContentEntry>>;
/// Vanity paths to content.
pub type VanityMap = HashMap<String, ContentGuid>;
/// The names of each user's groups, in order.
pub type GroupMap = HashMap<UserId, Arc<[String]>>;
/// Accounts by row number.
pub type UserMap = HashMap<UserId, Arc<UserEntry>>;
/// API keys by the hash of their text.
pub type KeyMap = HashMap<[u8; 32], KeyEntry>;
/// Sessions by the hash of their token.
pub type SessionMap = HashMap<[u8; 32], SessionEntry>;

/// Loads everything as it was at one moment.
pub async fn load_snapshot(database: &Database) -> Result<Snapshot, DbError> {
    let mut client = database.client().await?;
    let tx = one_moment(&mut client).await?;
    let content = content(&tx).await?;
    let snapshot = Snapshot {
        vanities: Arc::new(vanities(&content)),
        content: Arc::new(content),
        groups: Arc::new(groups(&tx).await?),
        users: Arc::new(users(&tx).await?),
        keys: Arc::new(keys(&tx).await?),
        sessions: Arc::new(sessions(&tx).await?),
    };
    tx.commit().await?;
    Ok(snapshot)
}

/// Loads the content items with all that serving them needs, their vanity paths, and who belongs to which group: a change of a
/// group is a change of what content is open to whom.
pub async fn load_content(database: &Database) -> Result<(ContentMap, VanityMap, GroupMap), DbError> {
    let mut client = database.client().await?;
    let tx = one_moment(&mut client).await?;
    let (content, groups) = (content(&tx).await?, groups(&tx).await?);
    tx.commit().await?;
    let vanities = vanities(&content);
    Ok((content, vanities, groups))
}

/// Loads the accounts.
pub async fn load_users(database: &Database) -> Result<UserMap, DbError> {
    users(&database.client().await?).await
}

/// Loads the API keys that are not revoked.
pub async fn load_keys(database: &Database) -> Result<KeyMap, DbError> {
    keys(&database.client().await?).await
}

/// Loads the sessions that have not ended.
pub async fn load_sessions(database: &Database) -> Result<SessionMap, DbError> {
    sessions(&database.client().await?).await
}

/// A transaction whose queries all see the same state.
pub(crate) async fn one_moment(client: &mut Client) -> Result<Transaction<'_>, DbError> {
    let level = IsolationLevel::RepeatableRead;
    Ok(client.build_transaction().isolation_level(level).read_only(true).start().await?)
}

/// Keeps what is understood. A record that is not (written by a newer version, or damaged) is left out with an error in
/// the log: one bad row must not take every other content item away.
fn understood<T>(rows: &[Row], what: &'static str, read: impl Fn(&Row) -> Result<T, DbError>) -> Vec<T> {
    let keep = |row: &Row| match read(row) {
        Ok(value) => Some(value),
        Err(cause) => {
            error!(error = &cause as &dyn std::error::Error, what, "left out of the view");
            None
        }
    };
    rows.iter().filter_map(keep).collect()
}

async fn content(tx: &Transaction<'_>) -> Result<ContentMap, DbError> {
    let sql = "SELECT c.id, c.guid, c.name, c.title, c.app_mode, c.owner_id, c.access_type, c.active_bundle_id, \
               c.locked, c.locked_message, c.connection_timeout, c.read_timeout, c.init_timeout, c.idle_timeout, \
               c.max_processes, c.min_processes, c.max_conns_per_process, c.load_factor, c.kept_settings, v.path AS vanity, \
               t.kind AS picture_kind, t.hash AS picture_hash, coalesce(d.key, '') AS variant_key, \
               c.id IN (SELECT content_id FROM oauth_associations) AS has_integrations \
               FROM content c LEFT JOIN vanities v ON v.content_id = c.id LEFT JOIN thumbnails t ON t.content_id = c.id \
               LEFT JOIN variants d ON d.content_id = c.id AND d.is_default";
    let mut entries: HashMap<ContentId, ContentEntry> =
        understood(&row::query(tx, sql, &[]).await?, "content", content_entry).into_iter().collect();

    let sql = "SELECT id, content_id, hash, prepared FROM bundles WHERE prepared IS NOT NULL";
    for (content, bundle) in understood(&row::query(tx, sql, &[]).await?, "bundle", bundle_entry) {
        if let Some(entry) = entries.get_mut(&content) {
            entry.bundles.insert(bundle.id, Arc::new(bundle));
        }
    }
    let sql = "SELECT content_id, user_id, role FROM permissions WHERE user_id IS NOT NULL";
    let read = |row: &Row| {
        Ok((
            ContentId(row::get(row, "content_id")?),
            UserId(row::get(row, "user_id")?),
            row::permission_role(row, "role")?,
        ))
    };
    for (content, user, role) in understood(&row::query(tx, sql, &[]).await?, "permission", read) {
        if let Some(entry) = entries.get_mut(&content) {
            match role {
                PermissionRole::Viewer => entry.access.viewers.insert(user),
                PermissionRole::Owner => entry.access.editors.insert(user),
            };
        }
    }
    list_groups(tx, &mut entries).await?;
    let sql = "SELECT content_id, name, sealed FROM content_variables ORDER BY content_id, name COLLATE \"C\"";
    let read =
        |row: &Row| Ok((ContentId(row::get(row, "content_id")?), (row::get(row, "name")?, row::get(row, "sealed")?)));
    for (content, variable) in understood(&row::query(tx, sql, &[]).await?, "variable", read) {
        if let Some(entry) = entries.get_mut(&content) {
            entry.sealed_variables.push(variable);
        }
    }
    Ok(entries.into_values().map(|entry| (entry.guid, Arc::new(entry))).collect())
}

async fn groups(tx: &Transaction<'_>) -> Result<GroupMap, DbError> {
    let sql = "SELECT m.user_id, array_agg(g.name ORDER BY g.name COLLATE \"C\") AS names \
               FROM group_members m JOIN groups g ON g.id = m.group_id GROUP BY m.user_id";
    let read = |row: &Row| Ok((UserId(row::get(row, "user_id")?), row::get::<Vec<String>>(row, "names")?.into()));
    Ok(understood(&row::query(tx, sql, &[]).await?, "group", read).into_iter().collect())
}

/// Adds the groups that are listed, with their members.
async fn list_groups(tx: &Transaction<'_>, entries: &mut HashMap<ContentId, ContentEntry>) -> Result<(), DbError> {
    let sql = "SELECT group_id, user_id FROM group_members m WHERE EXISTS (SELECT 1 FROM permissions p WHERE p.group_id = m.group_id)";
    let read = |row: &Row| Ok((GroupId(row::get(row, "group_id")?), UserId(row::get(row, "user_id")?)));
    let mut members: HashMap<GroupId, BTreeSet<UserId>> = HashMap::new();
    for (group, user) in understood(&row::query(tx, sql, &[]).await?, "group member", read) {
        members.entry(group).or_default().insert(user);
    }
    let members: HashMap<_, _> = members.into_iter().map(|(group, users)| (group, Arc::new(users))).collect();
    let sql = "SELECT content_id, group_id, role FROM permissions WHERE group_id IS NOT NULL ORDER BY id";
    let read = |row: &Row| {
        Ok((
            ContentId(row::get(row, "content_id")?),
            GroupId(row::get(row, "group_id")?),
            row::permission_role(row, "role")?,
        ))
    };
    for (content, group, role) in understood(&row::query(tx, sql, &[]).await?, "permission", read) {
        // A group without members gives nobody anything.
        if let (Some(entry), Some(members)) = (entries.get_mut(&content), members.get(&group)) {
            entry.access.groups.push(GroupEntry { members: Arc::clone(members), role });
        }
    }
    Ok(())
}

fn content_entry(row: &Row) -> Result<(ContentId, ContentEntry), DbError> {
    let id = ContentId(row::get(row, "id")?);
    let locked: bool = row::get(row, "locked")?;
    let locked_message: String = row::get(row, "locked_message")?;
    let entry = ContentEntry {
        id,
        guid: ContentGuid(row::get(row, "guid")?),
        name: row::get(row, "name")?,
        title: row::get(row, "title")?,
        mode: row::app_mode(row, "app_mode")?,
        access: AccessRules {
            owner: UserId(row::get(row, "owner_id")?),
            access_type: row::access_type(row, "access_type")?,
            viewers: BTreeSet::new(),
            editors: BTreeSet::new(),
            groups: Vec::new(),
        },
        active: row::get::<Option<i64>>(row, "active_bundle_id")?.map(BundleId),
        bundles: BTreeMap::new(),
        locked_message: locked.then_some(locked_message),
        processes: process_settings(row)?,
        limits: OwnLimits::from_settings(&row::get::<Json<Map<String, Value>>>(row, "kept_settings")?.0),
        sealed_variables: Vec::new(),
        vanity: row::get(row, "vanity")?,
        thumbnail: picture(row)?,
        has_integrations: row::get(row, "has_integrations")?,
        variant_key: row::get(row, "variant_key")?,
    };
    Ok((id, entry))
}

fn picture(row: &Row) -> Result<Option<Picture>, DbError> {
    let Some(kind) = row::get::<Option<String>>(row, "picture_kind")? else { return Ok(None) };
    let kind = Kind::parse(&kind).ok_or(DbError::Corrupt { what: "kind of picture", value: kind })?;
    Ok(Some(Picture { kind, hash: row::hash32(row, "picture_hash")? }))
}

fn bundle_entry(row: &Row) -> Result<(ContentId, BundleEntry), DbError> {
    let prepared = crate::bundles::prepared(row)?.ok_or(DbError::NotPrepared)?;
    let entry =
        BundleEntry { id: BundleId(row::get(row, "id")?), hash: BundleHash(row::hash32(row, "hash")?), prepared };
    Ok((ContentId(row::get(row, "content_id")?), entry))
}

fn vanities(content: &ContentMap) -> VanityMap {
    content.values().filter_map(|entry| Some((entry.vanity.clone()?, entry.guid))).collect()
}

async fn users(client: &impl GenericClient) -> Result<UserMap, DbError> {
    let read = |row: &Row| {
        let id = UserId(row::get(row, "id")?);
        let entry = UserEntry {
            id,
            guid: UserGuid(row::get(row, "guid")?),
            username: row::get(row, "username")?,
            role: row::user_role(row, "role")?,
            locked: row::get(row, "locked")?,
        };
        Ok((id, Arc::new(entry)))
    };
    let rows = row::query(client, "SELECT id, guid, username, role, locked FROM users", &[]).await?;
    Ok(understood(&rows, "user", read).into_iter().collect())
}

async fn keys(client: &impl GenericClient) -> Result<KeyMap, DbError> {
    let read = |row: &Row| {
        let entry = KeyEntry {
            id: KeyId(row::get(row, "id")?),
            user: UserId(row::get(row, "user_id")?),
            role: row::user_role(row, "role")?,
            expires_at: row::get(row, "expires_at")?,
            stamp: row::get(row, "stamp")?,
        };
        Ok((row::hash32(row, "hash")?, entry))
    };
    let sql = "SELECT id, user_id, role, hash, stamp, expires_at FROM api_keys \
               WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())";
    Ok(understood(&row::query(client, sql, &[]).await?, "key", read).into_iter().collect())
}

async fn sessions(client: &impl GenericClient) -> Result<SessionMap, DbError> {
    let read = |row: &Row| {
        let groups: Vec<String> = row::get(row, "groups")?;
        let entry = SessionEntry {
            user: UserId(row::get(row, "user_id")?),
            expires_at: row::get(row, "expires_at")?,
            groups: groups.into(),
        };
        Ok((row::hash32(row, "hash")?, entry))
    };
    let sql = "SELECT hash, user_id, expires_at, groups FROM sessions WHERE expires_at > now()";
    Ok(understood(&row::query(client, sql, &[]).await?, "session", read).into_iter().collect())
}
