//! Content items: their settings, and which of their bundles is active.

mod patch;

use lectern_domain::content::ProcessSettings;
use lectern_domain::{AccessType, AppMode, BundleId, ContentGuid, ContentId, UserGuid, UserId};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

pub use self::patch::ContentPatch;
use crate::bundles;
use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;

/// What a bundle brings to its content item when it becomes active. Versions are those chosen when it was prepared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traits {
    /// Python version, when it uses Python.
    pub py_version: Option<String>,
    /// R version, when it uses R.
    pub r_version: Option<String>,
    /// Quarto version, when it uses Quarto.
    pub quarto_version: Option<String>,
    /// Node.js version, when it uses Node.js.
    pub node_version: Option<String>,
    /// Whether the server restores Python packages.
    pub py_environment_management: Option<bool>,
    /// Whether the server restores R packages.
    pub r_environment_management: Option<bool>,
}

/// Columns that read as [`Traits`], of table alias `{t}`.
pub(crate) fn traits_columns(t: &str) -> String {
    format!(
        "{t}.py_version, {t}.r_version, {t}.quarto_version, {t}.node_version, {t}.py_environment_management, \
         {t}.r_environment_management"
    )
}

impl Traits {
    pub(crate) fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            py_version: row::get(row, "py_version")?,
            r_version: row::get(row, "r_version")?,
            quarto_version: row::get(row, "quarto_version")?,
            node_version: row::get(row, "node_version")?,
            py_environment_management: row::get(row, "py_environment_management")?,
            r_environment_management: row::get(row, "r_environment_management")?,
        })
    }
}

/// Who owns an item, as the protocol shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Row number.
    pub id: UserId,
    /// GUID.
    pub guid: UserGuid,
    /// User name.
    pub username: String,
    /// First name; may be empty.
    pub first_name: String,
    /// Last name; may be empty.
    pub last_name: String,
    /// E-mail address; may be empty.
    pub email: String,
    /// Whether the account is locked.
    pub locked: bool,
}

/// One content item.
#[derive(Debug, Clone, PartialEq)]
pub struct ContentRow {
    /// Row number.
    pub id: ContentId,
    /// GUID.
    pub guid: ContentGuid,
    /// Name, unique per owner.
    pub name: String,
    /// Title, when set.
    pub title: Option<String>,
    /// Description; may be empty.
    pub description: String,
    /// Who owns it.
    pub owner: Owner,
    /// Who may open it besides those listed.
    pub access_type: AccessType,
    /// While locked, `locked_message` is shown instead of the content.
    pub locked: bool,
    /// Markdown; may be empty.
    pub locked_message: String,
    /// Scheduler settings.
    pub processes: ProcessSettings,
    /// The account asked for.
    pub run_as: Option<String>,
    /// Whether it asks to run as the visitor.
    pub run_as_current_user: bool,
    /// Settings that the protocol carries and that are only kept, by the protocol's field name.
    pub kept_settings: Map<String, Value>,
    /// The bundle served at the item's address.
    pub active_bundle: Option<BundleId>,
    /// What kind of content it is; `Unknown` before the first activation, fixed after it.
    pub app_mode: AppMode,
    /// The protocol's `content_category`; may be empty.
    pub category: String,
    /// Whether the active bundle has parameters.
    pub parameterized: bool,
    /// Versions of the active bundle.
    pub traits: Traits,
    /// Vanity path, with a leading and a trailing slash.
    pub vanity: Option<String>,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When its settings last changed.
    pub updated_at: OffsetDateTime,
    /// When a bundle last became active; the time of creation before the first.
    pub last_deployed_at: OffsetDateTime,
}

fn select() -> String {
    format!(
        "SELECT c.id, c.guid, c.name, c.title, c.description, c.access_type, c.locked, c.locked_message, \
         c.connection_timeout, c.read_timeout, c.init_timeout, c.idle_timeout, c.max_processes, c.min_processes, \
         c.max_conns_per_process, c.load_factor, c.run_as, c.run_as_current_user, c.kept_settings, \
         c.active_bundle_id, c.app_mode, c.content_category, c.parameterized, {}, \
         c.created_at, c.updated_at, c.last_deployed_at, v.path AS vanity, \
         u.id AS owner_id, u.guid AS owner_guid, u.username AS owner_username, u.first_name AS owner_first_name, \
         u.last_name AS owner_last_name, u.email AS owner_email, u.locked AS owner_locked \
         FROM content c JOIN users u ON u.id = c.owner_id LEFT JOIN vanities v ON v.content_id = c.id",
        traits_columns("c")
    )
}

