//! The native half of a zygote: waits for orders, forks, and keeps each worker.
//!
//! Loaded by interpreters, which call these functions in order, from their only thread: `begin` once, then `next` and `fork`
//! in turn. `fork` returns twice: 0 in the zygote, which goes on with `next`, and 1 in the worker, which has its standard
//! streams, variables and arguments by then. Between the two is the [`keeper`], which never returns to the interpreter. The
//! names that end in `_r` are for R, whose calls answer through a pointer. What is said on the sockets: `lectern-zygote`.

// Every function here is called from C, with pointers and descriptors that only the caller can vouch for.
#![allow(unsafe_code)]

mod descend;
mod keeper;
mod orders;
mod pipes;
mod title;

use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::c_int;
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, send};
use nix::unistd::{self, ForkResult};

/// What one fork is given.
struct Given {
    orders: File,
    stdout: OwnedFd,
    stderr: OwnedFd,
    status: UnixStream,
    /// Written to when the worker listens.
    ready: OwnedFd,
}

/// The socket that orders come on.
static CONTROL: Mutex<Option<OwnedFd>> = Mutex::new(None);
/// What the next fork is given.
static NEXT: Mutex<Option<Given>> = Mutex::new(None);

/// Takes up the zygote's work; 0, or -1 when the process was not started as one.
#[unsafe(no_mangle)]
pub extern "C" fn lectern_zygote_begin() -> c_int {
    begin().map_or(-1, |()| 0)
}

fn begin() -> Option<()> {
    let number: RawFd = std::env::var("LECTERN_ZYGOTE_FD").ok()?.parse().ok()?;
    // SAFETY: nobody else in this process knows the number; that it is open shows below.
    let control = unsafe { OwnedFd::from_raw_fd(number) };
    // SAFETY: the name ends with a zero byte, and the interpreter runs one thread, which is in this call.
    unsafe { nix::libc::unsetenv(c"LECTERN_ZYGOTE_FD".as_ptr()) };
    nix::fcntl::fcntl(&control, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).ok()?;
    // Workers have the same account: none of them shall write into the process that later ones come from.
    prctl::set_dumpable(false).ok()?;
    // Keepers are reaped by the kernel: nobody here asks how they ended.
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed.
    unsafe { sigaction(Signal::SIGCHLD, &ignore) }.ok()?;
    send(control.as_raw_fd(), b"H", MsgFlags::MSG_NOSIGNAL).ok()?;
    *CONTROL.lock().ok()? = Some(control);
    Some(())
}

/// Waits for the next order: 1 when there is one, 0 when there will be none.
#[unsafe(no_mangle)]
pub extern "C" fn lectern_zygote_next() -> c_int {
    loop {
        match next() {
            Ok(Some(given)) => {
                let Ok(mut next) = NEXT.lock() else { return 0 };
                *next = Some(given);
                return 1;
            }
            // An order without its descriptors is none.
            Ok(None) | Err(Errno::EINTR) => {}
            Err(_) => return 0,
        }
    }
}

fn next() -> nix::Result<Option<Given>> {
    let control = CONTROL.lock().map_err(|_| Errno::EBADF)?;
    let control = control.as_ref().ok_or(Errno::EBADF)?;
    let (mut word, mut space) = ([0_u8; 16], cmsg_space!([RawFd; 5]));
    let mut buffers = [IoSliceMut::new(&mut word)];
    let message = recvmsg::<()>(control.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut received = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            // SAFETY: the kernel has just made these descriptors for us.
            received.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    if message.bytes == 0 {
        return Err(Errno::EPIPE);
    }
    let Ok([orders, stdout, stderr, status, ready]) = <[OwnedFd; 5]>::try_from(received) else { return Ok(None) };
    Ok(Some(Given { orders: orders.into(), stdout, stderr, status: status.into(), ready }))
}

/// Forks as the last order says: 0 in the zygote, also when nothing came of it, 1 in the worker.
#[unsafe(no_mangle)]
pub extern "C" fn lectern_zygote_fork() -> c_int {
    let Some(given) = NEXT.lock().ok().and_then(|mut next| next.take()) else { return 0 };
    // SAFETY: the calling thread is the one that the interpreter runs on, and the child goes on with a copy of it.
    match unsafe { unistd::fork() } {
        // The descriptors close here; whoever waits at the other end of the worker's socket sees it.
        Ok(ForkResult::Parent { .. }) | Err(_) => 0,
        Ok(ForkResult::Child) => {
            if let Ok(mut control) = CONTROL.lock() {
                *control = None;
            }
            keeper::keep(given)
        }
    }
}

/// [`lectern_zygote_begin`] for R.
///
/// # Safety
/// `answer` points to one int.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lectern_zygote_begin_r(answer: *mut c_int) {
    // SAFETY: as the caller promises.
    unsafe { *answer = lectern_zygote_begin() };
}

/// [`lectern_zygote_next`] for R.
///
/// # Safety
/// `answer` points to one int.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lectern_zygote_next_r(answer: *mut c_int) {
    // SAFETY: as the caller promises.
    unsafe { *answer = lectern_zygote_next() };
}

/// [`lectern_zygote_fork`] for R. In the worker, R's directory for temporary files is made anew, below the worker's own.
///
/// # Safety
/// `answer` points to one int.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lectern_zygote_fork_r(answer: *mut c_int) {
    let forked = lectern_zygote_fork();
    if forked == 1 {
        own_temporary_directory();
    }
    // SAFETY: as the caller promises.
    unsafe { *answer = forked };
}

/// Has R choose another directory for temporary files: this process would remove the zygote's when it ends.
fn own_temporary_directory() {
    let find = |name: &std::ffi::CStr| {
        // SAFETY: the name ends with a zero byte; the answer is an address or null.
        unsafe { nix::libc::dlsym(nix::libc::RTLD_DEFAULT, name.as_ptr()) }
    };
    let (place, make) = (find(c"R_TempDir"), find(c"R_reInitTempDir"));
    if place.is_null() || make.is_null() {
        return;
    }
    // SAFETY: in every R that has both, the one is a `char *` and the other takes an int and answers nothing. R calls neither
    // while it is in this call.
    unsafe {
        *place.cast::<*mut std::ffi::c_char>() = std::ptr::null_mut();
        let make: extern "C" fn(c_int) = std::mem::transmute(make);
        make(0);
    }
}
