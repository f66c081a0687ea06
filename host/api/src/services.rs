//! What the API is given: the database, the bundle store, the settings, and [`Backstage`], the rest of the server as
//! seen from here.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use lectern_bundles::{Cache, Store};
use lectern_domain::content::ProcessLimits;
use lectern_domain::ids::{BundleHash, BundleId, ContentGuid, ContentId, JobKey, TaskId, UserGuid};
use lectern_domain::integrations::Place;
use lectern_domain::scaling::MOST_CONNS;
use lectern_metadata::Database;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use url::Url;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::followed::Followed;
use crate::providers::{FormAnswer, FormFailure, SentForm, ServiceTokens};
use crate::remote::GitRemote;

/// The version announced to clients; it decides which of their features they switch on.
pub const ANNOUNCED_VERSION: &str = "2026.01.0";

/// Uploads received at a time. Each holds one blocking thread and a few chunks of memory; the runtime has 512 blocking
/// threads, which downloads, hashing and unpacking need as well.
const UPLOADS_AT_A_TIME: usize = 32;

/// Everything a handler may use. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    /// Metadata.
    pub database: Database,
    /// The shared bundle store.
    pub store: Arc<Store>,
    /// Verified local copies of stored bundles.
    pub cache: Arc<Cache>,
    /// The rest of the server.
    pub backstage: Arc<dyn Backstage>,
    /// What the operator chose.
    pub settings: Arc<Settings>,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) followed: Followed,
    pub(crate) service_tokens: ServiceTokens,
}

impl Services {
    /// Puts the parts together.
    pub fn new(
        database: Database,
        store: Arc<Store>,
        cache: Arc<Cache>,
        backstage: Arc<dyn Backstage>,
        settings: Settings,
    ) -> Self {
        let uploads = Arc::new(Semaphore::new(UPLOADS_AT_A_TIME));
        let settings = Arc::new(settings);
        let (followed, service_tokens) = (Followed::default(), ServiceTokens::default());
        Self { database, store, cache, backstage, settings, uploads, followed, service_tokens }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Knows how people sign in and out, which the plugins decide that are bound at the time.
pub trait Logout: Send + Sync {
    /// The path below the server's address: `/__plugin__/password-login/sign-out`, for example.
    fn path(&self) -> String;

    /// Whether people sign in with a password that this server keeps.
    fn takes_passwords(&self) -> bool;
}

/// The operator's choices, as far as the API shows or enforces them.
pub struct Settings {
    /// The server's address outside; absent: as each client addressed it.
    pub public_url: Option<Url>,
    /// This host's name, shown in the server settings and in jobs.
    pub hostname: String,
    /// Largest bundle accepted, in bytes.
    pub max_bundle_bytes: u64,
    /// Defaults and limits of content processes.
    pub scheduler: Scheduler,
    /// Where signing out is.
    pub logout: Arc<dyn Logout>,
    /// The account content runs as where items have no account of their own; shown to administrators.
    pub run_as: String,
    /// The decoded secret of the bootstrap token; absent: bootstrap is off.
    pub bootstrap_secret: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("public_url", &self.public_url.as_ref().map(Url::as_str))
            .field("hostname", &self.hostname)
            .field("max_bundle_bytes", &self.max_bundle_bytes)
            .field("scheduler", &self.scheduler)
            .field("run_as", &self.run_as)
            .field("bootstrap", &self.bootstrap_secret.is_some())
            .finish_non_exhaustive()
    }
}

/// Defaults and limits of content processes, per content item.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheduler {
    /// Processes kept up without traffic.
    pub min_processes: i32,
    /// Most processes at a time.
    pub max_processes: i32,
    /// Connections one process may hold.
    pub max_conns_per_process: i32,
    /// How early another process starts: 0 eagerly, 1 only when full.
    pub load_factor: f64,
    /// Seconds until a process must accept a connection.
    pub init_timeout: i32,
    /// Seconds a process is kept after its last connection.
    pub idle_timeout: i32,
    /// Seconds without bytes either way.
    pub connection_timeout: i32,
    /// Seconds without bytes from the client.
    pub read_timeout: i32,
    /// The most a publisher may choose for `min_processes`.
    pub min_processes_limit: i32,
    /// The most a publisher may choose for `max_processes`.
    pub max_processes_limit: i32,
}

impl Scheduler {
    /// The most that publishers may choose.
    pub fn limits(&self) -> ProcessLimits {
        ProcessLimits {
            max_processes: self.max_processes_limit,
            min_processes: self.min_processes_limit,
            // No pool gives one process more, so a larger number would only be misread.
            max_conns_per_process: i32::try_from(MOST_CONNS).unwrap_or(i32::MAX),
        }
    }
}

