//! Who can reach a path: the accounts that content and builds run as own nothing and belong to no group.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What keeps unprivileged accounts from a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barrier {
    /// The directory or file that is closed.
    pub at: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

impl fmt::Display for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has mode {:04o}, closed to other accounts", self.at.display(), self.mode)
    }
}

/// Finds what keeps an account that is neither owner nor member of the group from entering the directory, or executing
/// the file, `path`. Links are followed; every ancestor of the real path must be enterable for others.
pub fn barrier(path: &Path) -> io::Result<Option<Barrier>> {
    let real = path.canonicalize()?;
    let mut ancestors: Vec<&Path> = real.ancestors().collect();
    ancestors.reverse();
    for at in ancestors {
        let mode = at.metadata()?.permissions().mode() & 0o7777;
        if mode & 0o001 == 0 {
            return Ok(Some(Barrier { at: at.to_owned(), mode }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn names_the_closed_ancestor() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = root.path().join("home");
        fs::create_dir_all(home.join("bin")).unwrap();
        let tool = home.join("bin/tool");
        fs::write(&tool, "").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        set(&tool, 0o755);
        set(&home.join("bin"), 0o755);
        set(&home, 0o755);
        assert_eq!(barrier(&tool).unwrap(), None);

        set(&home, 0o700);
        let found = barrier(&tool).unwrap().unwrap();
        assert!(found.at.ends_with("home"));
        assert!(found.to_string().ends_with("home has mode 0700, closed to other accounts"), "{found}");

        // A link from an open place does not help: its target is still below the closed one.
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&tool, &link).unwrap();
        assert!(barrier(&link).unwrap().is_some());

        set(&home, 0o755);
        set(&tool, 0o744);
        assert!(barrier(&tool).unwrap().unwrap().at.ends_with("tool"));
        assert!(barrier(&root.path().join("absent")).is_err());
    }
}
