//! Makes launch specifications: the bundle's files, its environment, its variables, its account.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use lectern_domain::PythonFramework;
use lectern_domain::confinement::Relay;
use lectern_domain::launch::{Account, LaunchSpec, Prepared, Program};
use lectern_domain::manifest::Manifest;
use lectern_domain::snapshot::{BundleEntry, ContentEntry};
use lectern_domain::{ContentId, JobKey};
use lectern_metadata::content::Traits;
use lectern_runtimes::launch::{Credentials, LaunchContext};

use crate::config::Sandbox;
use crate::content_keys::ContentKeys;
use crate::paths::Paths;
use crate::runtimes::{Restore, Runtimes};
use crate::seal::Sealer;
use crate::trees::BundleFiles;

/// Content items that can have an account of their own.
const ACCOUNTS: i64 = 65_536;

/// Everything that a launch takes.
pub(crate) struct Launcher {
    pub(crate) paths: Paths,
    pub(crate) files: BundleFiles,
    pub(crate) runtimes: Arc<Runtimes>,
    pub(crate) sealer: Arc<Sealer>,
    /// First account of content; `None` when this server may not change accounts.
    pub(crate) first_uid: Option<u32>,
    /// The server's address as content is told it, without a trailing slash; `None`: it is told none.
    pub(crate) server_url: Option<String>,
    /// The way there, for content with a network of its own.
    pub(crate) relay: Option<Relay>,
    /// What processes speak with this server by.
    pub(crate) keys: Arc<ContentKeys>,
    pub(crate) stop_grace: Duration,
    pub(crate) log_limit_bytes: u64,
    /// Of content that sets none of its own.
    pub(crate) max_conns_per_process: u32,
    /// The walls around every worker, and the profiles of single items.
    pub(crate) sandbox: Sandbox,
    /// Whether workers may come from zygotes.
    pub(crate) zygotes: bool,
}

/// The protocol's word for what a job does.
pub(super) fn job_tag(program: &Program) -> &'static str {
    match program {
        Program::PythonAsgi { .. } => "run_fastapi_app",
        Program::PythonWsgi { .. } => "run_python_api",
        Program::PythonApp { framework, .. } => match framework {
            PythonFramework::Dash => "run_dash_app",
            PythonFramework::Streamlit => "run_streamlit",
            // The protocol has no word for Panel, which is a Bokeh server, nor for Gradio, which is a FastAPI application.
            PythonFramework::Bokeh | PythonFramework::Panel => "run_bokeh_app",
            PythonFramework::Shiny => "run_pyshiny_app",
            PythonFramework::Gradio => "run_fastapi_app",
            PythonFramework::Voila => "run_voila_app",
        },
        Program::Plumber { .. } | Program::Engine { .. } => "run_api",
        Program::Shiny { .. } | Program::Node { .. } => "run_app",
        Program::RmdShiny { .. } | Program::QuartoShiny { .. } => "render_shiny",
        Program::Static { .. } => "unknown",
    }
}

