//! Small files with certificates and keys: bounded, and a key only if not everybody can read it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lectern_edge::PemError;
use zeroize::Zeroizing;

/// Most bytes of one file. All authorities that browsers trust are 250 KiB; a chain has a few.
const MOST_BYTES: u64 = 1 << 20;
/// Bits of a mode that let everybody read or change a file.
const EVERYBODY: u32 = 0o006;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot be read; it must be a file in PEM form that the server's account may read")]
    Read(#[source] io::Error),
    #[error("is no file")]
    NotAFile,
    #[error("has {0} bytes, and at most {MOST_BYTES} are read")]
    TooLarge(u64),
    #[error(
        "has mode {0:04o}: everybody on this host may read or change it, and with it be this server; run `chmod o= FILE`"
    )]
    Exposed(u32),
    #[error(transparent)]
    Pem(#[from] PemError),
}

/// Reads a file that everybody may know.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    contents(&mut open(path)?.0)
}

/// Reads a file with a key, which others must not be able to read. What was read is wiped when it is dropped.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let (mut file, mode) = open(path)?;
    if mode & EVERYBODY != 0 {
        return Err(FileError::Exposed(mode));
    }
    contents(&mut file).map(Zeroizing::new)
}

/// An open file and its mode.
fn open(path: &Path) -> Result<(File, u32), FileError> {
    // Asked first: to open a pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(FileError::Read)?.is_file() {
        return Err(FileError::NotAFile);
    }
    let file = File::open(path).map_err(FileError::Read)?;
    let facts = file.metadata().map_err(FileError::Read)?;
    if facts.len() > MOST_BYTES {
        return Err(FileError::TooLarge(facts.len()));
    }
    Ok((file, facts.mode() & 0o7777))
}

fn contents(file: &mut File) -> Result<Vec<u8>, FileError> {
    // All at once: a vector that grows would leave pieces of a key behind.
    let mut bytes = Vec::with_capacity(usize::try_from(MOST_BYTES).unwrap_or(0));
    file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(FileError::Read)?;
    Ok(bytes)
}
