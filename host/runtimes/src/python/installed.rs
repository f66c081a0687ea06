//! What is installed in an environment, read from the packages' own records.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its normalised name (PEP 503): lower case, `-` for runs of `-`, `_` and `.`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// The directory that an environment's packages are in.
pub(crate) fn site_packages(environment: &Path) -> Option<PathBuf> {
    let entries = environment.join("lib").read_dir().ok()?;
    entries.filter_map(Result::ok).map(|entry| entry.path().join("site-packages")).find(|path| path.is_dir())
}

/// Lists the packages of an environment, sorted by name.
pub(super) fn freeze(environment: &Path) -> io::Result<Vec<Package>> {
    let Some(packages) = site_packages(environment) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in packages.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "dist-info") {
            found.extend(read(&path.join("METADATA"))?);
        }
    }
    found.sort();
    Ok(found)
}

/// Name and version from the head of a METADATA file; `None` when it lacks one.
fn read(path: &Path) -> io::Result<Option<Package>> {
    let (mut name, mut version) = (None, None);
    // The two are among the first lines; 64 KiB keeps a hostile file from filling the memory.
    for line in BufReader::new(File::open(path)?.take(64 << 10)).lines() {
        let line = match line {
            Ok(line) if !line.is_empty() => line,
            _ => break,
        };
        if let Some(value) = line.strip_prefix("Name:") {
            name = Some(normalised(value.trim()));
        } else if let Some(value) = line.strip_prefix("Version:") {
            version = Some(value.trim().to_owned());
        }
    }
    Ok(name.zip(version).map(|(name, version)| Package { name, version }))
}

fn normalised(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !normal.is_empty() {
            normal.push('-');
        }
        normal.push_str(&part.to_lowercase());
    }
    normal
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn reads_names_and_versions() {
        let root = tempfile::tempdir().unwrap();
        let packages = root.path().join("lib/python3.11/site-packages");
        let package = |directory: &str, text: &str| {
            fs::create_dir_all(packages.join(directory)).unwrap();
            fs::write(packages.join(directory).join("METADATA"), text).unwrap();
        };
        package(
            "Flask_Login-0.6.dist-info",
            "Metadata-Version: 2.1\nName: Flask__Login\nVersion: 0.6\n\nName: not this\n",
        );
        package("blinker-1.9.dist-info", "Name: blinker\nVersion: 1.9\n");
        package("odd-1.dist-info", "Summary: nameless\n");
        let listed: Vec<String> = freeze(root.path())
            .unwrap()
            .iter()
            .map(|package| format!("{}=={}", package.name, package.version))
            .collect();
        assert_eq!(listed, ["blinker==1.9", "flask-login==0.6"]);
        assert!(freeze(&root.path().join("absent")).unwrap().is_empty());
    }
}
