//! Unpacked bundles on the local disk: one read-only directory per bundle, named by its hash.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lectern_domain::BundleHash;

use crate::copy::FetchError;
use crate::keyed::Keyed;
use crate::limits::Limits;
use crate::seal;
use crate::unpack::{TEMPORARY_PREFIX, build};
use crate::unpack_error::UnpackError;

/// A tree on its way out has a name that begins with this.
const TRASH_PREFIX: &str = ".trash-";

/// A tree could not be had or removed.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The archive could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The archive could not be unpacked.
    #[error("unpack bundle {hash}")]
    Unpack {
        /// The bundle asked for.
        hash: BundleHash,
        /// Why.
        #[source]
        cause: UnpackError,
    },
    /// The archive was read, but its bytes are not those the hash names.
    #[error("bundle {hash} is damaged: other bytes were read to unpack it")]
    Corrupt {
        /// The bundle asked for.
        hash: BundleHash,
    },
    /// A file operation on the directory of trees failed.
    #[error("{action} {path:?}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the file system said.
        #[source]
        cause: io::Error,
    },
}

/// The unpacked bundles of one node; cheap to clone.
#[derive(Debug, Clone)]
pub struct Trees {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    limits: Limits,
    busy: Keyed<BundleHash>,
}

impl Trees {
    /// Opens the trees in `directory`, which is made if it is missing (0755: other accounts read the trees), and removes
    /// what a killed process left half unpacked or half removed. `limits` are for unpacking from now on.
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, TreeError> {
        let failed = |cause| TreeError::Io { action: "open directory of trees", path: directory.to_owned(), cause };
        if !directory.try_exists().map_err(failed)? {
            fs::create_dir_all(directory).map_err(failed)?;
            // Whatever the umask: a worker's account must pass through here.
            fs::set_permissions(directory, Permissions::from_mode(0o755)).map_err(failed)?;
        }
        let removed = seal::remove_leftovers(directory, &[TEMPORARY_PREFIX, TRASH_PREFIX]).map_err(failed)?;
        if removed > 0 {
            tracing::info!(path = %directory.display(), removed, "removed unfinished trees");
        }
        Ok(Self { inner: Arc::new(Inner { directory: directory.to_owned(), limits, busy: Keyed::default() }) })
    }

    /// Where the tree of a bundle is, if it is there.
    pub fn get(&self, hash: &BundleHash) -> Result<Option<PathBuf>, TreeError> {
        let path = self.inner.path_of(hash);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(Some(path)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(TreeError::Io { action: "look for tree", path, cause }),
        }
    }

    /// Gives the tree of a bundle, unpacking what `open` opens if there is none. Usually
    /// `trees.get_or_unpack(&hash, || cache.fetch(&store, &hash)?.open())`.
    ///
    /// Threads that want the same bundle unpack it once. The bytes are hashed on the way: a tree never has the name of
    /// other bytes than it was made of, wherever they came from.
    pub fn get_or_unpack<R: Read>(
        &self,
        hash: &BundleHash,
        open: impl FnOnce() -> Result<R, FetchError>,
    ) -> Result<PathBuf, TreeError> {
        if let Some(path) = self.get(hash)? {
            return Ok(path);
        }
        self.inner.busy.with(*hash, || match self.get(hash)? {
            Some(path) => Ok(path),
            None => self.inner.unpack(hash, open()?),
        })
    }

    /// Removes the tree of a bundle, which no worker may be using; `false` when there was none.
    pub fn remove(&self, hash: &BundleHash) -> Result<bool, TreeError> {
        self.inner.busy.with(*hash, || self.inner.remove(hash))
    }

    /// Removes all trees that `keep` does not keep. Returns how many.
    pub fn collect(&self, keep: impl Fn(&BundleHash) -> bool) -> Result<u64, TreeError> {
        let directory = &self.inner.directory;
        let failed = |cause| TreeError::Io { action: "list trees", path: directory.clone(), cause };
        let mut removed = 0;
        for entry in fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(hash) = entry.file_name().to_str().and_then(|name| name.parse::<BundleHash>().ok()) else {
                continue;
            };
            if !keep(&hash) && self.remove(&hash)? {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

impl Inner {
    fn path_of(&self, hash: &BundleHash) -> PathBuf {
        self.directory.join(hash.to_string())
    }

    fn unpack(&self, hash: &BundleHash, archive: impl Read) -> Result<PathBuf, TreeError> {
        let path = self.path_of(hash);
        let mut archive = Hashing { inner: archive, hasher: blake3::Hasher::new() };
        let built = build(&mut archive, &path, &self.limits);
        // A refusal that comes early leaves bytes unread, and damage must not be blamed on the publisher.
        let whole = match &built {
            Err(error) if error.is_bad_archive() => io::copy(&mut archive, &mut io::sink()).is_ok(),
            _ => built.is_ok(),
        };
        if whole && archive.hasher.finalize().as_bytes() != &hash.0 {
            return Err(TreeError::Corrupt { hash: *hash });
        }
        match built.and_then(|built| built.publish(&path)) {
            Ok(_) => Ok(path),
            // Another process on this directory was faster.
            Err(UnpackError::Exists { .. }) => Ok(path),
            Err(cause) => Err(TreeError::Unpack { hash: *hash, cause }),
        }
    }

    fn remove(&self, hash: &BundleHash) -> Result<bool, TreeError> {
        let path = self.path_of(hash);
        let trash = self.directory.join(format!("{TRASH_PREFIX}{hash}"));
        let failed = |cause| TreeError::Io { action: "remove tree", path: path.clone(), cause };
        // What a removal that failed half way left; this one must have the name.
        match seal::remove_tree(&trash) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(cause)),
            _ => {}
        }
        // Locked, so that a process that opens this directory meanwhile leaves the removal to us.
        let tree = match File::open(&path) {
            Ok(tree) => tree,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(cause) => return Err(failed(cause)),
        };
        tree.lock_shared().map_err(failed)?;
        // First out of the way as a whole: a tree with a hash for a name is complete.
        fs::rename(&path, &trash).and_then(|()| seal::remove_tree(&trash)).map_err(failed)?;
        Ok(true)
    }
}

struct Hashing<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
