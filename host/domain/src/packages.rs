//! Packages that content runs with, as they are recorded when a bundle is prepared.

use crate::manifest::Manifest;

/// Most packages recorded of one bundle: the largest environments known have a tenth.
pub const MAX_PACKAGES: usize = 5_000;

/// Longest name and version that are recorded, in bytes: longer ones are no package's.
const MAX_BYTES: usize = 255;

/// The language of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// Python: names are normalised (PEP 503).
    Python,
    /// R.
    R,
}

impl Language {
    /// The word the protocol uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::R => "r",
        }
    }

    /// Parses the protocol's word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Python, Self::R].into_iter().find(|language| language.as_str() == text)
    }
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its language.
    pub language: Language,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What is recorded of a bundle: `installed` as found in its Python environment, and the manifest's R packages. Each name
/// once, in order, and no more than [`MAX_PACKAGES`].
pub fn recorded(installed: impl IntoIterator<Item = (String, String)>, manifest: &Manifest) -> Vec<Package> {
    let python = installed.into_iter().map(|(name, version)| Package { language: Language::Python, name, version });
    let r = manifest.r_packages.iter().map(|(name, package)| Package {
        language: Language::R,
        name: name.clone(),
        version: package.version.clone().unwrap_or_default(),
    });
    let fits = |text: &str| text.len() <= MAX_BYTES && !text.chars().any(char::is_control);
    let mut all: Vec<Package> = python
        .chain(r)
        .filter(|package| !package.name.is_empty() && fits(&package.name) && fits(&package.version))
        .collect();
    all.sort();
    all.dedup_by(|one, other| (one.language, &one.name) == (other.language, &other.name));
    all.truncate(MAX_PACKAGES);
    all
}

/// The Python packages as a requirements file that pins each of them; `None` when there are none.
pub fn lockfile(packages: &[Package]) -> Option<String> {
    let python = packages.iter().filter(|package| package.language == Language::Python);
    let lines: String = python.map(|package| format!("{}=={}\n", package.name, package.version)).collect();
    (!lines.is_empty()).then_some(lines)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn packages_are_recorded_once_in_order() {
        let manifest = br#"{"version": 1, "metadata": {"appmode": "api", "entrypoint": "plumber.R"}, "packages": {
            "plumber": {"Source": "CRAN", "description": {"Package": "plumber", "Version": "1.2.1"}},
            "R6": {"Source": "CRAN", "description": {"Package": "R6", "Version": "2.5.1"}},
            "bad\nname": {"Source": "CRAN", "description": {"Version": "1"}},
            "unknown": {"Source": "CRAN"}}}"#;
        let manifest = Manifest::parse(manifest).unwrap();
        let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let installed = [
            pair("werkzeug", "3.0"),
            pair("flask", "3.1"),
            pair("flask", "3.0"),
            pair("", "1"),
            pair(&"x".repeat(300), "1"),
        ];
        let shown: Vec<String> = recorded(installed, &manifest)
            .iter()
            .map(|package| format!("{} {} {}", package.language.as_str(), package.name, package.version))
            .collect();
        let expected = ["python flask 3.0", "python werkzeug 3.0", "r R6 2.5.1", "r plumber 1.2.1", "r unknown "];
        assert_eq!(shown, expected);
        let many = (0..6000).map(|n| (format!("p{n}"), "1".to_owned()));
        assert_eq!(recorded(many, &manifest).len(), MAX_PACKAGES);
    }

    #[test]
    fn a_lockfile_pins_python() {
        let package = |language, name: &str| Package { language, name: name.into(), version: "1.0".into() };
        let all = [package(Language::Python, "flask"), package(Language::R, "R6")];
        assert_eq!(lockfile(&all).as_deref(), Some("flask==1.0\n"));
        assert_eq!(lockfile(&all[1..]), None);
    }
}
