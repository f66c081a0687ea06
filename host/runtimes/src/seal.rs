//! Makes a tree that an unprivileged account built the server's own: owned by root, readable by all, writable by nobody else.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, lchown};
use std::path::Path;

/// Seals `tree`. With `take` every entry is given to root, which only root can do.
///
/// Works from the top down and takes each directory before it looks inside: from then on the account that built the tree can
/// swap nothing in it, so that no path used here can be turned into a link to somewhere else. Set-uid bits are dropped;
/// what is neither file, directory nor link is removed.
pub(crate) fn seal(tree: &Path, take: bool) -> io::Result<()> {
    let meta = fs::symlink_metadata(tree)?;
    let kind = meta.file_type();
    if kind.is_symlink() {
        return if take { lchown(tree, Some(0), Some(0)) } else { Ok(()) };
    }
    if !kind.is_dir() && !kind.is_file() {
        return fs::remove_file(tree);
    }
    if take {
        chown(tree, Some(0), Some(0))?;
    }
    let executable = kind.is_dir() || meta.permissions().mode() & 0o100 != 0;
    fs::set_permissions(tree, Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
    if kind.is_dir() {
        for entry in tree.read_dir()? {
            seal(&entry?.path(), take)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn takes_a_tree_and_follows_no_link() {
        let root = tempfile::tempdir().unwrap();
        let outside = root.path().join("outside");
        fs::write(&outside, "secret").unwrap();
        fs::set_permissions(&outside, Permissions::from_mode(0o600)).unwrap();
        let tree = root.path().join("tree");
        fs::create_dir_all(tree.join("bin")).unwrap();
        fs::write(tree.join("bin/tool"), "").unwrap();
        fs::set_permissions(tree.join("bin/tool"), Permissions::from_mode(0o6777)).unwrap();
        fs::write(tree.join("data"), "").unwrap();
        fs::set_permissions(tree.join("data"), Permissions::from_mode(0o602)).unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("link")).unwrap();
        nix::unistd::mkfifo(&tree.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let root_here = nix::unistd::geteuid().is_root();
        if root_here {
            for path in ["", "bin", "bin/tool", "data"] {
                chown(tree.join(path), Some(65_534), Some(65_534)).unwrap();
            }
        }

        seal(&tree, root_here).unwrap();
        let mode = |path: &str| fs::symlink_metadata(tree.join(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode(""), mode("bin"), mode("bin/tool"), mode("data")), (0o755, 0o755, 0o755, 0o644));
        assert!(!tree.join("fifo").exists());
        assert_eq!(outside.metadata().unwrap().mode() & 0o7777, 0o600);
        if root_here {
            assert!(
                ["bin/tool", "data", "link"]
                    .iter()
                    .all(|path| fs::symlink_metadata(tree.join(path)).unwrap().uid() == 0)
            );
        }
    }
}
