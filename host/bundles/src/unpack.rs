//! From an archive to a directory, built beside its place and moved there when it is whole.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::syncfs;

use crate::archive::Archive;
use crate::limits::Limits;
use crate::seal;
use crate::unpack_error::UnpackError;
use crate::writer::Writer;

/// The temporary directories begin with this; see [`seal::remove_leftovers`].
pub(crate) const TEMPORARY_PREFIX: &str = ".unpack-";

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unpacked {
    /// Files, hard links included.
    pub files: u64,
    /// Directories below the root.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Bytes of all files together; hard links count nothing.
    pub bytes: u64,
}

impl Unpacked {
    /// Files, directories and links together.
    pub fn entries(&self) -> u64 {
        self.files + self.directories + self.symlinks
    }
}

/// Unpacks a gzipped tar to the new directory `into`, whose parent exists.
///
/// The tree appears under its name complete and on stable storage, or not at all. It belongs to the caller and is for
/// everybody to read and nobody to write: files are 0444, or 0555 if their owner could execute them, directories 0555.
/// Times, owners and other mode bits of the archive are ignored.
///
/// Taken: GNU and pax long names, `./` before names, directories with, without or with repeated entries, entries for the
/// root itself, symbolic links that stay inside (also dangling ones), hard links to earlier files.
/// Refused, see [`UnpackError`]: absolute names and `..`, links that lead out, entries behind a link, devices, sparse
/// files, names twice, names that are not UTF-8 or have control characters, all that exceeds `limits`, and input that is
/// cut off, damaged or followed by something else.
pub fn unpack(archive: impl Read, into: &Path, limits: &Limits) -> Result<Unpacked, UnpackError> {
    build(archive, into, limits)?.publish(into)
}

/// Does all of [`unpack`] but the last step.
pub(crate) fn build(archive: impl Read, into: &Path, limits: &Limits) -> Result<Building, UnpackError> {
    if fs::symlink_metadata(into).is_ok() {
        return Err(UnpackError::Exists { path: into.to_owned() });
    }
    let limits = fit_paths(limits, into);
    let mut archive = Archive::new(archive, &limits)?;
    let mut building = Building::begin(parent_of(into))?;
    let mut writer = Writer::new(&building.root, &building.path, &limits)?;
    while let Some(entry) = archive.next()? {
        writer.add(&mut archive, &entry)?;
    }
    let done = writer.done();
    if done.entries() == 0 {
        return Err(UnpackError::NoEntries);
    }
    building.done = done;
    seal::seal(&building.path, &limits)?;
    Ok(building)
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

/// Narrows the path limit so that every file can be opened by its absolute name, also while it has its temporary one.
fn fit_paths(limits: &Limits, into: &Path) -> Limits {
    // PATH_MAX counts the NUL at the end. The temporary name is shorter than 32 bytes.
    let root_bytes = into.as_os_str().as_bytes().len() + 32;
    let room = 4095_usize.saturating_sub(root_bytes + 1);
    Limits { max_path_bytes: limits.max_path_bytes.min(room), ..limits.clone() }
}

/// The directory while it has its temporary name; dropping it removes it.
pub(crate) struct Building {
    path: PathBuf,
    /// Locked, which tells [`seal::remove_leftovers`] that somebody is at work.
    root: File,
    done: Unpacked,
    published: bool,
}

impl Building {
    fn begin(parent: &Path) -> Result<Self, UnpackError> {
        let failed = |cause| UnpackError::io("create directory in", parent, cause);
        loop {
            // For the owner only (0700), so that nobody else can change what is checked at the end.
            let directory = tempfile::Builder::new()
                .prefix(TEMPORARY_PREFIX)
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(parent)
                .map_err(failed)?;
            let root = File::open(directory.path()).map_err(failed)?;
            root.lock_shared().map_err(failed)?;
            // A server that started between creation and lock has taken it for a leftover.
            if root.metadata().map_err(failed)?.nlink() > 0 {
                return Ok(Self { path: directory.keep(), root, done: Unpacked::default(), published: false });
            }
        }
    }

    /// Gives the directory its name, once its bytes are on stable storage.
    pub(crate) fn publish(mut self, into: &Path) -> Result<Unpacked, UnpackError> {
        let parent = parent_of(into);
        let failed = |cause: io::Error| UnpackError::io("complete", &self.path, cause);
        // One call instead of one per file. Without it a power failure could leave a complete tree of empty files.
        syncfs(&self.root).map_err(|errno| failed(errno.into()))?;
        match fs::rename(&self.path, into) {
            Ok(()) => {}
            Err(cause) if matches!(cause.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                return Err(UnpackError::Exists { path: into.to_owned() });
            }
            Err(cause) => return Err(failed(cause)),
        }
        self.published = true;
        File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(|cause| UnpackError::io("sync directory", parent, cause))?;
        Ok(self.done)
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        if let Err(error) = seal::remove_tree(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "unfinished directory stays until the next start");
        }
    }
}
