//! Copies of bundles on the local disk, so that the shared store is read once per bundle and node.
//!
//! A copy is hashed each time it is fetched, not only when it comes from the share: a bundle is fetched to unpack it
//! once or to answer a download, both of which read all of it anyway, and hashing is the cheapest part of either. A
//! damaged copy is thrown away and made again.
//!
//! A held [`LocalBundle`] has a shared `flock` on its copy; removal needs the exclusive one. So nothing vanishes while it
//! is read, also when two processes use the directory while one server replaces another.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use lectern_domain::BundleHash;

use crate::copy::{self, FetchError};
use crate::keyed::Keyed;
use crate::store::Store;

const TEMPORARY_PREFIX: &str = ".fetch-";

/// A default for the size of a [`Cache`]: several of the largest bundles, hundreds of usual ones (under 50 MiB), and
/// little beside the environments and trees on the same disk. Copies are only read to unpack and to download, so a
/// small cache costs some reads of the share and nothing else.
pub const DEFAULT_CACHE_BYTES: u64 = 10 << 30;

/// The cache; cheap to clone.
#[derive(Debug, Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    max_bytes: u64,
    busy: Keyed<BundleHash>,
    shrinking: Mutex<()>,
}

/// A whole and checked copy of a bundle. It stays on the disk until this is dropped.
#[derive(Debug)]
pub struct LocalBundle {
    hash: BundleHash,
    size_bytes: u64,
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl LocalBundle {
    /// Its name.
    pub fn hash(&self) -> BundleHash {
        self.hash
    }

    /// Its length in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Opens the copy at its first byte. Each call gives a file with a position of its own; it can be read to the end
    /// also after this value is dropped.
    pub fn open(&self) -> Result<File, FetchError> {
        File::open(&self.path).map_err(|cause| FetchError::new("open local copy", &self.path, cause))
    }
}

impl Cache {
    /// Opens the cache in `directory`, which is made if it is missing, and removes what a killed process left there.
    /// It takes at most `max_bytes`, plus bundles that are held or that are alone larger than that.
    pub fn open(directory: &Path, max_bytes: u64) -> Result<Self, FetchError> {
        let failed = |cause| FetchError::new("open bundle cache", directory, cause);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let inner =
            Inner { directory: directory.to_owned(), max_bytes, busy: Keyed::default(), shrinking: Mutex::default() };
        for entry in fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
                remove_unlocked(&entry.path()).map_err(failed)?;
            }
        }
        inner.shrink_to(max_bytes)?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Gives a checked local copy, made from the store if there is none. Threads that want the same bundle share one
    /// copy; it takes as long as the shared file system does, which has no time-out of its own.
    pub fn fetch(&self, store: &Store, hash: &BundleHash) -> Result<LocalBundle, FetchError> {
        let bundle = self.inner.busy.with(*hash, || match self.inner.local(hash)? {
            Some(bundle) => Ok((bundle, false)),
            None => match self.inner.copy(store, hash) {
                // Room for one bundle is worth all copies that nobody holds.
                Err(FetchError::Full { .. }) if self.inner.shrink_to(0)? > 0 => self.inner.copy(store, hash),
                result => result,
            }
            .map(|bundle| (bundle, true)),
        });
        let (bundle, copied) = bundle?;
        if copied && let Err(error) = self.inner.shrink_to(self.inner.max_bytes) {
            tracing::warn!(%error, "bundle cache keeps more than it should");
        }
        Ok(bundle)
    }

    /// Removes the local copy of a bundle unless it is held; `false` if it is held or was not there.
    pub fn remove(&self, hash: &BundleHash) -> Result<bool, FetchError> {
        let path = self.inner.path_of(hash);
        remove_unlocked(&path).map_err(|cause| FetchError::new("remove local copy", &path, cause))
    }
}

impl Inner {
    fn path_of(&self, hash: &BundleHash) -> PathBuf {
        self.directory.join(hash.to_string())
    }

    /// The copy that is there, if it is whole.
    fn local(&self, hash: &BundleHash) -> Result<Option<LocalBundle>, FetchError> {
        let path = self.path_of(hash);
        let failed = |cause| FetchError::new("open local copy", &path, cause);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(failed(cause)),
        };
        file.lock_shared().map_err(failed)?;
        // Removed by another process between opening and locking.
        if file.metadata().map_err(failed)?.nlink() == 0 {
            return Ok(None);
        }
        match copy::check(&path, hash, |buffer| file.read(buffer), |_| Ok(())) {
            Ok(size_bytes) => {
                // For shrink_to, which takes the least recently used first.
                file.set_modified(SystemTime::now()).map_err(failed)?;
                Ok(Some(LocalBundle { hash: *hash, size_bytes, path, _file: file }))
            }
            // Unreadable is as good as damaged: the share has another.
            Err(error) => {
                tracing::warn!(bundle.hash = %hash, %error, "local copy of a bundle is thrown away");
                match fs::remove_file(&path) {
                    Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                        Err(FetchError::new("remove local copy", &path, cause))
                    }
                    _ => Ok(None),
                }
            }
        }
    }

    fn copy(&self, store: &Store, hash: &BundleHash) -> Result<LocalBundle, FetchError> {
        let failed = |cause| FetchError::new("create local copy in", &self.directory, cause);
        let mut temporary =
            tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(&self.directory).map_err(failed)?;
        temporary.as_file().lock_shared().map_err(failed)?;
        let partial = temporary.path().to_owned();
        let file = temporary.as_file_mut();
        let write =
            |bytes: &[u8]| file.write_all(bytes).map_err(|cause| FetchError::new("write local copy", &partial, cause));
        let size_bytes = copy::from_share(store.inner(), hash, write)?;
        let path = self.path_of(hash);
        let renamed = |cause| FetchError::new("give local copy its name", &path, cause);
        // Not for durability, the share has that: a name whose bytes a power failure took would be found damaged later.
        temporary.as_file().sync_data().map_err(renamed)?;
        let file = temporary.persist(&path).map_err(|failed| renamed(failed.error))?;
        Ok(LocalBundle { hash: *hash, size_bytes, path, _file: file })
    }

    /// Removes copies that nobody holds, the least recently used first, until at most `max_bytes` are left. Returns how
    /// many.
    fn shrink_to(&self, max_bytes: u64) -> Result<u64, FetchError> {
        let _one_at_a_time = self.shrinking.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |cause| FetchError::new("list bundle cache", &self.directory, cause);
        let mut copies = Vec::new();
        let mut total_bytes = 0;
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_str().is_none_or(|name| name.parse::<BundleHash>().is_err()) {
                continue;
            }
            match entry.metadata().and_then(|data| Ok((data.modified()?, data.len()))) {
                Ok((used_at, size_bytes)) => {
                    total_bytes += size_bytes;
                    copies.push((used_at, size_bytes, entry.path()));
                }
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(failed(cause)),
            }
        }
        copies.sort();
        let mut removed = 0;
        for (_, size_bytes, path) in copies {
            if total_bytes <= max_bytes {
                break;
            }
            if remove_unlocked(&path).map_err(|cause| FetchError::new("remove local copy", &path, cause))? {
                total_bytes -= size_bytes;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Removes a file unless somebody holds a lock on it; `false` if so, or if it is gone already.
fn remove_unlocked(path: &Path) -> io::Result<bool> {
    let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(false) } else { Err(error) };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return gone(error),
    };
    match file.try_lock() {
        Ok(()) => fs::remove_file(path).map(|()| true).or_else(gone),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}
