//! Secrets of bindings: set and forgotten, never shown.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use lectern_domain::plugin::BindingName;
use serde_json::json;

use super::super::manage::Plugins;
use super::{Answer, Operator, note, reason, shown};

pub(super) async fn list(State(plugins): State<Arc<Plugins>>, Path(name): Path<BindingName>) -> Answer {
    shown(plugins.secret_names(&name).await?)
}

pub(super) async fn set(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path((name, secret)): Path<(BindingName, String)>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    plugins.set_secret(&name, &secret, &bytes, &note(operator, reason(&headers))).await?;
    shown(json!({"binding": name, "secret": secret}))
}

pub(super) async fn forget(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path((name, secret)): Path<(BindingName, String)>,
    headers: HeaderMap,
) -> Answer {
    plugins.forget_secret(&name, &secret, &note(operator, reason(&headers))).await?;
    shown(json!({"binding": name, "forgotten": secret}))
}
