//! `cases/*.toml`: requests with the world around them and the decision that is expected, for authors and for admission.
//!
//! A case is data. Who runs it makes the request and the world from it, asks the component, and hands what happened as an
//! [`Outcome`] to [`compare`].

mod compare;
mod expect;
mod forms;
mod outcome;
mod read;
mod world;

use std::collections::BTreeMap;
use std::net::IpAddr;

use lectern_domain::ids::{ContentGuid, UserGuid};
use lectern_domain::plugin::Hook;
use lectern_domain::user::UserRole;
use serde_json::{Map, Value};

pub use compare::{Difference, Line, compare};
pub use expect::{Expect, Expectation, ExpectedIdentity, ExpectedReply};
pub use outcome::{Answer, FailureKind, Identity, Outcome, Reply, Rewrite};
pub use read::{CaseProblem, CasesError, read_cases};
pub(crate) use read::{check_hooks, read_all};

/// The longest file of cases, in bytes: written by hand, read by people.
pub const CASE_FILE_BYTES: usize = 256 * 1024;
/// The most cases of one package: each is run before a release takes traffic.
pub const MAX_CASES: usize = 500;

/// What a case calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaseHook {
    /// `routing.route` in the phase route: nobody is known yet.
    Route,
    /// `routing.route` in the phase select, with the target and perhaps a visitor known.
    Select,
    /// `auth.authenticate`.
    Authenticate,
    /// `pages.handle`.
    Page,
    /// `lifecycle.check`, with the case's configuration.
    Check,
}

impl CaseHook {
    /// All.
    pub const ALL: [Self; 5] = [Self::Route, Self::Select, Self::Authenticate, Self::Page, Self::Check];

    /// The word in a file of cases.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Select => "select",
            Self::Authenticate => "authenticate",
            Self::Page => "page",
            Self::Check => "check",
        }
    }

    /// The hook that a plugin must have for it; `None`: all have it.
    pub fn needs(self) -> Option<Hook> {
        match self {
            Self::Route | Self::Select => Some(Hook::Route),
            Self::Authenticate => Some(Hook::Authenticate),
            Self::Page => Some(Hook::Pages),
            Self::Check => None,
        }
    }
}

/// One case.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The file it stands in, without the directory: `headers.toml`.
    pub file: String,
    /// What it shows; unique in its file.
    pub name: String,
    /// What is called.
    pub hook: CaseHook,
    /// Configuration values over those of the manifest.
    pub config: Map<String, Value>,
    /// The request. For [`CaseHook::Check`] there is none, and this is the default one.
    pub request: Request,
    /// Who is asking; only for [`CaseHook::Select`].
    pub visitor: Option<Identity>,
    /// What the request was routed to; always for [`CaseHook::Select`], and perhaps for [`CaseHook::Authenticate`].
    pub target: Option<Target>,
    /// What the plugin's other questions are answered from.
    pub world: World,
    /// What must come out.
    pub expect: Expect,
}

/// How the client reached the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// The word in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The request of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method, a token.
    pub method: String,
    /// Path and query as a client sends them.
    pub target: String,
    /// Host and port as the client addressed them.
    pub host: String,
    /// With or without TLS.
    pub scheme: Scheme,
    /// The client's address, after trusted proxies.
    pub client_ip: IpAddr,
    /// The address of the other end of the connection; the client's unless there is a proxy.
    pub peer_ip: IpAddr,
    /// The certificate that the other end of the connection has proved to hold.
    pub client_certificate: Option<Certificate>,
    /// Fields: names in lower case, values in order.
    pub headers: Vec<(String, String)>,
    /// The body; only pages see it.
    pub body: Vec<u8>,
}

