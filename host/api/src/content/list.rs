//! `GET /v1/content`.

use axum::Json;
use axum::extract::State;
use lectern_domain::access::{AppRole, Principal};
use lectern_domain::user::UserRole;
use lectern_metadata::content::{self, ContentFilter, ContentRow, SeenBy};
use lectern_metadata::{Client, permissions};
use serde::Deserialize;
use utoipa::IntoParams;

use super::view::{ContentView, read_include, views};
use crate::Services;
use crate::access::{Entries, standing, visible};
use crate::error::{ApiError, ErrorBody};
use crate::guard::{Account, Base};
use crate::query::Params;

/// Which items.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Exactly this name; letter case does not matter.
    name: Option<String>,
    /// Only this owner's.
    owner_guid: Option<String>,
    /// Any of `owner`, `tags`, `vanity_url`, separated by commas.
    include: Option<String>,
}

/// Lists the content that the caller may see, in the order of its creation; administrators see all.
#[utoipa::path(get, path = "/v1/content", tag = "content", params(ListQuery),
    responses((status = 200, body = Vec<ContentView>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody)))]
pub(crate) async fn list(
    State(services): State<Services>,
    Account(caller): Account,
    base: Base,
    Params(query): Params<ListQuery>,
) -> Result<Json<Vec<ContentView>>, ApiError> {
    let include = read_include(query.include.as_deref())?;
    let owner = query.owner_guid.filter(|guid| !guid.is_empty()).map(|guid| guid.parse()).transpose()?;
    let name = query.name.filter(|name| !name.is_empty());
    let client = services.database.client().await?;
    let items = visible_items(&client, &caller, ContentFilter { name, owner, ..ContentFilter::default() }).await?;
    Ok(Json(views(&client, &items, &base, include).await?))
}

/// The items that `caller` may see, with the caller's standing. Two queries, however many there are.
pub(crate) async fn visible_items(
    client: &Client,
    caller: &Principal,
    mut filter: ContentFilter,
) -> Result<Vec<(ContentRow, AppRole)>, ApiError> {
    let entries = permissions::of_user(client, caller.user).await?;
    filter.seen_by = seen_by(caller, &entries);
    let rows = content::list(client, &filter).await?.into_iter();
    let seen = rows.filter(|row| visible(row, caller, &entries));
    Ok(seen.map(|row| (standing(&row, caller, &entries), row)).map(|(role, row)| (row, role)).collect())
}

/// What keeps a query from reading what `caller` may not see; administrators see everything.
pub(crate) fn seen_by(caller: &Principal, entries: &Entries) -> Option<SeenBy> {
    let listed = || entries.keys().copied().collect();
    (caller.role < UserRole::Administrator).then(|| SeenBy { user: caller.user, listed: listed() })
}
