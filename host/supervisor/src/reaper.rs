//! Takes the exit status of every child: the workers', and those of orphans that the kernel hands to the supervisor.
//!
//! The supervisor has one thread that starts processes, and this runs on it: between the moment a worker is reaped and
//! the moment its task knows, nothing else runs that could signal its number.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;

use lectern_domain::worker::ExitStatus;
use tokio::signal::unix::{SignalKind, signal};

use crate::registry::Registry;
use crate::sys;

/// Starts reaping, for as long as the runtime lives.
pub(crate) fn start(registry: Arc<Registry>) -> io::Result<()> {
    let mut children = signal(SignalKind::child())?;
    tokio::spawn(async move {
        loop {
            reap_all(&registry);
            if children.recv().await.is_none() {
                return;
            }
        }
    });
    Ok(())
}

fn reap_all(registry: &Registry) {
    loop {
        match sys::reap() {
            Ok(Some((pid, status, usage))) => registry.reaped(pid, exit_status(status), usage),
            Ok(None) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                if error.raw_os_error() != Some(nix::libc::ECHILD) {
                    tracing::error!(%error, "cannot wait for children");
                }
                break;
            }
        }
    }
    registry.lookout.reaped.notify_waiters();
}

fn exit_status(status: std::process::ExitStatus) -> ExitStatus {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        // Without a code it was a signal; stopped children are not reported.
        (None, signal) => ExitStatus::Signal(signal.unwrap_or(0)),
    }
}
