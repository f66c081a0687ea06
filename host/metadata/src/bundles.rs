//! Records of uploaded bundles. Their bytes are elsewhere, named by their hash.

use lectern_domain::launch::Prepared;
use lectern_domain::retention::{self, Kept};
use lectern_domain::{AppMode, BundleHash, BundleId, ContentId, UserGuid, UserId};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use crate::content::{Traits, traits_columns};
use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;

/// One uploaded bundle. The manifest, which may be large, is read by [`manifest_of`].
#[derive(Debug, Clone, PartialEq)]
pub struct BundleRow {
    /// Its number.
    pub id: BundleId,
    /// The content item it belongs to.
    pub content: ContentId,
    /// Its bytes.
    pub hash: BundleHash,
    /// Length of its bytes.
    pub size_bytes: u64,
    /// What the client said about it.
    pub metadata: Map<String, Value>,
    /// What starting it needs, once it has been prepared.
    pub prepared: Option<Prepared>,
    /// What kind of content it is; `Unknown` when its manifest was not read yet.
    pub app_mode: AppMode,
    /// The protocol's `content_category`; may be empty.
    pub category: String,
    /// Whether it has parameters.
    pub parameterized: bool,
    /// Versions: the manifest's, and those chosen once it has been prepared.
    pub traits: Traits,
    /// Whether it is the one served at the item's address.
    pub active: bool,
    /// Who uploaded it, while that account exists.
    pub created_by: Option<Creator>,
    /// When it was uploaded.
    pub created_at: OffsetDateTime,
}

/// Who uploaded a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creator {
    /// GUID.
    pub guid: UserGuid,
    /// User name.
    pub username: String,
}

/// A bundle whose bytes are stored already.
#[derive(Debug, Clone, PartialEq)]
pub struct NewBundle {
    /// The content item it belongs to.
    pub content: ContentId,
    /// Its bytes.
    pub hash: BundleHash,
    /// Length of its bytes.
    pub size_bytes: u64,
    /// What the client said about it.
    pub metadata: Map<String, Value>,
    /// Its manifest as sent, when it was read at upload.
    pub manifest: Option<Value>,
    /// What kind of content its manifest says it is.
    pub app_mode: AppMode,
    /// The protocol's `content_category`; may be empty.
    pub category: String,
    /// Whether it has parameters.
    pub parameterized: bool,
    /// The manifest's versions.
    pub traits: Traits,
    /// Who uploads it.
    pub created_by: UserId,
}

fn select() -> String {
    format!(
        "SELECT b.id, b.content_id, b.hash, b.size_bytes, b.metadata, b.prepared, b.app_mode, b.content_category, \
         b.parameterized, {}, b.created_at, u.guid AS creator_guid, u.username AS creator_name, \
         c.active_bundle_id IS NOT DISTINCT FROM b.id AS active \
         FROM bundles b JOIN content c ON c.id = b.content_id LEFT JOIN users u ON u.id = b.created_by",
        traits_columns("b")
    )
}

/// Reads what [`set_prepared`] stored.
pub(crate) fn prepared(row: &Row) -> Result<Option<Prepared>, DbError> {
    let Some(value) = row::get::<Option<Value>>(row, "prepared")? else { return Ok(None) };
    let shown = || value.to_string().chars().take(200).collect();
    serde_json::from_value(value.clone())
        .map(Some)
        .map_err(|_| DbError::Corrupt { what: "bundle preparation", value: shown() })
}

impl BundleRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        let Json(metadata) = row::get::<Json<Map<String, Value>>>(row, "metadata")?;
        let size: i64 = row::get(row, "size_bytes")?;
        let guid: Option<uuid::Uuid> = row::get(row, "creator_guid")?;
        let name: Option<String> = row::get(row, "creator_name")?;
        Ok(Self {
            id: BundleId(row::get(row, "id")?),
            content: ContentId(row::get(row, "content_id")?),
            hash: BundleHash(row::hash32(row, "hash")?),
            size_bytes: size
                .try_into()
                .map_err(|_| DbError::Corrupt { what: "bundle size", value: size.to_string() })?,
            metadata,
            prepared: prepared(row)?,
            app_mode: row::app_mode(row, "app_mode")?,
            category: row::get(row, "content_category")?,
            parameterized: row::get(row, "parameterized")?,
            traits: Traits::from_row(row)?,
            active: row::get(row, "active")?,
            created_by: guid.zip(name).map(|(guid, username)| Creator { guid: UserGuid(guid), username }),
            created_at: row::get(row, "created_at")?,
        })
    }
}

/// Records a bundle whose bytes are stored. [`DbError::NotFound`] when the content item does not exist.
pub async fn create(client: &impl GenericClient, bundle: &NewBundle) -> Result<BundleRow, DbError> {
    create_as(client, bundle, None).await
}

