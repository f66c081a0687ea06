//! What this host offers content, as the server uses it: a bundle's files become something that can be started.

use std::path::Path;

use lectern_domain::launch::{Prepared, Program};
use lectern_domain::manifest::Manifest;
use lectern_domain::packages::{Package, recorded};
use lectern_metadata::content::Traits;
use lectern_runtimes::PrepareRequest;
use tokio_util::sync::CancellationToken;

/// The runtimes of this host.
pub(crate) struct Runtimes {
    pub(crate) inner: lectern_runtimes::Runtimes,
}

/// Whether packages are restored, where the manifest does not say: as the content item is set, or else always.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restore {
    pub(crate) python: bool,
    pub(crate) r: bool,
}

impl Restore {
    /// As a content item's settings say.
    pub(crate) fn of(settings: &serde_json::Map<String, serde_json::Value>) -> Self {
        let set = |key: &str| settings.get(key).and_then(serde_json::Value::as_bool).unwrap_or(true);
        Self { python: set("default_py_environment_management"), r: set("default_r_environment_management") }
    }

    /// As it was done before.
    pub(crate) fn like(before: &Prepared) -> Self {
        Self { python: true, r: before.environment.is_some() }
    }
}

impl Runtimes {
    /// Makes an unpacked bundle ready to run; `log` takes what the publisher reads. The traits are those of the manifest, with
    /// the versions that were chosen. The error is in words for the publisher.
    pub(crate) async fn prepare(
        &self,
        tree: &Path,
        manifest: &Manifest,
        traits: &Traits,
        restore: Restore,
        log: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(Prepared, Traits), String> {
        let request = PrepareRequest { tree, manifest, restore_python: restore.python, restore_r: restore.r };
        // Whoever drops this future cancels the restore.
        let cancel = CancellationToken::new();
        let prepared = self.inner.prepare(request, log, &cancel).await.map_err(|error| crate::cli::chain(&error))?;
        let chosen = prepared.interpreter.as_ref().map(|interpreter| interpreter.version.clone());
        let (py_version, r_version) = match prepared.program {
            Program::PythonAsgi { .. } | Program::PythonWsgi { .. } | Program::PythonApp { .. } => {
                (chosen, traits.r_version.clone())
            }
            Program::Plumber { .. }
            | Program::Engine { .. }
            | Program::Shiny { .. }
            | Program::RmdShiny { .. }
            | Program::QuartoShiny { .. } => (traits.py_version.clone(), chosen),
            Program::Node { .. } => {
                return Ok((prepared, Traits { node_version: chosen, ..traits.clone() }));
            }
            Program::Static { .. } => (None, None),
        };
        Ok((prepared, Traits { py_version, r_version, ..traits.clone() }))
    }

    /// The packages that a prepared bundle runs with. Reads the environment's directory: for a blocking thread.
    pub(crate) fn packages(&self, prepared: &Prepared, manifest: &Manifest) -> Result<Vec<Package>, String> {
        let installed = match &prepared.environment {
            Some(id) => self.inner.environments().freeze(id).map_err(|error| crate::cli::chain(&error))?,
            None => Vec::new(),
        };
        Ok(recorded(installed.into_iter().map(|package| (package.name, package.version)), manifest))
    }

    /// Whether what a bundle was prepared with is still on this host.
    pub(crate) fn still_there(&self, prepared: &Prepared) -> bool {
        let interpreter = prepared.interpreter.as_ref().is_none_or(|interpreter| interpreter.path.is_file());
        let environment = prepared.environment.as_ref().is_none_or(|id| match prepared.program {
            Program::Node { .. } => self.inner.node_environments().path(id).is_dir(),
            _ => self.inner.environments().path(id).is_dir(),
        });
        let renderer = match &prepared.program {
            Program::QuartoShiny { quarto: Some(path), .. } => path.is_file(),
            _ => true,
        };
        interpreter && environment && renderer && self.is_current(prepared)
    }

    /// Whether preparing an R bundle again would give the same: none of its packages was evicted since, nor was restoring
    /// switched on.
    fn is_current(&self, prepared: &Prepared) -> bool {
        let packages = self.inner.r_packages();
        match (prepared.program.is_r(), &prepared.environment) {
            (true, Some(library)) => packages.is_current(library),
            (true, None) => !packages.is_configured(),
            (false, _) => true,
        }
    }

    /// Versions of Node.js and of Quarto that content can use.
    pub(crate) fn more_versions(&self) -> (Vec<String>, Vec<String>) {
        (versions(self.inner.node()), versions(self.inner.quarto()))
    }

    /// Versions that content can use, highest first.
    pub(crate) fn versions(&self) -> (Vec<String>, Vec<String>) {
        (versions(self.inner.python()), versions(self.inner.r()))
    }
}

fn versions(found: &[lectern_runtimes::Found]) -> Vec<String> {
    let usable = lectern_runtimes::interpreters::usable(found);
    usable.into_iter().map(|interpreter| interpreter.version).collect()
}
