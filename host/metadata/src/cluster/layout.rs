//! The cluster's directory: what is where, and whose it is.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use lectern_domain::launch::Account;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{getegid, geteuid};
use uuid::Uuid;

use super::{ClusterError, io_error};

/// The lock of a cluster, held by an open file: the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) enum Lock {
    /// Taken here; unlocked when it is dropped, for all who share the file.
    Taken(Flock<File>),
    /// Lent by a server that this one succeeds: the same open file, which is locked as long as one of the two has it.
    Lent(File),
}

impl Lock {
    /// The lock once more.
    pub(super) fn lend(&self) -> std::io::Result<OwnedFd> {
        let file: &File = match self {
            Self::Taken(lock) => lock,
            Self::Lent(file) => file,
        };
        file.try_clone().map(OwnedFd::from)
    }
}

/// Longest path of a Unix socket on Linux, without the closing NUL.
const SOCKET_PATH_LIMIT: usize = 107;

/// What PostgreSQL adds to the directory's path.
const SOCKET_NAME: &str = "/.s.PGSQL.5432";

/// The log is cut to its end when it grows past this: weeks of warnings, or minutes of a loop of errors.
const LOG_LIMIT_BYTES: u64 = 8 << 20;

/// What is kept of the log when it is cut.
const LOG_KEPT_BYTES: u64 = 256 << 10;

/// Where everything is. Directories exist and have their owners.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The cluster's directory, without symbolic links.
    pub(super) dir: PathBuf,
    /// The cluster itself.
    pub(super) data: PathBuf,
    /// Where the socket goes.
    pub(super) socket_dir: PathBuf,
    /// The account PostgreSQL runs as.
    pub(super) account: Account,
}

impl Layout {
    /// Makes the directories that are missing and sets owners and modes.
    pub(super) fn create(dir: &Path, account: Account) -> Result<Self, ClusterError> {
        create_passable(dir)?;
        let dir = dir.canonicalize().map_err(io_error("resolve", dir))?;
        // The account only passes: nothing that the server reads or writes here as root can be swapped by it.
        own(&dir, Account { uid: geteuid().as_raw(), gid: getegid().as_raw() }, 0o711)?;
        let inside = dir.join("s");
        let socket_dir = if fits(&inside) { inside } else { outside(&dir) };
        private_dir(&socket_dir, account)?;
        Ok(Self { data: dir.join("data"), dir, socket_dir, account })
    }

    /// Takes the cluster for this process.
    pub(super) fn lock(&self, lent: Option<OwnedFd>) -> Result<Lock, ClusterError> {
        let path = self.dir.join("lock");
        if let Some(lent) = lent {
            return Ok(Lock::Lent(File::from(lent)));
        }
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(io_error("open", &path))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map(Lock::Taken).map_err(|(_, error)| match error {
            nix::errno::Errno::EWOULDBLOCK => ClusterError::Busy { dir: self.dir.clone() },
            other => io_error("lock", &path)(other.into()),
        })
    }

    /// The major version of the data, when there is some.
    pub(super) fn existing_major(&self) -> Result<Option<u32>, ClusterError> {
        let path = self.data.join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    /// Where the password is.
    pub(super) fn password_file(&self) -> PathBuf {
        self.dir.join("password")
    }

    /// The password of the role.
    pub(super) fn password(&self) -> Result<String, ClusterError> {
        let path = self.password_file();
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            Ok(_) => Err(ClusterError::PasswordMissing { path }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ClusterError::PasswordMissing { path }),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    /// Makes a new password, durable before the cluster that will ask for it exists.
    pub(super) fn new_password(&self) -> Result<String, ClusterError> {
        // 244 random bits from the operating system.
        let password = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let (path, temporary) = (self.password_file(), self.dir.join("password.new"));
        write_private(&temporary, &password)?;
        fs::rename(&temporary, &path).map_err(io_error("rename into place", &path))?;
        self.sync()?;
        Ok(password)
    }

    /// Makes renames in the directory durable.
    pub(super) fn sync(&self) -> Result<(), ClusterError> {
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", &self.dir))
    }

    /// PostgreSQL's log.
    pub(super) fn log_file(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    /// Opens the log for appending.
    pub(super) fn open_log(&self) -> Result<File, ClusterError> {
        let path = self.log_file();
        OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(io_error("open", &path))
    }

    /// Cuts the log to its end when it has grown too long. Lines written at that moment may be lost.
    pub(super) fn bound_log(&self) -> Result<(), ClusterError> {
        let path = self.log_file();
        match fs::metadata(&path) {
            Ok(found) if found.len() > LOG_LIMIT_BYTES => {}
            _ => return Ok(()),
        }
        let tail = tail(&path, LOG_KEPT_BYTES);
        // Its writer appends, so it goes on at the new end.
        let mut file = self.open_log()?;
        file.set_len(0).and_then(|()| file.write_all(tail.as_bytes())).map_err(io_error("cut", &path))
    }

    /// Removes the socket's directory when it is not inside the cluster's.
    pub(super) fn remove_outside_socket_dir(&self) {
        if !self.socket_dir.starts_with(&self.dir) {
            // Only when empty; the next start makes it again, or uses it.
            let _ = fs::remove_dir(&self.socket_dir);
        }
    }
}

/// Whether PostgreSQL can listen in `dir`: short enough, and writable in its list of directories.
fn fits(dir: &Path) -> bool {
    let text = dir.as_os_str().as_bytes();
    text.len() + SOCKET_NAME.len() <= SOCKET_PATH_LIMIT && dir.to_str().is_some_and(|text| !text.contains(['"', ',']))
}

/// A short directory outside, always the same one for a cluster.
fn outside(dir: &Path) -> PathBuf {
    let base = if geteuid().is_root() {
        Path::new("/run").is_dir().then(|| PathBuf::from("/run"))
    } else {
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|base| base.is_absolute() && base.is_dir())
    };
    // FNV-1a: names a directory, guards nothing; its owner and mode are checked.
    let hash = dir
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let name = format!("lectern-{hash:016x}");
    base.map(|base| base.join(&name)).filter(|path| fits(path)).unwrap_or_else(|| Path::new("/tmp").join(name))
}

/// Makes a directory that only `account` and root can pass. One that exists must be that already: in a directory where
/// others may write, it could be theirs.
pub(super) fn private_dir(path: &Path, account: Account) -> Result<(), ClusterError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return own(path, account, 0o700),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io_error("create directory", path)(error)),
    }
    let found = fs::symlink_metadata(path).map_err(io_error("look at", path))?;
    // Left by a start that was cut between creating and giving away.
    let ours = found.uid() == account.uid || found.uid() == geteuid().as_raw();
    if !found.is_dir() || !ours {
        return Err(ClusterError::SocketDir { path: path.to_owned(), account });
    }
    own(path, account, 0o700)
}

