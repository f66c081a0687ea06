//! The rest of the server as the API sees it.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};
use lectern_api::providers::{FormAnswer, FormFailure, SentForm};
use lectern_api::{
    Backstage, BegunSession, ContentProcess, GitRemote, IdToken, IdTokenRefusal, LogLine, LogLines, LogSource,
    Part as ApiPart, PasswordError, RuntimeCache, Runtimes as ApiRuntimes,
};
use lectern_domain::integrations::Place;
use lectern_domain::launch::EnvironmentId;
use lectern_domain::snapshot::BundleEntry;
use lectern_domain::{BundleHash, BundleId, ContentGuid, JobKey, TaskId, UserGuid};
use lectern_gate::{PasswordRefusal, SESSION_COOKIE};
use lectern_metadata::Part;
use lectern_runtimes::python::environments::Cached;
use lectern_supervisor::Source;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::content_keys::ContentKeys;
use crate::credentials;
use crate::deploy::News;
use crate::directory::ServerDirectory;
use crate::fleet::Fleet;
use crate::git::MaybeRepositories;
use crate::id_tokens::IdTokens;
use crate::joblog::{self, LogFollowers};
use crate::outbound::Forms;
use crate::paths::Paths;
use crate::runtimes::Runtimes;
use crate::seal::Sealer;
use crate::sessions::DatabaseSessions;
use crate::view::View;

/// A change is committed; where the database fails right after, the view follows by notification. No client waits longer.
const REFRESH_LIMIT: Duration = Duration::from_secs(10);

/// The language of package environments, as clients name it.
const PYTHON: &str = "Python";

/// What the API asks of the server.
pub(crate) struct ServerBackstage {
    pub(crate) view: Arc<View>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) runtimes: Arc<Runtimes>,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) keys: Arc<ContentKeys>,
    /// `None`: no issuer is configured.
    pub(crate) id_tokens: Option<IdTokens>,
    pub(crate) news: Arc<News>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) directory: Arc<ServerDirectory>,
    pub(crate) sessions: DatabaseSessions,
    pub(crate) git: MaybeRepositories,
    pub(crate) paths: Paths,
    pub(crate) followers: LogFollowers,
    pub(crate) stop: CancellationToken,
    pub(crate) forms: Forms,
}

#[async_trait]
impl Backstage for ServerBackstage {
    fn runtimes(&self) -> ApiRuntimes {
        let (python, r) = self.runtimes.versions();
        let (nodejs, quarto) = self.runtimes.more_versions();
        ApiRuntimes { python, r, quarto, nodejs }
    }

    fn git(&self) -> Result<Arc<dyn GitRemote>, String> {
        self.git.clone().map(|git| git as Arc<dyn GitRemote>)
    }

    async fn refresh(&self, part: ApiPart) {
        let part = match part {
            ApiPart::Content(_) | ApiPart::Groups => Part::Content,
            ApiPart::Users => Part::Users,
            ApiPart::Keys => Part::Keys,
            ApiPart::Sessions => Part::Sessions,
        };
        let refreshing = self.view.refresh_patiently(part, &self.stop);
        if tokio::time::timeout(REFRESH_LIMIT, refreshing).await.is_err() {
            tracing::warn!(?part, "the view is behind a change that was committed");
        }
        if part == Part::Content {
            self.fleet.reconcile();
        }
    }

    fn task_queued(&self) {
        self.wake.notify_one();
    }

    async fn wait_for_news(&self, task: &TaskId, after_line: i64, wait: Duration) {
        self.news.wait(task, after_line, wait).await;
    }

    async fn variables_changed(&self, content: ContentGuid) {
        self.fleet.retire(content, None).await;
    }

    async fn content_deleted(&self, content: ContentGuid, _bundles: &[BundleHash]) {
        // The bytes are left to the collection of the store: another item may be about to refer to them.
        self.fleet.forget(content).await;
    }

    async fn bundle_deleted(&self, content: ContentGuid, bundle: BundleId, _hash: BundleHash) {
        self.fleet.retire_bundle((content, bundle)).await;
    }

    fn seal(&self, content: ContentGuid, name: &str, value: &str) -> anyhow::Result<Vec<u8>> {
        self.sealer.seal(content, name, value)
    }

    fn visitor_key(&self) -> [u8; 32] {
        self.sealer.visitor_key()
    }

    fn seal_for(&self, place: Place, value: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.sealer.seal_for(place, value)
    }

