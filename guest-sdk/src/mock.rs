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
    fetches: RefCell<Vec<Answer>>,
    asked: RefCell<Vec<String>>,
    logged: RefCell<Vec<String>>,
    signed_in: RefCell<Vec<Profile>>,
    fetched: RefCell<Vec<crate::Fetch>>,
}

/// Method and address of an expected request, and what it is answered.
type Answer = (String, String, Result<Fetched, FetchError>);

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

    fn ask(&self, question: &str) {
        self.asked.borrow_mut().push(question.to_owned());
    }

    fn field(&self, name: &str) -> Option<&Vec<u8>> {
        self.headers.iter().find_map(|(field, value)| (field == name).then_some(value))
    }
}
