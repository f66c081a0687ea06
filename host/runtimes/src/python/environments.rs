//! Restored Python environments: built once per content of the requirements, shared by all who want the same.
//!
//! An environment lives in `<directory>/<id>`, where the id is a hash of everything that determines it; see [`crate::shelf`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lectern_domain::launch::{Account, EnvironmentId, Interpreter};
use lectern_domain::manifest::Manifest;
use tokio_util::sync::CancellationToken;

use super::build::{Build, Record};
use super::installed::{self, Package};
use super::requirements::{self, Requirements, RequirementsError, Source};
use super::uv::{Uv, UvError};
use crate::Log;
use crate::fence::Fence;
use crate::process::RunError;
use crate::shelf::{Shelf, ShelfError};

/// How long a build may take unless the settings say otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Where and how environments are built.
#[derive(Clone)]
pub struct Settings {
    /// Where they are kept, on node-local disk: `<data_dir>/environments`.
    pub directory: PathBuf,
    /// Where a copy of uv is put if the build account cannot execute the one found: `<data_dir>/tools`.
    pub tools: PathBuf,
    /// uv, if the configuration names it.
    pub uv: Option<PathBuf>,
    /// `PATH`, along which uv is looked for otherwise.
    pub path: Option<std::ffi::OsString>,
    /// Who builds. `None` builds as the server itself, which must not be root then.
    pub account: Option<Account>,
    /// The package index; `None` leaves it to `variables` and uv.
    pub index_url: Option<String>,
    /// What uv is given of the server's environment: see [`super::uv::passed_through`].
    pub variables: Vec<(String, String)>,
    /// How long one build may take.
    pub timeout: Duration,
    /// The walls around builds.
    pub fence: Option<Fence>,
}

impl fmt::Debug for Settings {
    /// Leaves out what may hold passwords: index URLs and variables.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = (&self.directory, &self.uv, self.account, self.timeout);
        f.debug_tuple("Settings").field(&shown).finish_non_exhaustive()
    }
}

/// A bundle's packages could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no uv to do it.
    #[error(transparent)]
    NoUv(#[from] NoUv),
    /// The requirements cannot be used.
    #[error(transparent)]
    Requirements(#[from] RequirementsError),
    /// uv refused: the requirements cannot be resolved, downloaded or built.
    #[error("{step} failed ({status}):\n{words}")]
    Refused {
        /// What was being done.
        step: &'static str,
        /// How uv ended.
        status: String,
        /// Its last words.
        words: String,
    },
    /// uv did not run to its end.
    #[error("{step} was not finished")]
    Unfinished {
        /// What was being done.
        step: &'static str,
        /// Why not.
        #[source]
        cause: RunError,
    },
    /// Where environments are kept could not be used.
    #[error(transparent)]
    Shelf(ShelfError),
    /// An environment of ours could not be read or finished.
    #[error("{what} {path:?}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// As root and without an account: code from the network would run as root.
    #[error("packages are never built as root; configure an account for builds")]
    AsRoot,
}

impl From<ShelfError> for RestoreError {
    fn from(error: ShelfError) -> Self {
        match error {
            ShelfError::Cancelled(step) => Self::Unfinished { step, cause: RunError::Cancelled },
            error => Self::Shelf(error),
        }
    }
}

/// Why there is no uv, as found at start, with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoUv(String);

/// What shall be restored.
#[derive(Debug, Clone, Copy)]
pub struct RestoreRequest<'a> {
    /// The unpacked bundle, readable for the build account.
    pub tree: &'a Path,
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// The interpreter chosen for it.
    pub interpreter: &'a Interpreter,
    /// Whether the publisher's packages are restored; the application's server is in any case.
    pub restore: bool,
}

/// An environment on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// Its id.
    pub id: EnvironmentId,
    /// The Python version it was built for.
    pub python_version: String,
}

/// The restored environments of this host.
#[derive(Debug)]
pub struct PythonEnvironments {
    settings: Settings,
    uv: Result<Uv, NoUv>,
    shelf: Shelf,
}