    fn open_for(&self, place: Place, sealed: &[u8]) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        self.sealer.open_for(place, sealed)
    }

    fn content_of_token(&self, token: &str) -> Option<ContentGuid> {
        self.keys.content_of_token(token)
    }

    fn takes_id_tokens(&self) -> bool {
        self.id_tokens.is_some()
    }

    async fn verify_id_token(&self, token: &str) -> Result<IdToken, IdTokenRefusal> {
        self.id_tokens.as_ref().ok_or(IdTokenRefusal::NotTaken)?.verify(token).await
    }

    async fn send_form(&self, form: SentForm) -> Result<FormAnswer, FormFailure> {
        self.forms.send(form).await
    }

    async fn job_log(&self, job: &JobKey, most: usize) -> std::io::Result<Vec<LogLine>> {
        let path = self.paths.job_log(job);
        let lines = tokio::task::spawn_blocking(move || joblog::tail(&path, most)).await??;
        Ok(lines.into_iter().map(shown).collect())
    }

    fn job_log_after(&self, job: &JobKey, after: u64, follow: bool) -> LogLines {
        let (fleet, key) = (Arc::clone(&self.fleet), job.clone());
        let lines = self.followers.follow(self.paths.job_log(job), after, move || follow && fleet.runs(&key));
        lines.map_ok(|lines| lines.into_iter().map(shown).collect()).boxed()
    }

    fn job_runs(&self, job: &JobKey) -> bool {
        self.fleet.runs(job)
    }

    async fn end_job(&self, job: &JobKey, username: &str) -> anyhow::Result<bool> {
        self.fleet.end_job(job, username).await.with_context(|| format!("end job {job}"))
    }

    async fn processes(&self) -> Vec<ContentProcess> {
        self.fleet.processes().await
    }

    async fn runtime_caches(&self) -> anyhow::Result<Vec<RuntimeCache>> {
        let runtimes = Arc::clone(&self.runtimes);
        let found = tokio::task::spawn_blocking(move || runtimes.inner.environments().list()).await??;
        let cache = |cached: Cached| RuntimeCache { language: PYTHON.into(), version: cached.python_version };
        let each: BTreeSet<RuntimeCache> = found.into_iter().map(cache).collect();
        Ok(each.into_iter().collect())
    }

    async fn remove_runtime_cache(&self, cache: &RuntimeCache) -> anyhow::Result<usize> {
        if cache.language != PYTHON {
            return Ok(0);
        }
        let (runtimes, version) = (Arc::clone(&self.runtimes), cache.version.clone());
        let remove = move || {
            let environments = runtimes.inner.environments();
            let ids: HashSet<EnvironmentId> = environments
                .list()?
                .into_iter()
                .filter(|cached| cached.python_version == version)
                .map(|c| c.id)
                .collect();
            for id in &ids {
                environments.remove(id)?;
            }
            Ok::<_, lectern_runtimes::python::RestoreError>(ids)
        };
        let removed = tokio::task::spawn_blocking(remove).await??;
        // What runs with them has lost the files that it has not read yet.
        let uses = |bundle: &BundleEntry| bundle.prepared.environment.as_ref().is_some_and(|id| removed.contains(id));
        for content in self.view.current().content.values() {
            for bundle in content.bundles.values().filter(|bundle| uses(bundle)) {
                self.fleet.retire_bundle((content.guid, bundle.id)).await;
            }
        }
        Ok(removed.len())
    }

    async fn hash_password(&self, password: Zeroizing<String>) -> Result<String, PasswordError> {
        credentials::check_new_password(&password).map_err(PasswordError::Refused)?;
        credentials::hash_password(password.to_string()).await.map_err(PasswordError::Failed)
    }

    async fn check_password(
        &self,
        client: IpAddr,
        username: &str,
        password: Zeroizing<String>,
    ) -> Result<bool, PasswordError> {
        match self.directory.account_with(client, username, &password).await {
            Ok(_) => Ok(true),
            Err(PasswordRefusal::Wrong) => Ok(false),
            Err(PasswordRefusal::Throttled(wait)) => Err(PasswordError::Throttled(wait)),
            Err(PasswordRefusal::Unavailable) => {
                Err(PasswordError::Failed(anyhow::anyhow!("the accounts cannot be read")))
            }
        }
    }

    async fn begin_session(&self, user: UserGuid) -> anyhow::Result<BegunSession> {
        let session = self.sessions.begin(user).await?;
        let hash = credentials::secret_hash(&session.token);
        Ok(BegunSession {
            cookie: SESSION_COOKIE,
            token: Zeroizing::new(session.token),
            max_age: session.max_age,
            hash,
        })
    }
}

fn shown(line: lectern_supervisor::LogLine) -> LogLine {
    let source = match line.source {
        Source::Stdout => LogSource::Stdout,
        Source::Stderr => LogSource::Stderr,
    };
    LogLine { number: line.n, source, at: line.time, text: line.data }
}
