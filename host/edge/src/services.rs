//! What the edge is given: the gate, the snapshot, and the parts of the server behind narrow traits.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use lectern_domain::snapshot::{BundleEntry, ContentEntry, Snapshot};
use lectern_domain::{BundleId, ContentId, Principal, UserGuid, UserId};
use lectern_gate::{Gate, Scheme};

use crate::body::{EdgeBody, RequestBody};
use crate::request_id::RequestId;
use crate::worker::Workers;

/// Everything that the request path uses.
#[derive(Clone)]
pub struct Services {
    /// Routes and authenticates.
    pub gate: Arc<Gate>,
    /// Content, accounts and permissions as of now; a request reads it once.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Makes and ends browser sessions.
    pub sessions: Arc<dyn Sessions>,
    /// The API and the dashboard.
    pub system: Arc<dyn SystemService>,
    /// The processes that run content.
    pub workers: Arc<dyn Workers>,
    /// Unpacked bundles.
    pub trees: Arc<dyn Trees>,
    /// Pictures of content.
    pub thumbnails: Arc<dyn Thumbnails>,
    /// Counts visits of content.
    pub visits: Arc<dyn Visits>,
    /// Whether the server is ready.
    pub health: Arc<dyn Health>,
}

/// A part of the server could not do what was asked. The text is for the log; the client gets 503.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Unavailable {
    /// What was tried.
    pub what: String,
    /// Why it failed.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A browser session that was just made.
pub struct NewSession {
    /// The secret that the cookie carries: letters, digits, `-` and `_`.
    pub token: String,
    /// How long the browser keeps it.
    pub max_age: Duration,
}

impl std::fmt::Debug for NewSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewSession").field("max_age", &self.max_age).finish_non_exhaustive()
    }
}

/// Who makes and ends browser sessions. When a call returns, the snapshot shows it.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Starts a session of this user, who is known and not locked. `groups` are what `plugin` says of them; both are kept with
    /// the session.
    async fn create(&self, user: UserGuid, groups: Vec<String>, plugin: &str) -> Result<NewSession, Unavailable>;

    /// Ends the session of this token, if there is one.
    async fn end(&self, token: &str) -> Result<(), Unavailable>;
}

/// Who has unpacked bundles.
#[async_trait]
pub trait Trees: Send + Sync {
    /// The directory that holds the bundle's files: read-only, and without links that leave it. Unpacks when needed.
    async fn tree(&self, bundle: &BundleEntry) -> Result<PathBuf, Unavailable>;
}

/// Who has the pictures of content.
#[async_trait]
pub trait Thumbnails: Send + Sync {
    /// The bytes of the content's picture, if it is still the one of this hash.
    async fn thumbnail(&self, content: &ContentEntry, hash: &[u8; 32]) -> Result<Option<Bytes>, Unavailable>;
}

/// A visit of content, by somebody who may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen<'a> {
    /// What is visited.
    pub content: ContentId,
    /// What is shown.
    pub bundle: BundleId,
    /// Who comes, when known.
    pub user: Option<UserId>,
    /// The path inside the content, encoded, without the query.
    pub path: &'a str,
    /// How the client calls itself.
    pub user_agent: Option<&'a str>,
}

/// A use of an application, for as long as it is kept.
pub type Use = Box<dyn Send>;

/// Who counts visits.
pub trait Visits: Send + Sync {
    /// Notes a visit. Called on a thread that serves many: it does not wait, and may drop what is too much.
    fn note(&self, seen: &Seen<'_>);

    /// Notes that somebody begins to use a Shiny application; the use ends when what is answered is dropped. Does not wait
    /// either.
    fn begin(&self, content: ContentId, user: Option<UserId>) -> Use;
}

/// Whether the server can do its work.
pub trait Health: Send + Sync {
    /// Why it cannot publish now, in words that anybody may read. Content may be served all the same.
    fn ready(&self) -> Result<(), String>;
}

/// How a request came and who asks, for the parts of the server that authorize themselves.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user, when one is known.
    pub principal: Option<Principal>,
    /// A credential was given and is bad. The principal is absent, and an anonymous visitor's answer would be wrong.
    pub rejected: bool,
    /// The client's address, after trusted proxies.
    pub client: IpAddr,
    /// How the client reached the server.
    pub scheme: Scheme,
    /// `scheme://host[/prefix]` as the client sees this server, without a last slash.
    pub base_url: String,
    /// Names the request in the log.
    pub request_id: RequestId,
}

/// The parts of the server that requests are routed to besides content.
pub trait SystemService: Send + Sync {
    /// Answers a request. Called on a thread that serves many: work of more than a few milliseconds belongs elsewhere (the API
    /// spawns on its own runtime). May be dropped at any moment: the client left.
    ///
    /// A response with [`SignIn`] among its extensions is replaced by the gate's challenge, if there is one.
    fn call(
        &self,
        target: lectern_gate::System,
        caller: Caller,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Response<EdgeBody>>;
}

/// Marks a response of [`SystemService::call`]: signing in may help. The response itself is sent where nobody can ask for that.
#[derive(Debug, Clone, Copy)]
pub struct SignIn;
