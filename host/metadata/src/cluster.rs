//! A private PostgreSQL cluster: the database of a server that was given none.
//!
//! It lives in one directory, listens on a Unix socket only, and runs as an unprivileged account when the server runs as
//! root. Nobody else gets in: the socket's directory is the account's alone (root passes it), and the one database role
//! asks for a random password that only the server can read. Processes of content, which run as other accounts, fail at
//! the first; one that should share the account fails at the second.
//!
//! ```text
//! <dir>/            the server's own; others may only pass
//!   data/           the cluster (the account's, 0700)
//!   s/              the socket (the account's, 0700); elsewhere when the path would be too long
//!   password        of the role `lectern` (0600)
//!   postgres.log    PostgreSQL's messages, bounded
//!   lock            held by the server that uses the cluster
//! ```
//!
//! A killed server leaves PostgreSQL running; the next one adopts it. A killed PostgreSQL is started again and recovers
//! from its log. A killed `initdb` leaves a directory that the next start removes.

mod binaries;
mod error;
mod init;
mod layout;
mod postmaster;
mod watch;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lectern_domain::launch::Account;
use nix::unistd::{User, getegid, geteuid};
use tracing::info;

pub use self::binaries::{Binaries, BinariesError, OLDEST_MAJOR, find_binaries};
pub use self::error::ClusterError;
use self::error::io_error;
use self::layout::Layout;
use self::postmaster::Postmaster;
use crate::config::DatabaseConfig;
use crate::database::{ConnectError, Database};
use crate::reach::check_reachable;

/// The one role of the cluster and the one database in it.
const ROLE: &str = "lectern";

/// Where the cluster is and what runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Its directory; created when absent.
    pub dir: PathBuf,
    /// The directory of PostgreSQL's programs; `None`: looked for, see [`find_binaries`].
    pub bindir: Option<PathBuf>,
    /// The account it runs as when the server is root; `None`: see [`default_account`]. Ignored when the server is not
    /// root: it can only run as itself.
    pub account: Option<Account>,
}

impl ClusterConfig {
    /// A cluster in `dir` with everything else found out.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), bindir: None, account: None }
    }
}

/// The account a cluster runs as: the server's own when that is not root, else `postgres`, else `nobody`.
///
/// Whatever else runs as the same account can read the cluster's files, so nothing of a publisher's may.
pub fn default_account() -> Result<Account, ClusterError> {
    if !geteuid().is_root() {
        return Ok(Account { uid: geteuid().as_raw(), gid: getegid().as_raw() });
    }
    for name in ["postgres", "nobody"] {
        let found = User::from_name(name).map_err(|cause| ClusterError::Account { name, cause: cause.into() })?;
        if let Some(user) = found {
            return Ok(Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() });
        }
    }
    Err(ClusterError::NoAccount)
}

/// A running private cluster. Dropping it leaves PostgreSQL running, to be adopted by the next start; [`stop`] ends it.
///
/// [`stop`]: PrivateCluster::stop
#[derive(Debug)]
pub struct PrivateCluster {
    layout: Layout,
    binaries: Binaries,
    /// Held while the process lives: one server per cluster.
    lock: layout::Lock,
    config: DatabaseConfig,
    /// Held for an instant at a time.
    postmaster: Mutex<Postmaster>,
    /// One start or stop at a time; `true` once it was stopped on purpose.
    stopped: tokio::sync::Mutex<bool>,
}

impl PrivateCluster {
    /// Creates the cluster when there is none, adopts or starts its PostgreSQL, and waits until it answers.
    ///
    /// Everything that would stop it later is checked before anything starts. Crash recovery is waited for;
    /// starting otherwise takes a second, creating a few. Not to be given up halfway: a start that is dropped goes on.
    pub async fn start(config: ClusterConfig) -> Result<Self, ClusterError> {
        Self::begin(config, None).await
    }

    /// The same for a server that succeeds another one on the same cluster, whose lock it was lent.
    pub async fn take_over(config: ClusterConfig, lock: OwnedFd) -> Result<Self, ClusterError> {
        Self::begin(config, Some(lock)).await
    }

