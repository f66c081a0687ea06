//! Where symbolic links lead, judged in the complete tree and before anybody else can enter it.
//!
//! Paths are walked by hand, one component at a time. That is stricter than asking the kernel (`openat2` with
//! `RESOLVE_BENEATH`), which stops at the first missing name and so would pass `missing/../../..`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::limits::Limits;
use crate::unpack_error::UnpackError;

/// As many links as Linux follows in one path (`MAXSYMLINKS`).
const MAX_FOLLOWED: u32 = 40;

/// Steps for each entry that an archive may have: real links take about ten. Bounds the time that an archive of links
/// through links can take to a few seconds.
const STEPS_PER_ENTRY: u64 = 20;

pub(crate) struct Checker<'a> {
    root: &'a Path,
    steps_left: u64,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(root: &'a Path, limits: &Limits) -> Self {
        Self { root, steps_left: limits.max_entries.saturating_mul(STEPS_PER_ENTRY) }
    }

    /// Checks the symbolic link at `link`, a path relative to the root whose parents are directories.
    pub(crate) fn check(&mut self, link: &Path) -> Result<(), UnpackError> {
        let at = self.root.join(link);
        let target = fs::read_link(&at).map_err(|cause| UnpackError::io("read link", &at, cause))?;
        let named = || (link.display().to_string(), target.display().to_string());
        let escapes = || {
            let (name, target) = named();
            UnpackError::LinkEscapes { name, target }
        };
        let tangled = || {
            let (name, target) = named();
            UnpackError::LinkTangled { name, target }
        };

        // Where the walk stands: directories, or names that do not exist. Never a link.
        let mut here: Vec<OsString> = link.parent().into_iter().flatten().map(OsString::from).collect();
        let mut ahead = Vec::new();
        push_reversed(&mut ahead, &target).ok_or_else(escapes)?;
        let mut followed = 0;
        while let Some(step) = ahead.pop() {
            self.steps_left = self.steps_left.checked_sub(1).ok_or_else(tangled)?;
            let Step::Down(name) = step else {
                here.pop().ok_or_else(escapes)?;
                continue;
            };
            here.push(name);
            let mut path = PathBuf::from(self.root);
            path.extend(&here);
            match fs::symlink_metadata(&path) {
                Ok(data) if data.is_symlink() => {
                    followed += 1;
                    if followed > MAX_FOLLOWED {
                        return Err(tangled());
                    }
                    here.pop();
                    let next = fs::read_link(&path).map_err(|cause| UnpackError::io("read link", &path, cause))?;
                    push_reversed(&mut ahead, &next).ok_or_else(escapes)?;
                }
                Ok(_) => {}
                // Leads nowhere: harmless, since nothing will ever be created there. By its names it must stay inside.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidFilename => return Err(tangled()),
                Err(cause) => return Err(UnpackError::io("look at", &path, cause)),
            }
        }
        Ok(())
    }
}

enum Step {
    Up,
    Down(OsString),
}

/// Puts the components of `path` on the stack, the first on top. `None` when it is absolute.
fn push_reversed(ahead: &mut Vec<Step>, path: &Path) -> Option<()> {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => ahead.push(Step::Down(name.to_owned())),
            Component::ParentDir => ahead.push(Step::Up),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(())
}
