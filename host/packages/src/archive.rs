//! The tar inside a package: the one way to write it, and a reader that takes nothing else.
//!
//! The same files give the same bytes, so that a package can be named by their hash. Reading writes the files again and
//! compares: what two readers could see differently (times, owners, padding, extended headers, anything after the end)
//! cannot be there.

use tar::{EntryType, Header};

use crate::package::{PackageError, limit_bytes};

const BLOCK: usize = 512;

/// The largest package, in bytes: its largest parts together and room for a whole set of cases.
pub const PACKAGE_BYTES: usize = 64 * 1024 * 1024;

/// Writes files under their names, in the order given. Every name is one that a reader takes.
pub(crate) fn write<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<Vec<u8>, PackageError> {
    let mut tar = Vec::new();
    for (name, content) in files {
        tar.extend_from_slice(header_of(name, content.len())?.as_bytes());
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    if tar.len() > PACKAGE_BYTES {
        return Err(PackageError::TooLarge { size_bytes: tar.len() });
    }
    Ok(tar)
}

fn header_of(name: &str, size: usize) -> Result<Header, PackageError> {
    let mut header = Header::new_ustar();
    header.set_path(name).map_err(|_| PackageError::UnknownFile { name: name.into() })?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header.set_cksum();
    Ok(header)
}

/// The files of a package, as its tar has them.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<(String, &[u8])>, PackageError> {
    if bytes.len() > PACKAGE_BYTES {
        return Err(PackageError::TooLarge { size_bytes: bytes.len() });
    }
    let mut files: Vec<(String, &[u8])> = Vec::new();
    let mut rest = bytes;
    loop {
        let offset = bytes.len() - rest.len();
        let Some((block, after)) = rest.split_first_chunk::<BLOCK>() else {
            return Err(if files.is_empty() { PackageError::NotAPackage } else { cut_off(bytes) });
        };
        if *block == [0; BLOCK] {
            break;
        }
        let header = Header::from_byte_slice(block);
        if !checksum_fits(header) {
            let damaged = PackageError::Damaged { offset };
            return Err(if files.is_empty() { PackageError::NotAPackage } else { damaged });
        }
        let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
        if header.entry_type() != EntryType::Regular {
            return Err(PackageError::NotAFile { name });
        }
        let limit_bytes = limit_bytes(&name).ok_or_else(|| PackageError::UnknownFile { name: name.clone() })?;
        let size = header.entry_size().map_err(|_| PackageError::Damaged { offset })?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > limit_bytes {
            return Err(PackageError::FileTooLarge { name, size_bytes: size, limit_bytes });
        }
        if files.iter().any(|(other, _)| *other == name) {
            return Err(PackageError::Repeated { name });
        }
        let content = after.get(..size).ok_or_else(|| cut_off(bytes))?;
        rest = after.get(size.next_multiple_of(BLOCK)..).ok_or_else(|| cut_off(bytes))?;
        files.push((name, content));
    }
    if files.is_empty() {
        return Err(PackageError::NotAPackage);
    }
    Ok(files)
}

fn cut_off(bytes: &[u8]) -> PackageError {
    PackageError::CutOff { size_bytes: bytes.len() }
}

/// The checksum counts its own field as spaces (POSIX.1-2017, pax, "ustar Interchange Format").
fn checksum_fits(header: &Header) -> bool {
    let bytes = header.as_bytes().iter().enumerate();
    let sum = bytes.fold(0, |sum, (at, byte)| sum + u32::from(if (148..156).contains(&at) { b' ' } else { *byte }));
    header.cksum().is_ok_and(|stated| stated == sum)
}

/// The file at which a tar departs from the one way to write its files.
pub(crate) fn first_difference(bytes: &[u8], canonical: &[u8], files: &[(String, &[u8])]) -> String {
    let at = bytes.iter().zip(canonical).position(|(a, b)| a != b).unwrap_or(bytes.len().min(canonical.len()));
    let mut end = 0;
    for (name, content) in files {
        end += BLOCK + content.len().next_multiple_of(BLOCK);
        if at < end {
            return name.clone();
        }
    }
    "its end".into()
}
