//! A content item as it is read.

use lectern_domain::content::ProcessSettings;
use lectern_domain::{AccessType, AppMode, BundleId, ContentGuid, ContentId, UserGuid, UserId};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

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

pub(super) fn select() -> String {
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
    pub(super) fn from_row(row: &Row) -> Result<Self, DbError> {
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
