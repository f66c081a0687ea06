//! Where environments are kept: each in a directory named by the hash of what determines it, built once.
//!
//! An environment is built beside its place and renamed there when it is whole, so a directory that bears an id is always
//! complete. A lock file per id lets one build at a time, over all servers that share the directory; who waited finds the work
//! done.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lectern_domain::launch::{Account, EnvironmentId};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::Log;

/// Builds at a time: resolving waits for the network, compiling uses every core.
const MOST_BUILDS: usize = 2;
/// How often a wanted lock is tried again.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// The directory of environments could not be used, or somebody stopped waiting for it.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
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
    /// Whoever wanted it changed their mind.
    #[error("{0} was cancelled")]
    Cancelled(&'static str),
}

/// A directory of environments.
#[derive(Debug)]
pub(crate) struct Shelf {
    directory: PathBuf,
    /// How long one build may take.
    timeout: Duration,
    builds: Semaphore,
}

/// The right to build one environment, with a directory to build it in. Dropped, it is given back and the directory removed.
pub(crate) struct Claim<'a> {
    work: TempDir,
    target: PathBuf,
    _permit: SemaphorePermit<'a>,
    _lock: File,
}

impl Claim<'_> {
    /// The directory to build in, which nobody else can enter yet.
    pub(crate) fn work(&self) -> &Path {
        self.work.path()
    }

    /// Where the environment is to be.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }
}

impl Shelf {
    /// Opens the directory and removes what interrupted builds left.
    pub(crate) fn open(directory: PathBuf, timeout: Duration) -> Result<Self, ShelfError> {
        let shelf = Self { directory, timeout, builds: Semaphore::new(MOST_BUILDS) };
        for (path, mode) in [(shelf.directory.clone(), 0o755), (shelf.directory.join(".locks"), 0o700)] {
            let io = |what, cause| ShelfError::Io { what, path: path.clone(), cause };
            fs::create_dir_all(&path).map_err(|cause| io("create", cause))?;
            fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(|cause| io("open up", cause))?;
        }
        shelf.sweep().map_err(|cause| shelf.io("clean", cause))?;
        Ok(shelf)
    }

    /// Makes a directory for what builds download, in this one: `name` begins with a dot. It is the account's.
    pub(crate) fn cache(&self, name: &str, account: Option<Account>) -> Result<PathBuf, ShelfError> {
        let path = self.directory.join(name);
        let io = |what, cause| ShelfError::Io { what, path: path.clone(), cause };
        fs::create_dir_all(&path).map_err(|cause| io("create", cause))?;
        fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(|cause| io("open up", cause))?;
        if let Some(account) = account {
            chown(&path, Some(account.uid), Some(account.gid)).map_err(|cause| io("hand over", cause))?;
        }
        Ok(path)
    }

    /// Where an environment is.
    pub(crate) fn path(&self, id: &EnvironmentId) -> PathBuf {
        self.directory.join(&id.0)
    }

    /// Waits for the right to build `id`; `None` when another has built it meanwhile. May be dropped at any time.
    pub(crate) async fn claim(
        &self,
        id: &EnvironmentId,
        log: Log<'_>,
        cancel: &CancellationToken,
    ) -> Result<Option<Claim<'_>>, ShelfError> {
        let lock = self.lock(id, log, cancel).await?;
        let target = self.path(id);
        if target.is_dir() {
            log(&format!("Environment {} has been built meanwhile", id.0));
            return Ok(None);
        }
        let permit = tokio::select! {
            permit = self.builds.acquire() => permit.map_err(|_| ShelfError::Cancelled("waiting for other builds"))?,
            () = cancel.cancelled() => return Err(ShelfError::Cancelled("waiting for other builds")),
        };
        self.remove_leftovers(id).map_err(|cause| self.io("clean", cause))?;
        let work = tempfile::Builder::new().prefix(&format!(".building-{}-", id.0)).tempdir_in(&self.directory);
        let work = work.map_err(|cause| self.io("create a directory in", cause))?;
        Ok(Some(Claim { work, target, _permit: permit, _lock: lock }))
    }

    /// The names of the environments, sorted.
    pub(crate) fn list(&self) -> Result<Vec<EnvironmentId>, ShelfError> {
        let failed = |cause| self.io("list", cause);
        let mut found = Vec::new();
        for entry in self.directory.read_dir().map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            found
                .extend(name.to_str().filter(|name| !name.starts_with('.')).map(|name| EnvironmentId(name.to_owned())));
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }

    /// Removes an environment; `false` when there is none. Blocks.
    pub(crate) fn remove(&self, id: &EnvironmentId) -> Result<bool, ShelfError> {
        let failed = |cause| self.io("remove an environment from", cause);
        // Out of sight first: a removal that is cut short leaves no half environment under a good name.
        let aside = tempfile::Builder::new().prefix(".removing-").tempdir_in(&self.directory).map_err(failed)?;
        match fs::rename(self.path(id), aside.path().join("env")) {
            Ok(()) => aside.close().map(|()| true).map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    pub(crate) fn io(&self, what: &'static str, cause: io::Error) -> ShelfError {
        ShelfError::Io { what, path: self.directory.clone(), cause }
    }

    async fn lock(&self, id: &EnvironmentId, log: Log<'_>, cancel: &CancellationToken) -> Result<File, ShelfError> {
        let failed = |cause| self.io("lock", cause);
        let file = File::create(self.directory.join(".locks").join(&id.0)).map_err(failed)?;
        let mut told = false;
        // Twice a build's time: the one before may just have begun, and fail.
        let deadline = tokio::time::Instant::now() + self.timeout * 2;
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
                () = cancel.cancelled() => return Err(ShelfError::Cancelled("waiting for another build")),
            }
        }
    }

    /// Removes what interrupted builds of `id` left; its lock is held.
    fn remove_leftovers(&self, id: &EnvironmentId) -> io::Result<()> {
        let prefix = format!(".building-{}-", id.0);
        for entry in self.directory.read_dir()? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes what interrupted builds and removals left, except for builds that go on in another server.
    fn sweep(&self) -> io::Result<()> {
        for entry in self.directory.read_dir()? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(".removing-") {
                fs::remove_dir_all(entry.path())?;
            } else if let Some((id, _)) = name.strip_prefix(".building-").and_then(|rest| rest.split_once('-')) {
                let lock = File::create(self.directory.join(".locks").join(id))?;
                if lock.try_lock().is_ok() {
                    fs::remove_dir_all(entry.path())?;
                }
            }
        }
        Ok(())
    }
}
