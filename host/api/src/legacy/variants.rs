//! `/applications/{app}/variants`: the ways in which an item is rendered.
//!
//! An item has one, its default, which bears the item's own number; nothing stores others.

use axum::Json;
use lectern_domain::access::AccessType;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Readable;
use crate::error::ErrorBody;
use crate::stamp::Stamp;

/// A way in which an item is rendered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Variant {
    id: i64,
    app_id: i64,
    /// The active bundle's number.
    bundle_id: Option<i64>,
    /// Names it in addresses.
    key: &'static str,
    is_default: bool,
    name: &'static str,
    email_collaborators: bool,
    email_viewers: bool,
    email_all: bool,
    created_time: Stamp,
    /// The rendering shown; null: none was made.
    rendering_id: Option<i64>,
    render_time: Option<Stamp>,
    /// Nanoseconds.
    render_duration: Option<i64>,
    /// 0 for an item that lists who may open it, 1 for others.
    visibility: i32,
    owner_id: i64,
}

/// Lists the variants of an application.
#[utoipa::path(get, path = "/applications/{app}/variants", tag = "legacy", params(("app" = String, Path,)),
    responses((status = 200, body = Vec<Variant>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(super) async fn list(at: Readable) -> Json<Vec<Variant>> {
    let row = &at.row;
    Json(vec![Variant {
        id: row.id.0,
        app_id: row.id.0,
        bundle_id: row.active_bundle.map(|bundle| bundle.0),
        key: "default",
        is_default: true,
        name: "default",
        email_collaborators: false,
        email_viewers: false,
        email_all: false,
        created_time: row.created_at.into(),
        rendering_id: None,
        render_time: None,
        render_duration: None,
        visibility: i32::from(row.access_type != AccessType::Acl),
        owner_id: row.owner.id.0,
    }])
}
