//! This host: directories, the lock of the data directory, its name, and whether other accounts reach what they must.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use lectern_domain::launch::Account;
use lectern_metadata::reach::check_reachable;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

use crate::config::Config;
use crate::paths::Paths;

/// Whether this process may change accounts.
pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

/// This host's name.
pub(crate) fn hostname() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "localhost".into())
}

/// Memory that this process and its children may use, in bytes: the machine's, or less where a control group says so. 1 GiB where
/// neither can be read.
pub(crate) fn memory() -> u64 {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let total = || {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let group =
        ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"].into_iter().find_map(number);
    total().unwrap_or(1 << 30).min(group.unwrap_or(u64::MAX))
}

/// The account that builds packages, where this server may change accounts.
pub(crate) fn build_account(config: &Config) -> Option<Account> {
    is_root().then_some(Account { uid: config.sandbox.build_uid, gid: config.sandbox.build_uid })
}

/// The first account of content, where this server may change accounts.
pub(crate) fn first_uid(config: &Config) -> Option<u32> {
    is_root().then_some(config.sandbox.first_uid)
}

/// An account of content, to try things as, where this server may change accounts.
pub(crate) fn content_account(config: &Config) -> Option<Account> {
    first_uid(config).map(|uid| Account { uid, gid: uid })
}

/// Makes the data directory and checks that the accounts of content can reach it, before anything starts.
pub(crate) fn make_directories(config: &Config, paths: &Paths) -> anyhow::Result<()> {
    // Content reads its files and environment below these; the rest is the server's alone.
    make(paths.root(), 0o755)?;
    for open in [paths.environments(), paths.unpacked()] {
        make(&open, 0o755)?;
    }
    for passable in [paths.run(), paths.workers(), paths.inside()] {
        make(&passable, 0o711)?;
    }
    for own in [paths.jobs(), paths.bundle_cache(), config.data.shared_dir.clone()] {
        make(&own, 0o700)?;
    }
    if let (Some(uid), Some(build)) = (first_uid(config), build_account(config)) {
        for (uid, who) in [(uid, "content"), (build.uid, "package builds")] {
            check_reachable(paths.root(), uid, uid).with_context(|| {
                format!(
                    "the data directory {} cannot be used: {who} runs as accounts of its own, such as {uid}; \
                     choose another with --data-dir or data.dir",
                    paths.root().display()
                )
            })?;
        }
    }
    Ok(())
}

fn make(path: &Path, mode: u32) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("make the directory {}", path.display()))?;
    // The process's umask may have taken bits away, and an older version may have given others.
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("set the permissions of {}", path.display()))
}

/// The lock that makes this process the only server of a data directory.
pub(crate) enum DirectoryLock {
    /// Taken here; unlocked when it is dropped, for all who share the file.
    Taken(Flock<File>),
    /// Lent by a server that this one succeeds: the same open file, which is locked as long as one of the two has it.
    Lent(File),
}

impl DirectoryLock {
    /// The lock of a server that this one succeeds.
    pub(crate) fn lent(lock: OwnedFd) -> Self {
        Self::Lent(File::from(lock))
    }

    /// The lock once more, for a successor.
    pub(crate) fn lend(&self) -> anyhow::Result<OwnedFd> {
        let file: &File = match self {
            Self::Taken(lock) => lock,
            Self::Lent(file) => file,
        };
        Ok(file.try_clone().context("lend the lock of the data directory")?.into())
    }

    /// Leaves it to the successor that was lent it.
    pub(crate) fn leave(self) {
        std::mem::forget(self);
    }

    /// Takes the lock, or says that another server has it.
    pub(crate) fn take(paths: &Paths) -> anyhow::Result<Self> {
        let path = paths.server_lock();
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("open the lock {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self::Taken(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => bail!(
                "another lectern serves the data directory {}; stop it, or choose another with --data-dir",
                paths.root().display()
            ),
            Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }
}
