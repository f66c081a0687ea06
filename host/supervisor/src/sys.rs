//! The few system calls without a safe wrapper, each for one purpose. All `unsafe` of this crate is here.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use lectern_domain::launch::Account;
use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::{self, AccessFlags, Pid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::protocol::Usage;

/// Where a [`fork`] returned.
pub(crate) enum Forked {
    /// In the parent, with the child's process id.
    Parent(Pid),
    /// In the child.
    Child,
}

/// Splits the process in two. Refused when it has a second thread: whatever lock that one holds would stay locked in the
/// child for ever.
#[allow(unsafe_code)]
pub(crate) fn fork() -> io::Result<Forked> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("{threads} threads run, and only one survives a fork")));
    }
    // SAFETY: this is the only thread, so the child has a complete copy of everything that runs.
    match unsafe { unistd::fork() }? {
        unistd::ForkResult::Parent { child } => Ok(Forked::Parent(child)),
        unistd::ForkResult::Child => Ok(Forked::Child),
    }
}

/// Reaps one child that has ended, and says what it took with all that it had waited for; `None` when none has now, an
/// `ECHILD` error when there are no children.
///
/// `nix::sys::wait` fails, after having reaped, on a child that a real-time signal ended.
#[allow(unsafe_code)]
pub(crate) fn reap() -> io::Result<Option<(i32, ExitStatus, Usage)>> {
    let mut status: libc::c_int = 0;
    // SAFETY: an `rusage` is numbers only, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both are valid places for the kernel to write an int and an `rusage` to.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
    match pid {
        0 => Ok(None),
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Some((pid, ExitStatus::from_raw(status), read_usage(&usage)))),
    }
}

/// Times and KiB of getrusage(2).
fn read_usage(usage: &libc::rusage) -> Usage {
    let time = |time: libc::timeval| {
        let micros = u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0);
        Duration::from_micros(micros)
    };
    Usage {
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        peak_memory_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    }
}

/// Makes `command` the leader of a session of its own that dies with the calling thread, inherits no descriptor but its
/// standard three and no ignored signal, has the descriptor limits `nofile` (soft, hard), and may use `private`: else spawning fails.
#[allow(unsafe_code)]
pub(crate) fn isolate(command: &mut Command, private: &Path, nofile: (u64, u64)) -> io::Result<()> {
    let private = CString::new(private.as_os_str().as_bytes())?;
    let supervisor = unistd::getpid();
    let prepare = move || isolate_here(&private, nofile, supervisor);
    // SAFETY: the closure runs between fork and exec. It allocates nothing, takes no lock and only makes system calls.
    unsafe { command.pre_exec(prepare) };
    Ok(())
}

/// The child's part of [`isolate`]; std has set its uid, gid, groups and directory by now. The parent-death signal must
/// come after them, because a change of uid clears it.
fn isolate_here(private: &CStr, nofile: (u64, u64), supervisor: Pid) -> io::Result<()> {
    unistd::setsid()?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if unistd::getppid() != supervisor {
        // It died before the line above, and no signal will come.
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    setrlimit(Resource::RLIMIT_NOFILE, nofile.0, nofile.1)?;
    yield_to_the_server();
    default_signals();
    unistd::access(private, AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK)?;
    close_on_exec_from(3);
    Ok(())
}

/// Makes this a batch process (sched(7)): it has its full share of the processor, but does not interrupt whoever runs when
/// something arrives for it. The server hands a worker its request and goes on with the next event, where it was put aside for
/// each request before. A process may choose otherwise for itself; a kernel that refuses costs speed only.
#[allow(unsafe_code)]
fn yield_to_the_server() {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads one structure, which lives until it returns.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameter) };
}

