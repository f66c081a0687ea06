//! The shared store: one file per bundle, named by the BLAKE3 of its bytes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use lectern_domain::BundleHash;

use crate::copy::{self, FetchError};
use crate::share::{Operations, Share};
use crate::upload::Upload;

/// Uploads are here until they are committed; inside the store so that giving them their name is a rename.
const TEMPORARY: &str = ".tmp";

/// A change of the store could not be made. Nothing is half done: a bundle has its name or it has not.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system, a quota or a limit of the process has no room (`ENOSPC`, `EDQUOT`, `EFBIG`). Helps: making room.
    #[error("no room left to write {path:?}")]
    Full {
        /// The file that was written.
        path: PathBuf,
        /// What the file system said.
        #[source]
        cause: io::Error,
    },
    /// The upload is longer than its caller allowed.
    #[error("bundle is larger than the {limit_bytes} bytes allowed")]
    TooLarge {
        /// The most that was allowed, in bytes.
        limit_bytes: u64,
    },
    /// An earlier write of this upload failed, so its file is incomplete.
    #[error("upload {path:?} cannot go on after a failed write")]
    Broken {
        /// The temporary file.
        path: PathBuf,
    },
    /// The file system refused for another reason.
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

impl StoreError {
    pub(crate) fn new(action: &'static str, path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        if copy::is_full(&cause) { Self::Full { path, cause } } else { Self::Io { action, path, cause } }
    }
}

/// A bundle as [`Store::list`] finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBundle {
    /// Its name.
    pub hash: BundleHash,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// When it was last uploaded, also when the same bytes were there before; by the file server's clock.
    pub uploaded_at: SystemTime,
}

/// What [`Store::sweep`] removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Temporary files removed.
    pub files: u64,
    /// Their length together, in bytes.
    pub bytes: u64,
}

/// The store; cheap to clone. Several servers may use one directory at the same time.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) temporary: PathBuf,
    pub(crate) share: Share,
}

impl Inner {
    pub(crate) fn path_of(&self, hash: &BundleHash) -> PathBuf {
        self.root.join(hash.to_string())
    }
}

impl Store {
    /// Opens the store below `root`, which is made if it is missing, with access for the owner only.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let share = Share::default();
        let temporary = root.join(TEMPORARY);
        share.create_directory(&temporary).map_err(|cause| StoreError::new("create store", &temporary, cause))?;
        Ok(Self { inner: Arc::new(Inner { root: root.to_owned(), temporary, share }) })
    }

    /// Starts an upload of at most `max_bytes` bytes.
    pub fn begin(&self, max_bytes: u64) -> Result<Upload, StoreError> {
        Upload::begin(Arc::clone(&self.inner), max_bytes)
    }

    /// Copies a bundle to `out` and returns its length, or fails: with [`FetchError::Corrupt`] when the bytes were not
    /// those the hash names. `out` has then received damaged bytes, which the caller must throw away.
    pub fn copy_to(&self, hash: &BundleHash, out: &mut impl io::Write) -> Result<u64, FetchError> {
        copy::from_share(&self.inner, hash, |bytes| out.write_all(bytes).map_err(|cause| FetchError::Out { cause }))
    }

    /// Reads a bundle to its end and returns its length; [`FetchError::Corrupt`] when it is damaged.
    pub fn verify(&self, hash: &BundleHash) -> Result<u64, FetchError> {
        copy::from_share(&self.inner, hash, |_| Ok(()))
    }

    /// Whether a bundle of that name is there. Does not read it.
    pub fn contains(&self, hash: &BundleHash) -> Result<bool, StoreError> {
        let path = self.inner.path_of(hash);
        match self.inner.share.stat_path(&path) {
            Ok(_) => Ok(true),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(StoreError::new("look for bundle", &path, cause)),
        }
    }

    /// Lists the bundles in no order. One file operation per bundle: for collection and reports, never for a request.
    /// Files with other names are not ours and are passed over.
    pub fn list(&self) -> Result<Vec<StoredBundle>, StoreError> {
        let root = &self.inner.root;
        let failed = |cause| StoreError::new("list store", root, cause);
        let mut bundles = Vec::new();
        for entry in self.inner.share.list(root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(hash) = entry.file_name().to_str().and_then(|name| name.parse::<BundleHash>().ok()) else {
                continue;
            };
            let path = entry.path();
            match self.inner.share.stat_path(&path).and_then(|data| Ok((data.len(), data.modified()?))) {
                Ok((size_bytes, uploaded_at)) => bundles.push(StoredBundle { hash, size_bytes, uploaded_at }),
                // Another server collected it meanwhile.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(StoreError::new("look at bundle", &path, cause)),
            }
        }
        Ok(bundles)
    }

    /// Removes a bundle; `false` when there was none.
    pub fn remove(&self, hash: &BundleHash) -> Result<bool, StoreError> {
        let path = self.inner.path_of(hash);
        match self.inner.share.remove(&path) {
            Ok(()) => Ok(true),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(StoreError::new("remove bundle", &path, cause)),
        }
    }

    /// Removes a bundle last uploaded before `uploaded_before`; `false` when there is none or it is younger.
    ///
    /// For collection: a bundle found unreferenced a while ago may have been uploaded again since, and that upload kept
    /// the file that is here. Its time says so, and is looked at immediately before removal.
    pub fn remove_idle(&self, hash: &BundleHash, uploaded_before: SystemTime) -> Result<bool, StoreError> {
        let path = self.inner.path_of(hash);
        match self.inner.share.stat_path(&path).and_then(|data| data.modified()) {
            Ok(uploaded_at) if uploaded_at < uploaded_before => self.remove(hash),
            Ok(_) => Ok(false),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(StoreError::new("look at bundle", &path, cause)),
        }
    }

    /// Removes temporary files last written before `older_than`: what killed servers left.
    ///
    /// A live upload writes at least once per MiB received, so an age well over the time-out of an upload's body spares
    /// those of every server on this store.
    pub fn sweep(&self, older_than: SystemTime) -> Result<Swept, StoreError> {
        let directory = &self.inner.temporary;
        let failed = |cause| StoreError::new("list uploads", directory, cause);
        let mut swept = Swept::default();
        for entry in self.inner.share.list(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let removed = self.inner.share.stat_path(&path).and_then(|data| {
                let old = data.is_file() && data.modified()? < older_than;
                if old { self.inner.share.remove(&path).map(|()| Some(data.len())) } else { Ok(None) }
            });
            match removed {
                Ok(Some(bytes)) => {
                    swept.files += 1;
                    swept.bytes += bytes;
                }
                Ok(None) => {}
                // Committed or swept by another server meanwhile.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(StoreError::new("sweep upload", &path, cause)),
            }
        }
        Ok(swept)
    }

    /// How many operations this value and its clones have made on the shared file system.
    pub fn operations(&self) -> Operations {
        self.inner.share.operations()
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}
