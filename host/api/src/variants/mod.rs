//! `/applications/{app}/variants`, `/variants…` and `/schedules…`: the ways in which a document is rendered, and when.
//!
//! Each item has one from its beginning on, its default. What belongs to a variant can be read by whoever may see the item, and
//! changed by whoever may change it.

mod at;
mod render;
mod schedules;
mod subscribers;
mod upcoming;

use axum::Json;
use axum::extract::State;
use lectern_domain::audit::Action;
use lectern_metadata::variants::{self, RenderingRow, VariantPatch, VariantRow};
use lectern_metadata::{DbError, GenericClient};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::access::Readable;
use crate::audit::{item, record};
use crate::body::Object;
use crate::error::{ApiError, Code, ErrorBody};
use crate::stamp::Stamp;

use at::{ChangeableVariant, ReadableVariant};

/// Most renderings listed, newest first: more than a schedule makes in a year of days.
const MAX_RENDERINGS: i64 = 500;

/// Longest name of a variant, in characters: a line of a list.
const MAX_NAME: usize = 255;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, update))
        .routes(routes!(renderings))
        .merge(render::routes())
        .merge(schedules::routes())
        .merge(subscribers::routes())
        .merge(upcoming::routes())
}

/// A way in which an item is rendered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Variant {
    id: i64,
    app_id: i64,
    /// The active bundle's number.
    bundle_id: Option<i64>,
    /// Names it in addresses: `/content/<guid>/v<key>/`.
    key: String,
    is_default: bool,
    name: String,
    email_collaborators: bool,
    email_viewers: bool,
    email_all: bool,
    created_time: Stamp,
    /// The rendering shown; null: none was made.
    rendering_id: Option<i64>,
    render_time: Option<Stamp>,
    /// Nanoseconds.
    render_duration: Option<i64>,
    /// `public`: whoever may see the item may see it.
    visibility: &'static str,
    /// 0: it is the item's own, and not one of its users'.
    owner_id: i64,
}

fn view(row: VariantRow, bundle_id: Option<i64>) -> Variant {
    let rendering = row.active;
    Variant {
        id: row.id.0,
        app_id: row.content.0,
        bundle_id,
        key: row.key,
        is_default: row.is_default,
        name: row.name,
        email_collaborators: row.email_collaborators,
        email_viewers: row.email_viewers,
        email_all: row.email_all,
        created_time: row.created_at.into(),
        rendering_id: rendering.as_ref().map(|rendering| rendering.id),
        render_time: rendering.as_ref().map(|rendering| rendering.at.into()),
        render_duration: rendering.as_ref().map(|rendering| rendering.duration_ns),
        visibility: "public",
        owner_id: 0,
    }
}

/// Lists the variants of an application, the default one first.
#[utoipa::path(get, path = "/applications/{app}/variants", tag = "variants", params(("app" = String, Path,)),
    responses((status = 200, body = Vec<Variant>), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn list(at: Readable) -> Result<Json<Vec<Variant>>, ApiError> {
    let rows = variants::of_content(&at.client().await?, at.row.id).await?;
    let bundle = at.row.active_bundle.map(|bundle| bundle.0);
    Ok(Json(rows.into_iter().map(|row| view(row, bundle)).collect()))
}

/// One variant.
#[utoipa::path(get, path = "/variants/{id}", tag = "variants", params(("id" = i64, Path,)),
    responses((status = 200, body = Variant), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn get(at: ReadableVariant) -> Json<Variant> {
    Json(view(at.variant, at.row.active_bundle.map(|bundle| bundle.0)))
}

/// What to change of a variant; anything else is ignored, as clients may send back all that they read.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct VariantFields {
    /// 1 to 255 characters.
    name: Option<String>,
    email_collaborators: Option<bool>,
    email_viewers: Option<bool>,
    email_all: Option<bool>,
}

impl VariantFields {
    fn patch(self) -> Result<VariantPatch, ApiError> {
        if let Some(name) = &self.name
            && !(1..=MAX_NAME).contains(&name.trim().chars().count())
        {
            return Err(ApiError::new(Code::BadField, "name must be 1 to 255 characters long"));
        }
        let Self { name, email_collaborators, email_viewers, email_all } = self;
        let name = name.map(|name| name.trim().to_owned());
        Ok(VariantPatch { name, email_collaborators, email_viewers, email_all })
    }
}

/// Changes a variant; `{}` changes nothing and answers it.
#[utoipa::path(post, path = "/variants/{id}", tag = "variants", params(("id" = i64, Path,)),
    request_body = VariantFields,
    responses((status = 200, body = Variant), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn update(
    State(services): State<Services>,
    at: ChangeableVariant,
    Object(fields): Object<VariantFields>,
) -> Result<Json<Variant>, ApiError> {
    let patch = fields.patch()?;
    let bundle = at.row.active_bundle.map(|bundle| bundle.0);
    if patch == VariantPatch::default() {
        return Ok(Json(view(at.variant, bundle)));
    }
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = variants::update(&tx, at.variant.id, &patch).await?;
    record(&tx, &at.caller, &Action::VariantChanged { item: item(&at.row), variant: &row.name }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Json(view(row, bundle)))
}

/// What a variant was rendered to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rendering {
    id: i64,
    app_id: i64,
    variant_id: i64,
    /// What was rendered; null when it was deleted since.
    bundle_id: Option<i64>,
    job_key: String,
    render_time: Stamp,
    /// Nanoseconds.
    render_duration: i64,
    /// Whether visitors see it.
    active: bool,
}

/// Lists what a variant was rendered to, newest first.
#[utoipa::path(get, path = "/variants/{id}/renderings", tag = "variants", params(("id" = i64, Path,)),
    responses((status = 200, body = Vec<Rendering>), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn renderings(State(services): State<Services>, at: ReadableVariant) -> Result<Json<Vec<Rendering>>, ApiError> {
    let client = services.database.client().await?;
    let rows = variants::renderings(&client, at.variant.id, MAX_RENDERINGS).await?;
    let view = |row: RenderingRow| Rendering {
        id: row.id,
        app_id: at.row.id.0,
        variant_id: at.variant.id.0,
        bundle_id: row.bundle.map(|bundle| bundle.0),
        job_key: row.job_key,
        render_time: row.at.into(),
        render_duration: row.duration_ns,
        active: row.active,
    };
    Ok(Json(rows.into_iter().map(view).collect()))
}

/// The variant that the item's own address shows.
async fn default_of(client: &impl GenericClient, content: lectern_domain::ContentId) -> Result<VariantRow, ApiError> {
    let default = variants::of_content(client, content).await?.into_iter().find(|row| row.is_default);
    default.ok_or_else(|| ApiError::internal("a content item without a default variant"))
}
