//! The supervisor's process, from start to end.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lectern_confinement::Facts;
use lectern_domain::launch::Account;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::SupervisorConfig;
use crate::guardian;
use crate::inherit::inherit;
use crate::listen;
use crate::lock::Lock;
use crate::private;
use crate::protocol::Refusal;
use crate::reaper;
use crate::registry::{Registry, Upgrade};
use crate::resume::Descriptors;
use crate::spec::SOCKET_PATH_BYTES;
use crate::state::State;
use crate::sys::{self, Forked};
use crate::upgrade::{self, Place};

/// How much longer than its own limit a supervisor that is ending may hold its lock: the time to kill and to clean.
const HANDOVER: Duration = Duration::from_secs(30);

/// What is left of the shutdown limit for killing and cleaning, after the workers' grace.
const KILL_MARGIN: Duration = Duration::from_secs(5);

/// The account as which namespaces are tried: one that may do nothing, like those of content.
const NOBODY: Account = Account { uid: 65_534, gid: 65_534 };

/// Threads for files. Each may hang on a slow disk; the rest keeps logs flowing.
const BLOCKING_THREADS: usize = 32;

/// Why a supervisor did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another one answers on the socket, or holds its lock.
    #[error("a supervisor runs already for {socket:?}{}", .pid.map(|pid| format!(", pid {pid}")).unwrap_or_default())]
    AlreadyRunning {
        /// The socket.
        socket: PathBuf,
        /// Its process id, when its lock file says it.
        pid: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error("lock {path:?}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The socket's path does not fit.
    #[error("socket path {socket:?} is longer than {} bytes: choose a data directory with a shorter path", SOCKET_PATH_BYTES - 1)]
    SocketTooLong {
        /// The path.
        socket: PathBuf,
    },
    /// The process cannot be set up.
    #[error("{step}")]
    Setup {
        /// What was tried.
        step: String,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

impl RunError {
    fn setup<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        let step = step.into();
        |cause| Self::Setup { step, cause: cause.into() }
    }
}

/// Runs a supervisor; returns when it has ended, and with it all that it started.
///
/// The process splits in two: the child supervises, and this process stays as its guardian, which ends what the child
/// leaves if it is killed. SIGTERM and SIGINT to either end both in order. Must be called before any thread is started, since
/// only one survives the split. Changes the process: umask 077, no core dumps, no new privileges, working directory `/`.
pub fn run(mut config: SupervisorConfig) -> Result<ExitCode, RunError> {
    for path in [&mut config.socket, &mut config.private_root] {
        *path = std::path::absolute(&*path).map_err(RunError::setup(format!("make {path:?} absolute")))?;
    }
    if config.socket.as_os_str().len() >= SOCKET_PATH_BYTES {
        return Err(RunError::SocketTooLong { socket: config.socket });
    }
    let nofile = harden()?;
    let beside = config.socket.parent().unwrap_or(Path::new("/"));
    private::ensure_passable(beside).map_err(RunError::setup(format!("make directory {beside:?}")))?;
    let mut lock = Lock::acquire(&config.socket, config.shutdown_limit + HANDOVER)?;

    // Blocked before the split, so that none is lost between it and the guardian's wait.
    let signals = guardian::signals();
    signals.thread_block().map_err(RunError::setup("block signals"))?;
    let guardian = unistd::getpid();
    match sys::fork().map_err(RunError::setup("split off the supervisor"))? {
        Forked::Parent(supervisor) => guardian::watch(supervisor, &signals, &config.socket),
        Forked::Child => {
            let code = match supervise(config, nofile, guardian, &mut lock) {
                Ok(()) => 0,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the supervisor failed");
                    1
                }
            };
            // Nothing of the caller's may run twice.
            std::process::exit(code)
        }
    }
}

/// Sets what both processes and all workers inherit; returns the descriptor limits from before.
fn harden() -> Result<(u64, u64), RunError> {
    umask(Mode::from_bits_truncate(0o077));
    prctl::set_no_new_privs().map_err(RunError::setup("give up new privileges"))?;
    // Environments of content are in this memory.
    prctl::set_dumpable(false).map_err(RunError::setup("forbid core dumps and debugging"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(RunError::setup("set RLIMIT_CORE"))?;
    prctl::set_child_subreaper(true).map_err(RunError::setup("become a subreaper"))?;
    unistd::chdir("/").map_err(RunError::setup("change to /"))?;
    // Away from the terminal of whoever started it. Refused to a process group's leader, as a shell makes of a command
    // in the foreground; there Ctrl-C shall end it.
    let _ = unistd::setsid();
    let nofile = getrlimit(Resource::RLIMIT_NOFILE).map_err(RunError::setup("read RLIMIT_NOFILE"))?;
    // Seven descriptors per worker (output, log, the talk with its first process, its uplink); the workers themselves get the limit from before.
    setrlimit(Resource::RLIMIT_NOFILE, nofile.1, nofile.1).map_err(RunError::setup("raise RLIMIT_NOFILE"))?;
    Ok(nofile)
}

/// The child's side of the split.
fn supervise(
    config: SupervisorConfig,
    nofile: (u64, u64),
    guardian: unistd::Pid,
    lock: &mut Lock,
) -> Result<(), RunError> {
    // Not for the child: a fork clears both.
    prctl::set_child_subreaper(true).map_err(RunError::setup("become a subreaper"))?;
    prctl::set_pdeathsig(Signal::SIGTERM).map_err(RunError::setup("follow the guardian"))?;
    if unistd::getppid() != guardian {
        return Err(RunError::Setup { step: "follow the guardian".to_owned(), cause: io::Error::other("it is gone") });
    }
    unistd::setsid().map_err(RunError::setup("make a session"))?;
    SigSet::empty().thread_set_mask().map_err(RunError::setup("unblock signals"))?;
    lock.write_pid().map_err(RunError::setup("write the lock file"))?;
    let root = &config.private_root;
    private::prepare_root(root).map_err(RunError::setup(format!("prepare {root:?} for private directories")))?;

    supervise_with(config, nofile, guardian, lock.number(), Begin::Fresh)
}

/// Goes on in the place of another program: in its process, with what it left in `state` and `descriptors`. `refused`: why the program
/// that was to take the place has given it back.
pub(crate) fn again(
    state: State,
    mut descriptors: Descriptors,
    refused: Option<Refusal>,
) -> Result<ExitCode, RunError> {
    // What exec has reset. A signal that the guardian's end has sent meanwhile is blocked, and will be heard.
    prctl::set_dumpable(false).map_err(RunError::setup("forbid core dumps and debugging"))?;
    prctl::set_child_subreaper(true).map_err(RunError::setup("become a subreaper"))?;
    prctl::set_pdeathsig(Signal::SIGTERM).map_err(RunError::setup("follow the guardian"))?;
    let guardian = unistd::Pid::from_raw(state.guardian);
    if unistd::getppid() != guardian {
        kill(unistd::getpid(), Signal::SIGTERM).map_err(RunError::setup("follow the guardian"))?;
    }
    let claimed = descriptors.claim(state.lock).map_err(RunError::setup("take the lock"))?;
    let lock = Lock::again(claimed);
    let (config, nofile, number) = (state.config.clone(), state.nofile, lock.number());
    supervise_with(config, nofile, guardian, number, Begin::Again { state: Box::new(state), descriptors, refused })?;
    drop(lock);
    Ok(ExitCode::SUCCESS)
}

/// What a supervisor begins with.
enum Begin {
    Fresh,
    Again { state: Box<State>, descriptors: Descriptors, refused: Option<Refusal> },
}

fn supervise_with(
    config: SupervisorConfig,
    nofile: (u64, u64),
    guardian: unistd::Pid,
    lock: RawFd,
    begin: Begin,
) -> Result<(), RunError> {
    // Before the runtime, whose reaper would take the children of this.
    let facts = lectern_confinement::look(Some(NOBODY));
    let program = File::open("/proc/self/exe").map_err(RunError::setup("open this program's own file"))?;

    // One thread: what starts and reaps processes must not race with itself, and workers live as long as their thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        // So that the thread that may become another program can hold them back.
        .on_thread_start(|| {
            let _ = upgrade::kept_signals().thread_block();
        })
        .build()
        .map_err(RunError::setup("start the runtime"))?;
    let done = runtime.block_on(serve(config, nofile, facts, program, guardian, lock, begin));
    // A thread that hangs on a file does not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn serve(
    config: SupervisorConfig,
    nofile: (u64, u64),
    facts: Facts,
    program: File,
    guardian: unistd::Pid,
    lock: RawFd,
    begin: Begin,
) -> Result<(), RunError> {
    let own = Account { uid: unistd::geteuid().as_raw(), gid: unistd::getegid().as_raw() };
    let (socket, limit) = (config.socket.clone(), config.shutdown_limit);
    let handler = |kind| signal(kind).map_err(RunError::setup("handle signals"));
    let mut terminate = handler(SignalKind::terminate())?;
    // Handled and not ignored: what is ignored stays so in every worker.
    let (mut hangup, mut interrupt) = (handler(SignalKind::hangup())?, handler(SignalKind::interrupt())?);
    let (asks, mut upgrades) = mpsc::channel(1);
    let mut registry = Registry::new(config, own, nofile, facts, program, asks);
    let (shutdown, stop) = (CancellationToken::new(), CancellationToken::new());
    let (registry, listener) = match begin {
        Begin::Fresh => {
            let registry = Arc::new(registry);
            let swept = registry.groups.sweep();
            if swept > 0 {
                tracing::info!(swept, "control groups of dead workers were removed");
            }
            reaper::start(registry.clone()).map_err(RunError::setup("handle SIGCHLD"))?;
            let listener = listen::bind(&socket).map_err(RunError::setup(format!("listen on {socket:?}")))?;
            tracing::info!(socket = %socket.display(), uid = own.uid, "supervisor ready");
            (registry, listener)
        }
        Begin::Again { state, mut descriptors, refused } => {
            registry.started_at = state.started_at;
            let registry = Arc::new(registry);
            let listener = inherit(&registry, *state, &mut descriptors, refused, &shutdown)
                .map_err(RunError::setup("go on with what the program before this one left"))?;
            // Not before each child has somebody who waits for its end.
            reaper::start(registry.clone()).map_err(RunError::setup("handle SIGCHLD"))?;
            SigSet::empty().thread_set_mask().map_err(RunError::setup("unblock signals"))?;
            (registry, listener)
        }
    };
    let place = Place { guardian, listener: listener.as_raw_fd(), lock };
    let accepting = tokio::spawn(listen::accept(listener, registry.clone(), shutdown.clone(), stop.clone()));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            () = shutdown.cancelled() => break,
            Some(Upgrade { program, refused }) = upgrades.recv() => {
                let Some(refusal) = upgrade::attempt(&registry, &place, &program, &mut terminate).await else { break };
                tracing::warn!(reason = refusal.message, "the supervisor stays the program that it is");
                let _ = refused.send(refusal);
            }
            () = registry.held.expire() => {}
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    // Nobody replaces what is ending.
    upgrades.close();
    registry.held.release();
    // No new clients; those there see the workers end, and that all is done by the end of their connection.
    stop.cancel();
    let _ = accepting.await;
    if let Err(error) = std::fs::remove_file(&socket) {
        tracing::warn!(%error, socket = %socket.display(), "cannot remove the socket");
    }
    registry.stop_all(limit.saturating_sub(KILL_MARGIN));
    let all = async {
        registry.tasks.wait().await;
        registry.zygotes.tasks.wait().await;
    };
    if tokio::time::timeout(limit, all).await.is_err() {
        tracing::error!(left = registry.tasks.len(), "workers did not end in time; the guardian kills what is left");
    }
    registry.groups.sweep();
    tracing::info!("supervisor ended");
    Ok(())
}
