//! Packages: listed, installed, removed.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use lectern_domain::plugin::PackageDigest;
use lectern_metadata::plugins::packages;
use serde_json::json;

use super::super::manage::{Plugins, Refused};
use super::{Answer, Operator, SIGNATURE, note, reason, shown};

pub(super) async fn list(State(plugins): State<Arc<Plugins>>) -> Answer {
    shown(packages::list(&plugins.database().client().await?).await?)
}

pub(super) async fn install(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let signature = match headers.get(SIGNATURE).map(|value| value.to_str()) {
        None => None,
        Some(Ok(text)) => Some(text),
        Some(Err(_)) => return Err(Refused::Request(format!("the field {SIGNATURE} is not text"))),
    };
    shown(plugins.install(bytes.to_vec(), signature, &note(operator, reason(&headers))).await?)
}

pub(super) async fn remove(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let digest: PackageDigest =
        digest.parse().map_err(|error: lectern_domain::plugin::BadDigest| Refused::Request(error.to_string()))?;
    plugins.remove(digest, &note(operator, reason(&headers))).await?;
    shown(json!({"removed": digest}))
}
