//! Git repositories that content is made of: reached over HTTP, one commit at a time, and turned into bundles.
//!
//! The server speaks to the repository's server, and git, behind walls, reads what that sends. See `lectern_domain::git` for
//! what is decided, and [`lectern_runtimes::git`] for what git does.

mod bundle;
mod failure;
mod poll;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use lectern_api::{BadGitUrl, GitRemote};
use lectern_bundles::Limits;
use lectern_domain::git::{Branch, Commit, Directory};
use lectern_domain::outbound::{Policy, Target};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Git as Settings};
use crate::outbound::{Authorities, HttpOutbound};
use crate::runtimes::Runtimes;
use failure::GitFailure;
pub(crate) use poll::Poller;

/// How long somebody waits for branches and directories: below the idle time-outs of common proxies (60 s).
const LOOK: Duration = Duration::from_secs(45);
/// Most files of a repository whose directories are listed: its list alone has a hundred MiB.
const MOST_LISTED: u64 = 1_000_000;

/// The repositories that this server may reach.
pub(crate) struct Repositories {
    settings: Settings,
    policy: Policy,
    outbound: HttpOutbound,
    runtimes: Arc<Runtimes>,
    /// What a bundle may hold.
    limits: Limits,
    max_bundle_bytes: u64,
    /// Bundles that are made at a time.
    makers: Semaphore,
    /// Looks at a time that somebody waits for.
    looks: Semaphore,
}

/// The repositories, or why there are none, in words for whoever wants to use one.
pub(crate) type MaybeRepositories = Result<Arc<Repositories>, String>;

impl Repositories {
    /// Puts it together, unless git is switched off or not there. To be called on the control runtime.
    pub(crate) fn start(config: &Config, runtimes: &Arc<Runtimes>) -> anyhow::Result<MaybeRepositories> {
        if !config.git.enabled {
            return Ok(Err("git-managed content is switched off on this server (git.enabled)".to_owned()));
        }
        if let Err(missing) = runtimes.inner.git().program() {
            tracing::warn!(error = %missing, "content cannot be made of git repositories");
            return Ok(Err(missing.to_string()));
        }
        let policy = Policy::new(config.outbound.allow.clone(), "outbound.allow");
        let authorities = Authorities { file: config.outbound.ca_file.as_deref(), setting: "outbound.ca_file" };
        let runtime = tokio::runtime::Handle::current();
        let outbound = HttpOutbound::new(policy.clone(), authorities, runtime).context("reach git repositories")?;
        Ok(Ok(Arc::new(Self {
            policy,
            outbound,
            runtimes: Arc::clone(runtimes),
            limits: Limits {
                max_entries: config.content.max_files,
                max_total_bytes: config.content.max_unpacked_bytes,
                ..Limits::default()
            },
            max_bundle_bytes: config.content.max_bundle_bytes,
            makers: Semaphore::new(config.git.concurrency),
            looks: Semaphore::new(config.git.concurrency),
            settings: config.git.clone(),
        })))
    }

    /// Where a repository is, if this server may go there as far as its URL tells.
    fn target(&self, url: &str) -> Result<Target, GitFailure> {
        let target = Target::parse(url)?;
        if target.as_str().contains('?') {
            return Err(GitFailure::Query);
        }
        self.policy.check_target(&target)?;
        Ok(target)
    }

    /// The commit that a branch is at. How many ask at a time is the caller's to bound.
    async fn commit_of(&self, url: &str, branch: &Branch) -> Result<Commit, GitFailure> {
        let target = self.target(url)?;
        Ok(self.advertised(&target).await?.resolve(branch)?)
    }

    async fn list_branches(&self, url: &str) -> Result<Vec<(String, Commit)>, GitFailure> {
        let target = self.target(url)?;
        let _permit = turn(&self.looks).await?;
        let found = self.advertised(&target).await?;
        Ok(found.branches().map(|(name, commit)| (name.to_owned(), commit)).collect())
    }

    async fn list_directories(&self, url: &str, branch: &Branch) -> Result<Vec<String>, GitFailure> {
        let target = self.target(url)?;
        let _permit = turn(&self.looks).await?;
        let git = self.runtimes.inner.git();
        let place = git.workplace()?;
        let packed = self.fetch(&target, branch, &place.pack()).await?;
        let what = (&Directory::default(), MOST_LISTED, u64::MAX);
        let commits = (packed.commit, packed.shallow.as_slice());
        Ok(git.read(&place, commits, what, &CancellationToken::new()).await?.manifest_directories())
    }
}

/// Waits for a turn.
async fn turn(permits: &Semaphore) -> Result<SemaphorePermit<'_>, GitFailure> {
    permits.acquire().await.map_err(|_| GitFailure::Stopping)
}

/// What came of a look that somebody waits for.
async fn in_time<T>(look: impl Future<Output = Result<T, GitFailure>>) -> Result<T, String> {
    let looked = tokio::time::timeout(LOOK, look).await.unwrap_or(Err(GitFailure::Late(LOOK)));
    looked.map_err(|failure| crate::cli::chain(&failure))
}

#[async_trait]
impl GitRemote for Repositories {
    fn check(&self, url: &str) -> Result<(), BadGitUrl> {
        self.target(url).map(drop).map_err(|failure| match failure {
            GitFailure::Refused(refused) => BadGitUrl::Refused(refused.to_string()),
            other => BadGitUrl::Malformed(other.to_string()),
        })
    }

    fn username(&self, url: &str) -> Option<String> {
        let target = Target::parse(url).ok()?;
        self.credential(&target).map(|credential| credential.username.clone())
    }

    fn interval(&self) -> Duration {
        self.settings.interval
    }

    async fn branches(&self, url: &str) -> Result<Vec<(String, Commit)>, String> {
        in_time(self.list_branches(url)).await
    }

    async fn manifest_directories(&self, url: &str, branch: &Branch) -> Result<Vec<String>, String> {
        in_time(self.list_directories(url, branch)).await
    }
}
