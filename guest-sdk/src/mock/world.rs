//! Describes the world of a [`Mock`].

use super::Mock;
use crate::{
    Certificate, FetchError, Fetched, Identity, Mount, Refusal, SignInRefusal, StoreError, TokenRefusal, Verified,
};

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

    /// Sets the address of the client; `192.0.2.7` otherwise.
    pub fn client_ip(mut self, address: &str) -> Self {
        self.client_ip = Some(address.to_owned());
        self
    }

    /// Sets the address of whoever opened the connection; the client's otherwise.
    pub fn peer_ip(mut self, address: &str) -> Self {
        self.peer_ip = Some(address.to_owned());
        self
    }

    /// Lets the connection carry a verified client certificate.
    pub fn certificate(mut self, certificate: Certificate) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Sets the name under which the plugin is bound; `plugin` otherwise.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Sets a configuration value that is a text.
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets the whole configuration, as a JSON object.
    pub fn document(mut self, json: &str) -> Self {
        self.document = Some(json.to_owned());
        self
    }

    /// Makes a visitor known.
    pub fn visitor(mut self, identity: Identity) -> Self {
        self.visitor = Some(identity);
        self
    }

    /// Lets the request go to this target: `content:<guid>` or `system:…`.
    pub fn target(mut self, target: &str) -> Self {
        self.target = Some(target.to_owned());
        self
    }

    /// Gives the target's content these versions; the first is active.
    pub fn bundles(mut self, numbers: &[&str]) -> Self {
        self.bundles = numbers.iter().map(|number| (*number).to_owned()).collect();
        self
    }

    /// Sets the time, in milliseconds since 1970.
    pub fn now(mut self, unix_millis: u64) -> Self {
        self.unix_millis = unix_millis;
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

    /// Makes a user name known.
    pub fn user(mut self, name: &str, identity: Identity) -> Self {
        self.users.insert(name.to_ascii_lowercase(), identity);
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

    /// Answers every sign-in of a profile; without it, the account of that user name.
    pub fn signing_in(mut self, answer: Result<Identity, SignInRefusal>) -> Self {
        self.sign_in = Some(answer);
        self
    }

    /// Answers the verification of this token. Others are [`TokenRefusal::Signature`].
    pub fn token(mut self, token: &str, answer: Result<Verified, TokenRefusal>) -> Self {
        self.tokens.insert(token.to_owned(), answer);
        self
    }

    /// Makes a secret known.
    pub fn secret(mut self, name: &str, value: &[u8]) -> Self {
        self.secrets.insert(name.to_owned(), value.to_vec());
        self
    }

    /// Puts a value into the plugin's store.
    pub fn value(self, key: &str, value: &[u8]) -> Self {
        self.values.borrow_mut().insert(key.to_owned(), value.to_vec());
        self
    }

    /// Empties a bucket: the next token comes in so many seconds.
    pub fn empty_bucket(mut self, bucket: &str, seconds: u32) -> Self {
        self.empty_buckets.insert(bucket.to_owned(), seconds);
        self
    }

    /// Answers one request to this address. Requests are answered in the order in which they were described; others are
    /// [`FetchError::Forbidden`].
    pub fn fetching(self, method: &str, url: &str, answer: Result<Fetched, FetchError>) -> Self {
        self.fetches.borrow_mut().push((method.to_owned(), url.to_owned(), answer));
        self
    }

    /// Lets the client have come without TLS.
    pub fn http(mut self) -> Self {
        self.http = true;
        self
    }

    /// Lets this request come after another one: the store is as that one left it, and randomness goes on.
    pub fn after(self, earlier: &Self) -> Self {
        *self.values.borrow_mut() = earlier.values.borrow().clone();
        self.draws.set(earlier.draws.get());
        self
    }

    /// Answers every question to the store with this error.
    pub fn store_failing(mut self, error: StoreError) -> Self {
        self.store_error = Some(error);
        self
    }
}