/// Reads the columns of [`ProcessSettings`].
pub(crate) fn process_settings(row: &Row) -> Result<ProcessSettings, DbError> {
    Ok(ProcessSettings {
        connection_timeout: row::get(row, "connection_timeout")?,
        read_timeout: row::get(row, "read_timeout")?,
        init_timeout: row::get(row, "init_timeout")?,
        idle_timeout: row::get(row, "idle_timeout")?,
        max_processes: row::get(row, "max_processes")?,
        min_processes: row::get(row, "min_processes")?,
        max_conns_per_process: row::get(row, "max_conns_per_process")?,
        load_factor: row::get(row, "load_factor")?,
    })
}

impl ContentRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        let Json(kept_settings) = row::get::<Json<Map<String, Value>>>(row, "kept_settings")?;
        Ok(Self {
            id: ContentId(row::get(row, "id")?),
            guid: ContentGuid(row::get(row, "guid")?),
            name: row::get(row, "name")?,
            title: row::get(row, "title")?,
            description: row::get(row, "description")?,
            owner: Owner {
                id: UserId(row::get(row, "owner_id")?),
                guid: UserGuid(row::get(row, "owner_guid")?),
                username: row::get(row, "owner_username")?,
                first_name: row::get(row, "owner_first_name")?,
                last_name: row::get(row, "owner_last_name")?,
                email: row::get(row, "owner_email")?,
                locked: row::get(row, "owner_locked")?,
            },
            access_type: row::access_type(row, "access_type")?,
            locked: row::get(row, "locked")?,
            locked_message: row::get(row, "locked_message")?,
            processes: process_settings(row)?,
            run_as: row::get(row, "run_as")?,
            run_as_current_user: row::get(row, "run_as_current_user")?,
            kept_settings,
            active_bundle: row::get::<Option<i64>>(row, "active_bundle_id")?.map(BundleId),
            app_mode: row::app_mode(row, "app_mode")?,
            category: row::get(row, "content_category")?,
            parameterized: row::get(row, "parameterized")?,
            traits: Traits::from_row(row)?,
            vanity: row::get(row, "vanity")?,
            created_at: row::get(row, "created_at")?,
            updated_at: row::get(row, "updated_at")?,
            last_deployed_at: row::get(row, "last_deployed_at")?,
        })
    }
}

/// A content item to create; its other settings follow by [`update`] in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewContent {
    /// GUID, made by the caller.
    pub guid: ContentGuid,
    /// Name, checked by [`lectern_domain::content::check_name`] before.
    pub name: String,
    /// Who owns it.
    pub owner: UserId,
}

/// Which items to list; empty lists all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentFilter {
    /// Exactly this name; letter case does not matter.
    pub name: Option<String>,
    /// Only this owner's.
    pub owner: Option<UserGuid>,
}

/// Creates an item. [`DbError::NameTaken`] when its owner has one of this name.
///
/// Row numbers become account numbers of the operating system, of which there are few: a name that is taken uses none up.
pub async fn create(client: &impl GenericClient, content: &NewContent) -> Result<ContentRow, DbError> {
    let sql = "INSERT INTO content (guid, name, owner_id) SELECT $1, $2, $3 \
               WHERE NOT EXISTS (SELECT 1 FROM content WHERE owner_id = $3 AND lower(name) = lower($2)) RETURNING id";
    let row = row::query_opt(client, sql, &[&content.guid.0, &content.name, &content.owner.0]).await?;
    let id = ContentId(row::get(&row.ok_or(DbError::NameTaken)?, "id")?);
    get(client, id).await?.ok_or(DbError::NotFound("content"))
}

/// The item with this row number.
pub async fn get(client: &impl GenericClient, id: ContentId) -> Result<Option<ContentRow>, DbError> {
    let sql = format!("{} WHERE c.id = $1", select());
    row::query_opt(client, &sql, &[&id.0]).await?.as_ref().map(ContentRow::from_row).transpose()
}

/// The item with this GUID.
pub async fn get_by_guid(client: &impl GenericClient, guid: ContentGuid) -> Result<Option<ContentRow>, DbError> {
    let sql = format!("{} WHERE c.guid = $1", select());
    row::query_opt(client, &sql, &[&guid.0]).await?.as_ref().map(ContentRow::from_row).transpose()
}

/// Lists items in the order of their creation. Who may see which is the caller's decision.
pub async fn list(client: &impl GenericClient, filter: &ContentFilter) -> Result<Vec<ContentRow>, DbError> {
    let sql = format!(
        "{} WHERE ($1::text IS NULL OR lower(c.name) = lower($1)) AND ($2::uuid IS NULL OR u.guid = $2) ORDER BY c.id",
        select()
    );
    let owner = filter.owner.map(|guid| guid.0);
    row::query(client, &sql, &[&filter.name, &owner]).await?.iter().map(ContentRow::from_row).collect()
}

