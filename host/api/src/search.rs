//! `GET /v1/search/content`.

use axum::Json;
use axum::extract::State;
use lectern_domain::search::Search;
use lectern_metadata::content::{self, Slice, SortKey};
use lectern_metadata::permissions;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::access::{standing, visible};
use crate::content::{ContentView, IncludeQuery, seen_by, views};
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::{Account, Base};
use crate::page::{Page, PageQuery, Place};
use crate::query::Params;

/// Most results on a page, as clients know it.
const MAX_PAGE: i64 = 500;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(search))
}

/// What is sought.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchQuery {
    /// Words, and `owner:`, `tag:`, `type:`, `name:`, `title:`, `guid:`, `access:`, `is:`; `-` before a word leaves out.
    q: Option<String>,
    /// `name` (also when absent), `title`, `owner`, `created_time` or `last_deployed_time`.
    sort: Option<String>,
    /// `asc` (also when absent) or `desc`.
    order: Option<String>,
}

impl SearchQuery {
    fn sort(&self) -> Result<SortKey, ApiError> {
        let text = "sort must be name, title, owner, created_time or last_deployed_time";
        match self.sort.as_deref() {
            None | Some("" | "name") => Ok(SortKey::Name),
            Some("title") => Ok(SortKey::Title),
            Some("owner") => Ok(SortKey::Owner),
            Some("created_time" | "created") => Ok(SortKey::Created),
            Some("last_deployed_time" | "last_deployed") => Ok(SortKey::Deployed),
            Some(_) => Err(ApiError::new(Code::BadParameter, text)),
        }
    }

    fn descending(&self) -> Result<bool, ApiError> {
        match self.order.as_deref() {
            None | Some("" | "asc") => Ok(false),
            Some("desc") => Ok(true),
            Some(_) => Err(ApiError::new(Code::BadParameter, "order must be asc or desc")),
        }
    }
}

/// Finds content among what the caller may see; administrators search all. At most 500 results on a page.
#[utoipa::path(get, path = "/v1/search/content", tag = "content", params(SearchQuery, PageQuery, IncludeQuery),
    responses((status = 200, body = Page<ContentView>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody)))]
async fn search(
    State(services): State<Services>,
    Account(caller): Account,
    base: Base,
    Params(query): Params<SearchQuery>,
    Params(page): Params<PageQuery>,
    Params(include): Params<IncludeQuery>,
) -> Result<Json<Page<ContentView>>, ApiError> {
    let include = include.read()?;
    let Place { number: current_page, offset, size: limit } = page.place(MAX_PAGE);
    let slice = Slice { by: query.sort()?, descending: query.descending()?, offset, limit };
    let words = Search::parse(query.q.as_deref().unwrap_or_default(), &caller.username)
        .map_err(|bad| ApiError::new(Code::BadParameter, bad.to_string()))?;
    let client = services.database.client().await?;
    let entries = permissions::of_user(&client, caller.user).await?;
    let found = content::search(&client, &words, seen_by(&caller, &entries).as_ref(), slice).await?;
    let total = found.total;
    // The query leaves out what the rules refuse; that they agree is not taken on trust.
    let items: Vec<_> = found
        .rows
        .into_iter()
        .filter(|row| visible(row, &caller, &entries))
        .map(|row| (standing(&row, &caller, &entries), row))
        .map(|(role, row)| (row, role))
        .collect();
    Ok(Json(Page { results: views(&client, &items, &base, include).await?, current_page, total }))
}
