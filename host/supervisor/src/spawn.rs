//! Starts a worker's process.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lectern_domain::launch::LaunchSpec;
use tokio::sync::oneshot;

use crate::capture::Capture;
use crate::log::LogFile;
use crate::private;
use crate::reach;
use crate::registry::{Reaped, Registry};
use crate::sys;

/// Why a worker has no process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("make private directory {path:?}")]
    Private {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("open log {path:?}")]
    Log {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("run {program:?} in {directory:?}{}", .obstacle.as_ref().map(|o| format!(": {o}")).unwrap_or_default())]
    Exec {
        program: String,
        directory: PathBuf,
        obstacle: Option<reach::Obstacle>,
        #[source]
        cause: io::Error,
    },
    #[error("read the output of {program:?}")]
    Output {
        program: String,
        #[source]
        cause: io::Error,
    },
}

/// A worker's running process.
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Answered when it has been reaped.
    pub(crate) reaped: oneshot::Receiver<Reaped>,
    pub(crate) capture: Capture,
}

/// Makes the private directory and the log, then starts the process.
///
/// Runs on the supervisor's main thread: the kernel ties a child's parent-death signal to the thread that made it.
pub(crate) async fn spawn(registry: &Registry, spec: &LaunchSpec) -> Result<Process, SpawnError> {
    // On a blocking thread: the disk may hang, and what a dead worker left in the directory may be large.
    let (path, account) = (spec.private.clone(), spec.account);
    let (log, log_limit) = (spec.log.clone(), spec.log_limit_bytes);
    let files = tokio::task::spawn_blocking(move || {
        private::create(&path, account).map_err(|cause| SpawnError::Private { path, cause })?;
        open_log(&log, log_limit).map_err(|cause| SpawnError::Log { path: log, cause })
    });
    let log = match tokio::time::timeout(spec.init_timeout, files).await {
        Ok(Ok(made)) => made?,
        Ok(Err(error)) => return Err(SpawnError::Log { path: spec.log.clone(), cause: io::Error::other(error) }),
        Err(_) => {
            let cause = io::Error::from(io::ErrorKind::TimedOut);
            return Err(SpawnError::Private { path: spec.private.clone(), cause });
        }
    };

    let mut command = command(spec);
    let started = sys::isolate(&mut command, &spec.private, registry.nofile).and_then(|()| command.spawn());
    let mut child = started.map_err(|cause| exec_error(spec, cause))?;
    let pid = child.id().cast_signed();
    let reaped = registry.spawned(&spec.job, pid);
    let (stdout, stderr) = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
    let capture = match (stdout, stderr) {
        (Some(stdout), Some(stderr)) => Capture::start(stdout, stderr, log),
        _ => Err(io::Error::other("no pipes")),
    };
    match capture {
        Ok(capture) => Ok(Process { pid, reaped, capture }),
        Err(cause) => {
            // Unread, it would hang; nobody has seen it yet.
            let _ = child.kill();
            Err(SpawnError::Output { program: spec.argv[0].clone(), cause })
        }
    }
}

fn command(spec: &LaunchSpec) -> Command {
    let mut command = Command::new(&spec.argv[0]);
    command
        .args(&spec.argv[1..])
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(account) = spec.account
        && nix::unistd::geteuid().is_root()
    {
        // Setting the uid also drops the supplementary groups.
        command.uid(account.uid).gid(account.gid);
    }
    command
}

fn open_log(path: &Path, limit_bytes: u64) -> io::Result<LogFile> {
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    LogFile::open(path, limit_bytes)
}

fn exec_error(spec: &LaunchSpec, cause: io::Error) -> SpawnError {
    let ways = [Path::new(&spec.argv[0]), &spec.directory, &spec.private];
    let obstacle = match (cause.kind(), spec.account) {
        (io::ErrorKind::PermissionDenied, Some(account)) => {
            ways.into_iter().find_map(|path| reach::obstacle(path, account))
        }
        _ => None,
    };
    SpawnError::Exec { program: spec.argv[0].clone(), directory: spec.directory.clone(), obstacle, cause }
}
