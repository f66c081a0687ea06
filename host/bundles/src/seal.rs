//! Makes a complete tree read-only after a last look at its links, and takes such trees away again.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::limits::Limits;
use crate::links::Checker;
use crate::unpack_error::UnpackError;

/// Checks all links below `root` and sets all directories to 0555. Files have their modes already.
pub(crate) fn seal(root: &Path, limits: &Limits) -> Result<(), UnpackError> {
    seal_directory(root, Path::new(""), &mut Checker::new(root, limits))
}

/// Recursion is bounded: no entry lies deeper than [`Limits::max_depth`].
fn seal_directory(root: &Path, relative: &Path, links: &mut Checker<'_>) -> Result<(), UnpackError> {
    let directory = root.join(relative);
    let failed = |cause| UnpackError::io("list", &directory, cause);
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let path = relative.join(entry.file_name());
        if kind.is_dir() {
            seal_directory(root, &path, links)?;
        } else if kind.is_symlink() {
            links.check(&path)?;
        }
    }
    fs::set_permissions(&directory, Permissions::from_mode(0o555))
        .map_err(|cause| UnpackError::io("set mode of", &directory, cause))
}

/// Removes a tree whose directories may be read-only. Nobody else writes below it.
pub(crate) fn remove_tree(root: &Path) -> io::Result<()> {
    make_writable(root)?;
    fs::remove_dir_all(root)
}

fn make_writable(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes what killed processes left in `directory`: trees whose names begin with one of `prefixes` and which nobody
/// has locked. Returns how many.
pub(crate) fn remove_leftovers(directory: &Path, prefixes: &[&str]) -> io::Result<u64> {
    let mut removed = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let ours =
            entry.file_name().to_str().is_some_and(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        if !ours || !entry.file_type()?.is_dir() {
            continue;
        }
        // Another server on this directory, the one we replace, may be at work on it.
        let lock = File::open(entry.path())?;
        if lock.try_lock().is_err() {
            continue;
        }
        remove_tree(&entry.path())?;
        removed += 1;
    }
    Ok(removed)
}
