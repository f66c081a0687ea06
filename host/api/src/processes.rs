//! `/metrics/procs`: the processes of content on this host as they are now, for administrators.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::error::{ApiError, ErrorBody};
use crate::guard::{Administrator, Base};
use crate::services::ContentProcess;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(processes))
}

/// A process of content, with all that it started.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessView {
    app_id: i64,
    app_guid: String,
    app_name: String,
    app_url: String,
    /// The account it runs as.
    app_run_as: String,
    /// What it does, `run_fastapi_app` for example.
    r#type: &'static str,
    /// Processors in use of late: 1.5 is one and a half.
    cpu_current: f64,
    /// Seconds of processor time since it began.
    cpu_total: u64,
    /// Bytes of memory.
    ram: u64,
    /// The job's key, which the protocol has no field for.
    job_key: String,
}

/// The processes of content on the host that answers, by their process number.
#[utoipa::path(get, path = "/metrics/procs", tag = "server",
    responses((status = 200, body = BTreeMap<String, ProcessView>), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)))]
async fn processes(
    State(services): State<Services>,
    _: Administrator,
    base: Base,
) -> Result<Json<BTreeMap<String, ProcessView>>, ApiError> {
    let view = |process: ContentProcess| {
        let run_as = process.run_as.unwrap_or_else(|| services.settings.run_as.clone());
        let shown = ProcessView {
            app_id: process.content.0,
            app_url: base.url(&format!("/content/{}/", process.guid)),
            app_guid: process.guid.to_string(),
            app_name: process.name,
            app_run_as: run_as,
            r#type: process.tag,
            // Hundredths: the measurement has no more in it.
            cpu_current: (process.cores * 100.0).round() / 100.0,
            cpu_total: process.cpu.as_secs(),
            ram: process.memory_bytes,
            job_key: process.job.to_string(),
        };
        (process.pid.to_string(), shown)
    };
    Ok(Json(services.backstage.processes().await.into_iter().map(view).collect()))
}