    async fn begin(config: ClusterConfig, lent: Option<OwnedFd>) -> Result<Self, ClusterError> {
        let (layout, binaries, lock, postmaster) = blocking(move || {
            let account = match (config.account, geteuid().is_root()) {
                (Some(account), true) => account,
                (None, _) | (_, false) => default_account()?,
            };
            let unreachable = |cause| ClusterError::Unreachable { account, cause };
            check_reachable(&config.dir, account.uid, account.gid).map_err(unreachable)?;
            let layout = Layout::create(&config.dir, account)?;
            let begin = move |layout: &Layout| -> Result<_, ClusterError> {
                let binaries = find_binaries(config.bindir.as_deref(), layout.existing_major()?)?;
                check_reachable(&binaries.dir, account.uid, account.gid).map_err(unreachable)?;
                let lock = layout.lock(lent)?;
                init::ensure(layout, &binaries)?;
                let postmaster = Postmaster::adopt_or_start(layout, &binaries)?;
                Ok((binaries, lock, postmaster))
            };
            let (binaries, lock, postmaster) = begin(&layout).inspect_err(|_| layout.remove_outside_socket_dir())?;
            Ok((layout, binaries, lock, postmaster))
        })
        .await?;
        let password = layout.password()?;
        let url = |database: &str| layout::url(ROLE, &password, database, postmaster.socket_dir());
        ensure_database(DatabaseConfig { pool_size: 1, ..DatabaseConfig::new(url("postgres")) }).await?;
        let config = DatabaseConfig::new(url(ROLE));
        info!(
            db.version = %binaries.version, db.pid = postmaster.pid(), db.directory = %layout.dir.display(),
            adopted = postmaster.adopted(), "private database runs",
        );
        let postmaster = Mutex::new(postmaster);
        Ok(Self { layout, binaries, lock, config, postmaster, stopped: tokio::sync::Mutex::new(false) })
    }

    /// The lock once more, for the server that succeeds this one. Whoever lends it must [`leave`](Self::leave) the cluster.
    pub fn lend_lock(&self) -> io::Result<OwnedFd> {
        self.lock.lend()
    }

    /// Leaves PostgreSQL and the lock to the server that was lent it: dropping this would unlock the cluster for both.
    pub fn leave(self: Arc<Self>) {
        std::mem::forget(self);
    }

    /// How to connect. The URL holds the password; printing the configuration does not show it.
    pub fn config(&self) -> DatabaseConfig {
        self.config.clone()
    }

    /// The URL to connect to, password included: not to be printed.
    pub fn url(&self) -> &str {
        &self.config.url
    }

    /// The directory of its socket.
    pub fn socket_dir(&self) -> PathBuf {
        self.with_postmaster(|postmaster| postmaster.socket_dir().to_owned())
    }

    /// The directory of PostgreSQL's programs in use.
    pub fn bindir(&self) -> &Path {
        &self.binaries.dir
    }

    /// PostgreSQL's process id.
    pub fn pid(&self) -> i32 {
        self.with_postmaster(|postmaster| postmaster.pid())
    }

    /// Whether its PostgreSQL runs.
    pub fn is_running(&self) -> bool {
        self.with_postmaster(Postmaster::is_running)
    }

    /// Starts PostgreSQL again when it has ended other than by [`stop`](Self::stop); `true` when it had. Connections of
    /// before are lost.
    pub async fn restart_if_dead(&self) -> Result<bool, ClusterError> {
        let stopped = self.stopped.lock().await;
        if *stopped || self.is_running() {
            return Ok(false);
        }
        let (layout, binaries) = (self.layout.clone(), self.binaries.clone());
        let postmaster = blocking(move || Postmaster::adopt_or_start(&layout, &binaries)).await?;
        self.with_postmaster(|current| *current = postmaster);
        Ok(true)
    }

    /// Stops PostgreSQL for good: ends its connections, writes everything, and waits until it has ended. Harmless when it
    /// has.
    pub async fn stop(&self) -> Result<(), ClusterError> {
        let mut stopped = self.stopped.lock().await;
        *stopped = true;
        for (signal, limit) in postmaster::STOPS {
            if !self.with_postmaster(|postmaster| postmaster.signal(signal)) {
                break;
            }
            let ended = async {
                while self.is_running() {
                    tokio::time::sleep(postmaster::POLL).await;
                }
            };
            if tokio::time::timeout(limit, ended).await.is_ok() {
                break;
            }
        }
        if self.is_running() {
            return Err(ClusterError::Stop { pid: self.pid() });
        }
        self.layout.remove_outside_socket_dir();
        Ok(())
    }

    fn with_postmaster<T>(&self, act: impl FnOnce(&mut Postmaster) -> T) -> T {
        act(&mut self.postmaster.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs what waits for processes and files on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClusterError> + Send + 'static,
) -> Result<T, ClusterError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ClusterError::Io {
                what: "run",
                path: PathBuf::new(),
                cause: io::Error::other("the runtime is shutting down"),
            }),
        },
    }
}

/// Creates the one database when it is not there.
async fn ensure_database(maintenance: DatabaseConfig) -> Result<(), ClusterError> {
    let database = Database::connect(maintenance).await?;
    let failed = |cause| ConnectError::Connect { url: "the private database".to_owned(), cause };
    let client = database.client().await.map_err(failed)?;
    let there = client
        .query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&ROLE])
        .await
        .map_err(|error| failed(error.into()))?;
    if there.is_none() {
        let sql = format!("CREATE DATABASE {ROLE}");
        client.batch_execute(&sql).await.map_err(|error| failed(error.into()))?;
    }
    Ok(())
}