impl Default for Scheduler {
    /// What publishers of this protocol are used to.
    fn default() -> Self {
        Self {
            min_processes: 0,
            max_processes: 3,
            max_conns_per_process: 20,
            load_factor: 0.5,
            init_timeout: 60,
            idle_timeout: 120,
            connection_timeout: 3600,
            read_timeout: 3600,
            min_processes_limit: 20,
            max_processes_limit: 20,
        }
    }
}

/// A part of the snapshot that a change touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// One content item: settings, permissions, variables, vanity path, active bundle; or that it is gone.
    Content(ContentGuid),
    /// Accounts.
    Users,
    /// API keys.
    Keys,
    /// Browser sessions.
    Sessions,
    /// Groups, and with them who may do what with content that lists them.
    Groups,
}

/// The versions of one language on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runtimes {
    /// Full versions of Python, best first.
    pub python: Vec<String>,
    /// Full versions of R.
    pub r: Vec<String>,
    /// Full versions of Quarto.
    pub quarto: Vec<String>,
    /// Full versions of Node.js.
    pub nodejs: Vec<String>,
}

/// A process of content as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct ContentProcess {
    /// Its process number on this host.
    pub pid: u32,
    /// Its job.
    pub job: JobKey,
    /// Whose content it runs.
    pub content: ContentId,
    /// The content's GUID.
    pub guid: ContentGuid,
    /// The content's name.
    pub name: String,
    /// The account it runs as; `None`: the server's own.
    pub run_as: Option<String>,
    /// The protocol's word for what it does.
    pub tag: &'static str,
    /// Processors in use of late: 1.5 is one and a half.
    pub cores: f64,
    /// Processor time since it began, with all that it started.
    pub cpu: Duration,
    /// Memory it holds, with all that it started.
    pub memory_bytes: u64,
}

/// Lines of a log in pieces, as they come.
pub type LogLines = BoxStream<'static, std::io::Result<Vec<LogLine>>>;

/// The package environments of one version of a language.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuntimeCache {
    /// `Python`.
    pub language: String,
    /// The full version of the interpreter they are for.
    pub version: String,
}

/// A line of a job's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Its number, from 1 and growing; 0 where lines are not numbered.
    pub number: u64,
    /// Which stream it was written to.
    pub source: LogSource,
    /// When it was written.
    pub at: OffsetDateTime,
    /// The line, without its end.
    pub text: String,
}

