//! `GET /v1/timezones`.

use axum::Json;
use axum::extract::State;
use lectern_metadata::timezones;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::error::{ApiError, ErrorBody};
use crate::guard::Account;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(legacy))
}

/// A time zone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TimezoneView {
    #[schema(example = "Europe/Berlin")]
    timezone: String,
    /// What is added to UTC at this time of the year.
    #[schema(example = "+02:00")]
    offset: String,
}

fn offset(seconds: i32) -> String {
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs() / 60);
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

async fn read(services: &Services) -> Result<Json<Vec<TimezoneView>>, ApiError> {
    let zones = timezones::list(&services.database.client().await?).await?.into_iter();
    Ok(Json(zones.map(|zone| TimezoneView { timezone: zone.name, offset: offset(zone.offset_seconds) }).collect()))
}

/// Lists the time zones, by name.
#[utoipa::path(get, path = "/v1/timezones", tag = "server",
    responses((status = 200, body = Vec<TimezoneView>), (status = 401, body = ErrorBody)))]
async fn list(State(services): State<Services>, _: Account) -> Result<Json<Vec<TimezoneView>>, ApiError> {
    read(&services).await
}

/// Lists the time zones, for older clients.
#[utoipa::path(get, path = "/timezones", tag = "legacy",
    responses((status = 200, body = Vec<TimezoneView>), (status = 401, body = ErrorBody)))]
async fn legacy(State(services): State<Services>, _: Account) -> Result<Json<Vec<TimezoneView>>, ApiError> {
    read(&services).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_print_hours_and_minutes() {
        for (seconds, expected) in [
            (0, "+00:00"),
            (7200, "+02:00"),
            (-12_600, "-03:30"),
            (20_700, "+05:45"),
            (-36_000, "-10:00"),
            (-1800, "-00:30"),
        ] {
            assert_eq!(offset(seconds), expected);
        }
    }
}
