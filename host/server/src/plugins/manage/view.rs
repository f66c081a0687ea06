//! What operators see of the gate.

use std::collections::BTreeMap;

use lectern_domain::plugin::{Binding, BindingName, Phase, ReleaseHash};
use lectern_gate::{Counts, Fare};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Plugins, Refused};

/// A binding, with its releases and how they fare on this server.
#[derive(Debug, Serialize)]
pub(crate) struct BindingView {
    /// As the database has it.
    #[serde(flatten)]
    pub(crate) binding: Binding,
    /// Its releases, by name.
    pub(crate) shown: Vec<ReleaseView>,
    /// The live release was given up here, and the one before answers.
    pub(crate) fallen: bool,
}

/// One release of a binding.
#[derive(Debug, Serialize)]
pub(crate) struct ReleaseView {
    /// `live`, `previous` or `candidate`.
    pub(crate) place: &'static str,
    /// Its name.
    pub(crate) release: ReleaseHash,
    /// The version of its package.
    pub(crate) version: String,
    /// The package.
    pub(crate) package: String,
    /// Its configuration; what its schema calls write-only is hidden.
    pub(crate) config: Map<String, Value>,
    /// Its grants.
    pub(crate) grants: Vec<String>,
    /// How its instances are used.
    pub(crate) instances: &'static str,
    /// Calls at this binding since it was changed; absent where it does not run here.
    pub(crate) calls: Option<u64>,
    /// Failed ones of these.
    pub(crate) failures: Option<u64>,
    /// Whether it is called.
    pub(crate) breaker: Option<&'static str>,
    /// All that is counted of it here.
    pub(crate) counts: Option<Counts>,
    /// The phases in which nothing more is learned of it here, and why.
    pub(crate) learning_off: BTreeMap<&'static str, String>,
}

impl Plugins {
    /// All bindings, in the order in which they are asked.
    pub(crate) async fn views(&self) -> Result<Vec<BindingView>, Refused> {
        let state = self.state();
        let mut views = Vec::new();
        for binding in &state.bindings {
            views.push(self.view_of(binding).await?);
        }
        Ok(views)
    }

    /// One binding.
    pub(crate) async fn view(&self, name: &BindingName) -> Result<BindingView, Refused> {
        let state = self.state();
        match state.bindings.iter().find(|binding| binding.spec.name == *name) {
            Some(binding) => self.view_of(binding).await,
            None => Err(Refused::NotFound(format!("nothing is bound as {name}: `lectern plugin list` shows what is"))),
        }
    }

    /// The name that operators know a binding's release by; the gate's own leaves out what it does not know.
    pub(crate) fn release_at(&self, binding: &str, place: &str) -> Option<ReleaseHash> {
        let state = self.state();
        let releases = &state.bindings.iter().find(|one| one.spec.name.as_str() == binding)?.releases;
        match place {
            "live" => Some(releases.live),
            "previous" => releases.previous.map(|previous| previous.release),
            "candidate" => releases.candidate.as_ref().map(|candidate| candidate.release),
            _ => None,
        }
    }

    async fn view_of(&self, binding: &Binding) -> Result<BindingView, Refused> {
        let (state, chain) = (self.state(), self.gate.chain());
        let bound = chain.binding(binding.spec.name.as_str());
        let (live, previous, canary) = match bound {
            Some(bound) => {
                let (live, previous, canary) = bound.fares();
                (Some(live), previous, canary)
            }
            None => (None, None, None),
        };
        let releases = &binding.releases;
        let mut named = vec![("live", releases.live, live)];
        named.extend(releases.previous.map(|one| ("previous", one.release, previous)));
        named.extend(releases.candidate.as_ref().map(|one| ("candidate", one.release, canary)));
        let mut shown = Vec::new();
        for (place, hash, fare) in named {
            let Some(row) = state.releases.get(&hash) else { continue };
            let package = state.packages.get(&row.spec.package);
            let config = match self.package(row.spec.package).await {
                Ok(package) => package.schema.redacted(&row.spec.config.to_object()),
                // Its schema says what is secret: without it nothing is shown.
                Err(_) => Map::new(),
            };
            shown.push(ReleaseView {
                place,
                release: hash,
                version: package.map_or(String::new(), |package| package.version.clone()),
                package: row.spec.package.to_string(),
                config,
                grants: row.spec.grants.iter().map(ToString::to_string).collect(),
                instances: row.spec.instances.as_str(),
                calls: fare.as_ref().map(|fare| fare.calls),
                failures: fare.as_ref().map(|fare| fare.failures),
                breaker: fare.as_ref().map(|fare| fare.breaker),
                counts: fare.as_ref().map(counts),
                learning_off: fare.as_ref().map(learning_off).unwrap_or_default(),
            });
        }
        let fallen = bound.is_some_and(|bound| bound.has_fallen());
        Ok(BindingView { binding: binding.clone(), shown, fallen })
    }
}

fn counts(fare: &Fare) -> Counts {
    fare.release.stats().read()
}

fn learning_off(fare: &Fare) -> BTreeMap<&'static str, String> {
    Phase::ALL.iter().filter_map(|phase| Some((phase.as_str(), fare.release.learning_off(*phase)?))).collect()
}
