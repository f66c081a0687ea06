//! `/v1/instrumentation/…`: who visited which content, and used which Shiny application. Administrators see all, publishers what they
//! may change.

use axum::Json;
use axum::extract::State;
use lectern_domain::access::Principal;
use lectern_domain::ids::ContentGuid;
use lectern_domain::user::UserRole;
use lectern_metadata::hits::{self, HitFilter, HitRow};
use lectern_metadata::shiny_usage::{self, UsageRow};
use serde::{Deserialize, Serialize};
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::cursor::{self, CursorPage, CursorQuery};
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::{Base, Publisher};
use crate::query::Params;
use crate::stamp::Stamp;

const VISITS: &str = "/__api__/v1/instrumentation/content/visits";
const USAGE: &str = "/__api__/v1/instrumentation/shiny/usage";

/// Most hits in one answer, some 30 MB; who wants more goes on from the last one's time.
const MOST: i64 = 100_000;

/// Most items that one question names: as many as fit into an address.
const MOST_ITEMS: usize = 500;

/// The form of the answers that clients ask for by `min_data_version`.
const DATA_VERSION: i64 = 3;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(visits)).routes(routes!(usage))
}

/// Which visits.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct HitQuery {
    /// Only of these items: GUIDs with `|` between them.
    content_guid: Option<String>,
    /// Not earlier: RFC 3339, or a date for its beginning in UTC.
    from: Option<String>,
    /// Not later: RFC 3339, or a date for its end in UTC.
    to: Option<String>,
}

impl HitQuery {
    /// Reads the parameters. What is empty counts as absent.
    fn filter(&self, caller: &Principal) -> Result<HitFilter, ApiError> {
        let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        let mut content = Vec::new();
        for guid in given(&self.content_guid).iter().flat_map(|guids| guids.split('|')) {
            let read = guid.parse::<ContentGuid>();
            content.push(read.map_err(|_| bad(format!("content_guid: {guid:?} is not a GUID")))?);
        }
        if content.len() > MOST_ITEMS {
            return Err(bad(format!("content_guid names at most {MOST_ITEMS} items")));
        }
        let last = Time::from_hms_micro(23, 59, 59, 999_999).unwrap_or(Time::MIDNIGHT);
        Ok(HitFilter {
            content,
            for_editor: (caller.role < UserRole::Administrator).then_some(caller.user),
            from: given(&self.from).map(|text| moment(&text, "from", Time::MIDNIGHT)).transpose()?,
            to: given(&self.to).map(|text| moment(&text, "to", last)).transpose()?,
        })
    }
}

impl HitQuery {
    /// The parameters for the addresses of other pages.
    fn encoded(&self) -> String {
        let mut filters = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("content_guid", &self.content_guid), ("from", &self.from), ("to", &self.to)] {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                filters.append_pair(name, value);
            }
        }
        let filters = filters.finish();
        if filters.is_empty() { filters } else { format!("&{filters}") }
    }
}

fn bad(text: String) -> ApiError {
    ApiError::new(Code::BadParameter, text)
}

/// A date and nothing after it; the parser of ISO 8601 takes the date of a time that has no offset.
const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// Reads a time; a date is its time `of_day` in UTC.
pub(crate) fn moment(text: &str, name: &str, of_day: Time) -> Result<OffsetDateTime, ApiError> {
    let whole = OffsetDateTime::parse(text, &Rfc3339);
    let read = whole.or_else(|_| Date::parse(text, DATE).map(|date| date.with_time(of_day).assume_utc()));
    // The database's own calendar has no year before this.
    let read = read.ok().filter(|at| at.year() >= 0);
    read.ok_or_else(|| bad(format!("{name} must be a time as 2030-01-31T12:00:00Z, or a date, not {text:?}")))
}

/// One visit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HitView {
    id: i64,
    content_guid: String,
    /// Null: nobody in particular.
    user_guid: Option<String>,
    timestamp: Stamp,
    data: HitData,
}

/// What is known of a visit besides.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HitData {
    /// Inside the content, without the query.
    path: String,
    /// Null: the client did not say.
    user_agent: Option<String>,
}

impl From<HitRow> for HitView {
    fn from(row: HitRow) -> Self {
        Self {
            id: row.id,
            content_guid: row.content.to_string(),
            user_guid: row.user.map(|guid| guid.to_string()),
            timestamp: row.at.into(),
            data: HitData { path: row.path, user_agent: Some(row.user_agent).filter(|text| !text.is_empty()) },
        }
    }
}

/// Lists visits in the order they were written down; for publishers those of content that they may change. At most 100,000:
/// ask again from the last one's time for more.
#[utoipa::path(get, path = "/v1/instrumentation/content/hits", tag = "content", params(HitQuery),
    responses((status = 200, body = Vec<HitView>), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)))]
