//! Configuration: one typed value, made from defaults, `lectern.toml`, the environment and the command line.
//!
//! [`Config::resolve`] takes the layers as values and reports every mistake at once, each with its key, the value given, where it
//! came from and the form that is allowed. It touches nothing itself: what there is to see in files it is told by an argument.
//! Nothing is started before it has succeeded.

mod git;
mod layers;
mod r_packages;
mod reader;
mod resolve;
mod sandbox;
mod scheduler;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lectern_domain::scaling::Defaults;

pub(crate) use git::{Credential, Git};
pub(crate) use layers::Layers;
pub(crate) use r_packages::RPackages;
pub(crate) use reader::Effective;
pub(crate) use tls::{Finding, Seen, Tls, TlsFiles};

use lectern_domain::ContentGuid;
use lectern_domain::confinement::{OwnLimits, Profile, Walls};
use lectern_domain::outbound::Allowed;

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) data: Data,
    pub(crate) database: Database,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) id_tokens: Option<IdTokens>,
    pub(crate) python: Language,
    pub(crate) r: Language,
    pub(crate) r_packages: RPackages,
    pub(crate) node: Language,
    pub(crate) quarto: Language,
    pub(crate) git: Git,
    pub(crate) content: Content,
    pub(crate) jobs: Jobs,
    pub(crate) instrumentation: Instrumentation,
    pub(crate) sandbox: Sandbox,
    pub(crate) outbound: Outbound,
    pub(crate) gate: Gate,
    pub(crate) log: Log,
    /// Every key with its value as printed (secrets hidden) and its origin, in the order of the documentation.
    pub(crate) effective: Vec<Effective>,
    /// What is allowed and will not do, one line each.
    pub(crate) warnings: Vec<String>,
}

/// `[server]`: addresses and how it stops.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// Where HTTP is served.
    pub(crate) listen: SocketAddr,
    /// The address users see, when it is not the one they connect to; no trailing slash.
    pub(crate) public_url: Option<url::Url>,
    /// Networks whose forwarding headers are believed.
    pub(crate) trusted_proxies: Vec<ipnet::IpNet>,
    /// Request threads; one per core by default.
    pub(crate) threads: usize,
    /// How long requests in flight may take after a stop was asked for.
    pub(crate) stop_grace: Duration,
    /// How long WebSockets and downloads may go on after another server has taken over.
    pub(crate) take_over_grace: Duration,
    /// With what HTTPS is served; plain HTTP without.
    pub(crate) tls: Option<Tls>,
}

impl Server {
    /// The word before the address: `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// `[data]`: where things are kept.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    /// Node-local directory.
    pub(crate) dir: PathBuf,
    /// Shared directory (a network file system) for bundles.
    pub(crate) shared_dir: PathBuf,
    /// File with the key that seals the environment variables of content.
    pub(crate) key_file: PathBuf,
}

/// `[database]`: PostgreSQL; without a URL a private cluster.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) url: Option<Secret>,
    pub(crate) tls_ca_file: Option<PathBuf>,
    pub(crate) allow_unverified_tls: bool,
    pub(crate) max_connections: usize,
    /// Where the private cluster's programs are, when not in the usual places.
    pub(crate) bin_dir: Option<PathBuf>,
}

/// `[bootstrap]`: how the first administrator is made.
#[derive(Debug, Clone)]
pub(crate) struct Bootstrap {
    /// File with the base64 secret shared with the client.
    pub(crate) secret_file: Option<PathBuf>,
    /// The same secret given directly, by the clients' convention, in `CONNECT_BOOTSTRAP_SECRETKEY`.
    pub(crate) secret: Option<Secret>,
}

/// `[id_tokens]`: the issuer whose identity tokens are exchanged for access tokens.
#[derive(Debug, Clone)]
pub(crate) struct IdTokens {
    /// As it names itself in its tokens, and as accounts are linked to it.
    pub(crate) issuer: String,
    /// What its tokens for this server name as their audience.
    pub(crate) audience: String,
    /// Where its public keys are.
    pub(crate) jwks_url: url::Url,
}

/// `[python]`, `[r]`, `[node]` and `[quarto]`: interpreters and package restore.
#[derive(Debug, Clone)]
pub(crate) struct Language {
    /// Executables offered besides those found in the usual places.
    pub(crate) interpreters: Vec<PathBuf>,
    /// The `uv` program (Python only).
    pub(crate) uv: Option<PathBuf>,
    /// Package index (Python), registry (Node.js).
    pub(crate) index_url: Option<url::Url>,
    /// Longest time one restore may take.
    pub(crate) restore_timeout: Duration,
}