/// What content is told of this server's address, and where somebody must listen inside so that it is reached there: where it is an
/// address of the host's loopback, or of all the host's, and this server itself speaks plain HTTP at its root. Others are reached, or
/// not, by the way that there is out of content's network.
pub(crate) fn server_as_content_sees_it(mut url: url::Url, encrypted: bool) -> (String, Option<SocketAddr>) {
    let ip = match url.host() {
        Some(url::Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
        Some(url::Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
        Some(url::Host::Domain("localhost")) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Some(url::Host::Domain(_)) | None => None,
    };
    // Nobody is at "all addresses"; whoever asks there means this host.
    let ip = ip.map(|ip| match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    });
    let named = matches!(url.host(), Some(url::Host::Domain(_)));
    if let (Some(ip), false) = (ip, named) {
        // It was an address before: one is allowed there.
        let _ = url.set_ip_host(ip);
    }
    let plain = url.scheme() == "http" && !encrypted && url.path() == "/";
    let listen = ip.filter(|ip| plain && ip.is_loopback()).zip(url.port_or_known_default());
    (url.as_str().trim_end_matches('/').to_owned(), listen.map(SocketAddr::from))
}

/// The account of a content item: the first one plus its row number.
fn account(first_uid: u32, content: ContentId) -> anyhow::Result<Account> {
    match u32::try_from(content.0) {
        Ok(number) if i64::from(number) < ACCOUNTS => Ok(Account { uid: first_uid + number, gid: first_uid + number }),
        _ => {
            bail!("content number {content} is beyond the {ACCOUNTS} accounts from sandbox.first_uid = {first_uid} on")
        }
    }
}

impl Launcher {
    /// The account that content runs as; `None`: the server's own.
    pub(super) fn account(&self, content: ContentId) -> Option<Account> {
        self.first_uid.and_then(|first| account(first, content).ok())
    }

    /// Makes the specification of one worker. Fetches, unpacks and restores what is not on this node.
    pub(super) async fn spec(
        &self,
        content: &ContentEntry,
        bundle: &BundleEntry,
        job: &JobKey,
        init_timeout: Duration,
    ) -> anyhow::Result<LaunchSpec> {
        let tree = self.files.tree(bundle.hash).await.with_context(|| format!("unpack bundle {}", bundle.id))?;
        let mut variables = Vec::with_capacity(content.sealed_variables.len());
        for (name, sealed) in &content.sealed_variables {
            variables.push((name.clone(), self.sealer.open_value(content.guid, name, sealed)?));
        }
        let private = self.paths.worker(bundle.id, job);
        // In a directory of its own: it is all of the host that the worker can write to.
        let socket = private.join("s/s");
        let log = self.paths.job_log(job);
        let own = content.processes.max_conns_per_process.and_then(|most| u32::try_from(most).ok());
        let mut walls = self.sandbox.walls.clone().with_own(content.limits, self.sandbox.most);
        if let Some(profile) = self.sandbox.profiles.get(&content.guid) {
            walls.profile = *profile;
        }
        walls.relay.clone_from(&self.relay);
        let given = self.keys.given(content.guid, job);
        let context = LaunchContext {
            job: job.clone(),
            content: content.guid,
            bundle: bundle.id,
            tree: &tree,
            private: &private,
            socket: &socket,
            log: &log,
            log_limit_bytes: self.log_limit_bytes,
            account: self.first_uid.map(|first| account(first, content.id)).transpose()?,
            public_url: self.server_url.as_deref(),
            credentials: Some(Credentials {
                api_key: given.api_key.as_ref().map(|key| key.as_str()),
                session_token: &given.session_token,
            }),
            variables: &variables,
            max_conns_per_process: own.unwrap_or(self.max_conns_per_process),
            init_timeout,
            stop_grace: self.stop_grace,
            walls: &walls,
            zygotes: self.zygotes,
        };
        match self.runtimes.inner.launch(&bundle.prepared, &context) {
            Err(error) if error.needs_preparing() => {
                tracing::info!(content.id = %content.guid, bundle.id = %bundle.id, %error, "preparing a bundle on this node");
                let prepared = self.prepare_again(&tree, &bundle.prepared).await?;
                Ok(self.runtimes.inner.launch(&prepared, &context)?)
            }
            made => Ok(made?),
        }
    }

    /// Restores an environment that was prepared on another node, or cleaned away.
    async fn prepare_again(&self, tree: &std::path::Path, before: &Prepared) -> anyhow::Result<Prepared> {
        let path = tree.join("manifest.json");
        let bytes = tokio::fs::read(&path).await.with_context(|| format!("read {}", path.display()))?;
        let manifest = Manifest::parse(&bytes).context("read the bundle's manifest")?;
        let mut log = |line: &str| tracing::info!(line, "preparing a bundle");
        let prepared =
            self.runtimes.prepare(tree, &manifest, &Traits::default(), Restore::like(before), &mut log).await;
        Ok(prepared.map_err(anyhow::Error::msg)?.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_server_is_offered_inside_where_it_is_on_loopback() {
        let check = |url: &str, encrypted, told: &str, listen: Option<&str>| {
            let listen = listen.map(|listen| listen.parse().unwrap());
            assert_eq!(server_as_content_sees_it(url.parse().unwrap(), encrypted), (told.to_owned(), listen), "{url}");
        };
        check("http://127.0.0.1:3939", false, "http://127.0.0.1:3939", Some("127.0.0.1:3939"));
        check("http://0.0.0.0:3939/", false, "http://127.0.0.1:3939", Some("127.0.0.1:3939"));
        check("http://[::]:3939", false, "http://[::1]:3939", Some("[::1]:3939"));
        check("http://localhost", false, "http://localhost", Some("127.0.0.1:80"));
        check("http://localhost:3939/lectern", false, "http://localhost:3939/lectern", None);
        check("https://127.0.0.1:3939", true, "https://127.0.0.1:3939", None);
        check("http://192.0.2.7:3939", false, "http://192.0.2.7:3939", None);
        check("https://apps.example.org/x/", false, "https://apps.example.org/x", None);
    }

    #[test]
    fn every_item_has_an_account_of_its_own() {
        assert_eq!(account(200_000, ContentId(1)).unwrap(), Account { uid: 200_001, gid: 200_001 });
        assert_eq!(account(200_000, ContentId(65_535)).unwrap().uid, 265_535);
        assert!(account(200_000, ContentId(65_536)).is_err());
        assert!(account(200_000, ContentId(i64::MAX)).is_err());
    }
}
