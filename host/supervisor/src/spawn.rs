//! Starts a worker's process.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lectern_confinement::cgroup::Group;
use lectern_confinement::{Cell, EnterError, Launch, Limits, Missing, Subject, Warden, plan};
use lectern_domain::launch::{Account, LaunchSpec, home};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;

use crate::capture::Capture;
use crate::log::LogFile;
use crate::private;
use crate::reach;
use crate::registry::{Reaped, Registry};
use crate::sys;
use crate::zygote::Fork;

/// How long a process that did not begin may take to be gone once it is killed, and its output to end.
pub(crate) const GONE: Duration = Duration::from_secs(2);

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
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("make a control group with {limits:?}")]
    Group {
        limits: Limits,
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
    #[error(transparent)]
    Enter(#[from] EnterError),
    #[error("read the output of {program:?}")]
    Output {
        program: String,
        #[source]
        cause: io::Error,
    },
}

/// A worker's running process.
pub(crate) struct Process {
    /// The outermost: with its end, everything inside ends.
    pub(crate) pid: i32,
    /// Answered when it has ended, and was reaped.
    pub(crate) reaped: oneshot::Receiver<Reaped>,
    pub(crate) capture: Capture,
    pub(crate) hold: Hold,
    pub(crate) group: Option<Group>,
    /// Where it is to listen.
    pub(crate) socket: PathBuf,
    /// On which it says that it does.
    pub(crate) ready: Option<Receiver>,
}

/// What a worker's process is held by.
pub(crate) enum Hold {
    /// A cell of its own.
    Cell(Warden),
    /// A zygote's cell.
    Fork(Box<Fork>),
}

/// What a process needs on disk and in the kernel before it is started.
pub(crate) struct Ground {
    pub(crate) log: LogFile,
    pub(crate) group: Option<Group>,
}

/// Makes the private directory, the log and the control group, then starts the process behind its walls.
///
/// Runs on the supervisor's main thread: the kernel ties a child's parent-death signal to the thread that made it.
pub(crate) async fn spawn(registry: &Registry, spec: &LaunchSpec) -> Result<Process, SpawnError> {
    let home = home(&spec.private);
    let subject =
        Subject { account: spec.account, directory: &spec.directory, home: Some(&home), sockets: spec.socket.parent() };
    let plan = plan(subject, &spec.walls, &registry.facts)?;
    let Ground { log, group } = lay_ground(registry, spec, plan.limits(), spec.job.to_string()).await?;
    let launch = Launch {
        argv: spec.argv.clone(),
        env: spec.env.clone(),
        directory: spec.directory.clone(),
        open_files: registry.nofile,
        file_bytes: spec.walls.file_bytes,
        // What a worker makes is its own.
        umask: 0o077,
    };
    let mark = spec.private.to_string_lossy();
    let isolate = |command: &mut Command| sys::isolate(command, &spec.private, registry.nofile);
    let mut cell =
        Cell::new(plan, launch, registry.program.as_fd(), &mark, isolate).map_err(|cause| exec_error(spec, cause))?;
    let ready = match spec.notifies {
        true => Some(readiness(&mut cell, spec.account).map_err(|cause| exec_error(spec, cause))?),
        false => None,
    };
    let started = cell.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.map_err(|cause| exec_error(spec, cause))?;
    let pid = child.id().cast_signed();
    let mut reaped = registry.spawned(&spec.job, pid);
    let (stdout, stderr) = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
    let capture = match (stdout, stderr) {
        (Some(stdout), Some(stderr)) => Capture::start(Some(stdout), Some(stderr), log, registry.freeze.watch()),
        _ => Err(io::Error::other("no pipes")),
    };
    let capture = match capture {
        Ok(capture) => capture,
        Err(cause) => {
            // Unread, it would hang; nobody has seen it yet.
            let _ = child.kill();
            return Err(SpawnError::Output { program: spec.argv[0].clone(), cause });
        }
    };
    match Warden::enter(cell, child.id(), group.as_ref(), spec.init_timeout).await {
        Ok(warden) => {
            let (hold, socket) = (Hold::Cell(warden), spec.socket.clone());
            Ok(Process { pid, reaped, capture, hold, group, socket, ready })
        }
        Err(error) => {
            // It may have ended by itself, and then its number is not ours any more.
            if reaped.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty) {
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
                let _ = tokio::time::timeout(GONE, &mut reaped).await;
            }
            capture.finish(GONE).await;
            registry.never_began(&spec.job);
            if let Some(group) = group
                && let Err(error) = group.remove().await
            {
                tracing::warn!(job = %spec.job, %error, "cannot remove a control group");
            }
            Err(inside_error(spec, error))
        }
    }
}