/// [`create`], with the number `id` if it was taken from the sequence before.
pub async fn create_as(
    client: &impl GenericClient,
    bundle: &NewBundle,
    id: Option<BundleId>,
) -> Result<BundleRow, DbError> {
    let sql = "INSERT INTO bundles (content_id, hash, size_bytes, metadata, manifest, app_mode, content_category, \
               parameterized, py_version, r_version, quarto_version, node_version, py_environment_management, \
               r_environment_management, created_by, id) OVERRIDING SYSTEM VALUE \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, \
               COALESCE($16, nextval(pg_get_serial_sequence('bundles', 'id')))) RETURNING id";
    let id = id.map(|id| id.0);
    let size = i64::try_from(bundle.size_bytes).map_err(|_| DbError::Refused { rule: "bundles_size_check".into() })?;
    let traits = &bundle.traits;
    let row = row::query_one(
        client,
        sql,
        &[
            &bundle.content.0,
            &bundle.hash.0.as_slice(),
            &size,
            &Json(&bundle.metadata),
            &bundle.manifest,
            &bundle.app_mode.as_str(),
            &bundle.category,
            &bundle.parameterized,
            &traits.py_version,
            &traits.r_version,
            &traits.quarto_version,
            &traits.node_version,
            &traits.py_environment_management,
            &traits.r_environment_management,
            &bundle.created_by.0,
            &id,
        ],
    )
    .await?;
    get(client, BundleId(row::get(&row, "id")?)).await?.ok_or(DbError::NotFound("bundle"))
}

/// The bundle with this number.
pub async fn get(client: &impl GenericClient, id: BundleId) -> Result<Option<BundleRow>, DbError> {
    let sql = format!("{} WHERE b.id = $1", select());
    row::query_opt(client, &sql, &[&id.0]).await?.as_ref().map(BundleRow::from_row).transpose()
}

/// The bundles of a content item, newest first.
pub async fn list(client: &impl GenericClient, content: ContentId) -> Result<Vec<BundleRow>, DbError> {
    let sql = format!("{} WHERE b.content_id = $1 ORDER BY b.id DESC", select());
    row::query(client, &sql, &[&content.0]).await?.iter().map(BundleRow::from_row).collect()
}

/// The bundle a deployment without a bundle number means: the active one, else the newest.
pub async fn current(client: &impl GenericClient, content: ContentId) -> Result<Option<BundleRow>, DbError> {
    let sql = format!(
        "{} WHERE b.content_id = $1 ORDER BY (c.active_bundle_id IS NOT DISTINCT FROM b.id) DESC, b.id DESC LIMIT 1",
        select()
    );
    row::query_opt(client, &sql, &[&content.0]).await?.as_ref().map(BundleRow::from_row).transpose()
}

/// The manifest as sent: the outer `None` when there is no such bundle, the inner one when its manifest was not read.
pub async fn manifest_of(client: &impl GenericClient, id: BundleId) -> Result<Option<Option<Value>>, DbError> {
    let row = row::query_opt(client, "SELECT manifest FROM bundles WHERE id = $1", &[&id.0]).await?;
    row.as_ref().map(|row| row::get(row, "manifest")).transpose()
}

/// Deletes a bundle's record; `false` when there is none. [`DbError::ActiveBundle`] when it is the active one.
pub async fn delete(client: &impl GenericClient, id: BundleId) -> Result<bool, DbError> {
    Ok(row::execute(client, "DELETE FROM bundles WHERE id = $1", &[&id.0]).await? > 0)
}

/// Deletes what a content item has above `limit` bundles, by the rule of [`retention::to_delete`]; answers which. Two
/// queries. A bundle that becomes active meanwhile stays, as nothing can delete it.
pub async fn prune(tx: &Transaction<'_>, content: ContentId, limit: usize) -> Result<Vec<BundleId>, DbError> {
    let sql = "SELECT b.id, c.active_bundle_id IS NOT DISTINCT FROM b.id AS active, \
               EXISTS (SELECT FROM tasks t WHERE t.bundle_id = b.id AND t.state <> 'finished') AS wanted \
               FROM bundles b JOIN content c ON c.id = b.content_id WHERE b.content_id = $1";
    let read = |row: &Row| {
        let id = BundleId(row::get(row, "id")?);
        Ok(Kept { id, active: row::get(row, "active")?, wanted: row::get(row, "wanted")? })
    };
    let all: Vec<Kept> = row::query(tx, sql, &[&content.0]).await?.iter().map(read).collect::<Result<_, DbError>>()?;
    let gone = retention::to_delete(&all, limit);
    if !gone.is_empty() {
        let ids: Vec<i64> = gone.iter().map(|id| id.0).collect();
        row::execute(tx, "DELETE FROM bundles WHERE id = ANY ($1)", &[&ids]).await?;
    }
    Ok(gone)
}

/// Stores what starting the bundle needs and the versions that were chosen. [`DbError::NotFound`] when there is no such
/// bundle.
pub async fn set_prepared(
    client: &impl GenericClient,
    id: BundleId,
    prepared: &Prepared,
    traits: &Traits,
) -> Result<(), DbError> {
    let sql = "UPDATE bundles SET prepared = $2, py_version = $3, r_version = $4, quarto_version = $5, \
               node_version = $6, py_environment_management = $7, r_environment_management = $8 WHERE id = $1";
    let changed = row::execute(
        client,
        sql,
        &[
            &id.0,
            &Json(prepared),
            &traits.py_version,
            &traits.r_version,
            &traits.quarto_version,
            &traits.node_version,
            &traits.py_environment_management,
            &traits.r_environment_management,
        ],
    )
    .await?;
    if changed == 0 { Err(DbError::NotFound("bundle")) } else { Ok(()) }
}

/// Every hash that some bundle has, once each: what a collection of the store must keep.
pub async fn referenced_hashes(client: &impl GenericClient) -> Result<Vec<BundleHash>, DbError> {
    let rows = row::query(client, "SELECT DISTINCT hash FROM bundles", &[]).await?;
    rows.iter().map(|row| row::hash32(row, "hash").map(BundleHash)).collect()
}
