//! `manifest.json`: what a publisher's client says about a bundle.
//!
//! Reading is tolerant where clients differ (nulls, unknown keys, wrong types of what Lectern does not need) and strict
//! where a wrong value would start the wrong thing: the mode, entry points, file paths, version constraints.

mod entrypoint;
mod fields;
mod r_remote;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::AppMode;
use fields::Fields;

pub use entrypoint::{BundlePath, Entrypoint, PythonEntrypoint};
pub use r_remote::RRemote;

/// Longest manifest that is read, in bytes: one that lists 60,000 files and 500 R packages stays below it.
pub const MAX_MANIFEST_BYTES: usize = 16 << 20;

/// What a publisher's client says about a bundle (connect protocol, manifest.json).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What kind of content it is.
    pub mode: AppMode,
    /// Where it starts; `None` when absent, null or empty.
    pub entrypoint: Option<Entrypoint>,
    /// The page served for the root of static content.
    pub primary_html: Option<BundlePath>,
    /// The R Markdown document.
    pub primary_rmd: Option<BundlePath>,
    /// `site`, `plot`, `pin`, `api`, …; `None` when absent, null or empty.
    pub content_category: Option<String>,
    /// Whether an R Markdown document takes parameters.
    pub has_parameters: bool,
    /// The publisher's locale, `en_US.UTF-8`.
    pub locale: Option<String>,
    /// What the client knew of Python; `None` when the bundle has no Python.
    pub python: Option<PythonSection>,
    /// The R version the client ran (`platform`).
    pub r_version: Option<String>,
    /// The Quarto version the client ran.
    pub quarto_version: Option<String>,
    /// The Node.js version the client ran.
    pub node_version: Option<String>,
    /// R packages by name.
    pub r_packages: BTreeMap<String, RPackage>,
    /// How the repositories of R packages are chosen (`environment.r.package_repository_resolution`), unparsed.
    pub r_resolution: Option<String>,
    /// The lock file that lists the R packages instead (`r.package_file`, `environment.r.package_file` or `.lockfile`).
    pub r_lockfile: Option<BundlePath>,
    /// Which interpreter versions will do.
    pub constraints: Constraints,
    /// Whether the server restores packages.
    pub management: EnvironmentManagement,
    /// Names of the files the client meant to send. May list files the archive lacks, or none at all: a hint only.
    pub files: Vec<String>,
}

/// The `python` section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PythonSection {
    /// The version the client ran, `3.11.7`.
    pub version: Option<String>,
    /// How packages are restored.
    pub package_manager: Option<PackageManager>,
}

/// The `python.package_manager` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageManager {
    /// Which tool the publisher uses.
    pub name: PackageManagerName,
    /// The requirements file; `None` means `requirements.txt`.
    pub package_file: Option<BundlePath>,
}

/// A Python package manager, as manifests name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackageManagerName {
    /// `pip`, also when no name is given.
    Pip,
    /// `uv`.
    Uv,
    /// `conda`.
    Conda,
    /// `none`: the publisher wants nothing restored.
    None,
    /// Any other word.
    Other(String),
}

/// One R package of the publisher's library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RPackage {
    /// Its version, from its DESCRIPTION.
    pub version: Option<String>,
    /// `CRAN`, `Bioconductor`, `github`, the name of a repository, …
    pub source: Option<String>,
    /// The URL of its repository.
    pub repository: Option<String>,
    /// The commit that it was built from, when it came from a source repository.
    pub remote: Option<RRemote>,
}

/// The `environment.<language>.requires` constraints, unparsed: `>=3.11`, `~=4.3.0`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Constraints {
    /// For Python.
    pub python: Option<String>,
    /// For R.
    pub r: Option<String>,
    /// For Node.js.
    pub node: Option<String>,
}

/// The `environment.environment_management` section; `None` means "as the content item or the server says".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EnvironmentManagement {
    /// Whether Python packages are restored.
    pub python: Option<bool>,
    /// Whether R packages are restored.
    pub r: Option<bool>,
    /// Whether the packages of a Node.js application are restored.
    pub node: Option<bool>,
}

/// A manifest cannot be used. All of them are the protocol's error 38 ([`ManifestError::CODE`]).
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Larger than [`MAX_MANIFEST_BYTES`].
    #[error("manifest.json is {0} bytes long, more than {MAX_MANIFEST_BYTES}")]
    TooLarge(usize),
    /// Not JSON.
    #[error("manifest.json is not JSON: {cause}")]
    NotJson {
        /// Where and why; part of the message, because that is all a client shows.
        cause: serde_json::Error,
    },
    /// JSON, but not an object.
    #[error("manifest.json holds {0}, not an object")]
    NotAnObject(&'static str),
    /// No application mode.
    #[error("manifest.json has no metadata.appmode")]
    NoMode,
    /// An application mode nobody knows.
    #[error("manifest.json names the unknown application mode {0:?} in metadata.appmode")]
    UnknownMode(String),
    /// A value in a form that cannot be used.
    #[error("manifest.json: {key} is {value:?}: {reason}")]
    BadValue {
        /// Where, `metadata.entrypoint`.
        key: &'static str,
        /// The value, shortened.
        value: String,
        /// What form is allowed.
        reason: &'static str,
    },
}

