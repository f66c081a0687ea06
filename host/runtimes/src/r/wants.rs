//! What a bundle wants: the packages of its manifest, or of its lock file.

use std::fs;
use std::path::Path;

use lectern_domain::manifest::Manifest;
use lectern_domain::r_packages::{self, Resolution, Wants};

use super::packages::RestoreError;

/// The file that renv writes.
const LOCKFILE: &str = "renv.lock";

/// Reads what the manifest lists, or the lock file that it names; the lock file also where there is one and no list.
pub(super) fn wants(tree: &Path, manifest: &Manifest) -> Result<Wants, RestoreError> {
    let resolution = match &manifest.r_resolution {
        None => Resolution::default(),
        Some(word) => {
            Resolution::parse(word).ok_or_else(|| RestoreError::Resolution(word.chars().take(80).collect()))?
        }
    };
    let named = manifest.r_lockfile.as_ref();
    let path = named.map_or_else(|| tree.join(LOCKFILE), |name| name.below(tree));
    let is_wanted =
        named.is_some() || resolution == Resolution::Lockfile || (manifest.r_packages.is_empty() && path.is_file());
    if !is_wanted {
        return Ok(Wants { packages: r_packages::listed(manifest)?, resolution });
    }
    let name = named.map_or_else(|| LOCKFILE.to_owned(), ToString::to_string);
    let bytes = match path.metadata() {
        Ok(meta) if meta.len() > r_packages::MAX_LOCKFILE_BYTES as u64 => {
            let length = usize::try_from(meta.len()).unwrap_or(usize::MAX);
            return Err(RestoreError::Lockfile { name, cause: r_packages::LockfileError::TooLarge(length) });
        }
        Ok(_) => fs::read(&path),
        Err(error) => Err(error),
    };
    let bytes = bytes.map_err(|cause| RestoreError::NoLockfile { name: name.clone(), cause })?;
    let packages = r_packages::read_lockfile(&bytes).map_err(|cause| RestoreError::Lockfile { name, cause })?;
    Ok(Wants { packages, resolution })
}