async fn list(
    State(services): State<Services>,
    Publisher(caller): Publisher,
    Params(query): Params<HitQuery>,
) -> Result<Json<Vec<HitView>>, ApiError> {
    let filter = query.filter(&caller)?;
    let found = hits::list(&services.database.client().await?, &filter, None, true, MOST).await?;
    Ok(Json(found.into_iter().map(HitView::from).collect()))
}

/// A visit, as older clients read it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VisitView {
    content_guid: String,
    user_guid: Option<String>,
    /// Null: documents have one variant here.
    variant_key: Option<String>,
    rendering_id: Option<String>,
    bundle_id: Option<String>,
    time: Stamp,
    data_version: i64,
    path: String,
}

impl From<HitRow> for VisitView {
    fn from(row: HitRow) -> Self {
        Self {
            content_guid: row.content.to_string(),
            user_guid: row.user.map(|guid| guid.to_string()),
            variant_key: None,
            rendering_id: None,
            bundle_id: Some(row.bundle.to_string()),
            time: row.at.into(),
            data_version: DATA_VERSION,
            path: row.path,
        }
    }
}

/// The form that a client can read.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct VersionQuery {
    /// Only in this form or a later one; this is 3.
    #[param(value_type = Option<i64>)]
    min_data_version: Option<String>,
}

impl VersionQuery {
    fn least(&self) -> Result<i64, ApiError> {
        match self.min_data_version.as_deref().filter(|text| !text.is_empty()) {
            None => Ok(0),
            Some(text) => text.parse().map_err(|_| bad(format!("min_data_version must be a number, not {text:?}"))),
        }
    }
}

/// Lists visits by pages, in the order they were written down; for publishers those of content that they may change.
#[utoipa::path(get, path = "/v1/instrumentation/content/visits", tag = "content",
    params(HitQuery, VersionQuery, CursorQuery),
    responses((status = 200, body = CursorPage<VisitView>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
async fn visits(
    State(services): State<Services>,
    Publisher(caller): Publisher,
    base: Base,
    Params(query): Params<HitQuery>,
    Params(version): Params<VersionQuery>,
    Params(paged): Params<CursorQuery>,
) -> Result<Json<CursorPage<VisitView>>, ApiError> {
    let (filter, slice) = (query.filter(&caller)?, paged.slice()?);
    let found = if version.least()? > DATA_VERSION {
        Vec::new()
    } else {
        let client = services.database.client().await?;
        hits::list(&client, &filter, slice.from, slice.upwards(), slice.limit + 1).await?
    };
    let filters = query.encoded();
    Ok(Json(cursor::page(found, slice, |row| row.id, VisitView::from, (&base, VISITS, &filters))))
}

/// A use of a Shiny application.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageView {
    content_guid: String,
    /// Null: nobody in particular.
    user_guid: Option<String>,
    started: Stamp,
    /// Null: it goes on, or its server was killed.
    ended: Option<Stamp>,
    data_version: i64,
}

impl From<UsageRow> for UsageView {
    fn from(row: UsageRow) -> Self {
        Self {
            content_guid: row.content.to_string(),
            user_guid: row.user.map(|guid| guid.to_string()),
            started: row.started_at.into(),
            ended: row.ended_at.map(Stamp),
            data_version: DATA_VERSION,
        }
    }
}

/// Lists uses of Shiny applications by pages, one for each WebSocket; for publishers those of content that they may change.
#[utoipa::path(get, path = "/v1/instrumentation/shiny/usage", tag = "content",
    params(HitQuery, VersionQuery, CursorQuery),
    responses((status = 200, body = CursorPage<UsageView>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
async fn usage(
    State(services): State<Services>,
    Publisher(caller): Publisher,
    base: Base,
    Params(query): Params<HitQuery>,
    Params(version): Params<VersionQuery>,
    Params(paged): Params<CursorQuery>,
) -> Result<Json<CursorPage<UsageView>>, ApiError> {
    let (filter, slice) = (query.filter(&caller)?, paged.slice()?);
    let found = if version.least()? > DATA_VERSION {
        Vec::new()
    } else {
        let client = services.database.client().await?;
        shiny_usage::list(&client, &filter, slice.from, slice.upwards(), slice.limit + 1).await?
    };
    let filters = query.encoded();
    Ok(Json(cursor::page(found, slice, |row| row.id, UsageView::from, (&base, USAGE, &filters))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let read =
            |text| moment(text, "from", Time::MIDNIGHT).map(|at| at.to_string()).map_err(|refusal| refusal.code());
        assert_eq!(read("2024-07-16T21:28:05+02:00"), Ok("2024-07-16 21:28:05.0 +02:00:00".to_owned()));
        assert_eq!(read("2024-07-16"), Ok("2024-07-16 0:00:00.0 +00:00:00".to_owned()));
        for bad in ["yesterday", "2024-13-01", "2024-07-16T21:28:05", "1", "-0001-01-01"] {
            assert_eq!(read(bad), Err(25), "{bad}");
        }
    }
}