impl ManifestError {
    /// The protocol's error code "manifest missing or invalid".
    pub const CODE: i32 = 38;
}

impl Manifest {
    /// Reads a manifest. A byte-order mark before the JSON is skipped, as some editors write one.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let value: Value = serde_json::from_slice(text).map_err(|cause| ManifestError::NotJson { cause })?;
        let root = Fields::of(&value).ok_or_else(|| ManifestError::NotAnObject(fields::kind(&value)))?;
        let metadata = root.section("metadata");
        let mode = match metadata.text("appmode") {
            None => return Err(ManifestError::NoMode),
            Some(name) => AppMode::parse(name)
                .filter(|mode| *mode != AppMode::Unknown)
                .ok_or_else(|| ManifestError::UnknownMode(fields::shortened(name)))?,
        };
        let entrypoint = metadata.text("entrypoint").map(|text| Entrypoint::parse(mode, text)).transpose()?;
        let environment = root.section("environment");
        let management = environment.section("environment_management");
        let of_r = environment.section("r");
        let lockfiles = [root.section("r").path("package_file", "r.package_file")?]
            .into_iter()
            .chain([of_r.path("package_file", "environment.r.package_file")?])
            .chain([of_r.path("lockfile", "environment.r.lockfile")?]);
        Ok(Self {
            mode,
            entrypoint,
            primary_html: metadata.path("primary_html", "metadata.primary_html")?,
            primary_rmd: metadata.path("primary_rmd", "metadata.primary_rmd")?,
            content_category: metadata.owned("content_category"),
            has_parameters: metadata.flag("has_parameters").unwrap_or(false),
            locale: root.owned("locale"),
            python: root.present("python").map(PythonSection::read).transpose()?,
            r_version: root.owned("platform"),
            quarto_version: root.section("quarto").owned("version"),
            node_version: root.section("node").owned("version"),
            r_packages: root.section("packages").entries().map(RPackage::read).collect(),
            r_resolution: of_r.owned("package_repository_resolution"),
            r_lockfile: lockfiles.flatten().next(),
            constraints: Constraints {
                python: environment.section("python").owned("requires"),
                r: environment.section("r").owned("requires"),
                node: environment.section("nodejs").owned("requires"),
            },
            management: EnvironmentManagement {
                python: management.flag("python"),
                r: management.flag("r"),
                // R's client has the one name, Python's the other.
                node: management.flag("node").or(management.flag("nodejs")),
            },
            files: root.section("files").entries().map(|(name, _)| name.to_owned()).collect(),
        })
    }

    /// Whether the server shall restore the publisher's Python packages: not when the package manager is `none`, nor when
    /// the manifest switches management off; `default` when it says nothing.
    pub fn restores_python(&self, default: bool) -> bool {
        let manager = self.python.as_ref().and_then(|python| python.package_manager.as_ref());
        if manager.is_some_and(|manager| manager.name == PackageManagerName::None) {
            return false;
        }
        self.management.python.unwrap_or(default)
    }

    /// Whether the server shall restore the publisher's R packages; `default` when the manifest says nothing.
    pub fn restores_r(&self, default: bool) -> bool {
        self.management.r.unwrap_or(default)
    }

    /// The Python requirements file, relative to the bundle's root: `requirements.txt` unless the manifest names another.
    pub fn package_file(&self) -> &str {
        let manager = self.python.as_ref().and_then(|python| python.package_manager.as_ref());
        manager.and_then(|manager| manager.package_file.as_ref()).map_or("requirements.txt", BundlePath::as_str)
    }
}

impl PythonSection {
    fn read(python: Fields<'_>) -> Result<Self, ManifestError> {
        let package_manager = match python.present("package_manager") {
            None => None,
            Some(manager) => Some(PackageManager {
                name: match manager.text("name") {
                    None | Some("pip") => PackageManagerName::Pip,
                    Some("uv") => PackageManagerName::Uv,
                    Some("conda") => PackageManagerName::Conda,
                    Some("none") => PackageManagerName::None,
                    Some(other) => PackageManagerName::Other(fields::shortened(other)),
                },
                package_file: manager.path("package_file", "python.package_manager.package_file")?,
            }),
        };
        Ok(Self { version: python.owned("version"), package_manager })
    }
}

impl RPackage {
    fn read((name, value): (&str, &Value)) -> (String, Self) {
        let package = Fields::of(value).unwrap_or_default();
        let description = package.section("description");
        let read = Self {
            version: description.owned("Version"),
            source: package.owned("Source"),
            repository: package.owned("Repository"),
            remote: RRemote::read(&|key: &str| description.text(key).or_else(|| package.text(key))),
        };
        (name.to_owned(), read)
    }
}

#[cfg(test)]
mod tests;
