//! Listing, making and reading applications.

use std::collections::HashSet;

use axum::Json;
use axum::extract::{RawQuery, State};
use lectern_domain::access::AppRole;
use lectern_domain::ids::UserId;
use lectern_metadata::content::{ContentFilter, ContentRow};
use lectern_metadata::schedules;
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;

use super::view::Application;
use crate::Services;
use crate::access::Readable;
use crate::body::Object;
use crate::content::{Fields, dashboard_url, make, visible_items};
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::{Account, Base, Publisher};

/// Entries on a page when the client does not say.
const USUAL_PAGE: usize = 100;

/// Most entries on a page; pins ask for as many.
const MAX_PAGE: usize = 1000;

/// One page of applications. Clients go on until they have `total`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApplicationPage {
    applications: Vec<Application>,
    /// How many this page holds.
    count: usize,
    /// How many there are on all pages.
    total: usize,
    /// Where the next page begins; empty on the last.
    continuation: String,
}

/// Which applications, from a query in which `filter` may be given several times.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    name: Option<String>,
    owner: Option<UserId>,
    category: Option<String>,
    search: Option<String>,
    start: usize,
    count: usize,
}

impl Wanted {
    fn read(query: &str) -> Result<Self, ApiError> {
        let refused = |key: &str| ApiError::new(Code::BadParameter, format!("{key} has a value that is not allowed"));
        let number = |key: &str, value: &str| {
            let number = value.parse::<i64>().ok().and_then(|number| usize::try_from(number).ok());
            number.ok_or_else(|| refused(key))
        };
        let mut wanted = Self { count: USUAL_PAGE, ..Self::default() };
        let mut given = HashSet::new();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let once = matches!(&*key, "search" | "start" | "offset" | "cont" | "count");
            if once && !given.insert(key.clone()) {
                return Err(ApiError::new(Code::BadParameter, format!("{key:?} is given more than once")));
            }
            match &*key {
                "filter" => match value.split_once(':') {
                    Some(("name", name)) => wanted.name = Some(name.to_owned()),
                    Some(("account_id", id)) => wanted.owner = Some(id.parse().map_err(|_| refused("account_id"))?),
                    Some(("content_type", kind)) => wanted.category = Some(kind.to_owned()),
                    _ => return Err(ApiError::new(Code::BadParameter, format!("unknown filter {value:?}"))),
                },
                "search" if !value.is_empty() => wanted.search = Some(value.to_lowercase()),
                // Three clients, three names for the same thing; an empty one is none.
                "start" | "offset" | "cont" if !value.is_empty() => {
                    wanted.start = number(&key, &value)?;
                }
                "count" if !value.is_empty() => {
                    wanted.count = number("count", &value)?.clamp(1, MAX_PAGE);
                }
                _ => {}
            }
        }
        Ok(wanted)
    }

    fn takes(&self, row: &ContentRow) -> bool {
        let holds = |text: &str| self.search.as_ref().is_none_or(|search| text.to_lowercase().contains(search));
        self.owner.is_none_or(|owner| owner == row.owner.id)
            && self.category.as_ref().is_none_or(|category| *category == row.category)
            && (holds(&row.name) || row.title.as_deref().is_some_and(holds))
    }
}

/// Lists the applications that the caller may see.
#[utoipa::path(get, path = "/applications", tag = "legacy",
    params(("filter" = Option<Vec<String>>, Query, description = "`name:…`, `account_id:…` or `content_type:…`; may be repeated"),
        ("search" = Option<String>, Query, description = "part of the name or title"),
        ("count" = Option<i64>, Query, minimum = 0, description = "entries on a page"),
        ("start" = Option<i64>, Query, minimum = 0, description = "entries to pass over; also `offset` or `cont`")),
    responses((status = 200, body = ApplicationPage), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody)))]
pub(super) async fn list(
    State(services): State<Services>,
    Account(caller): Account,
    base: Base,
    RawQuery(query): RawQuery,
) -> Result<Json<ApplicationPage>, ApiError> {
    let wanted = Wanted::read(query.as_deref().unwrap_or_default())?;
    let filter = ContentFilter { name: wanted.name.clone(), ..ContentFilter::default() };
    let client = services.database.client().await?;
    let mut items = visible_items(&client, &caller, filter).await?;
    items.retain(|(row, _)| wanted.takes(row));
    let total = items.len();
    let page: Vec<_> = items.into_iter().skip(wanted.start).take(wanted.count).collect();
    let ids: Vec<_> = page.iter().map(|(row, _)| row.id).collect();
    let scheduled = schedules::scheduled(&client, &ids).await?;
    let view = |(row, role): &(ContentRow, AppRole)| Application::of(row, *role, &base, scheduled.contains(&row.id));
    let applications: Vec<_> = page.iter().map(view).collect();
    let next = wanted.start.saturating_add(applications.len());
    let continuation = if next < total { next.to_string() } else { String::new() };
    Ok(Json(ApplicationPage { count: applications.len(), applications, total, continuation }))
}

/// Makes a content item, as R clients before 1.0 ask for it.
#[utoipa::path(post, path = "/applications", tag = "legacy", request_body = Fields,
    responses((status = 200, body = Application), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub(super) async fn create(
    State(services): State<Services>,
    Publisher(caller): Publisher,
    base: Base,
    Object(fields): Object<Fields>,
) -> Result<Json<Application>, ApiError> {
    let row = make(&services, &caller, fields).await?;
    Ok(Json(Application::of(&row, AppRole::Owner, &base, false)))
}

/// One application, by number or GUID.
#[utoipa::path(get, path = "/applications/{app}", tag = "legacy", params(("app" = String, Path,)),
    responses((status = 200, body = Application), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(super) async fn get(at: Readable, base: Base) -> Result<Json<Application>, ApiError> {
    let scheduled = schedules::scheduled(&at.client().await?, &[at.row.id]).await?;
    Ok(Json(Application::of(&at.row, at.role, &base, !scheduled.is_empty())))
}

/// Where an application is looked after.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApplicationConfig {
    config_url: String,
}

/// Where an application is looked after.
#[utoipa::path(get, path = "/applications/{app}/config", tag = "legacy", params(("app" = String, Path,)),
    responses((status = 200, body = ApplicationConfig), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(super) async fn config(at: Readable, base: Base) -> Json<ApplicationConfig> {
    Json(ApplicationConfig { config_url: dashboard_url(&base, at.row.guid) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn queries_of_three_clients() {
        let read = |query: &str| Wanted::read(query).unwrap();
        let current = read("filter=account_id%3A7&filter=name%3Amy-app&count=100&start=0&cont=");
        assert_eq!((current.owner, current.name.as_deref()), (Some(UserId(7)), Some("my-app")));
        assert_eq!((current.start, current.count), (0, 100));
        assert_eq!(read("count=100&offset=200").start, 200);
        let pins = read("filter=content_type:pin&count=5000");
        assert_eq!((pins.category.as_deref(), pins.count), (Some("pin"), MAX_PAGE));
        assert_eq!(read("").count, USUAL_PAGE);
        for bad in [
            "filter=owner:1",
            "filter=x",
            "filter=account_id:x",
            "start=-1",
            "count=x",
            "count=1&count=2",
            "start=9223372036854775808",
        ] {
            assert_eq!(Wanted::read(bad).unwrap_err().code(), 25, "{bad}");
        }
    }
}
