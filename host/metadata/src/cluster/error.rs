//! Why a private cluster cannot be used, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use lectern_domain::launch::Account;

use super::BinariesError;
use crate::database::ConnectError;
use crate::reach::ReachError;

/// The cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Another server uses it.
    #[error("the private database in {} is in use by another Lectern server", dir.display())]
    Busy {
        /// Its directory.
        dir: PathBuf,
    },
    /// The account cannot reach the directory or the programs.
    #[error("the private database cannot run as account {}:{}", account.uid, account.gid)]
    Unreachable {
        /// The account.
        account: Account,
        /// What blocks and what to do about it.
        #[source]
        cause: ReachError,
    },
    /// PostgreSQL's programs.
    #[error("the private database needs PostgreSQL's server programs")]
    Binaries(#[from] BinariesError),
    /// The password file is gone, but the cluster that asks for it is there.
    #[error(
        "{} is missing, so the private database beside it cannot be opened: restore the file from a backup",
        path.display()
    )]
    PasswordMissing {
        /// The file.
        path: PathBuf,
    },
    /// The directory for the socket exists and is somebody else's.
    #[error("the directory for the database's socket, {}, exists and is not account {}'s alone: remove it", path.display(), account.uid)]
    SocketDir {
        /// The directory.
        path: PathBuf,
        /// The account.
        account: Account,
    },
    /// The account database failed.
    #[error("look up account {name}")]
    Account {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Root, and no account to run as.
    #[error(
        "PostgreSQL does not run as root, and there is neither an account `postgres` nor `nobody`: create one of them"
    )]
    NoAccount,
    /// Creating the cluster failed.
    #[error("create the private database: initdb ended with {status}: {output}")]
    Init {
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// PostgreSQL did not come up.
    #[error("start the private database: {reason}; the end of {}: {tail}", log.display())]
    Start {
        /// What happened.
        reason: String,
        /// Its log.
        log: PathBuf,
        /// The end of its log.
        tail: String,
    },
    /// PostgreSQL did not stop.
    #[error("stop the private database: process {pid} does not end")]
    Stop {
        /// Its process id.
        pid: i32,
    },
    /// It runs, but does not answer.
    #[error("open the private database")]
    Connect(#[from] ConnectError),
    /// A file operation failed.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

/// Names what was tried with which file, for `map_err`.
pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
    let path = path.to_owned();
    move |cause| ClusterError::Io { what, path, cause }
}
