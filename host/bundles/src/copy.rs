//! Reading a stored bundle: every byte is hashed, and bytes that the name does not promise are an error.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use lectern_domain::BundleHash;

use crate::store::Inner;

/// One read or write of the shared file system: the largest that NFS (and so EFS) carries in one request.
pub(crate) const BUFFER_BYTES: usize = 1024 * 1024;

/// A bundle could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The store has no bundle of that name.
    #[error("bundle {hash} is not in the store")]
    Missing {
        /// The bundle asked for.
        hash: BundleHash,
    },
    /// The stored bytes are not those that were uploaded. Helps: uploading them again, which replaces the file.
    #[error("bundle {hash} is damaged: {path:?} holds other bytes, {size_bytes} of them")]
    Corrupt {
        /// The bundle asked for.
        hash: BundleHash,
        /// The damaged file.
        path: PathBuf,
        /// Its length in bytes.
        size_bytes: u64,
    },
    /// The local disk has no room for the copy.
    #[error("no room left to write {path:?}")]
    Full {
        /// The file that was written.
        path: PathBuf,
        /// What the file system said.
        #[source]
        cause: io::Error,
    },
    /// A file operation failed, on the share or on the local disk.
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
    /// Whoever takes the bytes would take no more.
    #[error("pass on the bytes of a bundle")]
    Out {
        /// What the taker said.
        #[source]
        cause: io::Error,
    },
}

impl FetchError {
    pub(crate) fn new(action: &'static str, path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        if is_full(&cause) { Self::Full { path, cause } } else { Self::Io { action, path, cause } }
    }
}

/// Whether more room would have helped. `EFBIG` counts: a file size limit of the process or the file system.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// Reads a bundle of the store to its end, giving each piece to `out`. Returns its length.
pub(crate) fn from_share(
    store: &Inner,
    hash: &BundleHash,
    out: impl FnMut(&[u8]) -> Result<(), FetchError>,
) -> Result<u64, FetchError> {
    let path = store.path_of(hash);
    let mut file = match store.share.open(&path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Err(FetchError::Missing { hash: *hash }),
        Err(cause) => return Err(FetchError::new("open bundle", &path, cause)),
    };
    check_share(store, &mut file, hash, out)
}

/// As [`from_share`], for a file that is open.
pub(crate) fn check_share(
    store: &Inner,
    file: &mut File,
    hash: &BundleHash,
    out: impl FnMut(&[u8]) -> Result<(), FetchError>,
) -> Result<u64, FetchError> {
    check(&store.path_of(hash), hash, |buffer| store.share.read(file, buffer), out)
}

/// Takes bytes from `read` until it gives none, hands them to `out`, and compares their hash at the end.
pub(crate) fn check(
    path: &Path,
    hash: &BundleHash,
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    mut out: impl FnMut(&[u8]) -> Result<(), FetchError>,
) -> Result<u64, FetchError> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut size_bytes = 0;
    loop {
        let bytes = match read(&mut buffer).map_err(|cause| FetchError::new("read bundle", path, cause))? {
            0 => break,
            count => &buffer[..count],
        };
        hasher.update(bytes);
        size_bytes += bytes.len() as u64;
        out(bytes)?;
    }
    if hasher.finalize().as_bytes() == &hash.0 {
        Ok(size_bytes)
    } else {
        Err(FetchError::Corrupt { hash: *hash, path: path.to_owned(), size_bytes })
    }
}
