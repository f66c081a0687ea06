//! R packages: what bundles want, fetched from the operator's repositories, built once behind walls, shared by all content.
//!
//! A package is fetched by the server itself, checked, and kept under its hash. It is built without any network, and kept
//! under a key made of all that determines it. A bundle's library is a directory of hard links to such packages, so that
//! removing one from the cache takes nothing away from content that runs.

mod archive;
mod build;
mod fetch;
mod find;
mod hints;
mod index;
mod library;
mod packages;
mod plan;
mod restore;
mod store;
mod wants;

pub use packages::{RPackages, RestoreError, RestoreRequest, Settings};
pub use store::{Cached, Evicted};

/// Where packages come from, as the operator configured it.
#[derive(Clone, Default)]
pub struct Sources {
    /// Where packages come from, in the order in which they are asked. None: nothing is restored.
    pub repositories: Vec<lectern_domain::r_packages::Repository>,
    /// Where commits of source repositories come from: a kind like `github`, and a URL with `{user}`, `{repo}` and `{sha}`.
    pub remotes: Vec<(String, String)>,
    /// Whether a package that the server's own library has in exactly the wanted version is used from there.
    pub use_installed: bool,
    /// How long one restore may take, all its builds together.
    pub timeout: std::time::Duration,
}

impl std::fmt::Debug for Sources {
    /// Leaves out URLs: they may hold passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.repositories.iter().map(|one| one.name.as_str()).collect();
        f.debug_struct("Sources").field("repositories", &names).finish_non_exhaustive()
    }
}
