//! Why an archive was not unpacked.

use std::io;
use std::path::{Path, PathBuf};

use crate::archive::ArchiveError;
use crate::copy::is_full;

/// An archive was not unpacked; nothing of it is left on the disk. Names are shortened to 200 characters.
#[derive(Debug, thiserror::Error)]
#[allow(
    missing_docs,
    reason = "`name` is the entry at fault, `target` where its link points, `limit…` what is allowed"
)]
pub enum UnpackError {
    /// It is not one whole gzipped tar within the limits.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A name has `..` in it.
    #[error("archive entry {name:?} climbs out with \"..\"")]
    Traversal { name: String },
    /// A name begins with a slash.
    #[error("archive entry {name:?} has an absolute path")]
    Absolute { name: String },
    /// A name cannot be a file name here, or could not be shown.
    #[error("archive entry {name:?} cannot be named so: {reason}")]
    Unrepresentable { name: String, reason: &'static str },
    /// A name has too many components.
    #[error("archive entry {name:?} lies more than {limit} directories deep")]
    TooDeep { name: String, limit: usize },
    /// A second entry has the name of an earlier one. Only directories may be repeated.
    #[error("archive entry {name:?} is there twice")]
    Duplicate { name: String },
    /// A parent of the entry is a symbolic link.
    #[error("archive entry {name:?} lies behind a symbolic link")]
    ThroughSymlink { name: String },
    /// A parent of the entry is a file.
    #[error("archive entry {name:?} lies below a file")]
    BelowFile { name: String },
    /// A link leads, at once or through other links, out of the archive.
    #[error("archive entry {name:?} links to {target:?}, outside the archive")]
    LinkEscapes { name: String, target: String },
    /// A symbolic link goes round in circles, or finding where it leads takes too many steps.
    #[error("archive entry {name:?} links to {target:?}, which leads nowhere: too many links on the way")]
    LinkTangled { name: String, target: String },
    /// A hard link names something that is not an earlier file of the archive.
    #[error("archive entry {name:?} is a hard link to {target:?}, which is no earlier file of the archive")]
    HardlinkTarget { name: String, target: String },
    /// A device, fifo or socket.
    #[error("archive entry {name:?} is a {kind}")]
    Special { name: String, kind: &'static str },
    /// A file stored without its holes (GNU tar's `--sparse`).
    #[error("archive entry {name:?} is a sparse file: pack it without --sparse")]
    Sparse { name: String },
    /// A kind of entry that is none of the above.
    #[error("archive entry {name:?} is of the unknown kind {flag:#04x}")]
    Unknown { name: String, flag: u8 },
    /// Too many files, links and directories.
    #[error("archive has more than {limit} files and directories")]
    TooManyEntries { limit: u64 },
    /// A file is too large.
    #[error("archive entry {name:?} has {size_bytes} bytes, more than the {limit_bytes} allowed")]
    FileTooLarge { name: String, size_bytes: u64, limit_bytes: u64 },
    /// The archive holds nothing.
    #[error("archive has no files")]
    NoEntries,
    /// There is something at the place to unpack to.
    #[error("{path:?} exists already")]
    Exists { path: PathBuf },
    /// The disk or a quota has no room.
    #[error("no room left to unpack to {path:?}")]
    Full {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// A file operation failed for another reason.
    #[error("{action} {path:?}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl UnpackError {
    pub(crate) fn io(action: &'static str, path: &Path, cause: impl Into<io::Error>) -> Self {
        let (path, cause) = (path.to_owned(), cause.into());
        if is_full(&cause) { Self::Full { path, cause } } else { Self::Io { action, path, cause } }
    }

    /// Whether the archive itself is at fault, so that the publisher is told and trying again does not help.
    pub fn is_bad_archive(&self) -> bool {
        match self {
            Self::Archive(error) => error.is_bad_archive(),
            Self::Exists { .. } | Self::Full { .. } | Self::Io { .. } => false,
            _ => true,
        }
    }
}
