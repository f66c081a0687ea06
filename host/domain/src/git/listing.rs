//! What a commit holds, as `git ls-tree -r -t -l --full-tree` prints it: judged before any of it is taken out.

use std::collections::BTreeSet;

use super::location::Directory;

/// What makes a directory one that can be deployed.
const MANIFEST: &str = "manifest.json";
/// Most directories with a manifest that are kept: people choose among them.
const MOST_DIRECTORIES: usize = 1000;

/// What is in one directory of a commit, and which directories have a manifest.
#[derive(Debug)]
pub struct Listing {
    directory: Directory,
    /// Directories that have a manifest.
    manifests: BTreeSet<String>,
    exists: bool,
    files: u64,
    bytes: u64,
    most_files: u64,
    most_bytes: u64,
}

/// Why a commit is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadListing {
    /// Not a line of such a list.
    #[error("git lists its files in a way that is not understood: {0}")]
    Line(String),
    /// The directory is not there.
    #[error("it has no directory {directory:?}; {manifests}")]
    NoDirectory {
        /// What was asked for.
        directory: String,
        /// Where there are manifests.
        manifests: String,
    },
    /// The directory has no manifest.
    #[error("the directory {directory:?} has no manifest.json, which says what is published; {manifests}")]
    NoManifest {
        /// What was asked for.
        directory: String,
        /// Where there are manifests.
        manifests: String,
    },
    /// Too many files.
    #[error("the directory {directory:?} has more than {limit} files, the most that this server takes")]
    TooMany {
        /// What was asked for.
        directory: String,
        /// The bound.
        limit: u64,
    },
    /// Too many bytes.
    #[error("the directory {directory:?} has more than {limit} bytes, the most that this server takes")]
    TooLarge {
        /// What was asked for.
        directory: String,
        /// The bound.
        limit: u64,
    },
}

impl Listing {
    /// Looks at `directory`, which may have so many files and bytes.
    pub fn new(directory: Directory, most_files: u64, most_bytes: u64) -> Self {
        let exists = directory.is_root();
        Self { directory, manifests: BTreeSet::new(), exists, files: 0, bytes: 0, most_files, most_bytes }
    }

    /// Takes one line: mode, kind, object, size, a tab, and the path, which is in quotation marks if it is unusual.
    pub fn line(&mut self, line: &str) -> Result<(), BadListing> {
        let bad = || BadListing::Line(line.chars().take(200).collect());
        let (head, path) = line.split_once('\t').ok_or_else(bad)?;
        let words: Vec<&str> = head.split_whitespace().collect();
        let [_mode, kind, _object, size] = words[..] else { return Err(bad()) };
        let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
        match kind {
            "tree" => self.exists |= path == self.directory.as_str(),
            "blob" => {
                let bytes: u64 = size.parse().map_err(|_| bad())?;
                if name == MANIFEST && self.manifests.len() < MOST_DIRECTORIES {
                    self.manifests.insert(parent.to_owned());
                }
                // One in quotation marks may be inside or not; it counts.
                if path.starts_with('"') || self.is_inside(path) {
                    self.files += 1;
                    self.bytes = self.bytes.saturating_add(bytes);
                }
            }
            // A submodule: an empty directory.
            "commit" => {}
            _ => return Err(bad()),
        }
        let directory = || self.directory.to_string();
        if self.files > self.most_files {
            return Err(BadListing::TooMany { directory: directory(), limit: self.most_files });
        }
        if self.bytes > self.most_bytes {
            return Err(BadListing::TooLarge { directory: directory(), limit: self.most_bytes });
        }
        Ok(())
    }

    fn is_inside(&self, path: &str) -> bool {
        let inside = || path.strip_prefix(self.directory.as_str()).is_some_and(|rest| rest.starts_with('/'));
        self.directory.is_root() || inside()
    }

    /// Directories that have a manifest, in order.
    pub fn manifest_directories(&self) -> Vec<String> {
        self.manifests.iter().cloned().collect()
    }

    /// Whether the directory can be deployed, once all lines were taken.
    pub fn check(&self) -> Result<(), BadListing> {
        let directory = self.directory.to_string();
        if self.manifests.contains(&directory) {
            return Ok(());
        }
        let manifests = self.some_directories();
        match self.exists {
            true => Err(BadListing::NoManifest { directory, manifests }),
            false => Err(BadListing::NoDirectory { directory, manifests }),
        }
    }

    fn some_directories(&self) -> String {
        // Enough to see the right one in most repositories.
        const SHOWN: usize = 10;
        let some: Vec<&str> = self.manifests.iter().take(SHOWN).map(String::as_str).collect();
        match (some.is_empty(), self.manifests.len().saturating_sub(SHOWN)) {
            (true, _) => "no directory has one: write it with `rsconnect write-manifest` and commit it".to_owned(),
            (false, 0) => format!("these have one: {}", some.join(", ")),
            (false, more) => format!("these have one: {} and {more} more", some.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const LINES: &[&str] = &[
        "100644 blob aaaa      10\tREADME.md",
        "040000 tree aaaa       -\tapp",
        "100755 blob aaaa     100\tapp/app.py",
        "100644 blob aaaa      20\tapp/manifest.json",
        "120000 blob aaaa       5\tapp/link",
        "040000 tree aaaa       -\tapplication",
        "100644 blob aaaa    7000\tapplication/big",
        "160000 commit aaaa       -\tapp/module",
        "100644 blob aaaa       1\t\"app/odd\\nname\"",
    ];

    fn listing(directory: &str, most_files: u64, most_bytes: u64) -> Result<Listing, BadListing> {
        let mut listing = Listing::new(directory.parse().unwrap(), most_files, most_bytes);
        LINES.iter().try_for_each(|line| listing.line(line))?;
        Ok(listing)
    }

    #[test]
    fn directories_with_a_manifest() {
        let found = listing("app", 100, 10_000).unwrap();
        assert_eq!((found.check(), found.files, found.bytes), (Ok(()), 4, 126));
        assert_eq!(found.manifest_directories(), ["app"]);
        let check = |directory: &str| listing(directory, 100, 10_000).unwrap().check().unwrap_err().to_string();
        assert_eq!(
            check("."),
            "the directory \".\" has no manifest.json, which says what is published; these have one: app"
        );
        assert!(check("application").starts_with("the directory \"application\" has no manifest.json"));
        assert_eq!(check("ap"), "it has no directory \"ap\"; these have one: app");
        let nothing = Listing::new(Directory::default(), 1, 1).check().unwrap_err().to_string();
        assert!(nothing.contains("rsconnect write-manifest"), "{nothing}");
    }

    #[test]
    fn bounds() {
        let refused = |directory, files, bytes| listing(directory, files, bytes).unwrap_err();
        assert_eq!(refused("app", 3, 1000), BadListing::TooMany { directory: "app".into(), limit: 3 });
        assert_eq!(refused(".", 100, 7000), BadListing::TooLarge { directory: ".".into(), limit: 7000 });
        assert!(listing("app", 4, 126).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_panics(line in "\\PC{0,60}", head in "[0-9]{6} (blob|tree|x) [a-f]{4} [-0-9]{1,30}\t") {
            let mut listing = Listing::new(Directory::default(), 10, u64::MAX);
            let _ = listing.line(&line);
            let _ = listing.line(&format!("{head}{line}"));
        }
    }
}
