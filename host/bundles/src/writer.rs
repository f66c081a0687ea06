//! Creates one entry after the other below a directory, and nothing elsewhere.
//!
//! Each directory on the way is opened from its parent with `O_NOFOLLOW`, so nothing is written through a link. The file
//! system itself is the set of names seen: what cannot be created exclusively is a duplicate, and memory does not grow
//! with the number of entries. Where symbolic links lead is judged later, by [`crate::seal`].

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::{linkat, symlinkat};

use crate::archive::{Archive, Entry, Kind};
use crate::entry_name::{components, link_target, shown};
use crate::limits::Limits;
use crate::unpack::Unpacked;
use crate::unpack_error::UnpackError;

const COPY_BUFFER_BYTES: usize = 64 * 1024;

pub(crate) struct Writer<'a> {
    root: Rc<OwnedFd>,
    root_path: &'a Path,
    limits: &'a Limits,
    done: Unpacked,
    /// The directory written to last, by its path: archives go directory by directory.
    last: (String, Rc<OwnedFd>),
    buffer: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Writes below `root`, which lies at `root_path` and which nobody else changes.
    pub(crate) fn new(root: &File, root_path: &'a Path, limits: &'a Limits) -> Result<Self, UnpackError> {
        let root = root.try_clone().map_err(|cause| UnpackError::io("open", root_path, cause))?;
        let root = Rc::new(OwnedFd::from(root));
        let last = (String::new(), Rc::clone(&root));
        Ok(Self { root, root_path, limits, done: Unpacked::default(), last, buffer: vec![0; COPY_BUFFER_BYTES] })
    }

    /// What has been created.
    pub(crate) fn done(&self) -> Unpacked {
        self.done
    }

    /// Creates `entry`, whose content `archive` gives next.
    pub(crate) fn add<R: Read>(&mut self, archive: &mut Archive<R>, entry: &Entry) -> Result<(), UnpackError> {
        let name = || shown(&entry.name);
        match entry.kind {
            Kind::Special(kind) => return Err(UnpackError::Special { name: name(), kind }),
            Kind::Sparse => return Err(UnpackError::Sparse { name: name() }),
            Kind::Unknown(flag) => return Err(UnpackError::Unknown { name: name(), flag }),
            Kind::File | Kind::Directory | Kind::Symlink | Kind::Hardlink => {}
        }
        // Python writes a directory with an empty name (`arcname=""`, as pins does) as its name and a slash.
        if entry.kind == Kind::Directory && entry.name == b"/" {
            return Ok(());
        }
        let path = components(&entry.name, self.limits)?;
        let Some((last, parents)) = path.split_last() else {
            // The root itself; some writers make it a file without content.
            return match entry.kind {
                Kind::Directory => Ok(()),
                Kind::File if entry.size_bytes == 0 => Ok(()),
                _ => Err(UnpackError::Unrepresentable { name: name(), reason: "it is the root of the archive" }),
            };
        };
        let parent = self.directory(parents, &entry.name)?;
        match entry.kind {
            Kind::Directory => self.make_directory(&parent, last, &entry.name),
            Kind::Symlink => self.symlink(entry, &parent, last),
            Kind::Hardlink => self.hardlink(entry, &parent, last),
            _ => self.file(archive, entry, &parent, last),
        }
    }

    fn file<R: Read>(
        &mut self,
        archive: &mut Archive<R>,
        entry: &Entry,
        parent: &OwnedFd,
        last: &str,
    ) -> Result<(), UnpackError> {
        let (size_bytes, limit_bytes) = (entry.size_bytes, self.limits.max_file_bytes);
        if size_bytes > limit_bytes {
            return Err(UnpackError::FileTooLarge { name: shown(&entry.name), size_bytes, limit_bytes });
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let created = openat(parent, last, flags, Mode::S_IRUSR | Mode::S_IWUSR);
        let mut file = File::from(created.map_err(|errno| self.not_created(errno, &entry.name))?);
        self.done.files += 1;
        self.check_count()?;
        loop {
            let count = archive.read(&mut self.buffer)?;
            if count == 0 {
                break;
            }
            file.write_all(&self.buffer[..count]).map_err(|cause| self.failed("write", &entry.name, cause))?;
            self.done.bytes += count as u64;
        }
        // The mode given to openat is subject to the umask, this one is not.
        let mode = if entry.executable { 0o555 } else { 0o444 };
        fchmod(&file, Mode::from_bits_truncate(mode)).map_err(|errno| self.failed("set mode of", &entry.name, errno))
    }

    fn symlink(&mut self, entry: &Entry, parent: &OwnedFd, last: &str) -> Result<(), UnpackError> {
        let target = link_target(&entry.name, &entry.link_target, self.limits)?;
        symlinkat(target, parent, last).map_err(|errno| self.not_created(errno, &entry.name))?;
        self.done.symlinks += 1;
        self.check_count()
    }

    fn hardlink(&mut self, entry: &Entry, parent: &OwnedFd, last: &str) -> Result<(), UnpackError> {
        let (name, target) = (|| shown(&entry.name), || shown(&entry.link_target));
        let nowhere = || UnpackError::HardlinkTarget { name: name(), target: target() };
        let path = components(&entry.link_target, self.limits).map_err(|error| match error {
            UnpackError::Absolute { .. } | UnpackError::Traversal { .. } => {
                UnpackError::LinkEscapes { name: name(), target: target() }
            }
            _ => nowhere(),
        })?;
        let (target_last, target_parents) = path.split_last().ok_or_else(nowhere)?;
        let mut source = Rc::clone(&self.root);
        for part in target_parents {
            source = Rc::new(open_directory(&source, part).map_err(|_| nowhere())?);
        }
        if file_type(&source, target_last) != Ok(SFlag::S_IFREG) {
            return Err(nowhere());
        }
        // Without AT_SYMLINK_FOLLOW: a link would be linked itself, not what it points to.
        linkat(&*source, *target_last, parent, last, AtFlags::empty())
            .map_err(|errno| self.not_created(errno, &entry.name))?;
        self.done.files += 1;
        self.check_count()
    }

    /// Opens the directory of these components for the entry `name`, making what is missing.
    fn directory(&mut self, path: &[&str], name: &[u8]) -> Result<Rc<OwnedFd>, UnpackError> {
        let joined = path.join("/");
        if self.last.0 == joined {
            return Ok(Rc::clone(&self.last.1));
        }
        let mut at = Rc::clone(&self.root);
        for part in path {
            let opened = match open_directory(&at, part) {
                Err(Errno::ENOENT) => {
                    self.make_directory(&at, part, name)?;
                    open_directory(&at, part)
                }
                result => result,
            };
            at = Rc::new(opened.map_err(|errno| match file_type(&at, part) {
                Ok(SFlag::S_IFLNK) => UnpackError::ThroughSymlink { name: shown(name) },
                Ok(SFlag::S_IFREG) => UnpackError::BelowFile { name: shown(name) },
                _ => self.failed("open directory of", name, errno),
            })?);
        }
        self.last = (joined, Rc::clone(&at));
        Ok(at)
    }

    fn make_directory(&mut self, parent: &OwnedFd, part: &str, name: &[u8]) -> Result<(), UnpackError> {
        match mkdirat(parent, part, Mode::S_IRWXU) {
            Ok(()) => {
                self.done.directories += 1;
                self.check_count()
            }
            Err(Errno::EEXIST) if file_type(parent, part) == Ok(SFlag::S_IFDIR) => Ok(()),
            Err(errno) => Err(self.not_created(errno, name)),
        }
    }

    fn check_count(&self) -> Result<(), UnpackError> {
        let limit = self.limits.max_entries;
        if self.done.entries() > limit { Err(UnpackError::TooManyEntries { limit }) } else { Ok(()) }
    }

    fn not_created(&self, errno: Errno, name: &[u8]) -> UnpackError {
        match errno {
            Errno::EEXIST => UnpackError::Duplicate { name: shown(name) },
            _ => self.failed("create", name, errno),
        }
    }

    fn failed(&self, action: &'static str, name: &[u8], cause: impl Into<io::Error>) -> UnpackError {
        let path: PathBuf = self.root_path.join(shown(name).trim_start_matches('/'));
        UnpackError::io(action, &path, cause)
    }
}

fn open_directory(parent: &OwnedFd, part: &str) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, part, flags, Mode::empty())
}

fn file_type(parent: &OwnedFd, part: &str) -> nix::Result<SFlag> {
    let stat = fstatat(parent, part, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    Ok(SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()))
}