/// Gives every signal its default: what whoever started us ignored would stay ignored through exec. std has unblocked
/// them all.
#[allow(unsafe_code)]
fn default_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: no handler is installed. For signals that cannot be changed it fails with EINVAL, which is fine.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Marks every descriptor from `first` on to be closed by exec. Our own are so already; this is for what somebody left
/// open in whoever started us.
#[allow(unsafe_code)]
fn close_on_exec_from(first: libc::c_uint) {
    // SAFETY: no descriptor is closed here, only marked.
    let done = unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_uint)
    };
    if done == 0 {
        return;
    }
    // A kernel before 5.11: leaked descriptors are low ones.
    for fd in first..1024 {
        // SAFETY: setting a flag on a number that may not be open fails with EBADF, which is fine.
        unsafe { libc::fcntl(fd as libc::c_int, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Has exec close these descriptors or, with `keep`, not.
#[allow(unsafe_code)]
pub(crate) fn keep_over_exec(descriptors: &[RawFd], keep: bool) -> io::Result<()> {
    let flags = if keep { 0 } else { libc::FD_CLOEXEC };
    for descriptor in descriptors {
        // SAFETY: a flag of a descriptor is set, nothing else.
        if unsafe { libc::fcntl(*descriptor, libc::F_SETFD, flags) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whether a descriptor of that number is open.
#[allow(unsafe_code)]
pub(crate) fn is_open(descriptor: RawFd) -> bool {
    // SAFETY: F_GETFD only asks.
    descriptor >= 3 && unsafe { libc::fcntl(descriptor, libc::F_GETFD) } >= 0
}

/// Takes a descriptor that this process was started with, by its number; it is not inherited any further. To be called
/// before anything is opened, and once for each number: it must not be anybody else's.
#[allow(unsafe_code)]
pub(crate) fn claim(descriptor: RawFd) -> io::Result<OwnedFd> {
    if !is_open(descriptor) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    keep_over_exec(&[descriptor], false)?;
    // SAFETY: it is open, and whoever started this program gave it to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Kills every process of `account`, all at once: what a process that forks without end cannot outrun.
///
/// A child takes the account and signals "all that I may"; the kernel allows that for its own uid only. Never for uid 0,
/// which may signal everything.
#[allow(unsafe_code)]
pub(crate) fn kill_account(account: Account) -> io::Result<()> {
    if account.uid == 0 || !unistd::geteuid().is_root() {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    let uid = unistd::Uid::from_raw(account.uid);
    let strike = move || {
        if unistd::getuid() != uid || unistd::geteuid() != uid {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        match kill(Pid::from_raw(-1), Signal::SIGKILL) {
            // The work is done: failing here spares the exec.
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Err(io::Error::from_raw_os_error(libc::ECANCELED)),
            Err(errno) => Err(errno.into()),
        }
    };
    let mut command = Command::new("/proc/self/exe");
    command.uid(account.uid).gid(account.gid);
    // SAFETY: the closure runs between fork and exec. It allocates nothing, takes no lock and only makes system calls.
    unsafe { command.pre_exec(strike) };
    match command.spawn() {
        Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("the strike did not stop before exec")),
    }
}

/// A handle of a process; unlike its number it never names another one.
#[allow(unsafe_code)]
pub(crate) fn process_handle(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers and answers a descriptor, closed on exec, or fails.
    let handle = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match RawFd::try_from(handle) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(handle) if handle >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(handle) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Kills the process of a handle; that it has ended is fine.
#[allow(unsafe_code)]
pub(crate) fn kill_process(handle: BorrowedFd<'_>) -> io::Result<()> {
    let nothing: *const libc::c_void = std::ptr::null();
    // SAFETY: without a structure the signal comes as from kill(2); the descriptor is open for as long as it is borrowed.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), libc::SIGKILL, nothing, 0) };
    match (done, io::Error::last_os_error()) {
        (0, _) => Ok(()),
        (_, error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        (_, error) => Err(error),
    }
}

/// Watches a handle: it can be read when its process has ended (pidfd_open(2)).
#[allow(unsafe_code)]
pub(crate) fn watch_handle(handle: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what is made here, which never exchanges or closes it before its own end.
    Ok(unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }?)
}

/// Takes what came on a socket that asks for the peer's number: the first byte, none at its end, and who sent it, as numbered
/// here by the kernel. Descriptors that came with it are closed.
pub(crate) fn receive_word(socket: RawFd) -> io::Result<(Option<u8>, Option<i32>)> {
    let (mut word, mut space) = ([0_u8; 1], nix::cmsg_space!(nix::sys::socket::UnixCredentials));
    let mut buffers = [io::IoSliceMut::new(&mut word)];
    let message = recvmsg::<()>(socket, &mut buffers, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    let mut sender = None;
    // Too many of them leave no room: then nobody is known to have sent it.
    for part in message.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::ScmCredentials(credentials) = part {
            sender = Some(credentials.pid());
        }
    }
    let length = message.bytes;
    Ok((word.first().copied().filter(|_| length > 0), sender))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn an_accounts_processes_are_killed_and_nobody_elses() {
        let refused = kill_account(Account { uid: 0, gid: 0 }).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        let uid = 1_900_000_000 + std::process::id();
        let account = Account { uid, gid: uid };
        if !unistd::geteuid().is_root() {
            assert_eq!(kill_account(account).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            return;
        }
        let sleep =
            |uid: u32| Command::new("/bin/sleep").arg("1000").uid(uid).gid(uid).current_dir("/").spawn().unwrap();
        let (mut mine, mut other) = ([sleep(uid), sleep(uid)], sleep(uid + 1_000_000));
        kill_account(account).unwrap();
        for child in &mut mine {
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        }
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
        // An account without processes is fine, too.
        kill_account(account).unwrap();
    }
}
