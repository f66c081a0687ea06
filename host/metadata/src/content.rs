//! Content items: their settings, and which of their bundles is active.

mod patch;
mod row;
mod search;

use lectern_domain::{AppMode, BundleId, ContentGuid, ContentId, TagId, UserGuid, UserId};
use tokio_postgres::types::Json;

pub use self::patch::ContentPatch;
use self::row::select;
pub use self::row::{ContentRow, Owner, Traits};
pub(crate) use self::row::{process_settings, traits_columns};
pub use self::search::{Found, Slice, SortKey, search};
use crate::bundles;
use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row as rows;

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
    /// Only what bears this tag.
    pub tag: Option<TagId>,
    /// Only what this user may see.
    pub seen_by: Option<SeenBy>,
}

/// Whose view a list is made for. The queries leave out what `lectern_domain::access` refuses this user, so that a list for
/// somebody who may see little reads little; the caller asks the rules again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenBy {
    /// Who.
    pub user: UserId,
    /// The items that list this user.
    pub listed: Vec<ContentId>,
}

/// The condition of [`SeenBy`] over table alias `c`: the user is parameter `$user`, null for who may see everything, the
/// items listed `$listed`.
pub(crate) fn seen_by(user: usize, listed: usize) -> String {
    format!(
        "(${user}::bigint IS NULL OR c.access_type <> 'acl' OR c.owner_id = ${user} OR c.id = ANY (${listed}::bigint[]))"
    )
}

/// The parameters of [`seen_by`].
pub(crate) fn seen_by_values(seen_by: Option<&SeenBy>) -> (Option<i64>, Vec<i64>) {
    let listed = seen_by.map(|seen_by| seen_by.listed.iter().map(|id| id.0).collect());
    (seen_by.map(|seen_by| seen_by.user.0), listed.unwrap_or_default())
}

/// Creates an item. [`DbError::NameTaken`] when its owner has one of this name.
///
/// Row numbers become account numbers of the operating system, of which there are few: a name that is taken uses none up.
pub async fn create(client: &impl GenericClient, content: &NewContent) -> Result<ContentRow, DbError> {
    let sql = "INSERT INTO content (guid, name, owner_id) SELECT $1, $2, $3 \
               WHERE NOT EXISTS (SELECT 1 FROM content WHERE owner_id = $3 AND lower(name) = lower($2)) RETURNING id";
    let row = rows::query_opt(client, sql, &[&content.guid.0, &content.name, &content.owner.0]).await?;
    let id = ContentId(rows::get(&row.ok_or(DbError::NameTaken)?, "id")?);
    get(client, id).await?.ok_or(DbError::NotFound("content"))
}

/// The item with this row number.
pub async fn get(client: &impl GenericClient, id: ContentId) -> Result<Option<ContentRow>, DbError> {
    let sql = format!("{} WHERE c.id = $1", select());
    rows::query_opt(client, &sql, &[&id.0]).await?.as_ref().map(ContentRow::from_row).transpose()
}

/// The item with this GUID.
pub async fn get_by_guid(client: &impl GenericClient, guid: ContentGuid) -> Result<Option<ContentRow>, DbError> {
    let sql = format!("{} WHERE c.guid = $1", select());
    rows::query_opt(client, &sql, &[&guid.0]).await?.as_ref().map(ContentRow::from_row).transpose()
}

/// Lists items in the order of their creation. Who may see which is the caller's decision.
pub async fn list(client: &impl GenericClient, filter: &ContentFilter) -> Result<Vec<ContentRow>, DbError> {
    let sql = format!(
        "{} WHERE ($1::text IS NULL OR lower(c.name) = lower($1)) AND ($2::uuid IS NULL OR u.guid = $2) \
         AND ($3::bigint IS NULL OR EXISTS (SELECT FROM content_tags t WHERE t.content_id = c.id AND t.tag_id = $3)) \
         AND {} ORDER BY c.id",
        select(),
        seen_by(4, 5)
    );
    let (owner, tag) = (filter.owner.map(|guid| guid.0), filter.tag.map(|tag| tag.0));
    let (user, listed) = seen_by_values(filter.seen_by.as_ref());
    let rows = rows::query(client, &sql, &[&filter.name, &owner, &tag, &user, &listed]).await?;
    rows.iter().map(ContentRow::from_row).collect()
}

/// Reads an item and keeps others from changing it until the transaction ends. [`DbError::NotFound`] when there is none.
pub async fn lock(tx: &Transaction<'_>, id: ContentId) -> Result<ContentRow, DbError> {
    rows::query_opt(tx, "SELECT 1 FROM content WHERE id = $1 FOR UPDATE", &[&id.0]).await?;
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
    rows::execute(
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
        rows::execute(tx, sql, &[&id.0, &owner.0]).await?;
    }
    get(tx, id).await?.ok_or(DbError::NotFound("content"))
}

/// Deletes an item with all that belongs to it; `false` when there is none.
pub async fn delete(client: &impl GenericClient, id: ContentId) -> Result<bool, DbError> {
    Ok(rows::execute(client, "DELETE FROM content WHERE id = $1", &[&id.0]).await? > 0)
}

/// Makes one of the item's prepared bundles the one that is served, with the mode, category and versions it brings.
///
/// [`DbError::ModeFixed`], [`DbError::CategoryFixed`] and [`DbError::ParametersFixed`] when they differ from those of the first
/// activation, [`DbError::NotPrepared`] when the bundle was not prepared, [`DbError::NotFound`] when the item has no such bundle.
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
        if content.parameterized != bundle.parameterized {
            return Err(DbError::ParametersFixed { current: content.parameterized });
        }
    }
    let sql = "UPDATE content SET active_bundle_id = $2, app_mode = $3, content_category = $4, parameterized = $5, \
               py_version = $6, r_version = $7, quarto_version = $8, node_version = $9, \
               py_environment_management = $10, r_environment_management = $11, last_deployed_at = now() WHERE id = $1";
    let traits = &bundle.traits;
    rows::execute(
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
