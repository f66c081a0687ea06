//! What can go wrong between server and supervisor.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::protocol::{ErrorCode, WorkerState, WorkerStatus};

/// A request to the supervisor failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("no supervisor answers on {socket:?}")]
    NotRunning {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The socket cannot be reached.
    #[error("connect to the supervisor on {socket:?}")]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A stranger listens on the socket.
    #[error("{socket:?} is answered by uid {uid}, which is neither root nor this account")]
    Untrusted {
        /// The socket.
        socket: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// The connection has ended: the supervisor is gone, or cut it off. Connect again.
    #[error("the supervisor is gone")]
    Gone,
    /// It took too long.
    #[error("{what}: not done within {limit:?}")]
    Timeout {
        /// What was tried.
        what: &'static str,
        /// How long.
        limit: Duration,
    },
    /// The supervisor says no.
    #[error("the supervisor refuses: {message}")]
    Refused {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        message: String,
    },
    /// Too many requests wait for an answer.
    #[error("{most} requests wait for the supervisor already")]
    Busy {
        /// How many may.
        most: usize,
    },
    /// The request is too long for a line.
    #[error("the request has {bytes} bytes, too many for a line")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// A line was not understood.
    #[error("read or write a line of the protocol")]
    Protocol(#[source] serde_json::Error),
    /// The worker ended, when it was to become ready. `status.state` tells how.
    #[error("job {}: the worker {}", .status.job, message(.status))]
    Ended {
        /// Its last status.
        status: Box<WorkerStatus>,
    },
    /// The supervisor's program could not be started.
    #[error("start the supervisor {program:?} with its log in {log:?}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Its log.
        log: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The supervisor's program ended, and no other supervisor answers.
    #[error("the supervisor ended at once ({status}); {log:?} says why")]
    SpawnEnded {
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
    },
}

impl ClientError {
    /// Whether the supervisor knows no such job (any more).
    pub fn is_unknown_job(&self) -> bool {
        matches!(self, Self::Refused { code: ErrorCode::UnknownJob, .. })
    }

    pub(super) fn connect(socket: &Path, cause: io::Error) -> Self {
        let socket = socket.to_owned();
        match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::NotRunning { socket, cause },
            _ => Self::Connect { socket, cause },
        }
    }
}

fn message(status: &WorkerStatus) -> &str {
    match &status.state {
        WorkerState::Exited(exited) => &exited.message,
        WorkerState::Starting | WorkerState::Ready | WorkerState::Draining => "is ending",
    }
}
