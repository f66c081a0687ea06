//! `manifest.json` out of an archive, without unpacking it.

use std::io::Read;

use crate::archive::{Archive, ArchiveError, Kind};
use crate::entry_name::components;
use crate::limits::Limits;

/// The longest manifest that is read. R manifests describe each package with its whole DESCRIPTION and each file with
/// its checksum: a few MiB for the largest seen. It is held in memory, so it is bounded well below a bundle.
pub const MAX_MANIFEST_BYTES: u64 = 16 * 1024 * 1024;

const MANIFEST: &str = "manifest.json";

/// The manifest could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The archive itself is not right.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is none at the root of the archive.
    #[error("archive has no manifest.json")]
    Missing,
    /// It is a directory, a link or something else.
    #[error("manifest.json of the archive is not a file")]
    NotAFile,
    /// It is too long.
    #[error("manifest.json of the archive has {size_bytes} bytes, more than {MAX_MANIFEST_BYTES}")]
    TooLarge {
        /// Its length in bytes.
        size_bytes: u64,
    },
}

impl ManifestError {
    /// Whether the archive itself is at fault, so that the publisher is told and trying again does not help.
    pub fn is_bad_archive(&self) -> bool {
        match self {
            Self::Archive(error) => error.is_bad_archive(),
            Self::Missing | Self::NotAFile | Self::TooLarge { .. } => true,
        }
    }
}

/// Reads `manifest.json` (or `./manifest.json`) from a gzipped tar, under the default [`Limits`].
///
/// Stops there: what comes after is not looked at, and what came before only as far as passing over it takes. Only
/// [`unpack`](crate::unpack) judges a whole archive.
pub fn read_manifest(archive: impl Read) -> Result<Vec<u8>, ManifestError> {
    let limits = Limits::default();
    find(&mut Archive::new(archive, &limits)?, &limits)
}

/// Like [`read_manifest`], and then reads on to the end, so that an archive that is cut off, damaged or too large is
/// refused. Which entries it has and where its links lead is still left to [`unpack`](crate::unpack).
pub fn inspect(archive: impl Read) -> Result<Vec<u8>, ManifestError> {
    let limits = Limits::default();
    let mut archive = Archive::new(archive, &limits)?;
    let manifest = find(&mut archive, &limits)?;
    while archive.next()?.is_some() {}
    Ok(manifest)
}

fn find<R: Read>(archive: &mut Archive<R>, limits: &Limits) -> Result<Vec<u8>, ManifestError> {
    while let Some(entry) = archive.next()? {
        if !components(&entry.name, limits).is_ok_and(|path| path == [MANIFEST]) {
            continue;
        }
        if entry.kind != Kind::File {
            return Err(ManifestError::NotAFile);
        }
        if entry.size_bytes > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge { size_bytes: entry.size_bytes });
        }
        let mut manifest = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            match archive.read(&mut buffer)? {
                0 => return Ok(manifest),
                count => manifest.extend_from_slice(&buffer[..count]),
            }
        }
    }
    Err(ManifestError::Missing)
}
