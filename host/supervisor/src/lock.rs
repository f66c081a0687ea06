//! One supervisor per socket: a lock file that the kernel releases when its last holder dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::run::RunError;

/// How often a held lock is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// The lock of a socket. Guardian and supervisor share it, so it is free only when both are gone, and with them every
/// process they started.
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of `socket`; waits up to `patience` for a holder that no longer answers, since it is ending.
    pub(crate) fn acquire(socket: &Path, patience: Duration) -> Result<Self, RunError> {
        let path = lock_path(socket);
        let failed = |cause| RunError::Lock { path: path.clone(), cause };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&path)
            .map_err(failed)?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file }),
                Err(TryLockError::Error(cause)) => return Err(failed(cause)),
                Err(TryLockError::WouldBlock) => {}
            }
            if UnixStream::connect(socket).is_ok() || started.elapsed() >= patience {
                return Err(RunError::AlreadyRunning { socket: socket.to_owned(), pid: read_pid(&mut file) });
            }
            std::thread::sleep(RETRY);
        }
    }

    /// The lock that the program before this one held in this process.
    pub(crate) fn again(file: OwnedFd) -> Self {
        Self { file: file.into() }
    }

    /// Its descriptor.
    pub(crate) fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Leaves the supervisor's process id in the file, for people.
    pub(crate) fn write_pid(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", std::process::id())
    }
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    // A process id has at most ten digits.
    file.rewind().and_then(|()| file.take(16).read_to_string(&mut text)).ok()?;
    text.trim().parse().ok()
}
