//! The only place that touches the shared file system: one function per operation, each counted.
//!
//! A network file system costs a round trip per operation, so their number is part of what the store promises.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use tempfile::{NamedTempFile, TempPath};

/// How many operations a [`Store`](crate::Store) has made on its file system since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Operations {
    /// Temporary files created.
    pub creates: u64,
    /// Bundles opened for reading, also when there was none of that name.
    pub opens: u64,
    /// Files whose size or time was asked for.
    pub stats: u64,
    /// Reads, each of up to 1 MiB.
    pub reads: u64,
    /// Writes, each of up to 1 MiB.
    pub writes: u64,
    /// Files and directories forced to stable storage.
    pub syncs: u64,
    /// Temporary files given their final name.
    pub renames: u64,
    /// Bundles whose modification time was set to now.
    pub touches: u64,
    /// Files removed, also temporary ones.
    pub removes: u64,
    /// Directories listed.
    pub lists: u64,
}

impl Operations {
    /// All operations apart from reads and writes, whose number follows the size of the bundle.
    pub fn fixed(&self) -> u64 {
        self.creates + self.opens + self.stats + self.syncs + self.renames + self.touches + self.removes + self.lists
    }
}

#[derive(Debug, Default)]
pub(crate) struct Share {
    creates: AtomicU64,
    opens: AtomicU64,
    stats: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    syncs: AtomicU64,
    renames: AtomicU64,
    touches: AtomicU64,
    removes: AtomicU64,
    lists: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Share {
    pub(crate) fn operations(&self) -> Operations {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Operations {
            creates: of(&self.creates),
            opens: of(&self.opens),
            stats: of(&self.stats),
            reads: of(&self.reads),
            writes: of(&self.writes),
            syncs: of(&self.syncs),
            renames: of(&self.renames),
            touches: of(&self.touches),
            removes: of(&self.removes),
            lists: of(&self.lists),
        }
    }

    /// Makes `directory` and what is missing above it, for the owner only. Not counted: it happens once per start.
    pub(crate) fn create_directory(&self, directory: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
    }

    /// Creates a file with a name nobody else has, readable by the owner only; dropping it removes it.
    pub(crate) fn create_temporary(&self, directory: &Path) -> io::Result<NamedTempFile<File>> {
        // 16 letters and digits: two servers do not meet, and if they do, O_EXCL makes one of them try again.
        tempfile::Builder::new().prefix("upload-").rand_bytes(16).make_in(directory, |path| {
            count(&self.creates);
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
        })
    }

    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        count(&self.opens);
        File::open(path)
    }

    pub(crate) fn stat(&self, file: &File) -> io::Result<fs::Metadata> {
        count(&self.stats);
        file.metadata()
    }

    pub(crate) fn stat_path(&self, path: &Path) -> io::Result<fs::Metadata> {
        count(&self.stats);
        fs::symlink_metadata(path)
    }

    pub(crate) fn read(&self, file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            count(&self.reads);
            match file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    pub(crate) fn write_all(&self, file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            count(&self.writes);
            match file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(crate) fn sync_file(&self, file: &File) -> io::Result<()> {
        count(&self.syncs);
        file.sync_all()
    }

    /// Makes the names in `directory` durable.
    pub(crate) fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        count(&self.opens);
        let directory = File::open(directory)?;
        count(&self.syncs);
        match directory.sync_all() {
            // Some network and FUSE file systems cannot sync a directory and say EINVAL: their renames are synchronous.
            Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => Ok(()),
            result => result,
        }
    }

    pub(crate) fn rename(&self, temporary: TempPath, target: &Path) -> io::Result<()> {
        count(&self.renames);
        temporary.persist(target).map_err(|failed| failed.error)
    }

    /// Sets the modification time to the file server's now.
    pub(crate) fn touch(&self, file: &File) -> io::Result<()> {
        count(&self.touches);
        futimens(file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW).map_err(io::Error::from)
    }

    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        count(&self.removes);
        fs::remove_file(path)
    }

    pub(crate) fn remove_temporary(&self, temporary: TempPath) -> io::Result<()> {
        count(&self.removes);
        temporary.close()
    }

    pub(crate) fn list(&self, directory: &Path) -> io::Result<fs::ReadDir> {
        count(&self.lists);
        fs::read_dir(directory)
    }
}
