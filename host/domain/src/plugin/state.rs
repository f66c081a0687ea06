//! The gate as the database holds it: what each server brings its own gate to, and what each says that it runs.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::document::Document;
use super::{Actor, Binding, BindingName, PackageDigest, PluginName, ReleaseHash, ReleaseSpec};

/// A package that was admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Its file's hash.
    pub digest: PackageDigest,
    /// The plugin.
    pub plugin: PluginName,
    /// Its version (semver).
    pub version: String,
    /// The file's size.
    pub size_bytes: u64,
    /// The key whose signature was found good; `None`: it is not signed.
    pub signed_by: Option<String>,
    /// Its manifest.
    pub manifest: Document,
    /// Who installed it.
    pub installed_by: Actor,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub installed_at: OffsetDateTime,
}

/// A release that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Release {
    /// Its name.
    pub hash: ReleaseHash,
    /// The plugin of its package.
    pub plugin: PluginName,
    /// What it is made of.
    #[serde(flatten)]
    pub spec: ReleaseSpec,
    /// Who made it.
    pub created_by: Actor,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// A plugin's secret, which only servers with the right key can open.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// Whose it is.
    pub plugin: PluginName,
    /// Its name.
    pub name: String,
    /// The sealed value.
    pub sealed: Vec<u8>,
    /// A number that changes with each change of the value.
    pub stamp: i64,
    /// Who set it.
    pub set_by: Actor,
    /// When.
    pub set_at: OffsetDateTime,
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedSecret")
            .field("plugin", &self.plugin)
            .field("name", &self.name)
            .field("stamp", &self.stamp)
            .finish_non_exhaustive()
    }
}

/// A key whose signatures on packages are believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrustedKey {
    /// Names it.
    pub id: String,
    /// Its public half, in the text form in which it was given.
    pub public_key: String,
    /// Whose it is.
    pub comment: String,
    /// Who trusted it.
    pub added_by: Actor,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub added_at: OffsetDateTime,
}

/// Everything that a server needs for its gate, as it was at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateState {
    /// Increases with each change of what follows.
    pub generation: i64,
    /// In the order in which they are asked: by position, then by name.
    pub bindings: Vec<Binding>,
    /// The releases that bindings name.
    pub releases: BTreeMap<ReleaseHash, Release>,
    /// The packages of these releases.
    pub packages: BTreeMap<PackageDigest, Package>,
    /// The secrets of all plugins, by plugin and name.
    pub secrets: Vec<SealedSecret>,
    /// The trusted keys, by id.
    pub trusted_keys: Vec<TrustedKey>,
}

/// A release at a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningRelease {
    /// The one that answers.
    pub release: ReleaseHash,
    /// How it is: a word of the gate's.
    pub state: String,
}

/// What a server says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// One id per start of a server process.
    pub server: Uuid,
    /// The name of its host.
    pub hostname: String,
    /// The state of the database that its gate shows.
    pub generation: i64,
    /// What runs at each binding.
    pub releases: BTreeMap<BindingName, RunningRelease>,
}
