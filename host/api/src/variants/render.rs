//! Asking for a document to be rendered again, and for what was rendered to be sent by mail.
//!
//! This server serves what was published and renders nothing itself yet. Who asks gets a task all the same, because clients follow
//! one; it has ended, and says what to do instead.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use lectern_domain::TaskId;
use lectern_domain::access::Principal;
use lectern_domain::app_mode::AppMode;
use lectern_domain::audit::Action;
use lectern_metadata::content::ContentRow;
use lectern_metadata::short_tasks::{self, ShortTask};
use lectern_metadata::variants::VariantRow;
use lectern_metadata::{Client, DbError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::at::ChangeableVariant;
use super::default_of;
use crate::Services;
use crate::access::Changeable;
use crate::audit::{item, record};
use crate::body::Object;
use crate::deploy::TaskStarted;
use crate::error::{ApiError, Code, ErrorBody};
use crate::query::Params;

/// What the task of every document says.
const NOT_RENDERED: &str =
    "this server does not render documents: render it where you publish from, and publish the pages";

pub(super) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(variant)).routes(routes!(content)).routes(routes!(sender))
}

/// A task in the words of the unversioned protocol, with the account that asked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RenderTask {
    id: String,
    user_id: i64,
    /// Lines so far.
    status: Vec<String>,
    last_status: i64,
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    finished: bool,
    /// 0: it succeeded.
    code: i32,
    error: String,
}

/// An empty object.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct Nothing {}

/// Asks for a variant to be rendered again. Documents only: anything else is served without being rendered.
#[utoipa::path(post, path = "/variants/{id}/render", tag = "variants", params(("id" = i64, Path,)),
    request_body = Nothing,
    responses((status = 200, body = RenderTask), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn variant(
    State(services): State<Services>,
    at: ChangeableVariant,
    Object(Nothing {}): Object<Nothing>,
) -> Result<Json<RenderTask>, ApiError> {
    let mut client = services.database.client().await?;
    let task = render(&mut client, &at.caller, &at.row, &at.variant).await?;
    let last_status = i64::try_from(task.output.len()).map_err(ApiError::internal)?;
    Ok(Json(RenderTask {
        id: task.id.to_string(),
        user_id: at.caller.user.0,
        status: task.output,
        last_status,
        result: None,
        finished: true,
        code: task.code,
        error: task.error,
    }))
}

/// Asks for the default variant of an item to be rendered again.
#[utoipa::path(post, path = "/v1/content/{guid}/render", tag = "variants", params(("guid" = String, Path,)),
    request_body = Nothing,
    responses((status = 202, body = TaskStarted), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn content(
    at: Changeable,
    Object(Nothing {}): Object<Nothing>,
) -> Result<(StatusCode, Json<TaskStarted>), ApiError> {
    let mut client = at.client().await?;
    let variant = default_of(&client, at.row.id).await?;
    let task = render(&mut client, &at.caller, &at.row, &variant).await?;
    Ok((StatusCode::ACCEPTED, Json(TaskStarted::of(&task.id))))
}

/// The task of a document; a refusal of anything else.
async fn render(
    client: &mut Client,
    caller: &Principal,
    row: &ContentRow,
    variant: &VariantRow,
) -> Result<ShortTask, ApiError> {
    if let Some(refusal) = refusal(row.app_mode, row.active_bundle.is_some()) {
        return Err(refusal);
    }
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(ApiError::no_random)?;
    let task = ShortTask {
        id: TaskId::from_random(random),
        requested_by: Some(caller.user),
        output: vec![format!("Not rendered: {NOT_RENDERED}.")],
        code: 1,
        error: NOT_RENDERED.to_owned(),
        result: None,
    };
    let tx = client.transaction().await.map_err(DbError::from)?;
    short_tasks::keep(&tx, &task).await?;
    record(&tx, caller, &Action::RenderAsked { item: item(row), variant: &variant.name }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(task)
}

/// Why content of this kind is not rendered.
fn refusal(mode: AppMode, deployed: bool) -> Option<ApiError> {
    if mode.is_rendered() && deployed {
        return None;
    }
    if mode == AppMode::Unknown || !deployed {
        return Some(ApiError::new(Code::NoBundle, "this content has no bundle that could be rendered: deploy one"));
    }
    let instead = if mode.has_worker() {
        "it runs anew for its visitors when one of its environment variables changes"
    } else {
        "its files are served as they were published; deploy other ones to change them"
    };
    let text = format!("content of the kind {} is not rendered: {instead}", mode.as_str());
    Some(ApiError::new(Code::BadParameter, text))
}

/// Whom to send it to.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct SenderQuery {
    /// `me`, `collaborators` or `collaborators_viewers`.
    email: Option<String>,
    /// What to send; absent: what visitors see.
    rendering_id: Option<String>,
}

/// Asks for what was rendered to be sent by mail. This server sends none, and says so.
#[utoipa::path(post, path = "/variants/{id}/sender", tag = "variants", params(("id" = i64, Path,), SenderQuery),
    responses((status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, description = "this server sends no mail", body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn sender(at: ChangeableVariant, Params(query): Params<SenderQuery>) -> ApiError {
    let to = query.email.as_deref().unwrap_or("me");
    if !matches!(to, "me" | "collaborators" | "collaborators_viewers") {
        return ApiError::new(Code::BadParameter, "email must be me, collaborators or collaborators_viewers");
    }
    let rendering = query.rendering_id.filter(|id| !id.is_empty());
    if rendering.is_some_and(|id| id.parse::<i64>().is_err()) {
        return ApiError::new(Code::BadParameter, "rendering_id must be a number");
    }
    if at.variant.active.is_none() {
        return ApiError::new(Code::NotPermitted, "this server sends no mail, and this variant was not rendered yet");
    }
    ApiError::new(Code::NotPermitted, "this server sends no mail")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_documents_are_rendered() {
        for mode in AppMode::ALL.iter().copied() {
            let code = |deployed| refusal(mode, deployed).map(|refusal| refusal.code());
            let expected = match mode {
                AppMode::RmdStatic | AppMode::JupyterStatic | AppMode::QuartoStatic => None,
                AppMode::Unknown => Some(28),
                _ => Some(25),
            };
            assert_eq!((code(true), code(false)), (expected, Some(28)), "{mode:?}");
        }
        let text = refusal(AppMode::Static, true).unwrap().message().to_owned();
        assert!(text.contains("kind static") && text.contains("as they were published"), "{text}");
    }
}
