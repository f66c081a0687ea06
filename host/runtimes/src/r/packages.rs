//! The whole of R package restore: its settings, its errors, and the words it answers to.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::FutureExt as _;
use lectern_domain::launch::{Account, EnvironmentId, Interpreter};
use lectern_domain::manifest::Manifest;
use lectern_domain::r_packages::{BadPackage, LockfileError, Refused};
use tokio::sync::{RwLock, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::Sources;
use super::build::BuildError;
use super::fetch::Fetcher;
use super::find::PlaceError;
use super::library;
use super::plan::PlanError;
use super::restore::Restore;
use super::store::{Cached, Evicted, Store};
use crate::Log;
use crate::fence::Fence;
use crate::r_library::Installed;

/// Most builds at a time on this server, however many cores it has. A compiler of C++ wants a gigabyte of memory, and
/// libraries of R packages are so deep that more of them seldom find something to do.
const MOST_BUILDS: usize = 4;
/// How much later than its builds a whole restore is given up.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Lines that wait for the task's log; they are taken as fast as they come.
const LINES: usize = 256;

/// Where and how packages are restored.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cache, on node-local disk: `<data_dir>/r-packages`.
    pub directory: PathBuf,
    /// Where libraries are kept, beside the Python environments: `<data_dir>/environments`.
    pub environments: PathBuf,
    /// Where packages come from.
    pub sources: Sources,
    /// Who builds. `None` builds as the server itself, which must not be root then.
    pub account: Option<Account>,
    /// The walls around builds.
    pub fence: Option<Fence>,
    /// Variables that say how to reach the network: proxies.
    pub variables: Vec<(String, String)>,
}

/// A bundle's packages could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The manifest lists what is no package.
    #[error(transparent)]
    Listed(#[from] BadPackage),
    /// The manifest's word is unknown.
    #[error(
        "environment.r.package_repository_resolution is {0:?} in manifest.json; it must be lax, strict, legacy or lockfile"
    )]
    Resolution(String),
    /// The lock file cannot be used.
    #[error("the lock file {name} cannot be used: {cause}")]
    Lockfile {
        /// Its name in the bundle.
        name: String,
        /// Why not.
        cause: LockfileError,
    },
    /// The lock file is not in the bundle.
    #[error("the lock file {name} cannot be read")]
    NoLockfile {
        /// Its name in the bundle.
        name: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// More than anybody has.
    #[error("the bundle wants more than {0} R packages")]
    TooMany(usize),
    /// No repository is meant.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// From a place that cannot be fetched from.
    #[error(
        "the R package {package} was installed from {place} on the publisher's computer, where this server cannot fetch it; install it from a repository and deploy again"
    )]
    Elsewhere {
        /// Which package.
        package: String,
        /// The publisher's word for the place.
        place: String,
    },
    /// From a source host that the operator did not allow.
    #[error(
        "the R package {package} comes from {kind}, from where this server takes no packages; the administrator can allow it with r.packages.remotes, or the package can be put into a repository of yours"
    )]
    RemoteRefused {
        /// Which package.
        package: String,
        /// `github`, …
        kind: String,
    },
    /// No repository has it.
    #[error("the R package {package} is in none of this server's repositories: {reasons}")]
    Absent {
        /// Which package.
        package: String,
        /// What each repository said.
        reasons: String,
    },
    /// No repository that answered has it, and not all did.
    #[error("the R package {package} could not be fetched: {reasons}; deploy again when the repository answers")]
    Unreachable {
        /// Which package.
        package: String,
        /// What each repository said.
        reasons: String,
    },
    /// A repository gave what cannot be used.
    #[error("the R package {package}")]
    Place {
        /// Which package.
        package: String,
        /// What is wrong.
        #[source]
        cause: PlaceError,
    },
    /// Packages do not fit each other.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A package could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It took too long.
    #[error(
        "restoring R packages was not finished within {0} s; what was built is kept, so deploy again to go on, or ask the administrator to raise r.restore_timeout_seconds"
    )]
    TimedOut(u64),
    /// Whoever wanted it changed their mind.
    #[error("cancelled")]
    Cancelled,
    /// Evicted between being built and being used.
    #[error("the R package {0} was evicted from the cache while it was to be used; deploy again")]
    Evicted(String),
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
    /// TLS cannot be set up.
    #[error("set up TLS for repositories of R packages")]
    Tls(#[source] rustls::Error),
    /// As root and without an account: code from the network would run as root.
    #[error("packages are never built as root; configure an account for builds")]
    AsRoot,
}

