//! Keys whose signatures on packages are believed.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use lectern_metadata::plugins::trusted_keys;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::manage::Plugins;
use super::{Answer, Operator, body, note, reason, shown};

pub(super) async fn list(State(plugins): State<Arc<Plugins>>) -> Answer {
    let configured: Vec<Value> = plugins
        .trusted()
        .await?
        .into_iter()
        .filter(|key| key.name == "configuration")
        .map(|key| json!({"id": key.key.id(), "public_key": key.key, "comment": "gate.trusted_keys"}))
        .collect();
    let rows = trusted_keys::list(&plugins.database().client().await?).await?;
    shown(json!({"configured": configured, "trusted": rows}))
}

/// A key to trust.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trust {
    public_key: String,
    #[serde(default)]
    comment: String,
    #[serde(default)]
    reason: String,
}

pub(super) async fn trust(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    bytes: Bytes,
) -> Answer {
    let request: Trust = body(&bytes)?;
    let id = plugins.trust(&request.public_key, &request.comment, &note(operator, request.reason)).await?;
    shown(json!({"id": id}))
}

pub(super) async fn untrust(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    plugins.untrust(&id, &note(operator, reason(&headers))).await?;
    shown(json!({"untrusted": id}))
}
