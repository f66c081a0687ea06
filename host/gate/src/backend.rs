//! What stands behind the imports that reach beyond the request: the server's accounts, store, secrets and network, or what a
//! test puts in their place. The gate checks grants and bounds before it asks any of them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use http::{HeaderMap, Method, StatusCode};
use lectern_domain::{Principal, UserRole};
use url::Url;
use zeroize::Zeroizing;

use crate::directory::Directory;
use crate::limiter::Buckets;
use crate::tokens::KeySets;

/// All of it. Cheap to clone.
#[derive(Clone)]
pub struct Backend {
    /// Accounts, keys, sessions and content, from memory.
    pub directory: Arc<dyn Directory>,
    /// Accounts linked to other directories.
    pub accounts: Arc<dyn Accounts>,
    /// The plugins' stores.
    pub store: Arc<dyn KeyValue>,
    /// The plugins' secrets.
    pub secrets: Arc<dyn Secrets>,
    /// HTTP requests.
    pub outbound: Arc<dyn Outbound>,
    /// Key sets for tokens; asks `outbound`.
    pub key_sets: Arc<KeySets>,
    /// Token buckets.
    pub buckets: Arc<dyn Limiter>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

impl Backend {
    /// A backend that looks up accounts and content, and has nothing else: no secrets, no store, no network.
    pub fn with_directory(directory: Arc<dyn Directory>) -> Self {
        let nothing = Arc::new(Nothing);
        Self {
            directory,
            accounts: Arc::clone(&nothing) as _,
            store: Arc::clone(&nothing) as _,
            secrets: Arc::clone(&nothing) as _,
            outbound: Arc::clone(&nothing) as _,
            key_sets: Arc::new(KeySets::new()),
            buckets: Arc::new(Buckets::new()),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Who tells the time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01 00:00 UTC; a clock before that reads as then.
    fn unix_millis(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_millis(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The plugins' token buckets. Called on threads that serve requests: answers from memory.
pub trait Limiter: Send + Sync {
    /// Takes one token from a bucket that holds at most `burst` and gets `per_minute` a minute. `None`: taken. `Some`: the seconds
    /// until there is one, at least 1.
    fn take(&self, plugin: &str, bucket: &str, per_minute: u32, burst: u32, now_ms: u64) -> Option<u32>;
}

impl Limiter for Buckets {
    fn take(&self, plugin: &str, bucket: &str, per_minute: u32, burst: u32, now_ms: u64) -> Option<u32> {
        Self::take(self, plugin, bucket, per_minute, burst, now_ms)
    }
}

/// A secret of a plugin. Never printed; overwritten when the last copy goes.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Takes the bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// The bytes, for whoever uses them.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where the plugins' secrets are. Called on threads that serve requests: answers from memory.
pub trait Secrets: Send + Sync {
    /// The secret of this name of this plugin. A changed secret is another release's concern: the gate asks each time.
    fn secret(&self, plugin: &str, name: &str) -> Option<Secret>;
}

/// Why the store did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// The plugin's share is used up.
    Quota,
    /// The key or the value is too large.
    TooLarge,
    /// The store cannot be reached; the text is for the log.
    Unavailable(String),
}

/// The plugins' stores: each plugin sees its own keys only. Sizes of keys and values are checked before.
#[async_trait]
pub trait KeyValue: Send + Sync {
    /// The value now.
    async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Sets it, for so long.
    async fn set(&self, plugin: &str, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> Result<(), StoreError>;
    /// Removes it.
    async fn delete(&self, plugin: &str, key: &str) -> Result<(), StoreError>;
    /// Sets it, or with `None` removes it, if it was `expected`; says whether it was.
    async fn swap(
        &self,
        plugin: &str,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        ttl: Option<Duration>,
    ) -> Result<bool, StoreError>;
}

/// One HTTP request of a plugin to an origin that it was granted. The credential, if any, is already among the fields.
#[derive(Clone)]
pub struct OutboundRequest {
    /// The method.
    pub method: Method,
    /// An absolute `https` or `http` address without user or fragment.
    pub url: Url,
    /// The fields; none of connection or framing.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// How long the whole exchange may take.
    pub timeout: Duration,
    /// Bytes of the answer's body; more is [`OutboundError::TooLarge`].
    pub max_body_bytes: usize,
}

impl fmt::Debug for OutboundRequest {
    // Fields and body may carry credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundRequest")
            .field("method", &self.method)
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

/// Its answer.
#[derive(Debug, Clone)]
pub struct OutboundResponse {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The address behind the name is not one that plugins may reach.
    #[error("{0}")]
    Forbidden(String),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// More than may be received.
    #[error("the answer is too large")]
    TooLarge,
    /// The connection failed.
    #[error("{0}")]
    Failed(String),
}

/// The network, for plugins: every address that a name resolves to is checked before it is connected to, and redirects are not
/// followed.
#[async_trait]
pub trait Outbound: Send + Sync {
    /// Makes the request.
    async fn fetch(&self, request: OutboundRequest) -> Result<OutboundResponse, OutboundError>;
}

/// Somebody as another directory describes them. Texts are bounded (256 bytes; groups: 1,000) and without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The directory.
    pub issuer: String,
    /// The name that never changes there.
    pub subject: String,
    /// User name wished for here.
    pub username: String,
    /// Address; empty: unknown.
    pub email: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Role to give; the grant allows it.
    pub role: Option<UserRole>,
    /// Whether an account may be made.
    pub create: bool,
}

/// Why nobody was signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignInRefusal {
    /// Nobody is linked, and no account may be made.
    Unknown,
    /// The account is locked.
    Locked,
    /// The user name is somebody else's.
    NameTaken,
    /// A part of the profile cannot be.
    Invalid(String),
    /// The accounts cannot be read or written at present.
    Unavailable,
}

/// Accounts linked to people of other directories.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// The account of this person, made or updated where the profile says so. The snapshot shows it when this returns.
    async fn sign_in(&self, profile: Profile) -> Result<Principal, SignInRefusal>;
}

/// Has nothing.
struct Nothing;

impl Secrets for Nothing {
    fn secret(&self, _: &str, _: &str) -> Option<Secret> {
        None
    }
}

fn no_store() -> StoreError {
    StoreError::Unavailable("this gate has no store".into())
}

#[async_trait]
impl KeyValue for Nothing {
    async fn get(&self, _: &str, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Err(no_store())
    }
    async fn set(&self, _: &str, _: &str, _: Vec<u8>, _: Option<Duration>) -> Result<(), StoreError> {
        Err(no_store())
    }
    async fn delete(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Err(no_store())
    }
    async fn swap(
        &self,
        _: &str,
        _: &str,
        _: Option<Vec<u8>>,
        _: Option<Vec<u8>>,
        _: Option<Duration>,
    ) -> Result<bool, StoreError> {
        Err(no_store())
    }
}

#[async_trait]
impl Outbound for Nothing {
    async fn fetch(&self, _: OutboundRequest) -> Result<OutboundResponse, OutboundError> {
        Err(OutboundError::Forbidden("this gate has no network".into()))
    }
}

#[async_trait]
impl Accounts for Nothing {
    async fn sign_in(&self, _: Profile) -> Result<Principal, SignInRefusal> {
        Err(SignInRefusal::Unavailable)
    }
}
