//! `/schedules…` and `/variants/{id}/schedules`: when a document is rendered again.
//!
//! The rule is two fields: a word in `type`, and in `schedule` a JSON object as a string. What is wrong with them is said by
//! `lectern_domain::schedule`, which also says when the next run is.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use lectern_domain::audit::Action;
use lectern_domain::schedule::{Rule, Schedule, Zone};
use lectern_domain::{ContentId, VariantId};
use lectern_metadata::DbError;
use lectern_metadata::content::ContentRow;
use lectern_metadata::schedules::{self, ScheduleRow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::at::{AtSchedule, ChangeableVariant, ReadableVariant};
use crate::Services;
use crate::audit::{item, record};
use crate::body::Object;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Account;
use crate::stamp::Stamp;

pub(super) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(of_variant)).routes(routes!(create)).routes(routes!(get, replace, remove))
}

/// When a variant is rendered again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScheduleView {
    id: i64,
    app_id: i64,
    variant_id: i64,
    /// `minute`, `hour`, `day`, `weekday`, `week`, `dayofweek`, `semimonth`, `dayofmonth`, `dayweekofmonth` or `year`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// What the type needs, as a JSON object in a string.
    #[schema(example = "{\"N\":1}")]
    schedule: String,
    start_time: Stamp,
    /// Null: never again.
    next_run: Option<Stamp>,
    #[schema(example = "Europe/Berlin")]
    timezone: String,
    /// Whether visitors see what was rendered.
    activate: bool,
    /// Whether it is sent by mail.
    email: bool,
}

impl ScheduleView {
    /// The object as it is `now`.
    pub(super) fn of(row: &ScheduleRow, now: OffsetDateTime) -> Self {
        let schedule = &row.schedule;
        Self {
            id: row.id.0,
            app_id: row.content.0,
            variant_id: row.variant.0,
            kind: schedule.rule().kind(),
            schedule: schedule.rule().parameters(),
            start_time: schedule.start().into(),
            next_run: schedule.next_after(now).map(Stamp),
            timezone: schedule.zone().name().to_owned(),
            activate: row.activate,
            email: row.email,
        }
    }
}

/// A schedule to set. Whoever changes one sends all of it; what is absent is as for a new one.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct ScheduleFields {
    /// Needed for a new schedule, and must be right where it is given.
    app_id: Option<i64>,
    /// Needed for a new schedule, and must be right where it is given.
    variant_id: Option<i64>,
    #[serde(rename = "type")]
    kind: Option<String>,
    /// A JSON object, in a string as clients send it or as it is.
    #[schema(value_type = Option<String>)]
    schedule: Value,
    /// RFC 3339; absent: now.
    start_time: Option<String>,
    /// Absent: UTC.
    timezone: Option<String>,
    activate: bool,
    email: bool,
}

impl ScheduleFields {
    fn schedule(&self, now: OffsetDateTime) -> Result<Schedule, ApiError> {
        let needed = |what: &str| ApiError::new(Code::MissingParameter, format!("a schedule needs {what}"));
        let kind = self.kind.as_deref().ok_or_else(|| needed("type"))?;
        let rule = match &self.schedule {
            Value::Null => return Err(needed("schedule, a JSON object in a string")),
            Value::String(text) => Rule::parse(kind, text),
            other => Rule::parse(kind, &other.to_string()),
        }?;
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let start = given(&self.start_time).map(|text| {
            let read = OffsetDateTime::parse(&text, &Rfc3339);
            read.map_err(|_| ApiError::new(Code::BadField, "start_time must be a time as 2030-01-31T12:00:00Z"))
        });
        let zone = Zone::parse(given(&self.timezone).as_deref().unwrap_or("UTC"))?;
        Ok(Schedule::new(rule, start.transpose()?.unwrap_or(now), zone)?)
    }

    /// Refuses to move a schedule to something else, or to make it for something that does not belong together.
    fn check_place(&self, content: ContentId, variant: VariantId) -> Result<(), ApiError> {
        let right = self.app_id.is_none_or(|id| id == content.0) && self.variant_id.is_none_or(|id| id == variant.0);
        let text = "app_id and variant_id name another item or variant than the schedule's";
        if right { Ok(()) } else { Err(ApiError::new(Code::BadField, text)) }
    }
}

