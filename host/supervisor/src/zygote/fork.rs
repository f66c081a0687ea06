//! One worker that comes from a zygote: its order, its control group, its end.

use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lectern_confinement::cgroup::Group;
use lectern_domain::launch::{LaunchSpec, home};
use lectern_domain::worker::ExitStatus;
use nix::fcntl::OFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::sockopt::PassCred;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::{ForkError, Use, Zygote};
use crate::capture::Capture;
use crate::freeze::thaw;
use crate::procs;
use crate::protocol::Usage;
use crate::registry::{Reaped, Registry};
use crate::spawn::{self, Hold, Process};
use crate::sys;

/// How long a zygote may take to fork: milliseconds; a second or two where the machine is busy and it has just forked for the first
/// time, and settles what it has imported.
const FORK: Duration = Duration::from_secs(10);

/// A word, an `i32` and two `u64`.
const REPORT_BYTES: usize = 21;

/// How long the report of a keeper that has ended may take to be read: it is there.
const REPORT: Duration = Duration::from_secs(1);

/// A worker in a zygote's cell.
pub(crate) struct Fork {
    /// Dropped last: with the last worker, a zygote that forks no more ends.
    pub(super) place: Use,
    pub(super) keeper: OwnedFd,
    /// The keeper's number inside.
    pub(super) inside: i32,
    pub(super) orders: OwnedWriteHalf,
    pub(super) socket: PathBuf,
    pub(super) home: PathBuf,
}

impl Fork {
    /// Has the worker asked to end.
    pub(crate) async fn terminate(&mut self) -> io::Result<()> {
        self.orders.write_all(b"T").await
    }

    /// Ends the keeper; what the worker left comes to the first process inside, which [`Fork::clear`] asks to kill it.
    pub(crate) fn kill(&self) -> io::Result<()> {
        sys::kill_process(self.keeper.as_fd())
    }

