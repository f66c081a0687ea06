//! `GET /v1/experimental/schedules`: which documents are rendered in a span of time.

use axum::Json;
use axum::extract::State;
use lectern_domain::user::UserRole;
use lectern_metadata::schedules::{self, NamedSchedule};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::schedules::ScheduleView;
use crate::Services;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Publisher;
use crate::hits::moment;
use crate::query::Params;
use crate::stamp::Stamp;

/// The span when the client does not say where it ends: what people plan.
const USUAL_SPAN: Duration = Duration::days(7);

/// The longest span: a little more than a year, so that yearly schedules are in it.
const LONGEST_SPAN: Duration = Duration::days(400);

/// Most schedules looked at; a server with more has them listed item by item.
const MOST: i64 = 10_000;

/// Most runs listed of one schedule: a week of ten minutes each, rounded down.
const MOST_RUNS: usize = 1000;

/// Most runs listed in one answer, some 3 MB. The schedules after them say when they run next, and no more.
const MOST_RUNS_IN_ALL: usize = 100_000;

pub(super) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Which span.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct SpanQuery {
    /// RFC 3339, or a date for its beginning in UTC; absent: now.
    start: Option<String>,
    /// The same; absent: seven days after the start. At most 400 days after it.
    end: Option<String>,
    /// `true`: with names, and with each run in the span.
    detailed: Option<String>,
}

impl SpanQuery {
    /// Beginning, end, and whether details are wanted. What is empty counts as absent.
    fn read(&self, now: OffsetDateTime) -> Result<(OffsetDateTime, OffsetDateTime, bool), ApiError> {
        let bad = |text: &str| ApiError::new(Code::BadParameter, text);
        let at = |text: &Option<String>, name: &str| {
            let given = text.as_deref().filter(|text| !text.is_empty());
            given.map(|text| moment(text, name, time::Time::MIDNIGHT)).transpose()
        };
        let start = at(&self.start, "start")?.unwrap_or(now);
        let end = match at(&self.end, "end")? {
            Some(end) => end,
            None => start.checked_add(USUAL_SPAN).ok_or_else(|| bad("start is too late"))?,
        };
        if end < start || end - start > LONGEST_SPAN {
            return Err(bad("end must be after start, and at most 400 days after it"));
        }
        let detailed = match self.detailed.as_deref() {
            Some("true" | "1") => true,
            None | Some("" | "false" | "0") => false,
            Some(_) => return Err(bad("detailed must be true or false")),
        };
        Ok((start, end, detailed))
    }
}

/// A schedule that runs in the span.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Upcoming {
    #[serde(flatten)]
    schedule: ScheduleView,
    app_guid: String,
    variant_key: String,
    /// Only in detailed answers, as all that follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

/// More about a schedule and its item.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Details {
    app_name: String,
    app_title: Option<String>,
    owner_username: String,
    /// The runs in the span, at most 1000.
    runs: Vec<Stamp>,
}

/// The schedules that run in the span.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UpcomingList {
    schedules: Vec<Upcoming>,
}

/// Lists the schedules that run in a span of time: administrators see all, publishers those of content that they may change.
#[utoipa::path(get, path = "/v1/experimental/schedules", tag = "variants", params(SpanQuery),
    responses((status = 200, body = UpcomingList), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)))]
async fn list(
    State(services): State<Services>,
    Publisher(caller): Publisher,
    Params(query): Params<SpanQuery>,
) -> Result<Json<UpcomingList>, ApiError> {
    let now = OffsetDateTime::now_utc();
    let (start, end, detailed) = query.read(now)?;
    let editor = (caller.role < UserRole::Administrator).then_some(caller.user);
    let rows = schedules::list(&services.database.client().await?, editor, MOST).await?;
    let mut left = MOST_RUNS_IN_ALL;
    let mut found = Vec::new();
    for row in rows {
        let wanted = if detailed { MOST_RUNS.min(left).max(1) } else { 1 };
        let runs = row.row.schedule.between(start, end, wanted);
        if !runs.is_empty() {
            left = left.saturating_sub(runs.len());
            found.push(upcoming(row, now, detailed.then_some(runs)));
        }
    }
    Ok(Json(UpcomingList { schedules: found }))
}

fn upcoming(row: NamedSchedule, now: OffsetDateTime, runs: Option<Vec<OffsetDateTime>>) -> Upcoming {
    Upcoming {
        schedule: ScheduleView::of(&row.row, now),
        app_guid: row.guid.to_string(),
        variant_key: row.variant_key,
        details: runs.map(|runs| Details {
            app_name: row.name,
            app_title: row.title,
            owner_username: row.owner_username,
            runs: runs.into_iter().map(Stamp).collect(),
        }),
    }
}
