//! The directory of a build: laid out for the account that builds, and what it left given its name.
//!
//! Packages may run code of their own while they are built. So the directory is closed to the account until everything in it is
//! laid out, and root touches nothing below it until it has been taken back.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};

use lectern_domain::launch::Account;

use crate::seal::seal;

/// Where a copy of the bundle is, inside a build's directory.
pub(crate) const BUNDLE: &str = "bundle";
/// What is written into each environment about itself.
pub(crate) const RECORD: &str = "lectern-environment.json";

/// Lays out a build's directory and then opens it to the account: home, temporary files, and, when packages of the bundle
/// itself are installed, a copy of the bundle, because building writes beside the sources.
pub(crate) fn lay_out(work: &Path, bundle: Option<&PathBuf>, account: Option<Account>) -> io::Result<()> {
    if let Some(bundle) = bundle {
        copy_tree(bundle, &work.join(BUNDLE), account)?;
    }
    // The whole comes last: then root has written all it will.
    for name in ["home", "tmp", ""] {
        let path = work.join(name);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        if let Some(account) = account {
            chown(&path, Some(account.uid), Some(account.gid))?;
        }
    }
    Ok(())
}

/// Gives a tree that root has laid out, in which there are no links, to the account.
pub(crate) fn hand_over(tree: &Path, account: Option<Account>) -> io::Result<()> {
    let Some(Account { uid, gid }) = account else { return Ok(()) };
    if tree.is_dir() {
        for entry in tree.read_dir()? {
            hand_over(&entry?.path(), account)?;
        }
    }
    lchown(tree, Some(uid), Some(gid))
}

/// Copies a tree, writable for its new owner.
fn copy_tree(from: &Path, to: &Path, account: Option<Account>) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    if meta.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from)?, to)?;
    } else if meta.is_dir() {
        fs::create_dir(to)?;
        for entry in from.read_dir()? {
            let entry = entry?;
            copy_tree(&entry.path(), &to.join(entry.file_name()), account)?;
        }
    } else {
        fs::copy(from, to)?;
        let executable = meta.permissions().mode() & 0o100 != 0;
        fs::set_permissions(to, Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
    }
    match account {
        Some(account) => lchown(to, Some(account.uid), Some(account.gid)),
        None => Ok(()),
    }
}

/// Seals the environment that a build left in `work`, writes its record into it and gives it its name. `take`: it is taken from
/// the account that built it. Blocks.
pub(crate) fn finish(work: &Path, target: &Path, record: &[u8], take: bool) -> io::Result<()> {
    let environment = work.join("env");
    if take {
        chown(work, Some(0), Some(0))?;
    }
    if !fs::symlink_metadata(&environment)?.is_dir() {
        return Err(io::Error::other("the build left no directory"));
    }
    seal(&environment, take)?;
    let path = environment.join(RECORD);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::create_new(&path)?.write_all(record)?;
    fs::set_permissions(&path, Permissions::from_mode(0o644))?;
    // A power cut after the rename must not leave empty files under a good name.
    nix::unistd::syncfs(File::open(&environment)?.as_fd())?;
    fs::rename(&environment, target)?;
    match target.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn writes_through_no_link_that_a_build_left() {
        let root = tempfile::tempdir().unwrap();
        let victim = root.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let work = root.path().join("work");
        fs::create_dir_all(work.join("env")).unwrap();
        std::os::unix::fs::symlink(&victim, work.join("env").join(RECORD)).unwrap();
        let take = nix::unistd::geteuid().is_root();
        finish(&work, &root.path().join("done"), b"{}", take).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_to_string(root.path().join("done").join(RECORD)).unwrap(), "{}");

        std::os::unix::fs::symlink(root.path(), work.join("env")).unwrap();
        let swapped = finish(&work, &root.path().join("other"), b"{}", take).unwrap_err();
        assert_eq!(swapped.to_string(), "the build left no directory");
    }
}