    /// Leaves nothing of the worker.
    pub(crate) async fn clear(self) {
        self.place.0.sweep(self.inside, self.home).await;
        // A name only; its directory lets the worker make nothing but sockets.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Text that names the place `old` names `new` instead.
pub(super) fn exchange(text: &str, old: &Path, new: &Path) -> String {
    if Path::new(text) == old { new.to_string_lossy().into_owned() } else { text.to_owned() }
}

/// Has `zygote` fork the worker of `spec`.
pub(super) async fn fork(
    registry: &Arc<Registry>,
    spec: &LaunchSpec,
    zygote: &Arc<Zygote>,
) -> Result<Process, ForkError> {
    let Some((place, number)) = Use::of(zygote) else { return Err(ForkError::NotNow("it is ending".to_owned())) };
    let socket = zygote.private.join("s").join(number.to_string());
    let own_home = home(&zygote.private).join(number.to_string());
    let ground = spawn::log_and_group(registry, spec, zygote.limits).await?;
    let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(ForkError::at("make a pipe"));
    let ((stdout, out), (stderr, err)) = (pipe()?, pipe()?);
    let (ready, tell) = spawn::ready_pipe(spec.account).map_err(ForkError::at("make a pipe"))?;
    let (status, theirs) = StdUnixStream::pair().map_err(ForkError::at("make a socket pair"))?;
    setsockopt(&status, PassCred, &true).map_err(ForkError::at("ask for the peer's number"))?;
    let orders = orders(spec, &socket, &own_home).map_err(ForkError::at("write its orders"))?;
    let given = [orders.as_raw_fd(), out.as_raw_fd(), err.as_raw_fd(), theirs.as_raw_fd(), tell.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&given)];
    sendmsg::<()>(zygote.control.as_raw_fd(), &[IoSlice::new(b"F")], &rights, MsgFlags::MSG_NOSIGNAL, None)
        .map_err(ForkError::at("tell it to fork"))?;
    drop((orders, out, err, theirs, tell));
    let begun = tokio::time::timeout(FORK, begin(status, zygote, ground.group.as_ref())).await;
    let begun =
        begun.unwrap_or_else(|_| Err(ForkError::at("wait for its child")(io::Error::from(io::ErrorKind::TimedOut))));
    let begun = match begun {
        Ok(begun) => begun,
        Err(error) => {
            discard(ground.group).await;
            return Err(error);
        }
    };
    let Begun { pid, inside, keeper, reports, mut orders } = begun;
    let capture = Capture::start(Some(stdout), Some(stderr), ground.log, registry.freeze.watch());
    let ready = if spec.notifies { Receiver::from_owned_fd(ready).map(Some) } else { Ok(None) };
    let watched = watched(&keeper);
    let prepared = match (capture, ready, watched) {
        (Ok(capture), Ok(ready), Ok(watched)) => Ok((capture, ready, watched)),
        (Err(cause), ..) | (_, Err(cause), _) | (.., Err(cause)) => Err(cause),
    };
    let prepared = match prepared {
        // The worker begins only now.
        Ok(prepared) => orders.write_all(b"G").await.map(|()| prepared),
        Err(cause) => Err(cause),
    };
    let fork = Fork { place, keeper, inside, orders, socket: socket.clone(), home: own_home };
    let (capture, ready, watched) = match prepared {
        Ok(prepared) => prepared,
        Err(cause) => {
            let _ = fork.kill();
            fork.clear().await;
            discard(ground.group).await;
            return Err(ForkError::at("let its child begin")(cause));
        }
    };
    registry.forked(&spec.job, pid, &socket, &zygote.name);
    let (ended, reaped) = oneshot::channel();
    registry.zygotes.tasks.spawn(watch(reports, watched, registry.freeze.watch(), ended));
    Ok(Process { pid, reaped, capture, hold: Hold::Fork(Box::new(fork)), group: ground.group, socket, ready })
}

async fn discard(group: Option<Group>) {
    if let Some(group) = group {
        let _ = group.remove().await;
    }
}

/// A keeper that waits for its worker to be let go on.
struct Begun {
    pid: i32,
    inside: i32,
    keeper: OwnedFd,
    reports: OwnedReadHalf,
    orders: OwnedWriteHalf,
}

/// Finds the process that the zygote has forked, and puts it where it belongs.
async fn begin(status: StdUnixStream, zygote: &Zygote, group: Option<&Group>) -> Result<Begun, ForkError> {
    let at = || ForkError::at("wait for its child");
    status.set_nonblocking(true).map_err(at())?;
    let status = UnixStream::from_std(status).map_err(at())?;
    let hear = status.async_io(Interest::READABLE, || sys::receive_word(status.as_raw_fd()));
    let (Some(b'H'), Some(pid)) = hear.await.map_err(at())? else {
        return Err(at()(io::Error::other("it does not fork, or its child does not speak as one")));
    };
    let keeper = sys::process_handle(pid).map_err(at())?;
    // Asked after the handle was made: it then names this process, and not one that got the number of one that ended.
    let is_child = procs::read(pid).is_some_and(|process| process.parent == zygote.pid && !process.zombie);
    let inside = procs::number_inside(pid).filter(|_| is_child);
    let inside = inside.ok_or_else(|| at()(io::Error::other("who speaks is not the zygote's child")))?;
    let placed = match group {
        Some(group) => group.add(pid.unsigned_abs()),
        None => Ok(()),
    };
    let placed = match placed {
        Ok(()) => match &mut *zygote.words.lock().await {
            Some(words) => words.keep(inside).await,
            None => Err(io::Error::other("its cell is gone")),
        },
        Err(error) => Err(error),
    };
    if let Err(cause) = placed {
        let _ = sys::kill_process(keeper.as_fd());
        return Err(ForkError::at("put its child into a control group")(cause));
    }
    let (reports, orders) = status.into_split();
    Ok(Begun { pid, inside, keeper, reports, orders })
}

/// A handle of the keeper that says when it has ended.
pub(super) fn watched(keeper: &OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    sys::watch_handle(keeper.try_clone()?)
}

/// Notes how the worker ended, and answers when its keeper has ended, too.
pub(super) async fn watch(
    mut reports: OwnedReadHalf,
    keeper: AsyncFd<OwnedFd>,
    mut freeze: watch::Receiver<bool>,
    ended: oneshot::Sender<Reaped>,
) {
    // A handle can be read when its process has ended (pidfd_open(2)).
    let _ = keeper.readable().await;
    // What is taken from the socket is known here alone: not while another program takes the place of this one.
    thaw(&mut freeze).await;
    // One report; a keeper that was killed, or whose worker fooled it, says nothing of use.
    let mut report = [0_u8; REPORT_BYTES];
    let read = tokio::time::timeout(REPORT, reports.read_exact(&mut report)).await;
    let said = if matches!(read, Ok(Ok(_))) { said(&report) } else { None };
    let (status, usage) = said.unwrap_or((ExitStatus::Signal(nix::libc::SIGKILL), Usage::default()));
    // Its task waits for this as long as it lives.
    let _ = ended.send((status, Instant::now(), usage));
}

/// What a report says, as `lectern-zygote` writes it: `C` or `S`, the code or signal, microseconds of processor time, and the
/// most memory of one process, in KiB; numbers as this machine has them.
fn said(report: &[u8; REPORT_BYTES]) -> Option<(ExitStatus, Usage)> {
    let (word, numbers) = report.split_first()?;
    let (number, numbers) = numbers.split_first_chunk()?;
    let (cpu, memory) = numbers.split_first_chunk()?;
    let number = i32::from_ne_bytes(*number);
    let status = match word {
        b'C' => ExitStatus::Code(number & 0xff),
        b'S' => ExitStatus::Signal(number & 0x7f),
        _ => return None,
    };
    let kib = u64::from_ne_bytes(memory.try_into().ok()?);
    let cpu = Duration::from_micros(u64::from_ne_bytes(*cpu));
    Some((status, Usage { cpu, peak_memory_bytes: kib.saturating_mul(1024) }))
}

/// The orders of a worker, as a file in memory: `lectern-zygote` has their form.
fn orders(spec: &LaunchSpec, socket: &Path, own_home: &Path) -> io::Result<OwnedFd> {
    let old_home = home(&spec.private);
    let moved = |text: &str| exchange(&exchange(text, &spec.socket, socket), &old_home, own_home);
    let mut bytes = Vec::new();
    let mut add = |text: &str| {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    };
    add(&spec.directory.to_string_lossy());
    add(&own_home.to_string_lossy());
    add(&spec.argv.len().to_string());
    spec.argv.iter().for_each(|argument| add(&moved(argument)));
    spec.env.iter().for_each(|(name, value)| add(&format!("{name}={}", moved(value))));
    let mut file = std::fs::File::from(memfd_create(c"lectern-orders", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&bytes)?;
    io::Seek::rewind(&mut file)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn report(word: u8, number: i32, micros: u64, kib: u64) -> [u8; REPORT_BYTES] {
        let parts = [&[word][..], &number.to_ne_bytes(), &micros.to_ne_bytes(), &kib.to_ne_bytes()].concat();
        parts.try_into().unwrap()
    }

    #[test]
    fn reports_are_read_whatever_they_say() {
        let usage = |micros, bytes| Usage { cpu: Duration::from_micros(micros), peak_memory_bytes: bytes };
        for (report, meant) in [
            (report(b'C', 7, 1_500_000, 2), Some((ExitStatus::Code(7), usage(1_500_000, 2048)))),
            (report(b'S', 9, 0, 0), Some((ExitStatus::Signal(9), usage(0, 0)))),
            (report(b'C', -1, u64::MAX, u64::MAX), Some((ExitStatus::Code(255), usage(u64::MAX, u64::MAX)))),
            (report(b'X', 0, 0, 0), None),
        ] {
            assert_eq!(said(&report), meant);
        }
    }
}