/// What shall be restored.
#[derive(Debug, Clone, Copy)]
pub struct RestoreRequest<'a> {
    /// The unpacked bundle.
    pub tree: &'a Path,
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// The R chosen for it.
    pub interpreter: &'a Interpreter,
    /// What that brings along.
    pub installed: &'a Installed,
}

/// The cache of R packages of this host.
pub struct RPackages {
    pub(super) settings: Settings,
    pub(super) store: Store,
    pub(super) fetcher: Fetcher,
    /// Builds of all restores together.
    pub(super) builds: Semaphore,
    /// Taken for writing by an eviction, for reading by whoever makes links to packages.
    pub(super) linking: RwLock<()>,
}

impl std::fmt::Debug for RPackages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RPackages").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl RPackages {
    /// Opens the cache and removes what interrupted builds left.
    pub fn open(settings: Settings) -> Result<Self, RestoreError> {
        if settings.account.is_none() && nix::unistd::geteuid().is_root() {
            return Err(RestoreError::AsRoot);
        }
        let io = |path: &Path| {
            let path = path.to_owned();
            move |cause| RestoreError::Io { what: "open", path, cause }
        };
        let store = Store::open(settings.directory.clone()).map_err(io(&settings.directory))?;
        let fetcher = Fetcher::new(&settings.variables).map_err(RestoreError::Tls)?;
        // Half of the cores would be idle while a compiler waits for its disk; more than all only slows each down.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let builds = Semaphore::new(cores.clamp(1, MOST_BUILDS));
        Ok(Self { settings, store, fetcher, builds, linking: RwLock::new(()) })
    }

    /// Whether packages are restored at all: somebody configured where from.
    pub fn is_configured(&self) -> bool {
        let sources = &self.settings.sources;
        !sources.repositories.is_empty()
    }

    /// Restores what a bundle wants, as far as it has not been done before; answers the library that it shall run with.
    ///
    /// Dropping the future, or cancelling, ends all builds; packages that were finished stay.
    pub async fn restore(
        &self,
        request: RestoreRequest<'_>,
        log: Log<'_>,
        cancel: &CancellationToken,
    ) -> Result<EnvironmentId, RestoreError> {
        let (say, mut heard) = mpsc::channel::<String>(LINES);
        let limit = self.settings.sources.timeout;
        let deadline = tokio::time::Instant::now() + limit;
        let restore = Restore { packages: self, request, say, cancel, deadline };
        // A build that runs out of time gets the time to say what it hangs in.
        let work = tokio::time::timeout_at(deadline + LAST_WORDS, restore.run().boxed());
        tokio::pin!(work);
        let outcome = loop {
            tokio::select! {
                biased;
                Some(line) = heard.recv() => log(&line),
                outcome = &mut work => break outcome,
            }
        };
        while let Ok(line) = heard.try_recv() {
            log(&line);
        }
        outcome.unwrap_or(Err(RestoreError::TimedOut(limit.as_secs())))
    }

    /// The built packages, by name and version.
    pub fn list(&self) -> Result<Vec<Cached>, RestoreError> {
        self.store.list().map_err(|cause| self.io("list", cause))
    }

    /// Removes a package, in one version or in all, from the cache: it is fetched and built again when it is next wanted.
    /// Libraries that have it keep it, so content that runs goes on, restarts included, until it is deployed again. What
    /// needs the package is not built again: its key is the same.
    pub async fn evict(&self, name: &str, version: Option<&str>) -> Result<Evicted, RestoreError> {
        let _alone = self.linking.write().await;
        let (store, name, version) = (self.store.clone(), name.to_owned(), version.map(str::to_owned));
        let evicted = tokio::task::spawn_blocking(move || store.evict(&name, version.as_deref())).await;
        evicted
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|cause| self.io("remove a package from", cause))
    }

    /// Whether a library is made of what is in the cache now. It need not be for content to run with it.
    pub fn is_current(&self, library: &EnvironmentId) -> bool {
        let record = self.settings.environments.join(&library.0).join(library::RECORD);
        let read = std::fs::read(record).ok().and_then(|bytes| serde_json::from_slice::<Vec<Cached>>(&bytes).ok());
        let same = |package: &Cached| self.store.record(&package.key).is_some_and(|now| now.build == package.build);
        read.is_some_and(|packages| packages.iter().all(same))
    }

    pub(super) fn io(&self, what: &'static str, cause: io::Error) -> RestoreError {
        RestoreError::Io { what, path: self.settings.directory.clone(), cause }
    }
}