/// Makes a directory and those above it that are missing, so that the account can pass them whatever the umask is.
fn create_passable(path: &Path) -> Result<(), ClusterError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_passable(parent)?;
    }
    match fs::create_dir(path) {
        Ok(()) => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(io_error("set the mode of", path))
        }
        // Made by another start at the same moment.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(io_error("create directory", path)(error)),
    }
}

/// Sets owner and mode.
fn own(path: &Path, account: Account, mode: u32) -> Result<(), ClusterError> {
    if geteuid().is_root() {
        chown(path, Some(account.uid), Some(account.gid)).map_err(io_error("give away", path))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io_error("set the mode of", path))
}

/// Writes a file that only the server reads, durably.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), ClusterError> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path);
    let mut file = file.map_err(io_error("create", path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io_error("write", path))
}

/// The end of a text file, at most `limit` bytes; empty when it cannot be read.
pub(super) fn tail(path: &Path, limit: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).trim().to_owned()
}

/// The URL of `database` on the socket in `socket_dir`.
pub(super) fn url(role: &str, password: &str, database: &str, socket_dir: &Path) -> String {
    let host: String = url::form_urlencoded::byte_serialize(socket_dir.as_os_str().as_bytes())
        // Form encoding writes a space as `+`; a URL's query reads that as a plus.
        .map(|part| if part == "+" { "%20" } else { part })
        .collect();
    format!("postgres://{role}:{password}@/{database}?host={host}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_socket_path_is_never_too_long() {
        let root = PathBuf::from("/");
        for length in 1..200 {
            let dir = root.join("d".repeat(length));
            let inside = dir.join("s");
            let chosen = if fits(&inside) { inside } else { outside(&dir) };
            assert!(chosen.as_os_str().len() + SOCKET_NAME.len() < 108, "{length}");
        }
        assert!(!fits(Path::new("/a,b")) && !fits(Path::new("/a\"b")) && fits(Path::new("/a b/ä")));
        assert_ne!(outside(Path::new("/a")), outside(Path::new("/b")));
    }

    #[test]
    fn a_private_directory_is_never_somebody_elses() {
        let top = tempfile::tempdir().unwrap();
        let me = Account { uid: geteuid().as_raw(), gid: getegid().as_raw() };
        let path = top.path().join("d");
        private_dir(&path, me).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        private_dir(&path, me).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        std::os::unix::fs::symlink(&path, top.path().join("link")).unwrap();
        assert!(matches!(private_dir(&top.path().join("link"), me), Err(ClusterError::SocketDir { .. })));
    }

    #[test]
    fn a_log_is_cut_to_its_end() {
        let top = tempfile::tempdir().unwrap();
        let me = Account { uid: geteuid().as_raw(), gid: getegid().as_raw() };
        let layout = Layout::create(&top.path().join("c"), me).unwrap();
        let mut writer = layout.open_log().unwrap();
        writer.write_all(&vec![b'x'; LOG_LIMIT_BYTES as usize + 1]).unwrap();
        writer.write_all(b"\nthe end\n").unwrap();
        layout.bound_log().unwrap();
        writer.write_all(b"after\n").unwrap();
        let length = fs::metadata(layout.log_file()).unwrap().len();
        assert!(length <= LOG_KEPT_BYTES + 100, "{length}");
        assert!(
            tail(&layout.log_file(), 30).ends_with("the end\nafter")
                || tail(&layout.log_file(), 30).ends_with("the endafter")
        );
    }

    #[test]
    fn one_process_holds_the_lock() {
        let top = tempfile::tempdir().unwrap();
        let me = Account { uid: geteuid().as_raw(), gid: getegid().as_raw() };
        let layout = Layout::create(top.path(), me).unwrap();
        let lock = layout.lock(None).unwrap();
        assert!(matches!(layout.lock(None), Err(ClusterError::Busy { .. })));
        drop(lock);
        layout.lock(None).unwrap();
    }
}
