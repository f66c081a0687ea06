//! Restored Python environments: built once per content of the requirements, shared by all who want the same.
//!
//! An environment lives in `<directory>/<id>`, where the id is a hash of everything that determines it. It is built beside
//! that place and renamed there when it is whole, so a directory that bears an id is always complete. A lock file per id
//! lets one build at a time, over all servers that share the directory; who waited finds the work done.

use std::fmt;
use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lectern_domain::launch::{Account, EnvironmentId, Interpreter};
use lectern_domain::manifest::Manifest;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::build::{Build, Record};
use super::installed::{self, Package};
use super::requirements::{self, Requirements, RequirementsError, Source};
use super::uv::{Uv, UvError};
use crate::Log;
use crate::fence::Fence;
use crate::process::RunError;

/// How long a build may take unless the settings say otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Builds at a time: resolving waits for the network, compiling uses every core.
const MOST_BUILDS: usize = 2;
/// How often a wanted lock is tried again.
const LOCK_POLL: Duration = Duration::from_millis(100);

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
    /// A directory or file of ours could not be used.
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
    builds: Semaphore,
}

impl PythonEnvironments {
    /// Opens the directory, finds uv and removes what interrupted builds left. That uv is absent is no error before
    /// something must be restored; [`PythonEnvironments::uv`] tells.
    pub async fn open(settings: Settings) -> Result<Self, RestoreError> {
        if settings.account.is_none() && nix::unistd::geteuid().is_root() {
            return Err(RestoreError::AsRoot);
        }
        let directory = settings.directory.clone();
        let io = |what: &'static str, path: &Path| {
            let path = path.to_owned();
            move |cause| RestoreError::Io { what, path, cause }
        };
        let cache = directory.join(".uv-cache");
        for (path, mode) in [(&directory, 0o755), (&directory.join(".locks"), 0o700), (&cache, 0o700)] {
            fs::create_dir_all(path).map_err(io("create", path))?;
            fs::set_permissions(path, Permissions::from_mode(mode)).map_err(io("open up", path))?;
        }
        if let Some(account) = settings.account {
            chown(&cache, Some(account.uid), Some(account.gid)).map_err(io("hand over", &cache))?;
        }
        let (tools, account) = (settings.tools.clone(), settings.account.is_some());
        let uv = Uv::open(settings.uv.as_deref(), settings.path.as_deref(), &tools, account).await;
        let uv = uv.map_err(|error| NoUv(chain(&error)));
        let environments = Self { settings, uv, builds: Semaphore::new(MOST_BUILDS) };
        environments.sweep().map_err(io("clean", &environments.settings.directory))?;
        Ok(environments)
    }

    /// The uv in use, or why there is none and what to do about it.
    pub fn uv(&self) -> Result<&Uv, &NoUv> {
        self.uv.as_ref()
    }

    /// Where an environment is.
    pub fn path(&self, id: &EnvironmentId) -> PathBuf {
        self.settings.directory.join(&id.0)
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
        let lock = self.lock(&id, log, cancel).await?;
        if target.is_dir() {
            log(&format!("Environment {} has been built meanwhile", id.0));
            return Ok(id);
        }
        let permit = tokio::select! {
            permit = self.builds.acquire() => permit,
            () = cancel.cancelled() => return Err(cancelled("waiting for other builds")),
        };
        self.remove_leftovers(&id).map_err(|cause| self.io("clean", cause))?;
        let work =
            tempfile::Builder::new().prefix(&format!(".building-{}-", id.0)).tempdir_in(&self.settings.directory);
        let work = work.map_err(|cause| self.io("create a directory in", cause))?;
        let build = Build { settings: &self.settings, uv: &uv, work: work.path(), request, wanted: &wanted, server };
        build.run(log, cancel).await?;
        build.finish(&target).await.map_err(|cause| self.io("finish a build in", cause))?;
        drop((permit, lock));
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
        let failed = |cause| self.io("list", cause);
        let mut found = Vec::new();
        for entry in self.settings.directory.read_dir().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(name) = entry.file_name().to_str().filter(|name| !name.starts_with('.')).map(str::to_owned) else {
                continue;
            };
            if let Some(record) = Record::read(&entry.path()) {
                found.push(Cached { id: EnvironmentId(name), python_version: record.python_version });
            }
        }
        found.sort_by(|one, other| one.id.0.cmp(&other.id.0));
        Ok(found)
    }

    /// Removes an environment; `false` when there is none. The caller knows that no bundle in use needs it. Blocks.
    pub fn remove(&self, id: &EnvironmentId) -> Result<bool, RestoreError> {
        let failed = |cause| self.io("remove an environment from", cause);
        // Out of sight first: a removal that is cut short leaves no half environment under a good name.
        let aside =
            tempfile::Builder::new().prefix(".removing-").tempdir_in(&self.settings.directory).map_err(failed)?;
        match fs::rename(self.path(id), aside.path().join("env")) {
            Ok(()) => aside.close().map(|()| true).map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn io(&self, what: &'static str, cause: io::Error) -> RestoreError {
        RestoreError::Io { what, path: self.settings.directory.clone(), cause }
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

    async fn lock(&self, id: &EnvironmentId, log: Log<'_>, cancel: &CancellationToken) -> Result<File, RestoreError> {
        let failed = |cause| self.io("lock", cause);
        let file = File::create(self.settings.directory.join(".locks").join(&id.0)).map_err(failed)?;
        let mut told = false;
        // Twice a build's time: the one before may just have begun, and fail.
        let deadline = tokio::time::Instant::now() + self.settings.timeout * 2;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < deadline => {}
                Err(TryLockError::WouldBlock) => return Err(failed(io::ErrorKind::TimedOut.into())),
                Err(TryLockError::Error(cause)) => return Err(failed(cause)),
            }
            if !told {
                log("Another deployment is building the same environment; waiting for it");
                told = true;
            }
            tokio::select! {
                () = tokio::time::sleep(LOCK_POLL) => {}
                () = cancel.cancelled() => return Err(cancelled("waiting for another build")),
            }
        }
    }

    /// Removes what interrupted builds of `id` left; its lock is held.
    fn remove_leftovers(&self, id: &EnvironmentId) -> io::Result<()> {
        let prefix = format!(".building-{}-", id.0);
        for entry in self.settings.directory.read_dir()? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes what interrupted builds and removals left, except for builds that go on in another server.
    fn sweep(&self) -> io::Result<()> {
        for entry in self.settings.directory.read_dir()? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(".removing-") {
                fs::remove_dir_all(entry.path())?;
            } else if let Some((id, _)) = name.strip_prefix(".building-").and_then(|rest| rest.split_once('-')) {
                let lock = File::create(self.settings.directory.join(".locks").join(id))?;
                if lock.try_lock().is_ok() {
                    fs::remove_dir_all(entry.path())?;
                }
            }
        }
        Ok(())
    }
}

fn cancelled(step: &'static str) -> RestoreError {
    RestoreError::Unfinished { step, cause: RunError::Cancelled }
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
