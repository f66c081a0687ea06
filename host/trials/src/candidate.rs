//! A package's component with one configuration, loaded into the gate.

use std::collections::HashMap;
use std::sync::Arc;

use lectern_domain::plugin::{Grants, Instances, ReleaseHash};
use lectern_gate::{Class, Gate, Limits, LoadError, Release, Spec};
use lectern_packages::cases::Case;
use lectern_packages::{ConfigError, Package};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::grants;

/// Releases that are kept between cases: most cases of a package share a few configurations. A release of an interpreter is some
/// MiB beside its code.
const KEPT: usize = 16;

/// A package on trial.
pub(crate) struct Candidate<'a> {
    package: &'a Package,
    component: Arc<[u8]>,
    asked: Grants,
    kept: Mutex<HashMap<ReleaseHash, Arc<Release>>>,
}

impl<'a> Candidate<'a> {
    pub(crate) fn new(package: &'a Package) -> Self {
        let component = package.parts.component.as_slice().into();
        Self { package, component, asked: package.manifest.asked(), kept: Mutex::default() }
    }

    /// The configuration in force: what the case gives over what the manifest and the schema give.
    pub(crate) fn config(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, ConfigError> {
        self.package.schema.configure(&self.package.manifest.config, given)
    }

    /// What to load. Instances are always fresh: what an earlier case left in memory must not decide a later one.
    pub(crate) fn spec(&self, config: Map<String, Value>, case: Option<&Case>) -> Spec {
        let grants = grants::concrete(&self.asked, case, &Value::Object(config.clone()));
        Spec {
            name: self.package.manifest.name.to_string(),
            component: Arc::clone(&self.component),
            config,
            grants,
            // Nothing is learned: each case is a call.
            limits: Limits { learned: None, ..Limits::of(Class::of(self.component.len())) },
            instances: Instances::Fresh,
        }
    }

    /// Loads it, which runs its check in the world of `gate`; a release that is kept was checked before.
    pub(crate) async fn load(&self, gate: &Gate, spec: Spec) -> Result<Arc<Release>, LoadError> {
        let id = spec.release();
        let kept = self.kept.lock().get(&id).cloned();
        if let Some(release) = kept {
            return Ok(release);
        }
        let release = gate.load(spec).await?;
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(id, Arc::clone(&release));
        Ok(release)
    }
}
