//! The index of a repository: `PACKAGES`, as R's `tools::write_PACKAGES` makes it.

use std::collections::HashMap;
use std::io::{self, BufRead};

use lectern_domain::r_packages::{compare, is_package_name, is_version};

/// Most bytes of an index that are fetched; CRAN's has 2 MiB.
pub(super) const MOST_FETCHED: u64 = 32 << 20;
/// Most bytes of an index that are read after decompression; CRAN's has 10 MiB.
pub(super) const MOST_READ: u64 = 64 << 20;
/// Longest line that is looked at; the longest of CRAN's has some 2 KiB.
const LONGEST_LINE: usize = 64 << 10;

/// An index could not be read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Longer than is read.
    #[error("its index is longer than {MOST_READ} bytes")]
    TooLarge,
    /// Not what it says it is.
    #[error("its index cannot be read")]
    Damaged(#[source] io::Error),
}

/// What an index says of one version of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) version: String,
    /// The directory of its archive below `src/contrib`, when it is not there itself.
    pub(super) path: Option<String>,
    pub(super) md5: Option<String>,
    pub(super) sha256: Option<String>,
}

/// A repository's index.
#[derive(Debug, Default)]
pub(super) struct Index {
    packages: HashMap<String, Vec<Entry>>,
}

impl Index {
    /// Reads an index, taking no more than [`MOST_READ`] bytes from `text`. What is no package is left out.
    pub(super) fn read(text: impl BufRead) -> Result<Self, IndexError> {
        let mut index = Self::default();
        let mut text = text.take(MOST_READ + 1);
        let (mut name, mut entry, mut line) = (String::new(), Entry::default(), Vec::new());
        loop {
            line.clear();
            let length = read_line(&mut text, &mut line).map_err(IndexError::Damaged)?;
            if text.limit() == 0 {
                return Err(IndexError::TooLarge);
            }
            let content = String::from_utf8_lossy(&line);
            let content = content.trim_end();
            if content.is_empty() {
                index.add(std::mem::take(&mut name), std::mem::take(&mut entry));
                if length == 0 {
                    return Ok(index);
                }
                continue;
            }
            // A line that begins with a blank continues a field that is not looked at.
            let Some((key, value)) = content.split_once(':').filter(|_| !content.starts_with([' ', '\t'])) else {
                continue;
            };
            let value = value.trim().to_owned();
            match key {
                "Package" => name = value,
                "Version" => entry.version = value,
                "Path" => entry.path = Some(value),
                "MD5sum" => entry.md5 = Some(value.to_ascii_lowercase()),
                "SHA256" | "SHA256sum" => entry.sha256 = Some(value.to_ascii_lowercase()),
                _ => {}
            }
        }
    }

    fn add(&mut self, name: String, entry: Entry) {
        let leads_nowhere =
            |part: &str| part.is_empty() || part.starts_with('.') || part.contains(['\\', '?', '#', '%']);
        let fine = entry.path.as_deref().is_none_or(|path| !path.split('/').any(leads_nowhere));
        if is_package_name(&name) && is_version(&entry.version) && fine {
            self.packages.entry(name).or_default().push(entry);
        }
    }

    /// The entry of exactly this version, spelled like this.
    pub(super) fn exactly(&self, name: &str, version: &str) -> Option<&Entry> {
        self.packages.get(name)?.iter().find(|entry| entry.version == version)
    }

    /// The newest version.
    pub(super) fn newest(&self, name: &str) -> Option<&Entry> {
        self.packages.get(name)?.iter().max_by(|one, other| compare(&one.version, &other.version))
    }
}

/// Reads a line into `line`, of which no more than [`LONGEST_LINE`] bytes are kept; answers how long it was.
fn read_line(text: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    let mut length = 0;
    loop {
        let bytes = text.fill_buf()?;
        if bytes.is_empty() {
            return Ok(length);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let taken = end.unwrap_or(bytes.len());
        let room = LONGEST_LINE.saturating_sub(line.len());
        line.extend_from_slice(&bytes[..taken.min(room)]);
        text.consume(taken);
        length += taken;
        if end.is_some() {
            return Ok(length);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries() {
        let text = "Package: glue\nVersion: 1.6.2\nDepends: R (>= 3.4)\nImports: methods,\n  Package: evil\nMD5sum: ABC\n\n\
                    Package: glue\nVersion: 1.10.0\nPath: 4.2/Recommended\n\nPackage: ../x\nVersion: 1\n\n\
                    Package: paths\nVersion: 1.0\nPath: ../../up\n\nVersion: 9\n\nPackage: last\nVersion: 0.1-2";
        let index = Index::read(text.as_bytes()).unwrap();
        assert_eq!(index.packages.len(), 2, "{index:?}");
        assert_eq!(index.exactly("glue", "1.6.2").unwrap().md5.as_deref(), Some("abc"));
        assert_eq!(index.newest("glue").unwrap().path.as_deref(), Some("4.2/Recommended"));
        assert_eq!(index.newest("last").unwrap().version, "0.1-2");
        assert!(index.exactly("last", "0.1.2").is_none() && index.newest("paths").is_none());
    }

    #[test]
    fn long_ones_are_refused_without_being_kept() {
        let endless = std::io::BufReader::new(std::io::repeat(b'x'));
        assert!(matches!(Index::read(endless), Err(IndexError::TooLarge)));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Index::read(bytes.as_slice());
        }
    }
}