/// The schedule of a variant, as a list of one; empty when it has none.
#[utoipa::path(get, path = "/variants/{id}/schedules", tag = "variants", params(("id" = i64, Path,)),
    responses((status = 200, body = Vec<ScheduleView>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn of_variant(
    State(services): State<Services>,
    at: ReadableVariant,
) -> Result<Json<Vec<ScheduleView>>, ApiError> {
    let row = schedules::of_variant(&services.database.client().await?, at.variant.id).await?;
    let now = OffsetDateTime::now_utc();
    Ok(Json(row.iter().map(|row| ScheduleView::of(row, now)).collect()))
}

/// Sets the schedule of a variant that has none. Documents only: nothing else is rendered.
#[utoipa::path(post, path = "/schedules", tag = "variants", request_body = ScheduleFields,
    responses((status = 200, body = ScheduleView), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "the variant has a schedule", body = ErrorBody)))]
async fn create(
    State(services): State<Services>,
    Account(caller): Account,
    Object(fields): Object<ScheduleFields>,
) -> Result<Json<ScheduleView>, ApiError> {
    let needed = |what: &str| ApiError::new(Code::MissingParameter, format!("a schedule needs {what}"));
    let variant = fields.variant_id.ok_or_else(|| needed("variant_id"))?;
    fields.app_id.ok_or_else(|| needed("app_id"))?;
    let mut client = services.database.client().await?;
    let at = ChangeableVariant::find(&client, caller, variant.to_string().parse()?).await?;
    fields.check_place(at.row.id, at.variant.id)?;
    check_kind(&at.row)?;
    let now = OffsetDateTime::now_utc();
    let schedule = fields.schedule(now)?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = schedules::create(&tx, at.variant.id, &schedule, fields.activate, fields.email).await?;
    record(&tx, &at.caller, &set(&at.row, &schedule)).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Json(ScheduleView::of(&row, now)))
}

/// One schedule.
#[utoipa::path(get, path = "/schedules/{id}", tag = "variants", params(("id" = i64, Path,)),
    responses((status = 200, body = ScheduleView), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn get(at: AtSchedule<false>) -> Json<ScheduleView> {
    Json(ScheduleView::of(&at.schedule, OffsetDateTime::now_utc()))
}

/// Puts another schedule in the place of one.
#[utoipa::path(post, path = "/schedules/{id}", tag = "variants", params(("id" = i64, Path,)),
    request_body = ScheduleFields,
    responses((status = 200, body = ScheduleView), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn replace(
    State(services): State<Services>,
    at: AtSchedule<true>,
    Object(fields): Object<ScheduleFields>,
) -> Result<Json<ScheduleView>, ApiError> {
    fields.check_place(at.row.id, at.schedule.variant)?;
    let now = OffsetDateTime::now_utc();
    let schedule = fields.schedule(now)?;
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = schedules::replace(&tx, at.schedule.id, &schedule, fields.activate, fields.email).await?;
    record(&tx, &at.caller, &set(&at.row, &schedule)).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Json(ScheduleView::of(&row, now)))
}

/// Removes a schedule.
#[utoipa::path(delete, path = "/schedules/{id}", tag = "variants", params(("id" = i64, Path,)),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn remove(State(services): State<Services>, at: AtSchedule<true>) -> Result<StatusCode, ApiError> {
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    if schedules::delete(&tx, at.schedule.id).await? {
        record(&tx, &at.caller, &Action::ScheduleRemoved { item: item(&at.row) }).await?;
    }
    tx.commit().await.map_err(DbError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

fn set<'a>(row: &'a ContentRow, schedule: &Schedule) -> Action<'a> {
    Action::ScheduleSet { item: item(row), kind: schedule.rule().kind() }
}

fn check_kind(row: &ContentRow) -> Result<(), ApiError> {
    if row.app_mode.is_rendered() {
        return Ok(());
    }
    let text =
        format!("only documents are rendered by a schedule; this content is of the kind {}", row.app_mode.as_str());
    Err(ApiError::new(Code::BadParameter, text))
}
