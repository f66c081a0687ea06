//! A host for native tests: a request described in one expression, and a record of what the plugin asked.

mod host;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::{
    Certificate, FetchError, Fetched, Field, Identity, Mount, Profile, Refusal, SignInRefusal, TokenRefusal, Verified,
};

/// A request and the world around it, as a plugin sees them.
///
/// ```
/// use lectern_plugin::{Host, Mock};
///
/// let mock = Mock::get("/reports/2026?page=2").header("accept", "text/html");
/// assert_eq!(mock.path_prefix(1), "/reports");
/// assert_eq!(mock.query_param("page").as_deref(), Some("2"));
/// assert_eq!(mock.asked(), ["path-prefix 1", "query-param page"]);
/// ```
#[derive(Debug, Default)]
pub struct Mock {
    method: String,
    path: String,
    query: Option<String>,
    headers: Vec<Field>,
    client_ip: Option<String>,
    peer_ip: Option<String>,
    certificate: Option<Certificate>,
    visitor: Option<Identity>,
    target: Option<String>,
    bundles: Vec<String>,
    name: Option<String>,
    document: Option<String>,
    config: BTreeMap<String, String>,
    unix_millis: u64,
    vanity: Option<Mount>,
    keys: BTreeMap<String, Identity>,
    users: BTreeMap<String, Identity>,
    session: Option<Identity>,
    passwords: BTreeMap<(String, String), Result<Identity, Refusal>>,
    refusal: Option<Refusal>,
    sign_in: Option<Result<Identity, SignInRefusal>>,
    tokens: BTreeMap<String, Result<Verified, TokenRefusal>>,
    secrets: BTreeMap<String, Vec<u8>>,
    values: RefCell<BTreeMap<String, Vec<u8>>>,
    empty_buckets: BTreeMap<String, u32>,
    fetches: RefCell<Vec<Described>>,
    asked: RefCell<Vec<String>>,
    logged: RefCell<Vec<String>>,
    signed_in: RefCell<Vec<Profile>>,
    fetched: RefCell<Vec<crate::Fetch>>,
    http: bool,
    verified: RefCell<Vec<(String, crate::Keys, crate::Expectations)>>,
    lifetimes: RefCell<BTreeMap<String, Option<u32>>>,
    store_error: Option<crate::StoreError>,
    draws: std::cell::Cell<u8>,
}

/// Method, address and answer of a request to come.
type Described = (String, String, Result<Fetched, FetchError>);

impl Mock {
    /// The questions asked so far, in order: the function's name and its arguments, secrets left out.
    pub fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    /// The lines logged so far.
    pub fn logged(&self) -> Vec<String> {
        self.logged.borrow().clone()
    }

    /// The profiles that were to be signed in so far.
    pub fn signed_in(&self) -> Vec<Profile> {
        self.signed_in.borrow().clone()
    }

    /// The requests fetched so far.
    pub fn fetched(&self) -> Vec<crate::Fetch> {
        self.fetched.borrow().clone()
    }

    /// A value in the store as it is now.
    pub fn stored(&self, key: &str) -> Option<Vec<u8>> {
        self.values.borrow().get(key).cloned()
    }

    /// The tokens that were to be verified so far, with what was expected of them.
    pub fn verified(&self) -> Vec<(String, crate::Keys, crate::Expectations)> {
        self.verified.borrow().clone()
    }

    /// The keys in the store as they are now.
    pub fn stored_keys(&self) -> Vec<String> {
        self.values.borrow().keys().cloned().collect()
    }

    /// The time to live with which a value was stored; none: for ever, or not stored by the plugin.
    pub fn lifetime(&self, key: &str) -> Option<u32> {
        self.lifetimes.borrow().get(key).copied().flatten()
    }

    fn ask(&self, question: &str) {
        self.asked.borrow_mut().push(question.to_owned());
    }

    fn field(&self, name: &str) -> Option<&Vec<u8>> {
        self.headers.iter().find_map(|(field, value)| (field == name).then_some(value))
    }
}
