//! One bundle on its way into the store: hashed while it is written, named when it is whole.

use std::fs::File;
use std::io;
use std::sync::Arc;

use lectern_domain::BundleHash;
use tempfile::NamedTempFile;

use crate::copy::{self, BUFFER_BYTES, FetchError};
use crate::store::{Inner, StoreError};

/// A bundle that is in the store for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its name: the BLAKE3 of its bytes.
    pub hash: BundleHash,
    /// Its length in bytes.
    pub size_bytes: u64,
}

/// An upload that has begun. Dropping it removes its temporary file, which is a file operation: drop it where blocking
/// is allowed. A killed process leaves the file to [`Store::sweep`](crate::Store::sweep).
#[derive(Debug)]
pub struct Upload {
    store: Arc<Inner>,
    temporary: NamedTempFile<File>,
    hasher: blake3::Hasher,
    /// Gathers small pieces of a body into writes of one size.
    pending: Vec<u8>,
    size_bytes: u64,
    max_bytes: u64,
    broken: bool,
}

impl Upload {
    pub(crate) fn begin(store: Arc<Inner>, max_bytes: u64) -> Result<Self, StoreError> {
        let temporary = store
            .share
            .create_temporary(&store.temporary)
            .map_err(|cause| StoreError::new("create upload in", &store.temporary, cause))?;
        Ok(Self {
            store,
            temporary,
            hasher: blake3::Hasher::new(),
            pending: Vec::new(),
            size_bytes: 0,
            max_bytes,
            broken: false,
        })
    }

    /// Takes the next bytes. After an error the upload cannot be committed.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        self.check_whole()?;
        let size_bytes = self.size_bytes.saturating_add(bytes.len() as u64);
        if size_bytes > self.max_bytes {
            self.broken = true;
            return Err(StoreError::TooLarge { limit_bytes: self.max_bytes });
        }
        self.size_bytes = size_bytes;
        self.hasher.update(bytes);
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER_BYTES - self.pending.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() == BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// The bytes taken so far.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Puts the bundle into the store: when this returns, a power failure does not lose it.
    ///
    /// A bundle of the same bytes that is there already stays, is not written again and counts as uploaded now. It is
    /// read first: a damaged one is replaced by the good bytes at hand.
    pub fn commit(mut self) -> Result<Stored, StoreError> {
        self.check_whole()?;
        self.flush()?;
        let Self { store, temporary, hasher, size_bytes, .. } = self;
        let hash = BundleHash(*hasher.finalize().as_bytes());
        let (file, temporary) = temporary.into_parts();
        if keep_existing(&store, &hash, size_bytes)? {
            if let Err(error) = store.share.remove_temporary(temporary) {
                tracing::warn!(bundle.hash = %hash, %error, "temporary file of a repeated upload stays until the sweep");
            }
        } else {
            store.share.sync_file(&file).map_err(|cause| StoreError::new("sync upload", &temporary, cause))?;
            let target = store.path_of(&hash);
            store
                .share
                .rename(temporary, &target)
                .map_err(|cause| StoreError::new("give upload its name", &target, cause))?;
        }
        // Also for a bundle that was there: the server that wrote it may have been killed before its own sync.
        store.share.sync_directory(&store.root).map_err(|cause| StoreError::new("sync store", &store.root, cause))?;
        Ok(Stored { hash, size_bytes })
    }

    fn check_whole(&self) -> Result<(), StoreError> {
        if self.broken { Err(StoreError::Broken { path: self.temporary.path().to_owned() }) } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if let Err(cause) = self.store.share.write_all(self.temporary.as_file_mut(), &self.pending) {
            self.broken = true;
            return Err(StoreError::new("write upload", self.temporary.path(), cause));
        }
        self.pending.clear();
        Ok(())
    }
}

/// Whether the store has these bytes already. If so, they count as uploaded now.
fn keep_existing(store: &Inner, hash: &BundleHash, size_bytes: u64) -> Result<bool, StoreError> {
    let path = store.path_of(hash);
    let failed = |cause| StoreError::new("look at bundle", &path, cause);
    let mut file = match store.share.open(&path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(cause) => return Err(failed(cause)),
    };
    if store.share.stat(&file).map_err(failed)?.len() == size_bytes {
        // Before reading, so that collection leaves it alone from now on.
        store.share.touch(&file).map_err(failed)?;
        match copy::check_share(store, &mut file, hash, |_| Ok(())) {
            Ok(_) => return Ok(true),
            Err(FetchError::Corrupt { .. }) => {}
            // Unreadable is as good as damaged; the bytes at hand are whole.
            Err(error) => tracing::warn!(bundle.hash = %hash, %error, "stored bundle cannot be read"),
        }
    }
    tracing::warn!(bundle.hash = %hash, "stored bundle is damaged and replaced by a new upload");
    Ok(false)
}
