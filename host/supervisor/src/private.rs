//! The private directories of workers: made for one run, removed after it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use lectern_domain::launch::Account;

/// Others may pass through to what is theirs, and see no names.
const PASSABLE: u32 = 0o711;

/// Makes `dir` and what is missing above it, each passable for other accounts. What exists keeps its mode.
pub(crate) fn ensure_passable(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        ensure_passable(parent)?;
    }
    match DirBuilder::new().create(dir) {
        // Set apart from creation, because the process's umask takes bits away.
        Ok(()) => fs::set_permissions(dir, Permissions::from_mode(PASSABLE)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes `root` fit to hold private directories and removes what a dead supervisor left in it.
///
/// It must be a directory of our own that nobody else can write: whoever could would choose what root removes.
pub(crate) fn prepare_root(root: &Path) -> io::Result<()> {
    ensure_passable(root)?;
    let meta = fs::symlink_metadata(root)?;
    if !meta.is_dir() || meta.uid() != nix::unistd::geteuid().as_raw() {
        let text = format!("{} must be a directory owned by uid {}", root.display(), nix::unistd::geteuid());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    fs::set_permissions(root, Permissions::from_mode(PASSABLE))?;
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

/// Makes the directory `private` (mode 0700) for `account` with the directories `inner` in it; what was there before is
/// removed.
pub(crate) fn create(private: &Path, account: Option<Account>, inner: &[Option<PathBuf>]) -> io::Result<()> {
    remove(private)?;
    // Those inside first: until the last line the account cannot put a link in their place.
    DirBuilder::new().mode(0o700).create(private)?;
    for path in inner.iter().flatten().filter(|path| path.parent() == Some(private)) {
        DirBuilder::new().mode(0o700).create(path)?;
        if let Some(account) = account {
            chown(path, Some(account.uid), Some(account.gid))?;
        }
    }
    match account {
        Some(account) => chown(private, Some(account.uid), Some(account.gid)),
        None => Ok(()),
    }
}

/// Removes `private` and all in it; links are removed, not followed. That it does not exist is fine.
pub(crate) fn remove(private: &Path) -> io::Result<()> {
    match fs::remove_dir_all(private) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_root_is_emptied_and_passable_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("run/w"), dir.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("keep"), b"x").unwrap();
        prepare_root(&root).unwrap();
        create(&root.join("a"), None, &[]).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("a/link")).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        assert_eq!(fs::metadata(root.join("a")).unwrap().mode() & 0o777, 0o700);
        prepare_root(&root).unwrap();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        assert!(outside.join("keep").exists());
        assert_eq!(fs::metadata(&root).unwrap().mode() & 0o777, 0o711);
        assert_eq!(fs::metadata(dir.path().join("run")).unwrap().mode() & 0o777, 0o711);
    }

    #[test]
    fn a_linked_root_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("w")).unwrap();
        assert_eq!(prepare_root(&dir.path().join("w")).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn making_one_replaces_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join("p");
        create(&private, None, &[Some(private.join("home")), Some(dir.path().join("elsewhere/home"))]).unwrap();
        assert!(private.join("home").is_dir());
        fs::write(private.join("s"), b"").unwrap();
        create(&private, None, &[]).unwrap();
        assert_eq!(fs::read_dir(&private).unwrap().count(), 0);
        remove(&private).unwrap();
        remove(&private).unwrap();
        assert!(!private.exists());
    }
}
