//! Starts a zygote, and owns its cell until nothing is left of it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lectern_confinement::cgroup::Group;
use lectern_confinement::{Cell, Launch, Reports, Subject, Warden, plan};
use lectern_domain::launch::{LaunchSpec, Zygote as Wanted, home};
use nix::sys::signal::{Signal, killpg};
use nix::sys::socket::sockopt::PassCred;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair};
use nix::unistd::Pid;
use time::OffsetDateTime;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{ForkError, Life, Zygote};
use crate::capture::Capture;
use crate::freeze::{frost, thaw};

use crate::private;
use crate::reading::read_tail;
use crate::registry::{Reaped, Registry};
use crate::spawn::{self, Ground, SpawnError};
use crate::sys;

/// Most bytes that are kept of what a zygote says: only frameworks speak there.
const LOG_BYTES: u64 = 64 * 1024;

/// How long the output of a cell that is gone may take to end.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// How long removing its directory may take.
const REMOVE: Duration = Duration::from_secs(30);

/// What is left of a cell when its process has ended.
pub(super) struct Remains {
    pub(super) capture: Capture,
    pub(super) group: Option<Group>,
}

/// Starts the zygote of `spec`, and waits until it can fork.
pub(super) async fn begin(
    registry: &Arc<Registry>,
    spec: &LaunchSpec,
    wanted: &Wanted,
) -> Result<Arc<Zygote>, ForkError> {
    let begun = Instant::now();
    let number = registry.zygotes.number()?;
    let private = registry.config.private_root.join(format!("z{number}"));
    let (old_home, new_home) = (home(&spec.private), home(&private));
    let env = wanted.env.iter().map(|(name, value)| (name.clone(), super::fork::exchange(value, &old_home, &new_home)));
    let cell = LaunchSpec {
        argv: wanted.argv.clone(),
        env: env.collect(),
        socket: private.join("s/s"),
        log: private.join("log"),
        log_limit_bytes: LOG_BYTES,
        init_timeout: wanted.init_timeout,
        private,
        zygote: None,
        ..spec.clone()
    };
    let subject = Subject {
        account: cell.account,
        directory: &cell.directory,
        home: Some(&new_home),
        sockets: cell.socket.parent(),
    };
    let plan = plan(subject, &cell.walls, &registry.facts).map_err(SpawnError::from)?;
    if !plan.has_namespaces() {
        return Err(ForkError::NotNow("without namespaces, workers of one cell could not be told apart".to_owned()));
    }
    let limits = plan.limits();
    let Ground { log, group } = spawn::lay_ground(registry, &cell, limits, format!("z{number}")).await?;
    let launch = Launch {
        argv: cell.argv.clone(),
        env: cell.env.clone(),
        // Not where the bundle is: nothing of it is imported by accident.
        directory: "/".into(),
        open_files: registry.nofile,
        file_bytes: cell.walls.file_bytes,
        umask: 0o077,
    };
    let (control, inside) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)
            .map_err(ForkError::at("make a socket pair"))?;
    // The other end waits in the kernel, not in an event loop.
    let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty());
    nix::fcntl::fcntl(&inside, flags).map_err(ForkError::at("make a socket pair"))?;
    setsockopt(&control, PassCred, &true).map_err(ForkError::at("ask for the peer's number"))?;
    // Of messages, not of bytes; which the event loop does not ask.
    let control =
        UnixStream::from_std(StdUnixStream::from(control)).map_err(ForkError::at("wait until it is ready"))?;
    let mark = cell.private.to_string_lossy();
    let isolate = |command: &mut Command| sys::isolate(command, &cell.private, registry.nofile);
    let made = Cell::new(plan, launch, registry.program.as_fd(), &mark, isolate);
    let mut inner = made.map_err(|cause| spawn::exec_error(&cell, cause))?;
    inner.pass("LECTERN_ZYGOTE_FD", inside);
    inner.forks();
    let child = inner.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|cause| spawn::exec_error(&cell, cause))?;
    let leader = child.id().cast_signed();
    let mut reaped = registry.lead(leader);
    let streams = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
    let capture = match streams {
        (Some(stdout), Some(stderr)) => Capture::start(Some(stdout), Some(stderr), log, registry.freeze.watch()),
        _ => Err(io::Error::other("no pipes")),
    };
    let capture = match capture {
        Ok(capture) => capture,
        Err(cause) => {
            let _ = child.kill();
            return Err(SpawnError::Output { program: cell.argv[0].clone(), cause }.into());
        }
    };
    let remains = Remains { capture, group };
    let entered = enter(&cell, inner, child.id(), remains.group.as_ref(), &control).await;
    match entered {
        Ok((warden, pid)) => {
            let (words, reports) = warden.split();
            let life =
                Life { workers: 0, forks: 0, last_used: Instant::now(), retiring: false, sweeps: VecDeque::new() };
            let zygote = Arc::new(Zygote {
                number,
                name: wanted.name.clone(),
                content: cell.content,
                bundle: cell.bundle,
                account: cell.account,
                private: cell.private,
                leader,
                pid,
                started_at: OffsetDateTime::now_utc(),
                limits,
                control,
                words: tokio::sync::Mutex::new(Some(words)),
                life: Mutex::new(life),
                end: CancellationToken::new(),
                gone: CancellationToken::new(),
            });
            let waited_ms = begun.elapsed().as_millis() as u64;
            tracing::info!(zygote = %zygote.name, content.id = %zygote.content, pid, waited_ms, "zygote ready");
            registry.zygotes.note(&zygote);
            registry.zygotes.tasks.spawn(own(Arc::clone(registry), Arc::clone(&zygote), reaped, reports, remains));
            Ok(zygote)
        }
        Err(error) => {
            if reaped.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty) {
                let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
                let _ = tokio::time::timeout(spawn::GONE, &mut reaped).await;
            }
            remains.capture.finish(LAST_OUTPUT).await;
            let log = cell.log.clone();
            let said = tokio::task::spawn_blocking(move || read_tail(&log, 5, LOG_BYTES)).await;
            let said: Vec<String> =
                said.ok().and_then(Result::ok).into_iter().flatten().map(|line| line.data).collect();
            tracing::warn!(zygote = %wanted.name, content.id = %cell.content, said = said.join(" | "), "a zygote did not come up");
            clear(&cell.private, remains.group).await;
            Err(error)
        }
    }
}

