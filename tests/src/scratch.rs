//! A directory for one test, which other accounts may pass: content runs under accounts of its own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A temporary directory, removed when dropped; `LECTERN_TEST_KEEP=1` keeps it for a look.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes one. Its name is short: a Unix socket's path has at most 107 bytes.
    pub fn new() -> Self {
        let base = if Path::new("/tmp").is_dir() { PathBuf::from("/tmp") } else { std::env::temp_dir() };
        let keep = std::env::var_os("LECTERN_TEST_KEEP").is_some();
        let dir = tempfile::Builder::new().prefix("lt-").rand_bytes(6).disable_cleanup(keep).tempdir_in(base);
        let dir = dir.expect("make a directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).expect("open it to be passed");
        Self(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file or directory in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Unpacked bundles and environments are read-only, which holds back everybody but root from removing them.
        if !crate::is_root() {
            Command::new("chmod").args(["-R", "u+w"]).arg(self.path()).status().ok();
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}
