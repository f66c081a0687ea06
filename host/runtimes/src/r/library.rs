//! A bundle's library: a directory of hard links to built packages.
//!
//! Links cost no room and no copying, and a library keeps what it links to: whatever is evicted from the cache, content that
//! runs goes on. It is named by the builds that are in it, so that a package built again makes another library.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::store::Cached;

/// Names the library of these builds for this R. Safe as a file name; in no way like the name of a Python environment.
pub(super) fn id(packages: &[Cached], r_version: &str, platform: &str) -> String {
    let mut hash = blake3::Hasher::new_derive_key("lectern r library 1");
    let mut add = |value: &str| {
        hash.update(&(value.len() as u64).to_le_bytes()).update(value.as_bytes());
    };
    add(r_version);
    add(platform);
    for package in packages {
        add(&package.name);
        add(&package.key);
        add(&package.build);
    }
    format!("r{}", &hash.finalize().to_hex()[..32])
}

/// Makes `to` a copy of the tree `from` that shares its files. Where links cannot be made (another file system, too many of
/// them), files are copied. Blocks.
pub(super) fn link_tree(from: &Path, to: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    if meta.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    if !meta.is_dir() {
        return match fs::hard_link(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => fs::copy(from, to).map(|_| ()),
            linked => linked,
        };
    }
    fs::create_dir(to)?;
    for entry in from.read_dir()? {
        let entry = entry?;
        link_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    fs::set_permissions(to, Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn shares_files_and_outlives_the_original() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::create_dir_all(from.join("R")).unwrap();
        fs::write(from.join("R/glue.rdb"), "code").unwrap();
        std::os::unix::fs::symlink("R/glue.rdb", from.join("link")).unwrap();
        link_tree(&from, &to).unwrap();
        assert_eq!(to.join("R/glue.rdb").metadata().unwrap().nlink(), 2);
        fs::remove_dir_all(&from).unwrap();
        assert_eq!(fs::read_to_string(to.join("link")).unwrap(), "code");
        assert_eq!(link_tree(&from, &root.path().join("other")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