/// Brings the zygote to work; its number as seen here.
async fn enter(
    cell: &LaunchSpec,
    inner: Cell,
    pid: u32,
    group: Option<&Group>,
    control: &UnixStream,
) -> Result<(Warden, i32), ForkError> {
    let warden = Warden::enter(inner, pid, group, cell.init_timeout).await;
    let warden = warden.map_err(|error| spawn::inside_error(cell, error))?;
    let hear = control.async_io(Interest::READABLE, || sys::receive_word(control.as_raw_fd()));
    let heard = tokio::time::timeout(cell.init_timeout, hear).await;
    let heard = heard.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)));
    match heard.map_err(ForkError::at("wait until it is ready"))? {
        (Some(b'H'), Some(pid)) => Ok((warden, pid)),
        _ => Err(ForkError::at("wait until it is ready")(io::Error::other("it ended, or does not speak as one"))),
    }
}

/// Owns the cell: ends it when it is to end, and removes what is left of it.
pub(super) async fn own(
    registry: Arc<Registry>,
    zygote: Arc<Zygote>,
    mut reaped: oneshot::Receiver<Reaped>,
    mut reports: Reports,
    remains: Remains,
) {
    let heard = Arc::clone(&zygote);
    // By itself, for a report that is half read must not be dropped; it ends with the cell.
    let listening = tokio::spawn(async move {
        while let Some(news) = reports.next().await {
            heard.heard(news);
        }
        heard.retire();
    });
    let mut freeze = registry.freeze.watch();
    loop {
        tokio::select! {
            biased;
            _ = &mut reaped => break,
            () = zygote.end.cancelled() => {
                zygote.kill();
                let _ = (&mut reaped).await;
                break;
            }
            () = frost(&mut freeze) => {}
        }
        tokio::select! {
            Some(rest) = zygote.rest(&remains) => registry.freeze.rest_zygote(rest).await,
            () = thaw(&mut freeze) => {}
        }
    }
    let _busy = registry.freeze.busy();
    zygote.gone.cancel();
    zygote.end.cancel();
    zygote.retire();
    let words = zygote.words.lock().await.take();
    if let Some(words) = words {
        words.close().await;
    }
    // It may still hold what was said last.
    let _ = tokio::time::timeout(LAST_OUTPUT, listening).await;
    zygote.life().sweeps.clear();
    remains.capture.finish(LAST_OUTPUT).await;
    clear(&zygote.private, remains.group).await;
    registry.zygotes.lock().running.remove(&zygote.number);
    tracing::info!(zygote = %zygote.name, content.id = %zygote.content, "a zygote's cell is gone");
}

async fn clear(private: &std::path::Path, group: Option<Group>) {
    if let Some(group) = group
        && let Err(error) = group.remove().await
    {
        tracing::warn!(path = %private.display(), %error, "cannot remove a control group");
    }
    let path = private.to_owned();
    let removed = tokio::task::spawn_blocking(move || private::remove(&path));
    match tokio::time::timeout(REMOVE, removed).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::error!(path = %private.display(), %error, "cannot remove a private directory"),
        Ok(Err(_)) | Err(_) => tracing::error!(path = %private.display(), "removing a private directory hangs"),
    }
}
