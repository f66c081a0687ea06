//! A bundle's library: a directory of hard links to built packages.
//!
//! Links cost no room and no copying, and a library keeps what it links to: whatever is evicted from the cache, content that
//! runs goes on. It is named by the builds that are in it, so that a package built again makes another library.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::packages::{RPackages, RestoreError};
use super::store::{self, Cached};

/// What a library says about itself: the builds in it.
pub(super) const RECORD: &str = "lectern-library.json";

/// Makes the library `id` of built packages, unless it is there; answers whether it was made.
pub(super) async fn make(packages: &RPackages, id: &str, built: &[Cached]) -> Result<bool, RestoreError> {
    let place = packages.settings.environments.clone();
    let target = place.join(id);
    if target.is_dir() {
        return Ok(false);
    }
    let failed = |what, cause| RestoreError::Io { what, path: packages.settings.environments.clone(), cause };
    let lock = File::create(place.join(".locks").join(id)).map_err(|cause| failed("lock in", cause))?;
    let _linking = packages.linking.read().await;
    for package in built {
        // Not this build any more: evicted, or built again, since it was looked for.
        if packages.store.record(&package.key).is_none_or(|now| now.build != package.build) {
            return Err(RestoreError::Evicted(format!("{} {}", package.name, package.version)));
        }
    }
    let place_of = |package: &Cached| (package.name.clone(), packages.store.built(&package.key).join(&package.name));
    let sources: Vec<(String, PathBuf)> = built.iter().map(place_of).collect();
    let record = serde_json::to_vec_pretty(built).map_err(|error| failed("write in", io::Error::other(error)))?;
    let prefix = format!(".building-{id}-");
    let make = move || -> io::Result<bool> {
        // Waits for another deployment that links the same; linking takes a second at most.
        lock.lock()?;
        if target.is_dir() {
            return Ok(false);
        }
        let work = tempfile::Builder::new().prefix(&prefix).tempdir_in(&place)?;
        let library = work.path().join("library");
        fs::create_dir(&library)?;
        for (name, from) in &sources {
            link_tree(from, &library.join(name))?;
        }
        store::write_whole(&library.join(RECORD), &record)?;
        fs::set_permissions(&library, Permissions::from_mode(0o755))?;
        nix::unistd::syncfs(File::open(&library)?)?;
        fs::rename(&library, &target)?;
        File::open(&place)?.sync_all()?;
        Ok(true)
    };
    let made = tokio::task::spawn_blocking(make).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    made.map_err(|cause| failed("make a library in", cause))
}

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
