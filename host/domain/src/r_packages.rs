//! R packages: what a bundle wants, where each may come from, and the order in which they are built.
//!
//! Nothing here fetches or builds; it says what is to be fetched and built.

mod lockfile;
mod needs;
mod order;
mod resolution;

use std::fmt;

use crate::manifest::{Manifest, RRemote};

pub use lockfile::{LockfileError, MAX_LOCKFILE_BYTES, read_lockfile};
pub use needs::{Need, Required, compare, is_package_name, is_version, needs, same_version};
pub use order::{OrderError, order};
pub use resolution::{Refused, Repository, Resolution, Wants};

/// Most packages of one bundle. The largest libraries of publishers have some 600; a resolver that is led in circles by a
/// repository ends here.
pub const MOST_PACKAGES: usize = 2000;

/// A package that a bundle wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Exactly this version, spelled as the publisher's library has it; `None` takes the newest.
    pub version: Option<String>,
    /// Where the publisher had it from.
    pub origin: Origin,
}

/// Where a publisher had a package from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A repository, by its name and its URL as far as they are known.
    Repository {
        /// `CRAN`, `RSPM`, `internal`, …
        name: Option<String>,
        /// Never contacted: a hint which of the operator's repositories is meant.
        url: Option<String>,
    },
    /// A commit of a source repository.
    Remote(RRemote),
    /// A place that no server can fetch from, in the publisher's words: a local directory, a URL.
    Elsewhere(String),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{} {version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A manifest lists a package that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("manifest.json lists the R package {name:?} in version {version:?}; that is no {what} that R knows")]
pub struct BadPackage {
    name: String,
    version: String,
    what: &'static str,
}

/// The packages that a manifest lists. Their names and versions are safe in file names and URLs.
pub fn listed(manifest: &Manifest) -> Result<Vec<Wanted>, BadPackage> {
    let mut wanted = Vec::with_capacity(manifest.r_packages.len());
    for (name, package) in &manifest.r_packages {
        let version = package.version.as_deref();
        let bad = |what| BadPackage {
            name: name.chars().take(120).collect(),
            version: version.unwrap_or_default().chars().take(120).collect(),
            what,
        };
        if !is_package_name(name) {
            return Err(bad("name"));
        }
        if !version.is_none_or(is_version) {
            return Err(bad("version"));
        }
        let origin = origin(package.source.as_deref(), package.repository.as_deref(), package.remote.as_ref());
        wanted.push(Wanted { name: name.clone(), version: version.map(str::to_owned), origin });
    }
    Ok(wanted)
}

/// What was the publisher's source word and URL for a package, as a place to fetch it from.
///
/// `source` is the manifest's `Source` or the lock file's `Source`; a remote wins over it.
pub(crate) fn origin(source: Option<&str>, url: Option<&str>, remote: Option<&RRemote>) -> Origin {
    const HOSTS: [&str; 3] = ["github", "gitlab", "bitbucket"];
    let lower = source.map(str::to_ascii_lowercase);
    match (lower.as_deref(), remote) {
        (_, Some(remote)) if HOSTS.contains(&remote.kind.as_str()) => Origin::Remote(remote.clone()),
        // Named as such, and without a commit: nothing that could be fetched again.
        (Some(word), None)
            if HOSTS.contains(&word) || matches!(word, "git" | "git2r" | "url" | "local" | "source" | "unknown") =>
        {
            Origin::Elsewhere(word.to_owned())
        }
        (_, Some(remote)) => Origin::Elsewhere(remote.kind.clone()),
        (_, None) => Origin::Repository { name: source.map(str::to_owned), url: url.map(str::to_owned) },
    }
}
