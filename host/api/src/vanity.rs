//! `/v1/content/{guid}/vanity` and `/v1/vanities`: addresses that publishers choose.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use lectern_domain::snapshot::MAX_VANITY_SEGMENTS;
use lectern_metadata::DbError;
use lectern_metadata::content::ContentFilter;
use lectern_metadata::vanities::{self, VanityRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::access::{Changeable, Readable};
use crate::body::Object;
use crate::content::visible_items;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Account;
use crate::services::Part;
use crate::stamp::Stamp;

/// Longest path in bytes: it is shown in pages and typed by people.
const MAX_PATH_BYTES: usize = 255;

/// First segments that are the server's own; so is everything that begins with `__`.
const RESERVED: &[&str] = &["content", "connect", ".well-known", "favicon.ico", "robots.txt"];

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, set, remove))
}

/// The vanity path of an item.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VanityView {
    content_guid: String,
    /// With a leading and a trailing slash.
    path: String,
    created_time: Stamp,
}

impl From<VanityRow> for VanityView {
    fn from(row: VanityRow) -> Self {
        Self { content_guid: row.content_guid.to_string(), path: row.path, created_time: row.created_at.into() }
    }
}

/// The path wanted.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct VanityRequest {
    path: Option<String>,
    /// Takes the path from another item; for administrators and whoever may change that item.
    force: Option<bool>,
}

/// Lists the vanity paths of the content that the caller may see.
#[utoipa::path(get, path = "/v1/vanities", tag = "content",
    responses((status = 200, body = Vec<VanityView>), (status = 401, body = ErrorBody)))]
async fn list(State(services): State<Services>, Account(caller): Account) -> Result<Json<Vec<VanityView>>, ApiError> {
    let client = services.database.client().await?;
    let seen = visible_items(&client, &caller, ContentFilter::default()).await?;
    let seen: std::collections::HashSet<_> = seen.into_iter().map(|(row, _)| row.id).collect();
    let rows = vanities::list(&client).await?.into_iter().filter(|row| seen.contains(&row.content));
    Ok(Json(rows.map(VanityView::from).collect()))
}

/// The vanity path of an item; 404 when it has none.
#[utoipa::path(get, path = "/v1/content/{guid}/vanity", tag = "content", params(("guid" = String, Path,)),
    responses((status = 200, body = VanityView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn get(at: Readable) -> Result<Json<VanityView>, ApiError> {
    let row = vanities::get(&at.client().await?, at.row.id).await?;
    Ok(Json(row.ok_or_else(|| ApiError::new(Code::Missing, "this content has no vanity path"))?.into()))
}

/// Gives an item a vanity path, in place of the one it had.
#[utoipa::path(put, path = "/v1/content/{guid}/vanity", tag = "content", params(("guid" = String, Path,)),
    request_body = VanityRequest,
    responses((status = 200, body = VanityView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, description = "another item has it", body = ErrorBody)))]
async fn set(
    State(services): State<Services>,
    at: Changeable,
    Object(wanted): Object<VanityRequest>,
) -> Result<Json<VanityView>, ApiError> {
    let path = wanted.path.ok_or_else(|| ApiError::new(Code::MissingParameter, "a vanity path needs a path"))?;
    let path = normalise(&path)?;
    let force = wanted.force.unwrap_or(false);
    let mut client = at.client().await?;
    let holder = vanities::list(&client).await?.into_iter().find(|row| row.path == path && row.content != at.row.id);
    if let Some(holder) = holder.as_ref().filter(|_| force) {
        // Taking a path is a change of the item that loses it.
        let loser = lectern_metadata::content::get(&client, holder.content).await?;
        if let Some(loser) = loser {
            crate::access::permit(&client, &at.caller, &loser, lectern_domain::access::Action::Change).await?;
        }
    }
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = vanities::set(&tx, at.row.id, &path, force).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    services.backstage.refresh(Part::Content(at.row.guid)).await;
    if let Some(holder) = holder {
        services.backstage.refresh(Part::Content(holder.content_guid)).await;
    }
    Ok(Json(row.into()))
}

/// Takes an item's vanity path away.
#[utoipa::path(delete, path = "/v1/content/{guid}/vanity", tag = "content", params(("guid" = String, Path,)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn remove(State(services): State<Services>, at: Changeable) -> Result<StatusCode, ApiError> {
    if !vanities::delete(&at.client().await?, at.row.id).await? {
        return Err(ApiError::new(Code::CannotRemove, "this content has no vanity path"));
    }
    services.backstage.refresh(Part::Content(at.row.guid)).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Brings a path to the form `/one/two/`, or says why it cannot be one.
fn normalise(path: &str) -> Result<String, ApiError> {
    let refused =
        |reason: &str| ApiError::new(Code::VanityRefused, format!("this vanity path is not allowed: {reason}"));
    let inner = path.trim().trim_start_matches('/').trim_end_matches('/');
    if inner.is_empty() {
        return Err(refused("it names nothing"));
    }
    let segments: Vec<&str> = inner.split('/').collect();
    if segments.len() > MAX_VANITY_SEGMENTS {
        return Err(refused("it has too many parts"));
    }
    let plain = |segment: &&str| segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
    if !segments.iter().all(plain) || segments.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
        return Err(refused("its parts may hold only letters, digits, `-`, `_`, `.` and `~`"));
    }
    let first = segments.first().copied().unwrap_or_default();
    if first.starts_with("__") || RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(first)) {
        return Err(refused("it begins with a word of the server's own"));
    }
    if inner.len() + 2 > MAX_PATH_BYTES {
        return Err(refused("it is too long"));
    }
    Ok(format!("/{inner}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_get_one_form() {
        for (given, expected) in [("example", "/example/"), ("/a/b", "/a/b/"), ("/a.b/c-d_~/", "/a.b/c-d_~/")] {
            assert_eq!(normalise(given).ok().as_deref(), Some(expected), "{given}");
        }
    }

    #[test]
    fn paths_that_would_hide_something_are_refused() {
        let long = "a".repeat(300);
        let deep = "a/".repeat(9);
        let bad = [
            "",
            "/",
            "//",
            "a//b",
            "a/../b",
            "./a",
            "a b",
            "a?b",
            "a%2fb",
            "ä",
            "__api__",
            "__x/y",
            "content",
            "Content/x",
            "/connect/",
            ".well-known",
            &long,
            &deep,
        ];
        for path in bad {
            assert_eq!(normalise(path).map_err(|refusal| refusal.code()), Err(52), "{path}");
        }
    }
}