/// Reads an item and keeps others from changing it until the transaction ends. [`DbError::NotFound`] when there is none.
pub async fn lock(tx: &Transaction<'_>, id: ContentId) -> Result<ContentRow, DbError> {
    row::query_opt(tx, "SELECT 1 FROM content WHERE id = $1 FOR UPDATE", &[&id.0]).await?;
    get(tx, id).await?.ok_or(DbError::NotFound("content"))
}

/// Changes settings and answers the item as it is then. [`DbError::NameTaken`] when the owner has another item of this
/// name, [`DbError::NotFound`] when the item or the new owner does not exist.
///
/// Rules that need the old values too (least processes not above most) are checked by the caller between [`lock`],
/// [`ContentPatch::apply`] and this. A new owner's entry in the permissions goes: owners are not listed.
pub async fn update(tx: &Transaction<'_>, id: ContentId, patch: &ContentPatch) -> Result<ContentRow, DbError> {
    let mut new = lock(tx, id).await?;
    patch.apply(&mut new);
    let owner = patch.owner.unwrap_or(new.owner.id);
    let sql = "UPDATE content SET name = $2, title = $3, description = $4, owner_id = $5, access_type = $6, \
               locked = $7, locked_message = $8, connection_timeout = $9, read_timeout = $10, init_timeout = $11, \
               idle_timeout = $12, max_processes = $13, min_processes = $14, max_conns_per_process = $15, \
               load_factor = $16, run_as = $17, run_as_current_user = $18, kept_settings = $19, updated_at = now() \
               WHERE id = $1";
    let settings = &new.processes;
    row::execute(
        tx,
        sql,
        &[
            &id.0,
            &new.name,
            &new.title,
            &new.description,
            &owner.0,
            &new.access_type.as_str(),
            &new.locked,
            &new.locked_message,
            &settings.connection_timeout,
            &settings.read_timeout,
            &settings.init_timeout,
            &settings.idle_timeout,
            &settings.max_processes,
            &settings.min_processes,
            &settings.max_conns_per_process,
            &settings.load_factor,
            &new.run_as,
            &new.run_as_current_user,
            &Json(&new.kept_settings),
        ],
    )
    .await?;
    if patch.owner.is_some() {
        let sql = "DELETE FROM permissions WHERE content_id = $1 AND user_id = $2";
        row::execute(tx, sql, &[&id.0, &owner.0]).await?;
    }
    get(tx, id).await?.ok_or(DbError::NotFound("content"))
}

/// Deletes an item with all that belongs to it; `false` when there is none.
pub async fn delete(client: &impl GenericClient, id: ContentId) -> Result<bool, DbError> {
    Ok(row::execute(client, "DELETE FROM content WHERE id = $1", &[&id.0]).await? > 0)
}

/// Makes one of the item's prepared bundles the one that is served, with the mode, category and versions it brings.
///
/// [`DbError::ModeFixed`] and [`DbError::CategoryFixed`] when they differ from those of the first activation,
/// [`DbError::NotPrepared`] when the bundle was not prepared, [`DbError::NotFound`] when the item has no such bundle.
pub async fn set_active_bundle(tx: &Transaction<'_>, id: ContentId, bundle: BundleId) -> Result<ContentRow, DbError> {
    let content = lock(tx, id).await?;
    let bundle = bundles::get(tx, bundle).await?.filter(|found| found.content == id);
    let bundle = bundle.ok_or(DbError::NotFound("bundle"))?;
    if bundle.prepared.is_none() {
        return Err(DbError::NotPrepared);
    }
    if content.app_mode != AppMode::Unknown {
        if content.app_mode != bundle.app_mode {
            return Err(DbError::ModeFixed { current: content.app_mode, wanted: bundle.app_mode });
        }
        if content.category != bundle.category {
            return Err(DbError::CategoryFixed { current: content.category, wanted: bundle.category });
        }
    }
    let sql = "UPDATE content SET active_bundle_id = $2, app_mode = $3, content_category = $4, parameterized = $5, \
               py_version = $6, r_version = $7, quarto_version = $8, node_version = $9, \
               py_environment_management = $10, r_environment_management = $11, last_deployed_at = now() WHERE id = $1";
    let traits = &bundle.traits;
    row::execute(
        tx,
        sql,
        &[
            &id.0,
            &bundle.id.0,
            &bundle.app_mode.as_str(),
            &bundle.category,
            &bundle.parameterized,
            &traits.py_version,
            &traits.r_version,
            &traits.quarto_version,
            &traits.node_version,
            &traits.py_environment_management,
            &traits.r_environment_management,
        ],
    )
    .await?;
    get(tx, id).await?.ok_or(DbError::NotFound("content"))
}