/// A stream of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The rest of the server, as the API needs it. The binary implements it; tests have their own.
///
/// No method may take longer than a client waits for an ordinary answer, except where a wait is an argument.
#[async_trait]
pub trait Backstage: Send + Sync + 'static {
    /// The interpreters found on this host.
    fn runtimes(&self) -> Runtimes;

    /// Returns when this server's snapshot shows the changes committed so far to `part`.
    ///
    /// Called after each commit and before the answer, so that a client sees its own writes. Where the database fails
    /// just then, the implementation goes on trying by itself and returns after a bound of its own: the change is
    /// committed, so the client must not be told otherwise.
    async fn refresh(&self, part: Part);

    /// Repositories that content is made of, or why there are none here, for whoever wanted to use one.
    fn git(&self) -> Result<Arc<dyn GitRemote>, String> {
        Err("git-managed content is switched off on this server".to_owned())
    }

    /// A task was queued: whoever performs tasks may look now rather than at its next round.
    fn task_queued(&self);

    /// Returns when `task` has a line beyond the `after_line` first ones or has finished, at the latest after `wait`.
    /// May return early without news. Dropping the future is safe.
    async fn wait_for_news(&self, task: &TaskId, after_line: i64, wait: Duration);

    /// The variables of `content` changed: its processes must be started anew.
    async fn variables_changed(&self, content: ContentGuid);

    /// `content` is gone: its processes must end; `bundles` may have become unreferenced.
    async fn content_deleted(&self, content: ContentGuid, bundles: &[BundleHash]);

    /// A bundle of `content` is gone: a process serving it must end; its bytes may have become unreferenced.
    async fn bundle_deleted(&self, content: ContentGuid, bundle: BundleId, hash: BundleHash);

    /// Encrypts an environment variable's value for storage, bound to its content and name.
    fn seal(&self, content: ContentGuid, name: &str, value: &str) -> anyhow::Result<Vec<u8>>;

    /// The key behind tokens that tell content who visits ([`lectern_domain::integrations::visitor`]), and behind visitors' keys.
    fn visitor_key(&self) -> [u8; 32];

    /// Encrypts what integrations keep secret, bound to the place it is for.
    fn seal_for(&self, place: Place, value: &[u8]) -> anyhow::Result<Vec<u8>>;

    /// Opens what [`Self::seal_for`] made for the same place.
    fn open_for(&self, place: Place, sealed: &[u8]) -> anyhow::Result<Zeroizing<Vec<u8>>>;

    /// The content that a process of this host speaks for by this token; `None`: there is no such process (any more).
    fn content_of_token(&self, token: &str) -> Option<ContentGuid>;

    /// Sends a form to a server that an administrator named, and answers what came back. Reaches what the operator allows and
    /// nothing else, follows no redirect, and is bounded in time and size.
    async fn send_form(&self, form: SentForm) -> Result<FormAnswer, FormFailure>;

    /// The last `most` lines of a job's log, oldest first; empty when there is none (any more).
    async fn job_log(&self, job: &JobKey, most: usize) -> std::io::Result<Vec<LogLine>>;

    /// The lines of a job's log after number `after`, oldest first; with `follow` also those to come, until the job ends or
    /// this server does. Dropping the stream ends the reading.
    fn job_log_after(&self, job: &JobKey, after: u64, follow: bool) -> LogLines;

    /// Whether a process runs on this host, or is about to.
    fn job_runs(&self, job: &JobKey) -> bool;

    /// Ends a process because `username` wants it to; `false` when it does not run. Returns before it has ended.
    async fn end_job(&self, job: &JobKey, username: &str) -> anyhow::Result<bool>;

    /// The processes of content on this host, measured now.
    async fn processes(&self) -> Vec<ContentProcess>;

    /// The restored package environments on this host, by language and version.
    async fn runtime_caches(&self) -> anyhow::Result<Vec<RuntimeCache>>;

    /// Removes the environments of `cache` and ends what runs with them, which is restored when it is next asked for;
    /// answers how many there were. Takes as long as removing their files does. Can be repeated.
    async fn remove_runtime_cache(&self, cache: &RuntimeCache) -> anyhow::Result<usize>;

    /// The text stored for a new password, made by a deliberately slow function on a blocking thread.
    async fn hash_password(&self, password: Zeroizing<String>) -> Result<String, PasswordError>;

    /// Whether this is the password of the account of this name, whatever state that is in; unknown accounts cost the same
    /// time. Failures are counted against `client`, and too many make it wait.
    async fn check_password(
        &self,
        client: IpAddr,
        username: &str,
        password: Zeroizing<String>,
    ) -> Result<bool, PasswordError>;

    /// Whether identity tokens of an issuer are taken for access tokens.
    fn takes_id_tokens(&self) -> bool;

    /// Whom an identity token vouches for, verified by the keys of the issuer that the operator trusts.
    async fn verify_id_token(&self, token: &str) -> Result<IdToken, IdTokenRefusal>;

    /// Begins a session of this user as a browser's; the snapshot shows it when this returns.
    async fn begin_session(&self, user: UserGuid) -> anyhow::Result<BegunSession>;
}

/// What a good identity token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdToken {
    /// Who vouches.
    pub issuer: String,
    /// The name that never changes there.
    pub subject: String,
    /// Tells the token from all others, however it is signed.
    pub mark: [u8; 32],
    /// From when on the token is refused by itself.
    pub good_until: OffsetDateTime,
}

/// Why an identity token vouches for nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdTokenRefusal {
    /// The operator trusts no issuer.
    NotTaken,
    /// It is not good; the text says why, for who sent it.
    Bad(String),
    /// It cannot be judged now; the text says why.
    Unavailable(String),
}

/// A session that has begun.
pub struct BegunSession {
    /// The name of its cookie.
    pub cookie: &'static str,
    /// The cookie's value: the session's secret.
    pub token: Zeroizing<String>,
    /// How long it lasts at most.
    pub max_age: Duration,
    /// How the database knows it.
    pub hash: [u8; 32],
}

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It breaks the rule for passwords; the text says which, for the person who chose it.
    #[error("{0}")]
    Refused(String),
    /// Too many wrong ones came from this client.
    #[error("too many wrong passwords came from this address; try again in {} seconds", .0.as_secs().max(1))]
    Throttled(Duration),
    /// A failure of ours.
    #[error("hash a password")]
    Failed(#[source] anyhow::Error),
}
