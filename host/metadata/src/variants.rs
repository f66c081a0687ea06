//! The ways in which content items are rendered, what they were rendered to, and who wants that by mail.

use lectern_domain::{BundleId, ContentId, UserGuid, UserId, VariantId};
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

/// One way in which an item is rendered, with what visitors see of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantRow {
    /// Row number.
    pub id: VariantId,
    /// The content item.
    pub content: ContentId,
    /// Names it in addresses, as `v<key>`.
    pub key: String,
    /// Whether it is the one that the item's own address shows; each item has exactly one.
    pub is_default: bool,
    /// For people.
    pub name: String,
    /// Whether collaborators get what was rendered by mail.
    pub email_collaborators: bool,
    /// Whether viewers do, too.
    pub email_viewers: bool,
    /// Whether everybody with an account does.
    pub email_all: bool,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// What visitors see; `None`: nothing was rendered.
    pub active: Option<RenderingRow>,
}

/// What a variant was rendered to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderingRow {
    /// Row number.
    pub id: i64,
    /// What was rendered, while that exists.
    pub bundle: Option<BundleId>,
    /// The run that did it.
    pub job_key: String,
    /// Whether visitors see it.
    pub active: bool,
    /// When it was finished.
    pub at: OffsetDateTime,
    /// How long it took, in nanoseconds.
    pub duration_ns: i64,
}

/// What to change of a variant; `None` leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VariantPatch {
    /// 1 to 255 characters.
    pub name: Option<String>,
    /// See [`VariantRow::email_collaborators`].
    pub email_collaborators: Option<bool>,
    /// See [`VariantRow::email_viewers`].
    pub email_viewers: Option<bool>,
    /// See [`VariantRow::email_all`].
    pub email_all: Option<bool>,
}

/// Somebody who wants what is rendered by mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
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
}

const COLUMNS: &str = "v.id, v.content_id, v.key, v.is_default, v.name, v.email_collaborators, v.email_viewers, v.email_all, \
                       v.created_at, r.id AS rendering_id, r.bundle_id, r.job_key, r.active, r.rendered_at, r.duration_ns";
const JOINS: &str = "LEFT JOIN renderings r ON r.variant_id = v.id AND r.active";

impl VariantRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        let rendered = row::get::<Option<i64>>(row, "rendering_id")?.is_some();
        Ok(Self {
            id: VariantId(row::get(row, "id")?),
            content: ContentId(row::get(row, "content_id")?),
            key: row::get(row, "key")?,
            is_default: row::get(row, "is_default")?,
            name: row::get(row, "name")?,
            email_collaborators: row::get(row, "email_collaborators")?,
            email_viewers: row::get(row, "email_viewers")?,
            email_all: row::get(row, "email_all")?,
            created_at: row::get(row, "created_at")?,
            active: if rendered { Some(RenderingRow::from_row(row)?) } else { None },
        })
    }
}

impl RenderingRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row::get(row, "rendering_id")?,
            bundle: row::get::<Option<i64>>(row, "bundle_id")?.map(BundleId),
            job_key: row::get(row, "job_key")?,
            active: row::get(row, "active")?,
            at: row::get(row, "rendered_at")?,
            duration_ns: row::get(row, "duration_ns")?,
        })
    }
}

/// One variant.
pub async fn get(client: &impl GenericClient, id: VariantId) -> Result<Option<VariantRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM variants v {JOINS} WHERE v.id = $1");
    row::query_opt(client, &sql, &[&id.0]).await?.as_ref().map(VariantRow::from_row).transpose()
}

/// The variants of an item, the default one first.
pub async fn of_content(client: &impl GenericClient, content: ContentId) -> Result<Vec<VariantRow>, DbError> {
    let sql =
        format!("SELECT {COLUMNS} FROM variants v {JOINS} WHERE v.content_id = $1 ORDER BY v.is_default DESC, v.id");
    row::query(client, &sql, &[&content.0]).await?.iter().map(VariantRow::from_row).collect()
}

/// Changes a variant. [`DbError::NotFound`] when there is none.
pub async fn update(client: &impl GenericClient, id: VariantId, patch: &VariantPatch) -> Result<VariantRow, DbError> {
    let sql = format!(
        "WITH v AS (UPDATE variants SET name = coalesce($2, name), \
           email_collaborators = coalesce($3, email_collaborators), email_viewers = coalesce($4, email_viewers), \
           email_all = coalesce($5, email_all) WHERE id = $1 RETURNING *) \
         SELECT {COLUMNS} FROM v {JOINS}"
    );
    let VariantPatch { name, email_collaborators, email_viewers, email_all } = patch;
    let row = row::query_opt(client, &sql, &[&id.0, name, email_collaborators, email_viewers, email_all]).await?;
    VariantRow::from_row(&row.ok_or(DbError::NotFound("variant"))?)
}

/// What a variant was rendered to, newest first, at most `limit`.
pub async fn renderings(client: &impl GenericClient, id: VariantId, limit: i64) -> Result<Vec<RenderingRow>, DbError> {
    let sql = "SELECT id AS rendering_id, bundle_id, job_key, active, rendered_at, duration_ns FROM renderings \
               WHERE variant_id = $1 ORDER BY id DESC LIMIT $2";
    row::query(client, sql, &[&id.0, &limit.max(0)]).await?.iter().map(RenderingRow::from_row).collect()
}

/// Who wants what is rendered by mail, in the order they asked.
pub async fn subscribers(client: &impl GenericClient, id: VariantId) -> Result<Vec<Subscriber>, DbError> {
    let sql = "SELECT u.id, u.guid, u.username, u.first_name, u.last_name FROM variant_subscribers s \
               JOIN users u ON u.id = s.user_id WHERE s.variant_id = $1 ORDER BY s.created_at, u.id";
    let read = |row: &Row| {
        Ok(Subscriber {
            id: UserId(row::get(row, "id")?),
            guid: UserGuid(row::get(row, "guid")?),
            username: row::get(row, "username")?,
            first_name: row::get(row, "first_name")?,
            last_name: row::get(row, "last_name")?,
        })
    };
    row::query(client, sql, &[&id.0]).await?.iter().map(read).collect()
}

/// Adds a subscriber; `false` when the user is one already.
pub async fn subscribe(client: &impl GenericClient, id: VariantId, user: UserId) -> Result<bool, DbError> {
    let sql = "INSERT INTO variant_subscribers (variant_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    Ok(row::execute(client, sql, &[&id.0, &user.0]).await? > 0)
}

/// Takes a subscriber off; `false` when the user was none.
pub async fn unsubscribe(client: &impl GenericClient, id: VariantId, user: UserId) -> Result<bool, DbError> {
    let sql = "DELETE FROM variant_subscribers WHERE variant_id = $1 AND user_id = $2";
    Ok(row::execute(client, sql, &[&id.0, &user.0]).await? > 0)
}
