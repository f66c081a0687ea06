//! What was done to the gate.

use std::sync::Arc;

use axum::extract::{Query, State};
use lectern_domain::plugin::{BindingName, PluginName};
use lectern_metadata::plugins::history;
use serde::Deserialize;
use serde_json::json;

use super::super::manage::Plugins;
use super::{Answer, shown};

/// Entries in one answer.
const MOST_ENTRIES: i64 = 1_000;

/// Which entries.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Which {
    binding: Option<BindingName>,
    plugin: Option<PluginName>,
    before: Option<i64>,
    limit: Option<i64>,
}

pub(super) async fn list(State(plugins): State<Arc<Plugins>>, Query(which): Query<Which>) -> Answer {
    let filter = history::HistoryFilter { binding: which.binding, plugin: which.plugin, before: which.before };
    let limit = which.limit.unwrap_or(50).clamp(1, MOST_ENTRIES);
    shown(history::list(&plugins.database().client().await?, &filter, limit).await?)
}

pub(super) async fn verify(State(plugins): State<Arc<Plugins>>) -> Answer {
    let chain = history::verify_chain(&plugins.database().client().await?).await?;
    match chain {
        history::Chain::Whole(head) => shown(json!({"whole": true, "entries": head.seq, "hash": head.hash})),
        history::Chain::Broken { seq } => shown(json!({"whole": false, "broken_at": seq})),
    }
}
