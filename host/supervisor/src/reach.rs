//! Says which directory keeps an account from a path: the usual trap is an interpreter or data below a private home.

use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lectern_domain::launch::Account;

/// What keeps an account from a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The account.
    pub account: Account,
    /// The first directory on the way that it may not enter, or the file itself.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub owner: u32,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, path, mode, owner } = self;
        let path = path.display();
        write!(f, "uid {} may not pass {path} (mode {mode:04o}, owned by uid {owner}): ", account.uid)?;
        write!(f, "move what lies below it elsewhere, or allow others to enter with chmod o+x {path}")
    }
}

/// Finds the first thing on the way to `path`, links followed, that `account` may not enter or execute.
///
/// Only the permission bits are looked at. Access lists and security modules may allow less or more, so this explains a
/// failure and does not predict one. `None` also when a part of the path cannot be read.
pub fn obstacle(path: &Path, account: Account) -> Option<Obstacle> {
    let resolved = fs::canonicalize(path).ok()?;
    // The way to a link matters as much as the way to what it names.
    [path, &resolved].into_iter().find_map(|path| {
        let mut way: Vec<&Path> = path.ancestors().collect();
        way.reverse();
        way.into_iter().filter(|part| !part.as_os_str().is_empty()).find_map(|part| {
            // A link has no permissions of its own, and what it names comes second.
            let meta = fs::symlink_metadata(part).ok().filter(|meta| !meta.is_symlink())?;
            (!may_execute(&meta, account)).then(|| Obstacle {
                account,
                path: part.to_owned(),
                mode: meta.mode() & 0o7777,
                owner: meta.uid(),
            })
        })
    })
}

/// Whether the bits let `account` enter the directory, or execute the file. The first class that fits decides, as in
/// the kernel; uid 0 is not an account that content runs as.
fn may_execute(meta: &Metadata, account: Account) -> bool {
    let shift = if meta.uid() == account.uid {
        6
    } else if meta.gid() == account.gid {
        3
    } else {
        0
    };
    meta.mode() >> shift & 0o1 == 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn names_the_first_closed_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let stranger = Account { uid: 64_777, gid: 64_777 };
        let owner = fs::metadata(&root).unwrap();
        let owner = Account { uid: owner.uid(), gid: owner.gid() };
        fs::create_dir_all(root.join("home/bin")).unwrap();
        fs::write(root.join("home/bin/python"), b"").unwrap();
        std::os::unix::fs::symlink(root.join("home/bin/python"), root.join("python")).unwrap();
        mode(&root, 0o711);
        mode(&root.join("home"), 0o700);
        mode(&root.join("home/bin/python"), 0o755);
        let found = obstacle(&root.join("python"), stranger).unwrap();
        assert_eq!((found.path.clone(), found.mode), (root.join("home"), 0o700));
        assert!(found.to_string().contains("chmod o+x"), "{found}");
        assert_eq!(obstacle(&root.join("python"), owner), None);
        mode(&root.join("home"), 0o711);
        assert_eq!(obstacle(&root.join("python"), stranger), None);
        mode(&root.join("home/bin/python"), 0o644);
        assert_eq!(obstacle(&root.join("python"), stranger).unwrap().path, root.join("home/bin/python"));
        assert_eq!(obstacle(&root.join("absent"), stranger), None);
    }
}
