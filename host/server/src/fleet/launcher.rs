//! Makes launch specifications: the bundle's files, its environment, its variables, its account.

use std::time::Duration;

use std::sync::Arc;

use anyhow::{Context as _, bail};
use lectern_domain::PythonFramework;
use lectern_domain::launch::{Account, LaunchSpec, Prepared, Program};
use lectern_domain::manifest::Manifest;
use lectern_domain::snapshot::{BundleEntry, ContentEntry};
use lectern_domain::{ContentId, JobKey};
use lectern_metadata::content::Traits;
use lectern_runtimes::launch::LaunchContext;

use crate::config::Sandbox;
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
    /// The server's address outside, without a trailing slash.
    pub(crate) public_url: String,
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
            public_url: Some(&self.public_url),
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
    fn every_item_has_an_account_of_its_own() {
        assert_eq!(account(200_000, ContentId(1)).unwrap(), Account { uid: 200_001, gid: 200_001 });
        assert_eq!(account(200_000, ContentId(65_535)).unwrap().uid, 265_535);
        assert!(account(200_000, ContentId(65_536)).is_err());
        assert!(account(200_000, ContentId(i64::MAX)).is_err());
    }
}
