//! Pipes that a zygote made to wake itself must not wake its children, nor they each other.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsRawFd, RawFd};

use nix::fcntl::OFlag;
use nix::libc;

/// Gives this process pipes of its own in the place of those that have both ends here: inherited ones, that every child of the
/// zygote has. R's event loop (`later`) has one. Descriptors keep their numbers.
pub(crate) fn renew() {
    let mut ends: HashMap<std::ffi::OsString, Vec<RawFd>> = HashMap::new();
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        if number > 2 && target.as_os_str().as_encoded_bytes().starts_with(b"pipe:") {
            ends.entry(target.into_os_string()).or_default().push(number);
        }
    }
    for numbers in ends.into_values() {
        // SAFETY: F_GETFL and F_GETFD only ask.
        let flags = |number: &RawFd| unsafe { libc::fcntl(*number, libc::F_GETFL) };
        let reads = |number: &&RawFd| flags(number) & libc::O_ACCMODE == libc::O_RDONLY;
        let (readers, writers): (Vec<&RawFd>, Vec<&RawFd>) = numbers.iter().partition(reads);
        if readers.is_empty() || writers.is_empty() {
            continue;
        }
        let Ok((read, write)) = nix::unistd::pipe2(OFlag::O_CLOEXEC) else { continue };
        for (fresh, old) in [(&read, readers), (&write, writers)] {
            for number in old {
                let (status, kept) = (flags(number), unsafe { libc::fcntl(*number, libc::F_GETFD) });
                // SAFETY: both numbers are open; whoever has the old one means the pipe by it, and gets one of the same kind.
                unsafe {
                    libc::dup3(
                        fresh.as_raw_fd(),
                        *number,
                        if kept & libc::FD_CLOEXEC == 0 { 0 } else { libc::O_CLOEXEC },
                    );
                    libc::fcntl(*number, libc::F_SETFL, status & libc::O_NONBLOCK);
                }
            }
        }
    }
}