/// `[content]`: defaults and limits of what publishers deploy.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) max_bundle_bytes: u64,
    pub(crate) max_unpacked_bytes: u64,
    pub(crate) max_files: u64,
    /// Bundles kept of each content item; 0: all.
    pub(crate) max_bundles: usize,
    /// What holds for content that sets nothing of its own, and what it may set.
    pub(crate) scheduler: Defaults,
    pub(crate) stop_grace: Duration,
    pub(crate) max_waiting: usize,
    /// Most processes the supervisor starts, whoever asks.
    pub(crate) max_workers: usize,
    /// Most processes of all content together; idle ones make room above it.
    pub(crate) max_processes_total: usize,
    /// Most memory of all content processes together, in bytes.
    pub(crate) memory_budget: u64,
    /// Most zygotes kept on this server; 0: none.
    pub(crate) zygotes: usize,
    pub(crate) job_log_bytes: u64,
    /// Deployments run at a time on this server.
    pub(crate) concurrent_deploys: usize,
    /// Whether content is given an API key that acts as its owner.
    pub(crate) api_key: bool,
    /// Whether content is told this server's address.
    pub(crate) server_address: bool,
}

/// `[jobs]`: how long the records of jobs are kept, with their logs.
#[derive(Debug, Clone)]
pub(crate) struct Jobs {
    /// How long after their end.
    pub(crate) keep_for: Duration,
    /// How many of one content item.
    pub(crate) keep_per_content: u32,
    /// How many bytes of logs on this server.
    pub(crate) keep_bytes: u64,
}

/// `[instrumentation]`: what is remembered of visits.
#[derive(Debug, Clone)]
pub(crate) struct Instrumentation {
    /// How long.
    pub(crate) keep_for: Duration,
}

/// `[sandbox]`: accounts that content runs as, and the walls around it.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    /// The walls around every worker; see docs/sandbox.md.
    pub(crate) walls: Walls,
    /// The most that publishers may set for their content.
    pub(crate) most: OwnLimits,
    /// Content items with a profile of their own.
    pub(crate) profiles: BTreeMap<ContentGuid, Profile>,
    /// First of 65,536 user ids that content items run as when Lectern runs as root.
    pub(crate) first_uid: u32,
    /// The account that restores packages and runs the private database when Lectern runs as root.
    pub(crate) build_uid: u32,
}

/// `[outbound]`: what Lectern itself may reach where publishers and administrators name a URL.
#[derive(Debug, Clone)]
pub(crate) struct Outbound {
    /// Addresses outside the public Internet.
    pub(crate) allow: Vec<Allowed>,
    /// File with authorities that are trusted beside the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

/// `[gate]`: what plugins may reach, and whose are admitted.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    /// Addresses outside the public Internet that plugins may reach, where they are granted an origin there.
    pub(crate) outbound_allow: Vec<Allowed>,
    /// File with authorities that plugins' requests trust beside the system's.
    pub(crate) outbound_ca_file: Option<PathBuf>,
    /// Keys that packages may be signed with, as `ed25519:` and base64, beside those in the database.
    pub(crate) trusted_keys: Vec<String>,
    /// Whether packages need no signature.
    pub(crate) allow_unsigned: bool,
    /// Compiled components; made again when it is lost.
    pub(crate) cache_dir: PathBuf,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    /// A `tracing` filter, `info` or `info,lectern_edge=debug`.
    pub(crate) level: String,
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that uses it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A configuration of values as the command line gives them, on a host with 8 processors and 16 GiB.
#[cfg(test)]
fn resolve(values: &[(&str, &str)]) -> Result<Config, Vec<reader::Mistake>> {
    let mut layers = Layers::default();
    for (key, value) in values {
        layers.add_flag(key, "--set", value);
    }
    Config::resolve(layers, std::path::Path::new("/srv"), 8, 16 << 30, |_| Seen::default())
}

/// Keys that begin so and are in no table of these pages.
#[cfg(test)]
fn undocumented(config: &Config, prefix: &str, pages: &[&str]) -> Vec<&'static str> {
    let keys = config.effective.iter().map(|one| one.key).filter(|key| key.starts_with(prefix));
    keys.filter(|key| !pages.iter().any(|page| page.contains(&format!("| `{key}` |")))).collect()
}
