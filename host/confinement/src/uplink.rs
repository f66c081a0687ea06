//! The way out of a network namespace: slirp4netns, a small process in user space that speaks for the namespace.
//!
//! It runs as the content's own account (as root without rights where only root makes namespaces), joins the namespace from outside and can reach nothing there but its own device.
//! It needs no privilege on the host, changes no firewall, and gives no way to the host's loopback addresses.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lectern_domain::launch::Account;
use nix::fcntl::OFlag;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use tokio::net::unix::pipe::Receiver;

use crate::bubblewrap::UPLINK_NETWORK;
use crate::sys;

/// How long it may take until the device is up; mostly 20 milliseconds.
const READY: Duration = Duration::from_secs(10);

/// A running uplink. It ends when this is dropped, or when this process is gone.
#[derive(Debug)]
pub(crate) struct Uplink {
    /// Closed by the drop; the other end is what the process waits for.
    alive: Option<OwnedFd>,
    pid: u32,
    /// Names the process even when somebody else has reaped it.
    handle: Option<OwnedFd>,
}

impl Uplink {
    /// Starts one for the namespaces of process `pid`, and waits until it serves them.
    pub(crate) async fn start(program: &Path, pid: u32, account: Option<Account>) -> io::Result<Self> {
        let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from);
        let ((ready, tell), (watched, alive)) = (pipe()?, pipe()?);
        let mut command = Command::new(program);
        command
            .args(["--configure", "--mtu=65520", "--disable-host-loopback", "--enable-seccomp"])
            .arg(format!("--cidr={UPLINK_NETWORK}"))
            .args([format!("--ready-fd={}", tell.as_raw_fd()), format!("--exit-fd={}", watched.as_raw_fd())])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match account {
            // The namespace is root's: only root can join it, and gives up its rights after that.
            None if nix::unistd::geteuid().is_root() => drop(command.arg("--enable-sandbox")),
            None => drop(command.arg(format!("--userns-path=/proc/{pid}/ns/user"))),
            Some(account) => {
                command.arg(format!("--userns-path=/proc/{pid}/ns/user"));
                if nix::unistd::geteuid().is_root() {
                    command.uid(account.uid).gid(account.gid);
                }
            }
        }
        command.args(["--netns-type=path", &format!("/proc/{pid}/ns/net"), "eth0"]);
        sys::keep_open(&mut command, vec![tell.as_raw_fd(), watched.as_raw_fd()]);
        let pid = command.spawn()?.id();
        let handle = sys::process_handle(pid).ok();
        let uplink = Self { alive: Some(alive), pid, handle };
        drop((tell, watched));
        let ready = Receiver::from_owned_fd(ready)?;
        let wait = async {
            loop {
                ready.readable().await?;
                match ready.try_read(&mut [0_u8; 1]) {
                    Ok(0) => return Err(io::Error::other("it ended before the device was up")),
                    Ok(_) => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        };
        tokio::time::timeout(READY, wait).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(uplink)
    }

    /// Ends it, and waits until it is gone; mostly a millisecond.
    pub(crate) async fn end(mut self) {
        drop(self.alive.take());
        if let Some(handle) = self.handle.take() {
            let gone = tokio::task::spawn_blocking(move || waitid(Id::PIDFd(handle.as_fd()), WaitPidFlag::WEXITED));
            let _ = tokio::time::timeout(READY, gone).await;
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// What keeps it, and what names it.
    pub(crate) fn descriptors(&self) -> (Option<BorrowedFd<'_>>, Option<BorrowedFd<'_>>) {
        (self.alive.as_ref().map(OwnedFd::as_fd), self.handle.as_ref().map(OwnedFd::as_fd))
    }

    /// One that runs already, by its descriptors and its number.
    pub(crate) fn again(alive: OwnedFd, pid: u32, handle: Option<OwnedFd>) -> Self {
        Self { alive: Some(alive), pid, handle }
    }
}

impl Drop for Uplink {
    fn drop(&mut self) {
        // Reaped in the background. Whoever reaps all its children may be faster, and the number be another's by then:
        // so by a handle.
        if let (Some(handle), Ok(runtime)) = (self.handle.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || {
                let _ = waitid(Id::PIDFd(handle.as_fd()), WaitPidFlag::WEXITED);
            });
        }
    }
}
