//! The few system calls without a safe wrapper, each for one purpose. All `unsafe` of this crate is here.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use nix::libc;
use nix::sys::signal::SigSet;

/// Which version of Landlock the kernel has; `None` when it has none, or has it turned off.
#[allow(unsafe_code)]
pub(crate) fn landlock_version() -> Option<u32> {
    const VERSION: libc::c_uint = 1;
    let nothing: *const libc::c_void = std::ptr::null();
    // SAFETY: with this flag no attributes are read; the call only answers a number.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// Whether the kernel filters system calls.
#[allow(unsafe_code)]
pub(crate) fn has_seccomp() -> bool {
    const GET_ACTION_AVAIL: libc::c_uint = 2;
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the call reads one u32 and changes nothing.
    unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}

/// A handle of a child that has not been reaped; unlike its number it never names another process.
#[allow(unsafe_code)]
pub(crate) fn process_handle(pid: u32) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: the call takes two numbers and answers a descriptor, closed on exec, or fails.
    let handle = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match RawFd::try_from(handle) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(handle) if handle >= 0 => Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(handle) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the child of `command` keep these descriptors through exec. Must be called after whatever closes others.
#[allow(unsafe_code)]
pub(crate) fn keep_open(command: &mut Command, descriptors: Vec<RawFd>) {
    let keep = move || {
        for descriptor in &descriptors {
            // SAFETY: a flag of a descriptor is set, nothing else.
            if unsafe { libc::fcntl(*descriptor, libc::F_SETFD, 0) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec. It allocates nothing, takes no lock and only makes system calls.
    unsafe { command.pre_exec(keep) };
}

/// Has the child of `command` keep its standard error as the descriptor `aside`, and say its own words to `words`.
#[allow(unsafe_code)]
pub(crate) fn set_stderr_aside(command: &mut Command, aside: RawFd, words: RawFd) {
    let set = move || {
        // SAFETY: numbers of open descriptors, which stay open for as long as the caller has them; dup2 only makes copies.
        if unsafe { libc::dup2(2, aside) < 0 || libc::dup2(words, 2) < 0 } {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec, and only makes system calls.
    unsafe { command.pre_exec(set) };
}

/// Lets others read what the child of `command` makes, until it decides otherwise.
#[allow(unsafe_code)]
pub(crate) fn open_umask(command: &mut Command) {
    let open = || {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec, and only makes a system call.
    unsafe { command.pre_exec(open) };
}

/// Gives the child of `command` an empty signal mask, and with `lead` makes it the leader of a session of its own.
#[allow(unsafe_code)]
pub(crate) fn fresh(command: &mut Command, lead: bool) {
    let begin = move || {
        SigSet::empty().thread_set_mask()?;
        if lead {
            nix::unistd::setsid()?;
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec, and only makes system calls.
    unsafe { command.pre_exec(begin) };
}

/// Marks every descriptor from 3 on to be closed by exec.
#[allow(unsafe_code)]
pub(crate) fn close_others_on_exec() {
    // SAFETY: no descriptor is closed here, only marked.
    let done = unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_uint)
    };
    if done == 0 {
        return;
    }
    // A kernel before 5.11: there are only the few that we were given.
    for descriptor in 3..1024 {
        // SAFETY: setting a flag on a number that may not be open fails with EBADF, which is fine.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Takes a descriptor that this process was started with, by its number.
#[allow(unsafe_code)]
pub(crate) fn take(descriptor: RawFd) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: F_GETFD only asks whether the number is open.
    if descriptor < 3 || unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is open, and called once, at the very start, before anything else could own the number.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(descriptor) })
}

/// Gives up every capability of this process: effective, permitted, inheritable and ambient.
#[allow(unsafe_code)]
pub(crate) fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    // _LINUX_CAPABILITY_VERSION_3, which has two sets of three words.
    let header = Header { version: 0x2008_0522, pid: 0 };
    let none = [0_u32; 6];
    // SAFETY: both structures have the size and layout of version 3 and outlive the call. A failing prctl changes nothing.
    unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        if libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Reaps one child that has ended; `None` when none has now, or there are none.
///
/// `nix::sys::wait` fails, after having reaped, on a child that a real-time signal ended.
#[allow(unsafe_code)]
pub(crate) fn reap() -> io::Result<Option<(libc::pid_t, ExitStatus)>> {
    loop {
        let mut status: libc::c_int = 0;
        // SAFETY: `status` is a valid place for the kernel to write one int to.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
            0 => return Ok(None),
            -1 => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ECHILD) => return Ok(None),
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
            pid => return Ok(Some((pid, ExitStatus::from_raw(status)))),
        }
    }
}

/// Removes what is left of System V's shared memory, queues and semaphores in this process's namespace.
#[allow(unsafe_code)]
pub(crate) fn remove_ipc() {
    let ids = |file: &str| -> Vec<libc::c_int> {
        let text = std::fs::read_to_string(format!("/proc/sysvipc/{file}")).unwrap_or_default();
        // A line of headings; then key and id begin each line (proc_sysvipc(5)).
        text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect()
    };
    // SAFETY: IPC_RMID takes a number and no structure; what does not belong to this account stays.
    unsafe {
        ids("shm").into_iter().for_each(|id| drop_result(libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut())));
        ids("msg").into_iter().for_each(|id| drop_result(libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut())));
        ids("sem").into_iter().for_each(|id| drop_result(libc::semctl(id, 0, libc::IPC_RMID)));
    }
}

/// What cannot be removed now is with the end of the namespace.
fn drop_result(_: libc::c_int) {}