/// The request of a case that says nothing about it, and the parts of one that says little.
impl Default for Request {
    fn default() -> Self {
        // An address for documentation (RFC 5737).
        let address = IpAddr::from([192, 0, 2, 7]);
        Self {
            method: "GET".into(),
            target: "/".into(),
            host: "lectern.example".into(),
            scheme: Scheme::Https,
            client_ip: address,
            peer_ip: address,
            client_certificate: None,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }
}

/// A certificate of a client, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of its DER form, in lower-case hexadecimal digits.
    pub sha256: String,
    /// Its subject as RFC 4514 text.
    pub subject: String,
    /// The DNS names it is for.
    pub dns_names: Vec<String>,
}

/// What a request was routed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The content item.
    pub content: ContentGuid,
    /// The numbers of its bundles.
    pub bundles: Vec<i64>,
    /// The active one, one of `bundles`; `None`: none is.
    pub active: Option<i64>,
}

/// What a plugin's questions about anything but the request are answered from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// The time in milliseconds since 1970-01-01 00:00 UTC.
    pub now_unix_ms: u64,
    /// Vanity paths, with a slash at both ends.
    pub vanities: BTreeMap<String, ContentGuid>,
    /// The users in the directory.
    pub users: Vec<User>,
    /// API keys, and the names of the users whose they are.
    pub keys: BTreeMap<String, String>,
    /// Passwords by the user's name.
    pub passwords: BTreeMap<String, String>,
    /// The name of the user whose session the request carries.
    pub session: Option<String>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, String>,
    /// What the plugin's own store holds.
    pub key_values: BTreeMap<String, String>,
    /// Key sets (RFC 7517) by their address, as JSON text.
    pub jwks: BTreeMap<String, String>,
    /// Buckets of the limiter without a token, and the seconds until there is one. All others are full.
    pub buckets_empty: BTreeMap<String, u32>,
    /// Answers of other servers.
    pub fetches: Vec<Fetch>,
}

/// Nobody and nothing, at a fixed time: 2027-01-15 08:00 UTC.
impl Default for World {
    fn default() -> Self {
        Self {
            now_unix_ms: 1_800_000_000_000,
            vanities: BTreeMap::new(),
            users: Vec::new(),
            keys: BTreeMap::new(),
            passwords: BTreeMap::new(),
            session: None,
            secrets: BTreeMap::new(),
            key_values: BTreeMap::new(),
            jwks: BTreeMap::new(),
            buckets_empty: BTreeMap::new(),
            fetches: Vec::new(),
        }
    }
}

impl World {
    /// The user of that name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// The recorded answer to a call: the first that fits, however often it is made.
    pub fn fetch(&self, method: &str, url: &str, body: &[u8]) -> Option<&Fetch> {
        self.fetches.iter().find(|fetch| fetch.fits(method, url, body))
    }
}

/// A user in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name, unique in its world.
    pub name: String,
    /// The GUID, which is the subject of the user's identity.
    pub guid: UserGuid,
    /// A name to show.
    pub display_name: Option<String>,
    /// The groups.
    pub groups: Vec<String>,
    /// What the account may do.
    pub role: UserRole,
    /// Whether the account is locked: nobody signs in as it.
    pub locked: bool,
    /// The person of another directory to whom the account is linked; `None`: whoever is signed in under its name.
    pub linked: Option<Linked>,
}

/// A person of another directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// The directory: for OpenID Connect, the issuer.
    pub issuer: String,
    /// The name that never changes there: for OpenID Connect, `sub`.
    pub subject: String,
}

/// A call to another server and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The method.
    pub method: String,
    /// The whole address.
    pub url: String,
    /// What the body of the call must contain.
    pub body_contains: Option<String>,
    /// The answer; `None`: the server cannot be reached.
    pub answer: Option<FetchAnswer>,
}

/// What another server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchAnswer {
    /// The status.
    pub status: u16,
    /// Fields: names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Fetch {
    /// Whether it answers this call.
    pub fn fits(&self, method: &str, url: &str, body: &[u8]) -> bool {
        let contains = |part: &str| String::from_utf8_lossy(body).contains(part);
        self.method == method && self.url == url && self.body_contains.as_deref().is_none_or(contains)
    }
}

#[cfg(test)]
mod tests;