/// On a blocking thread: the disk may hang, and what a dead worker left in the directory may be large.
/// `name` is the control group's.
pub(crate) async fn lay_ground(
    registry: &Registry,
    spec: &LaunchSpec,
    limits: Limits,
    name: String,
) -> Result<Ground, SpawnError> {
    let (path, account) = (spec.private.clone(), spec.account);
    let inner = [Some(home(&spec.private)), spec.socket.parent().map(Path::to_owned)];
    let (log, log_limit) = (spec.log.clone(), spec.log_limit_bytes);
    let place = registry.groups.clone();
    let ways = [PathBuf::from(&spec.argv[0]), spec.directory.clone()];
    let late = spec.private.clone();
    let refused = exec_error(spec, io::Error::from(io::ErrorKind::PermissionDenied));
    let ground = tokio::task::spawn_blocking(move || {
        // Said here, before a tree is shown that the account could not enter.
        if let Some(account) = account
            && ways.iter().any(|way| reach::obstacle(way, account).is_some())
        {
            return Err(refused);
        }
        private::create(&path, account, &inner).map_err(|cause| SpawnError::Private { path, cause })?;
        let log = open_log(&log, log_limit).map_err(|cause| SpawnError::Log { path: log, cause })?;
        let group = Group::make(&place, &name, limits).map_err(|cause| SpawnError::Group { limits, cause })?;
        Ok(Ground { log, group })
    });
    match tokio::time::timeout(spec.init_timeout, ground).await {
        Ok(Ok(made)) => made,
        Ok(Err(error)) => Err(SpawnError::Log { path: spec.log.clone(), cause: io::Error::other(error) }),
        Err(_) => Err(SpawnError::Private { path: late, cause: io::Error::from(io::ErrorKind::TimedOut) }),
    }
}

/// A log and a control group alone: for a worker whose directories are inside a zygote's cell.
pub(crate) async fn log_and_group(
    registry: &Registry,
    spec: &LaunchSpec,
    limits: Limits,
) -> Result<Ground, SpawnError> {
    let (place, name) = (registry.groups.clone(), spec.job.to_string());
    let (log, log_limit) = (spec.log.clone(), spec.log_limit_bytes);
    let ground = tokio::task::spawn_blocking(move || {
        let log = open_log(&log, log_limit).map_err(|cause| SpawnError::Log { path: log, cause })?;
        let group = Group::make(&place, &name, limits).map_err(|cause| SpawnError::Group { limits, cause })?;
        Ok(Ground { log, group })
    });
    let late = |cause| SpawnError::Log { path: spec.log.clone(), cause };
    match tokio::time::timeout(spec.init_timeout, ground).await {
        Ok(Ok(made)) => made,
        Ok(Err(error)) => Err(late(io::Error::other(error))),
        Err(_) => Err(late(io::Error::from(io::ErrorKind::TimedOut))),
    }
}

/// The end of a pipe on which the program says that it listens.
fn readiness(cell: &mut Cell, account: Option<Account>) -> io::Result<Receiver> {
    let (ready, tell) = ready_pipe(account)?;
    cell.pass("LECTERN_READY_FD", tell);
    Receiver::from_owned_fd(ready)
}

/// A pipe on which a program of `account` says that it listens. It is the account's: R writes to files only, and has to open it by
/// its name below `/proc`.
pub(crate) fn ready_pipe(account: Option<Account>) -> io::Result<(OwnedFd, OwnedFd)> {
    let (ready, tell) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    if let Some(account) = account.filter(|_| nix::unistd::geteuid().is_root()) {
        nix::unistd::fchown(&tell, Some(account.uid.into()), Some(account.gid.into()))?;
    }
    Ok((ready, tell))
}

/// What failed inside, as it would have failed outside.
pub(crate) fn inside_error(spec: &LaunchSpec, error: EnterError) -> SpawnError {
    match error {
        EnterError::Inside { step, cause, not_found } => {
            let kind = if not_found { io::ErrorKind::NotFound } else { io::ErrorKind::Other };
            exec_error(spec, io::Error::new(kind, format!("{step}: {cause}")))
        }
        other => other.into(),
    }
}

fn open_log(path: &Path, limit_bytes: u64) -> io::Result<LogFile> {
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    LogFile::open(path, limit_bytes)
}

pub(crate) fn exec_error(spec: &LaunchSpec, cause: io::Error) -> SpawnError {
    let ways = [Path::new(&spec.argv[0]), &spec.directory, &spec.private];
    let obstacle = match (cause.kind(), spec.account) {
        (io::ErrorKind::PermissionDenied, Some(account)) => {
            ways.into_iter().find_map(|path| reach::obstacle(path, account))
        }
        _ => None,
    };
    SpawnError::Exec { program: spec.argv[0].clone(), directory: spec.directory.clone(), obstacle, cause }
}