impl PythonEnvironments {
    /// Opens the directory, finds uv and removes what interrupted builds left. That uv is absent is no error before
    /// something must be restored; [`PythonEnvironments::uv`] tells.
    pub async fn open(settings: Settings) -> Result<Self, RestoreError> {
        if settings.account.is_none() && nix::unistd::geteuid().is_root() {
            return Err(RestoreError::AsRoot);
        }
        let shelf = Shelf::open(settings.directory.clone(), settings.timeout)?;
        shelf.cache(".uv-cache", settings.account)?;
        let (tools, account) = (settings.tools.clone(), settings.account.is_some());
        let uv = Uv::open(settings.uv.as_deref(), settings.path.as_deref(), &tools, account).await;
        let uv = uv.map_err(|error| NoUv(chain(&error)));
        Ok(Self { settings, uv, shelf })
    }

    /// The uv in use, or why there is none and what to do about it.
    pub fn uv(&self) -> Result<&Uv, &NoUv> {
        self.uv.as_ref()
    }

    /// Where an environment is.
    pub fn path(&self, id: &EnvironmentId) -> PathBuf {
        self.shelf.path(id)
    }

    /// Restores what a bundle wants, unless that has been done before; returns the environment it shall run with.
    ///
    /// uv's words go to `log` as they come. Dropping the future, or cancelling, ends uv and leaves no environment.
    pub async fn restore(
        &self,
        request: RestoreRequest<'_>,
        log: Log<'_>,
        cancel: &CancellationToken,
    ) -> Result<EnvironmentId, RestoreError> {
        let wanted = requirements::read(request.tree, request.manifest, request.restore)?;
        let server = requirements::server_requirement(request.manifest.mode);
        let id = self.id(&request, &wanted, server);
        let target = self.path(&id);
        log(&wanted.note);
        if target.is_dir() {
            log(&format!("Environment {} is already there", id.0));
            return Ok(id);
        }
        let uv = self.uv.clone()?;
        let Some(claim) = self.shelf.claim(&id, log, cancel).await? else { return Ok(id) };
        let build = Build { settings: &self.settings, uv: &uv, work: claim.work(), request, wanted: &wanted, server };
        build.run(log, cancel).await?;
        build.finish(claim.target()).await.map_err(|cause| self.shelf.io("finish a build in", cause))?;
        drop(claim);
        log(&format!("Environment {} is ready", id.0));
        Ok(id)
    }

    /// What is installed in an environment, sorted by name.
    pub fn freeze(&self, id: &EnvironmentId) -> Result<Vec<Package>, RestoreError> {
        let path = self.path(id);
        installed::freeze(&path).map_err(|cause| RestoreError::Io { what: "list the packages of", path, cause })
    }

    /// The environments of this host, sorted by id.
    pub fn list(&self) -> Result<Vec<Cached>, RestoreError> {
        let named = self.shelf.list()?.into_iter();
        let found = named.filter_map(|id| Record::read(&self.path(&id)).map(|record| (id, record.python_version)));
        let found = found.map(|(id, python_version)| Cached { id, python_version }).collect();
        Ok(found)
    }

    /// Removes an environment; `false` when there is none. The caller knows that no bundle in use needs it. Blocks.
    pub fn remove(&self, id: &EnvironmentId) -> Result<bool, RestoreError> {
        Ok(self.shelf.remove(id)?)
    }

    /// Names the environment by what determines it.
    fn id(&self, request: &RestoreRequest<'_>, wanted: &Requirements, server: Option<&str>) -> EnvironmentId {
        let mut hash = blake3::Hasher::new_derive_key("lectern python environment 1");
        let mut add = |label: &str, value: &str| {
            hash.update(&(label.len() as u64).to_le_bytes()).update(label.as_bytes());
            hash.update(&(value.len() as u64).to_le_bytes()).update(value.as_bytes());
        };
        add("python", &request.interpreter.version);
        add("interpreter", &request.interpreter.path.to_string_lossy());
        add("platform", &format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH));
        add("server", server.unwrap_or(""));
        add("requirements", &wanted.text);
        if wanted.local {
            // The unpacked bundle is named by its own hash.
            add("bundle", &request.tree.to_string_lossy());
        }
        if wanted.source != Source::Nothing {
            add("index", self.settings.index_url.as_deref().unwrap_or(""));
            // Of the variables, those that say how to connect do not change what is installed.
            for (name, value) in self.settings.variables.iter().filter(|(name, _)| name.starts_with("UV_")) {
                add(name, value);
            }
        }
        EnvironmentId(hash.finalize().to_hex()[..32].to_owned())
    }
}

/// An error with its causes, in one line.
fn chain(error: &UvError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}
