//! A real OpenID provider, as a company would have one: oidc-provider on loopback, changed while it runs.
//!
//! It knows the authorization code flow with PKCE, sign-out by the client, and client credentials with JWT access tokens
//! for one resource. See `idp/provider.mjs` for its configuration. Claims come with the scopes `profile`, `email` and
//! `groups`; keys are RS256 and ES256. Paths: `/auth`, `/token`, `/me`, `/jwks`, `/session/end`.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::http::{Ask, Reply};
use crate::node::Script;

/// Starting makes a key of 2048 bits, on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// A running provider. Dropping it stops it; one in a `static` is stopped after the tests.
#[derive(Debug)]
pub struct Idp {
    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub issuer: String,
    control: String,
    script: Mutex<Script>,
}

impl Idp {
    /// Starts one with `accounts`, `clients`, `resources` and `ttl`, each optional.
    pub fn start(config: &Value) -> Self {
        let files = [
            ("provider.mjs", include_str!("../idp/provider.mjs")),
            ("page.mjs", include_str!("../idp/page.mjs")),
            ("store.mjs", include_str!("../idp/store.mjs")),
            ("config.json", &config.to_string()),
        ];
        let mut script = Script::start(&files, &["config.json"]);
        let line: Value = serde_json::from_str(&script.first_line(READY)).expect("JSON");
        let text = |name: &str| line[name].as_str().expect("a text").to_owned();
        Self { issuer: text("issuer"), control: text("control"), script: Mutex::new(script) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.issuer["http://".len()..].parse().expect("an address")
    }

    /// Begins a GET request.
    pub fn get(&self, path: &str) -> Ask {
        Ask::new(self.address(), Method::GET, path)
    }

    /// Begins a POST request.
    pub fn post(&self, path: &str) -> Ask {
        Ask::new(self.address(), Method::POST, path)
    }

    /// Sends a form, as clients do to `/token`.
    #[track_caller]
    pub fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.post(path).form(fields).send()
    }

    /// The published keys.
    #[track_caller]
    pub fn jwks(&self) -> Value {
        self.get("/jwks").send().expect(200).json()
    }

    /// Signs with new keys from now on; the old ones are gone.
    pub fn rotate_keys(&self) {
        self.control("rotate", &json!({}));
    }

    /// Signs with new keys from now on, and still publishes the old ones.
    pub fn add_keys(&self) {
        self.control("rotate", &json!({"keep": true}));
    }

    /// Adds or replaces an account: `{"login", "sub", "password", …claims}`.
    pub fn set_account(&self, account: &Value) {
        self.control("account", account);
    }

    /// Removes the account with this login.
    pub fn remove_account(&self, login: &str) {
        self.control("forget", &json!({"login": login}));
    }

    /// Adds or replaces a client: for redirect addresses that are known only when another server has started.
    pub fn set_client(&self, client: &Value) {
        self.control("client", client);
    }

    /// Answers 503 under these paths from now on, and no others: none means all is well again.
    pub fn break_paths(&self, paths: &[&str]) {
        self.control("outage", &json!({"paths": paths}));
    }

    /// How often this path was asked for.
    pub fn asked(&self, path: &str) -> u64 {
        self.control("asked", &json!({}))[path].as_u64().unwrap_or(0)
    }

    /// A JWT access token for `resource`, by client credentials: what a job in CI presents.
    #[track_caller]
    pub fn machine_token(&self, client: &str, secret: &str, resource: &str, scope: &str) -> String {
        let reply = self.post_form(
            "/token",
            &[
                ("grant_type", "client_credentials"),
                ("client_id", client),
                ("client_secret", secret),
                ("resource", resource),
                ("scope", scope),
            ],
        );
        reply.expect(200).json()["access_token"].as_str().expect("a token").to_owned()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.script.lock().unwrap().log()
    }

    /// Ends it: its port refuses connections from now on.
    pub fn stop(&self) {
        self.script.lock().unwrap().kill();
    }

    #[track_caller]
    fn control(&self, verb: &str, words: &Value) -> Value {
        self.post(&format!("{}/{verb}", self.control)).json(words).send().expect(200).json()
    }
}
