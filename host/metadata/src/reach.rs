//! Whether another account can reach a path: every directory on the way must let it pass.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{AccessFlags, access, geteuid};

/// A directory stops an account from reaching a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} cannot be reached by account {uid}:{gid}, because {} (owner {owner}, mode {mode:04o}) does not let it pass: \
     use a path elsewhere, below /var/lib or /srv for instance, or allow passing with `chmod o+x {}`",
    path.display(), by.display(), by.display()
)]
pub struct Blocked {
    /// What was to be reached.
    pub path: PathBuf,
    /// The directory that blocks.
    pub by: PathBuf,
    /// Its owner's uid.
    pub owner: u32,
    /// Its permission bits.
    pub mode: u32,
    /// The account's uid.
    pub uid: u32,
    /// The account's gid.
    pub gid: u32,
}

/// The answer is no, or cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// A directory blocks.
    #[error(transparent)]
    Blocked(#[from] Blocked),
    /// The path could not be followed.
    #[error("follow {} to {}", path.display(), at.display())]
    Io {
        /// What was to be reached.
        path: PathBuf,
        /// How far it was followed.
        at: PathBuf,
        /// Why no further.
        #[source]
        cause: io::Error,
    },
}

/// Symbolic links followed for one path; as many as the kernel follows.
const MOST_LINKS: usize = 40;

/// Checks that the account `uid` with the one group `gid` can pass every directory on the way to `path`, `path` itself
/// included when it is a directory. Parts that do not exist yet are not checked.
pub fn check_reachable(path: &Path, uid: u32, gid: u32) -> Result<(), ReachError> {
    let io = |at: &Path| {
        let at = at.to_owned();
        |cause| ReachError::Io { path: path.to_owned(), at, cause }
    };
    let absolute = std::path::absolute(path).map_err(io(path))?;
    let mut rest: VecDeque<OsString> = names(&absolute).collect();
    let (mut here, mut links) = (PathBuf::from("/"), 0);
    loop {
        let metadata = fs::metadata(&here).map_err(io(&here))?;
        if metadata.is_dir() && !passes(&here, &metadata, uid, gid) {
            let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
            return Err(Blocked { path: path.to_owned(), by: here, owner, mode, uid, gid }.into());
        }
        let Some(name) = rest.pop_front() else { return Ok(()) };
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(name);
        match fs::symlink_metadata(&next) {
            Ok(found) if found.is_symlink() => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(io(&next)(io::Error::from_raw_os_error(nix::libc::ELOOP)));
                }
                let target = fs::read_link(&next).map_err(io(&next))?;
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                    rest.push_front(name);
                }
            }
            Ok(_) => here = next,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io(&next)(error)),
        }
    }
}

/// The names a path is made of, `..` among them.
fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Whether the account may pass a directory. Permission bits decide; where they say no, the kernel is asked too, because
/// access lists and further groups may allow it.
fn passes(directory: &Path, metadata: &Metadata, uid: u32, gid: u32) -> bool {
    if uid == 0 {
        return true;
    }
    let shift = if metadata.uid() == uid {
        6
    } else if metadata.gid() == gid {
        3
    } else {
        0
    };
    if metadata.mode() >> shift & 0o1 == 1 {
        return true;
    }
    let own = geteuid();
    if own.as_raw() == uid {
        access(directory, AccessFlags::X_OK).is_ok()
    } else if own.is_root() {
        // The new process changes its account, then its directory: only that step can be refused here.
        let mut child = Command::new("/bin/true");
        child.uid(uid).gid(gid).current_dir(directory).env_clear();
        child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        child.status().is_ok_and(|status| status.success())
    } else {
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn blocker(path: &Path) -> Option<PathBuf> {
        match check_reachable(path, 65_534, 65_534) {
            Ok(()) => None,
            Err(ReachError::Blocked(blocked)) => Some(blocked.by),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn names_the_first_directory_that_blocks() {
        let top = tempfile::tempdir_in("/tmp").unwrap();
        let top = top.path().canonicalize().unwrap();
        let (open, shut) = (top.join("open"), top.join("shut"));
        fs::create_dir_all(open.join("deep")).unwrap();
        fs::create_dir_all(shut.join("deep")).unwrap();
        for (path, bits) in [(&top, 0o711), (&open, 0o755), (&open.join("deep"), 0o711), (&shut, 0o750)] {
            mode(path, bits);
        }
        assert_eq!(blocker(&open.join("deep")), None);
        assert_eq!(blocker(&open.join("not/yet/there")), None);
        assert_eq!(blocker(&shut.join("deep")), Some(shut.clone()));
        assert_eq!(blocker(&shut.join("not/yet")), Some(shut.clone()));

        // Links count with all they pass: into a shut directory, out of one, and round again.
        symlink("../shut/deep", open.join("in")).unwrap();
        symlink(open.join("deep"), shut.join("out")).unwrap();
        symlink("loop", open.join("loop")).unwrap();
        assert_eq!(blocker(&open.join("in")), Some(shut.clone()));
        assert_eq!(blocker(&shut.join("out")), Some(shut.clone()));
        assert!(matches!(check_reachable(&open.join("loop"), 65_534, 65_534), Err(ReachError::Io { .. })));

        mode(&top, 0o700);
        assert_eq!(blocker(&open), Some(top.clone()));
        let told = check_reachable(&open, 65_534, 65_534).unwrap_err().to_string();
        assert!(told.contains(&format!("`chmod o+x {}`", top.display())), "{told}");
        let own = nix::unistd::geteuid().as_raw();
        check_reachable(&open, own, nix::unistd::getegid().as_raw()).unwrap();
    }
}
