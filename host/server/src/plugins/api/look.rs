//! What there is: bindings, what was learned of them, candidates in the shadow, servers.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use lectern_domain::plugin::{BindingName, Phase};
use lectern_metadata::plugins::{nodes, packages, shadow};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::manage::{Plugins, Refused};
use super::{Answer, shown};

pub(super) async fn overview(State(plugins): State<Arc<Plugins>>) -> Answer {
    let report = plugins.node_report().await;
    shown(json!({
        "generation": report.generation,
        "bindings": plugins.views().await?,
        "packages": packages::list(&plugins.database().client().await?).await?,
        "server": report.server,
    }))
}

pub(super) async fn bindings(State(plugins): State<Arc<Plugins>>) -> Answer {
    shown(plugins.views().await?)
}

pub(super) async fn binding(State(plugins): State<Arc<Plugins>>, Path(name): Path<BindingName>) -> Answer {
    shown(plugins.view(&name).await?)
}

pub(super) async fn shadow_report(State(plugins): State<Arc<Plugins>>, Path(name): Path<BindingName>) -> Answer {
    let binding = plugins.binding(&name).await?;
    let Some(candidate) = binding.releases.candidate else {
        return Err(Refused::NotFound(format!("{name} has no candidate: `lectern plugin shadow {name} …` offers one")));
    };
    let report = shadow::report(&plugins.database().client().await?, &name, candidate.release).await?;
    let differences: Vec<Value> = report
        .iter()
        .flat_map(|report| &report.differences)
        .map(|one| {
            json!({"fingerprint": one.fingerprint, "kind": one.kind, "count": one.count, "example": one.example.to_object()})
        })
        .collect();
    let chain = plugins.gate().chain();
    let dropped = chain.binding(name.as_str()).and_then(|bound| match bound.spec().candidate.as_ref()?.trial {
        lectern_gate::Trial::Shadow(ref shadow) => Some(shadow.dropped()),
        lectern_gate::Trial::Canary(_) => None,
    });
    shown(json!({
        "binding": name,
        "live": binding.releases.live,
        "candidate": candidate.release,
        "compared": report.as_ref().map_or(0, |report| report.compared),
        "differing": report.as_ref().map_or(0, |report| report.differing),
        "failures": report.as_ref().map_or(0, |report| report.failures),
        "dropped_here": dropped.unwrap_or(0),
        "differences": differences,
    }))
}

/// Which phase.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct InPhase {
    phase: Option<Phase>,
}

/// What was learned of the release that answers at a binding, as data and as text.
pub(super) async fn explain(
    State(plugins): State<Arc<Plugins>>,
    Path(name): Path<BindingName>,
    Query(which): Query<InPhase>,
) -> Answer {
    let chain = plugins.gate().chain();
    let Some(bound) = chain.binding(name.as_str()) else {
        return Err(Refused::NotFound(format!("nothing is bound as {name}: `lectern plugin list` shows what is")));
    };
    let stands: Vec<Phase> =
        chain.bindings().filter(|(_, other)| other.name() == bound.name()).map(|(phase, _)| phase).collect();
    let place = if bound.has_fallen() { "previous" } else { "live" };
    let named = plugins.release_at(bound.name(), place);
    let (release, now_ms) = (Arc::clone(bound.answering()), plugins.gate().backend().clock.unix_millis());
    // Some milliseconds of computing, away from what waits for others.
    let explaining = tokio::task::spawn_blocking(move || {
        let phases = stands.into_iter().filter(|phase| which.phase.is_none_or(|wanted| wanted == *phase));
        phases
            .map(|phase| {
                let report = release.explain(phase, now_ms);
                json!({
                    "phase": phase.as_str(),
                    "release": named.unwrap_or_else(|| release.id()),
                    "off": release.learning_off(phase),
                    "text": report.as_ref().map(ToString::to_string),
                    "report": report,
                })
            })
            .collect::<Vec<Value>>()
    });
    shown(explaining.await.map_err(|error| Refused::Unavailable(error.to_string()))?)
}

pub(super) async fn nodes(State(plugins): State<Arc<Plugins>>) -> Answer {
    let nodes = nodes::list(&plugins.database().client().await?).await?;
    let views: Vec<Value> = nodes
        .iter()
        .map(|node| json!({"node": node.report, "reported_at": node.reported_at.to_string(), "age_seconds": node.age.as_secs()}))
        .collect();
    shown(views)
}
