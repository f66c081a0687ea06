//! The supervisor's parent: when the supervisor is gone, however it went, the guardian ends all that it started.
//!
//! The kernel kills a worker whose supervisor dies, but not what that worker had started, nor daemons. As they are orphaned
//! they become children of the guardian, the nearest living subreaper above them.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use lectern_confinement::cgroup::Place;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{self, Pid};

use crate::procs;
use crate::run::RunError;
use crate::sys;

/// How long killed processes may take to be gone.
const GIVE_UP: Duration = Duration::from_secs(20);

/// How often the guardian looks whether any are left.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The signals that the guardian waits for.
pub(crate) fn signals() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP].into_iter().collect()
}

/// Waits for the end of `supervisor`, passing on requests to end, then ends what it left.
///
/// `signals` are blocked. Returns success when the supervisor ended in order and left nothing.
pub(crate) fn watch(supervisor: Pid, signals: &SigSet, socket: &Path) -> Result<ExitCode, RunError> {
    let status = loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(status) = reap_until(supervisor) {
                    break status;
                }
            }
            // One closed terminal ends nobody's apps.
            Ok(Signal::SIGHUP) => {}
            Ok(_) => {
                // It has not been reaped, so its number is its own.
                let _ = kill(supervisor, Signal::SIGTERM);
            }
            Err(errno) => tracing::error!(error = %io::Error::from(errno), "wait for signals"),
        }
    };
    let killed = end_all();
    Place::of(&socket.to_string_lossy()).sweep();
    if !status.success() {
        tracing::error!(%status, signal = status.signal(), killed, "the supervisor died; its workers were ended");
        // It had no time to. We hold the lock, so it is nobody else's.
        let _ = std::fs::remove_file(socket);
    } else if killed > 0 {
        tracing::warn!(killed, "the supervisor left processes; they were ended");
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reaps what there is; the status of `supervisor` once it has ended.
fn reap_until(supervisor: Pid) -> Option<ExitStatus> {
    loop {
        match sys::reap() {
            Ok(Some((pid, status, _))) if pid == supervisor.as_raw() => return Some(status),
            Ok(Some(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Kills all descendants until none is left; how many signals it took.
fn end_all() -> usize {
    let (me, started, mut killed) = (unistd::getpid().as_raw(), Instant::now(), 0);
    loop {
        // Children first: their own children become ours, and are found in the next round.
        for process in procs::census().map(|census| procs::descendants(&census.processes, me)).unwrap_or_default() {
            killed += usize::from(kill(Pid::from_raw(process.pid), Signal::SIGKILL).is_ok());
        }
        loop {
            match sys::reap() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // No children: nobody is left.
                Err(_) => return killed,
            }
        }
        if started.elapsed() > GIVE_UP {
            tracing::error!("processes of dead workers do not end; giving up");
            return killed;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
