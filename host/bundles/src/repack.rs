//! Makes a bundle of an archive that another program wrote, one that nobody uploads as it is.
//!
//! The same files make the same bytes, whenever and wherever they are packed: times, owners and what else an archive says of
//! its making are left out. So the same commit is stored once, and unpacked once.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use crate::archive::{Archive, ArchiveError, Entry, Kind};
use crate::entry_name::{components, link_target, shown};
use crate::limits::Limits;
use crate::unpack_error::UnpackError;

/// The time of every entry, in seconds since 1970: the first that a ZIP archive can say, because packages of Python are
/// built as such.
const TIME: u64 = 315_532_800;

/// Reads a gzipped tar and writes another of its files, directories and symbolic links, in their order.
///
/// Refuses what [`unpack`](crate::unpack) refuses of names and kinds, and hard links. Where a link leads is judged by its own
/// words here; `unpack` follows it.
pub fn repack(archive: impl Read, limits: &Limits, out: impl Write) -> Result<(), UnpackError> {
    let mut archive = Archive::new(archive, limits)?;
    let mut tar = Builder::new(GzEncoder::new(out, Compression::fast()));
    let mut entries = 0;
    while let Some(entry) = archive.next()? {
        let path = components(&entry.name, limits)?.join("/");
        if path.is_empty() {
            continue;
        }
        entries += 1;
        if entries > limits.max_entries {
            return Err(UnpackError::TooManyEntries { limit: limits.max_entries });
        }
        add(&mut tar, &mut archive, &entry, &path, limits)?;
    }
    if entries == 0 {
        return Err(UnpackError::NoEntries);
    }
    tar.into_inner().and_then(GzEncoder::finish).map_err(unwritten)?;
    Ok(())
}

fn add<R: Read>(
    tar: &mut Builder<impl Write>,
    archive: &mut Archive<R>,
    entry: &Entry,
    path: &str,
    limits: &Limits,
) -> Result<(), UnpackError> {
    let name = || shown(&entry.name);
    let mut header = Header::new_gnu();
    header.set_mtime(TIME);
    header.set_size(0);
    header.set_mode(if entry.executable || entry.kind == Kind::Directory { 0o755 } else { 0o644 });
    match entry.kind {
        Kind::File => {
            if entry.size_bytes > limits.max_file_bytes {
                let (size_bytes, limit_bytes) = (entry.size_bytes, limits.max_file_bytes);
                return Err(UnpackError::FileTooLarge { name: name(), size_bytes, limit_bytes });
            }
            header.set_entry_type(EntryType::Regular);
            header.set_size(entry.size_bytes);
            let mut content = Content { archive, failed: None };
            let written = tar.append_data(&mut header, path, &mut content);
            match content.failed {
                Some(failed) => Err(failed.into()),
                None => written.map_err(unwritten),
            }
        }
        Kind::Directory => {
            header.set_entry_type(EntryType::Directory);
            tar.append_data(&mut header, format!("{path}/"), std::io::empty()).map_err(unwritten)
        }
        Kind::Symlink => {
            let target = link_target(&entry.name, &entry.link_target, limits)?;
            if leaves(path, target) {
                return Err(UnpackError::LinkEscapes { name: name(), target: shown(target.as_bytes()) });
            }
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            tar.append_link(&mut header, path, target).map_err(unwritten)
        }
        Kind::Hardlink => Err(UnpackError::HardlinkTarget { name: name(), target: shown(&entry.link_target) }),
        Kind::Special(kind) => Err(UnpackError::Special { name: name(), kind }),
        Kind::Sparse => Err(UnpackError::Sparse { name: name() }),
        Kind::Unknown(flag) => Err(UnpackError::Unknown { name: name(), flag }),
    }
}

/// Whether a link at `path` climbs out of the archive by its own words.
fn leaves(path: &str, target: &str) -> bool {
    let mut depth = path.split('/').count() - 1;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

/// The content of one entry. Remembers what went wrong: `tar` only has room for an `io::Error`.
struct Content<'a, R> {
    archive: &'a mut Archive<R>,
    failed: Option<ArchiveError>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.archive.read(buffer).map_err(|error| {
            let shown = std::io::Error::other(error.to_string());
            self.failed = Some(error);
            shown
        })
    }
}

fn unwritten(cause: std::io::Error) -> UnpackError {
    UnpackError::Io { action: "write a bundle", path: std::path::PathBuf::new(), cause }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// An archive of `(kind, name, text)`, made at `time`; the text of a link is its target.
    fn archive(time: u64, entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
        let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
        for (kind, name, text) in entries {
            let mut header = Header::new_gnu();
            header.set_mtime(time);
            header.set_uid(time);
            header.set_mode(0o600);
            header.set_entry_type(*kind);
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.set_size(0);
                tar.append_link(&mut header, name, text).unwrap();
            } else {
                header.set_size(text.len() as u64);
                tar.append_data(&mut header, name, text.as_bytes()).unwrap();
            }
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn packed(entries: &[(EntryType, &str, &str)]) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        repack(archive(7, entries).as_slice(), &Limits::default(), &mut out).map_err(|error| error.to_string())?;
        Ok(out)
    }

    #[test]
    fn the_same_files_make_the_same_bytes() {
        let files = [
            (EntryType::Directory, "app/", ""),
            (EntryType::Regular, "app/main.py", "print()"),
            (EntryType::Symlink, "app/link", "../app/main.py"),
            (EntryType::Regular, "manifest.json", "{}"),
        ];
        let (mut one, mut other) = (Vec::new(), Vec::new());
        repack(archive(1, &files).as_slice(), &Limits::default(), &mut one).unwrap();
        repack(archive(2_000_000_000, &files).as_slice(), &Limits::default(), &mut other).unwrap();
        assert_eq!(one, other);
        assert_eq!(crate::inspect(one.as_slice()).unwrap(), b"{}");
        let root = tempfile::tempdir().unwrap();
        let done = crate::unpack(one.as_slice(), &root.path().join("tree"), &Limits::default()).unwrap();
        assert_eq!((done.files, done.directories, done.symlinks), (2, 1, 1));
    }

    #[test]
    fn what_is_not_taken() {
        let file = |name| (EntryType::Regular, name, "x");
        for (entry, expected) in [
            ((EntryType::Symlink, "link", "../secret"), "links to \"../secret\", outside the archive"),
            ((EntryType::Symlink, "a/link", "../../secret"), "outside the archive"),
            ((EntryType::Symlink, "link", "/etc/passwd"), "outside the archive"),
            ((EntryType::Link, "link", "manifest.json"), "is a hard link"),
            ((EntryType::Fifo, "pipe", ""), "is a fifo"),
            ((EntryType::Regular, "a\nb", "x"), "has a control character"),
        ] {
            let refused = packed(&[file("manifest.json"), entry]).unwrap_err();
            assert!(refused.contains(expected), "{entry:?}: {refused}");
        }
        assert_eq!(packed(&[]).unwrap_err(), "archive has no files");
        let limits = Limits { max_entries: 1, ..Limits::default() };
        let two = archive(1, &[file("a"), file("b")]);
        assert!(matches!(repack(two.as_slice(), &limits, Vec::new()), Err(UnpackError::TooManyEntries { limit: 1 })));
        let cut = &two[..two.len() / 2];
        assert!(repack(cut, &Limits::default(), Vec::new()).unwrap_err().is_bad_archive());
    }
}
