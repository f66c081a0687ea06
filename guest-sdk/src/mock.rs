//! A host for native tests: a request described in one expression, and a record of what the plugin asked.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::web::form;
use crate::{Field, Host, Identity, Level, Mount, Refusal};

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
    visitor: Option<Identity>,
    config: BTreeMap<String, String>,
    unix_millis: u64,
    vanity: Option<Mount>,
    keys: BTreeMap<String, Identity>,
    session: Option<Identity>,
    passwords: BTreeMap<(String, String), Result<Identity, Refusal>>,
    refusal: Option<Refusal>,
    asked: RefCell<Vec<String>>,
    logged: RefCell<Vec<String>>,
}

impl Mock {
    /// A request of this method to a decoded path with an optional query.
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            unix_millis: 1_800_000_000_000,
            ..Self::default()
        }
    }

    /// A GET request.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST request.
    pub fn post(target: &str) -> Self {
        Self::new("POST", target)
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.as_bytes().to_vec()));
        self
    }

    /// Sets a configuration value.
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Makes a visitor known.
    pub fn visitor(mut self, identity: Identity) -> Self {
        self.visitor = Some(identity);
        self
    }

    /// Lets a vanity path of that content lead to this request's path. `path` has a slash at both ends.
    pub fn vanity(mut self, path: &str, content: &str) -> Self {
        let segments = u32::try_from(path.matches('/').count()).map_or(u32::MAX, |slashes| slashes.saturating_sub(1));
        self.vanity = Some(Mount { content: content.to_owned(), path: path.to_owned(), segments });
        self
    }

    /// Makes an API key known.
    pub fn key(mut self, key: &str, identity: Identity) -> Self {
        self.keys.insert(key.to_owned(), identity);
        self
    }

    /// Gives the request a live session.
    pub fn session(mut self, identity: Identity) -> Self {
        self.session = Some(identity);
        self
    }

    /// Makes a password known.
    pub fn password(mut self, username: &str, password: &str, identity: Identity) -> Self {
        self.passwords.insert((username.to_owned(), password.to_owned()), Ok(identity));
        self
    }

    /// Answers every password with this refusal.
    pub fn refusing(mut self, refusal: Refusal) -> Self {
        self.refusal = Some(refusal);
        self
    }

    /// The questions asked so far, in order: the function's name and its arguments, secrets left out.
    pub fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    /// The lines logged so far.
    pub fn logged(&self) -> Vec<String> {
        self.logged.borrow().clone()
    }

    fn ask(&self, question: &str) {
        self.asked.borrow_mut().push(question.to_owned());
    }
}

impl Host for Mock {
    fn request_id(&self) -> String {
        self.ask("id");
        "r-1".into()
    }
    fn method(&self) -> String {
        self.ask("method");
        self.method.clone()
    }
    fn scheme(&self) -> String {
        self.ask("scheme");
        "https".into()
    }
    fn authority(&self) -> String {
        self.ask("authority");
        self.field("host").map_or("lectern.example".into(), |value| String::from_utf8_lossy(value).into_owned())
    }
    fn host(&self) -> String {
        self.ask("host");
        let authority = self.field("host").map_or("lectern.example".into(), |v| String::from_utf8_lossy(v));
        authority.split(':').next().unwrap_or_default().to_ascii_lowercase()
    }
    fn client_ip(&self) -> String {
        self.ask("client-ip");
        "192.0.2.7".into()
    }
    fn path(&self) -> String {
        self.ask("path");
        self.path.clone()
    }
    fn path_prefix(&self, segments: u32) -> String {
        self.ask(&format!("path-prefix {segments}"));
        let end = usize::try_from(segments).ok().and_then(|n| self.path.match_indices('/').nth(n));
        end.map_or(self.path.clone(), |(at, _)| self.path[..at].to_owned())
    }
    fn path_has_prefix(&self, prefix: &str) -> bool {
        self.ask(&format!("path-has-prefix {prefix}"));
        self.path.starts_with(prefix)
    }
    fn query(&self) -> Option<String> {
        self.ask("query");
        self.query.clone()
    }
    fn query_param(&self, name: &str) -> Option<String> {
        self.ask(&format!("query-param {name}"));
        let pairs = form(self.query.as_deref()?.as_bytes());
        pairs.into_iter().find_map(|(key, value)| (key == name).then_some(value))
    }
    fn header(&self, name: &str) -> Vec<Vec<u8>> {
        self.ask(&format!("header {name}"));
        let of_name = |field: &&Field| field.0.eq_ignore_ascii_case(name);
        self.headers.iter().filter(of_name).map(|(_, value)| value.clone()).collect()
    }
    fn cookie(&self, name: &str) -> Option<String> {
        self.ask(&format!("cookie {name}"));
        let text = String::from_utf8_lossy(self.field("cookie")?).into_owned();
        text.split(';').find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then(|| value.to_owned())
        })
    }
    fn headers(&self) -> Vec<Field> {
        self.ask("headers");
        self.headers.clone()
    }
    fn visitor_present(&self) -> bool {
        self.ask("present");
        self.visitor.is_some()
    }
    fn visitor_subject(&self) -> Option<String> {
        self.ask("subject");
        Some(self.visitor.as_ref()?.subject.clone())
    }
    fn visitor_in_group(&self, name: &str) -> bool {
        self.ask(&format!("in-group {name}"));
        self.visitor.as_ref().is_some_and(|visitor| visitor.groups.iter().any(|group| group == name))
    }
    fn visitor_claim(&self, name: &str) -> Option<String> {
        self.ask(&format!("claim {name}"));
        let claims = &self.visitor.as_ref()?.claims;
        claims.iter().find_map(|(claim, value)| (claim == name).then(|| value.clone()))
    }
    fn log(&self, _: Level, message: &str, fields: &[(&str, &str)]) {
        let fields: String = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        self.logged.borrow_mut().push(format!("{message}{fields}"));
    }
    fn config(&self, key: &str) -> Option<String> {
        self.config.get(key).cloned()
    }
    fn config_keys(&self) -> Vec<String> {
        self.config.keys().cloned().collect()
    }
    fn unix_millis(&self) -> u64 {
        self.ask("unix-millis");
        self.unix_millis
    }
    fn random_bytes(&self, len: u32) -> Vec<u8> {
        self.ask(&format!("random {len}"));
        (0..len).map(|n| u8::try_from(n % 251).unwrap_or_default()).collect()
    }
    fn vanity(&self) -> Option<Mount> {
        self.ask("vanity");
        self.vanity.clone()
    }
    fn find_key(&self, key: &str) -> Option<Identity> {
        self.ask("find-key");
        self.keys.get(key).cloned()
    }
    fn session(&self) -> Option<Identity> {
        self.ask("session");
        self.session.clone()
    }
    fn check_password(&self, username: &str, password: &str) -> Result<Identity, Refusal> {
        self.ask(&format!("check-password {username}"));
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        let known = self.passwords.get(&(username.to_owned(), password.to_owned()));
        known.cloned().unwrap_or(Err(Refusal::Wrong))
    }
}

impl Mock {
    fn field(&self, name: &str) -> Option<&Vec<u8>> {
        self.headers.iter().find_map(|(field, value)| (field == name).then_some(value))
    }
}
