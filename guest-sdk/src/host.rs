//! What a plugin may ask. The trait stands between a plugin and the host so that the plugin's logic runs in native tests:
//! an import of the contract called outside a component ends the whole test process.

use serde::de::DeserializeOwned;

use crate::{
    Certificate, Expectations, Failure, Fetch, FetchError, Fetched, Field, Identity, Keys, Level, Mount, Profile,
    Refusal, SignInRefusal, StoreError, TokenRefusal, Verified,
};

/// Everything a plugin can ask, one method for each function of the contract's imports. In a component it is [`Live`]; in
/// a native test it is [`crate::Mock`].
///
/// Ask narrow questions first: the host reuses a decision for requests that give the same answers.
pub trait Host {
    /// `request.id`: a name for this request, unique on this server.
    fn request_id(&self) -> String;
    /// `request.method`, as sent.
    fn method(&self) -> String;
    /// `request.scheme`: `https` or `http`.
    fn scheme(&self) -> String;
    /// `request.authority`: host and port as addressed.
    fn authority(&self) -> String;
    /// `request.host`: the authority in lower case without its port.
    fn host(&self) -> String;
    /// `request.client-ip`: the client's address.
    fn client_ip(&self) -> String;
    /// `request.path`: the whole path, decoded once. Prefer [`Host::path_prefix`] and [`Host::path_has_prefix`].
    fn path(&self) -> String;
    /// `request.path-prefix`: the first segments, without a slash after the last.
    fn path_prefix(&self, segments: u32) -> String;
    /// `request.path-has-prefix`: whether the path begins with these characters.
    fn path_has_prefix(&self, prefix: &str) -> bool;
    /// `request.query`: the query as sent.
    fn query(&self) -> Option<String>;
    /// `request.query-param`: the first value of a parameter, decoded.
    fn query_param(&self, name: &str) -> Option<String>;
    /// `request.header`: all values of a field.
    fn header(&self, name: &str) -> Vec<Vec<u8>>;
    /// `request.cookie`: the first cookie of that name.
    fn cookie(&self, name: &str) -> Option<String>;
    /// `request.headers`: all fields.
    fn headers(&self) -> Vec<Field>;

    /// `connection.peer-ip`: the address of whoever opened the connection, a proxy where there is one.
    fn peer_ip(&self) -> String;
    /// `connection.client-certificate`: the certificate of whoever opened the connection, with mutual TLS.
    fn client_certificate(&self) -> Option<Certificate>;

    /// `visitor.present`: whether a signed-in visitor is known.
    fn visitor_present(&self) -> bool;
    /// `visitor.subject`: for users in the directory, the user GUID.
    fn visitor_subject(&self) -> Option<String>;
    /// `visitor.in-group`: whether the visitor belongs to a group.
    fn visitor_in_group(&self, name: &str) -> bool;
    /// `visitor.claim`: a statement about the visitor.
    fn visitor_claim(&self, name: &str) -> Option<String>;

    /// `target.name`: `content:<guid>` or `system:…`; empty before routing.
    fn target(&self) -> String;
    /// `target.content`: the GUID of the content that the request goes to.
    fn target_content(&self) -> Option<String>;
    /// `target.active-bundle`: the number of its active version.
    fn active_bundle(&self) -> Option<String>;
    /// `target.has-bundle`: whether it has a version of this number.
    fn has_bundle(&self, number: &str) -> bool;

    /// `logging.log`: one line for the operator. Never put credentials into it.
    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]);
    /// `config.name`: the name under which the plugin is bound; its pages stand below `/__plugin__/<name>/`.
    fn name(&self) -> String;
    /// `config.document`: all settings as one JSON object. Prefer [`Host::settings`].
    fn document(&self) -> String;
    /// `config.get`: what the operator set.
    fn config(&self, key: &str) -> Option<String>;
    /// `config.keys`: the names of all settings, sorted.
    fn config_keys(&self) -> Vec<String>;
    /// `clock.unix-millis`: milliseconds since 1970.
    fn unix_millis(&self) -> u64;
    /// `random.bytes`: at most 65,536 bytes fit for keys.
    fn random_bytes(&self, len: u32) -> Vec<u8>;

    /// `content.vanity`: the content whose vanity path is the longest prefix of this request's path.
    fn vanity(&self) -> Option<Mount>;
    /// `directory.find-key`: the user whose API key this is.
    fn find_key(&self, key: &str) -> Option<Identity>;
    /// `directory.find-user`: the user of this name, unless locked.
    fn find_user(&self, name: &str) -> Option<Identity>;
    /// `directory.session`: the user signed in by this request's session cookie.
    fn session(&self) -> Option<Identity>;
    /// `directory.check-password`: the user with this name and password.
    fn check_password(&self, username: &str, password: &str) -> Result<Identity, Refusal>;

    /// `accounts.sign-in`: the account of somebody whom another directory vouches for.
    fn sign_in(&self, profile: &Profile) -> Result<Identity, SignInRefusal>;
    /// `tokens.verify`: what a signed token says, if it is good.
    fn verify_token(&self, token: &str, keys: &Keys, expectations: &Expectations) -> Result<Verified, TokenRefusal>;
    /// `secrets.hmac-sha256`: HMAC under a named secret; `None` where there is no such secret.
    fn hmac_sha256(&self, secret: &str, data: &[u8]) -> Option<Vec<u8>>;
    /// `secrets.matches`: whether these bytes are the named secret; `None` where there is no such secret.
    fn secret_matches(&self, secret: &str, candidate: &[u8]) -> Option<bool>;
    /// `secret-values.reveal`: the bytes of a named secret.
    fn reveal_secret(&self, secret: &str) -> Option<Vec<u8>>;
    /// `key-value.get`: the value now.
    fn value(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// `key-value.set`: sets the value, for so many seconds.
    fn set_value(&self, key: &str, value: &[u8], ttl_seconds: Option<u32>) -> Result<(), StoreError>;
    /// `key-value.delete`: removes the value.
    fn delete_value(&self, key: &str) -> Result<(), StoreError>;
    /// `key-value.swap`: sets (or with `None` removes) the value if it was `expected`.
    fn swap_value(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: Option<&[u8]>,
        ttl_seconds: Option<u32>,
    ) -> Result<bool, StoreError>;
    /// `limiter.take`: takes one from a token bucket, or says how many seconds until there is one.
    fn take(&self, bucket: &str, per_minute: u32, burst: u32) -> Option<u32>;
    /// `outbound.fetch`: an HTTP request to a granted origin.
    fn fetch(&self, request: &Fetch) -> Result<Fetched, FetchError>;

    /// The configuration as a type of the plugin's own. What does not fit is [`Failure::Misconfigured`]: call it in `check`, and
    /// the operator is told before the plugin takes traffic.
    ///
    /// ```
    /// use lectern_plugin::{Host, Mock};
    ///
    /// #[derive(serde::Deserialize)]
    /// #[serde(deny_unknown_fields)]
    /// struct Settings {
    ///     retry_after: u32,
    /// }
    ///
    /// let mock = Mock::get("/").document(r#"{"retry_after": 30}"#);
    /// let settings: Settings = mock.settings().unwrap();
    /// assert_eq!(settings.retry_after, 30);
    /// ```
    fn settings<T: DeserializeOwned>(&self) -> Result<T, Failure>
    where
        Self: Sized,
    {
        serde_json::from_str(&Host::document(self)).map_err(|error| Failure::Misconfigured(error.to_string()))
    }

    /// The first value of a field, where it is text.
    fn header_text(&self, name: &str) -> Option<String> {
        self.header(name).into_iter().next().and_then(|value| String::from_utf8(value).ok())
    }

    /// Whether the request only reads: its method is GET or HEAD.
    fn reads(&self) -> bool {
        matches!(self.method().as_str(), "GET" | "HEAD")
    }
}

/// The host of a running component.
#[cfg(target_family = "wasm")]
#[derive(Debug, Clone, Copy, Default)]
pub struct Live;

#[cfg(target_family = "wasm")]
mod live {
    use super::{
        Certificate, Expectations, Fetch, FetchError, Fetched, Field, Host, Identity, Keys, Level, Live, Mount,
        Profile, Refusal, SignInRefusal, StoreError, TokenRefusal, Verified,
    };
    use crate::bindings::imports::lectern::plugin::{
        accounts, clock, config, connection, content, directory, key_value, limiter, logging, outbound, random,
        request, secret_values, secrets, target, tokens, visitor,
    };

    impl Host for Live {
        fn request_id(&self) -> String {
            request::id()
        }
        fn method(&self) -> String {
            request::method()
        }
        fn scheme(&self) -> String {
            request::scheme()
        }
        fn authority(&self) -> String {
            request::authority()
        }
        fn host(&self) -> String {
            request::host()
        }
        fn client_ip(&self) -> String {
            request::client_ip()
        }
        fn path(&self) -> String {
            request::path()
        }
        fn path_prefix(&self, segments: u32) -> String {
            request::path_prefix(segments)
        }
        fn path_has_prefix(&self, prefix: &str) -> bool {
            request::path_has_prefix(prefix)
        }
        fn query(&self) -> Option<String> {
            request::query()
        }
        fn query_param(&self, name: &str) -> Option<String> {
            request::query_param(name)
        }
        fn header(&self, name: &str) -> Vec<Vec<u8>> {
            request::header(name)
        }
        fn cookie(&self, name: &str) -> Option<String> {
            request::cookie(name)
        }
        fn headers(&self) -> Vec<Field> {
            request::headers()
        }
        fn peer_ip(&self) -> String {
            connection::peer_ip()
        }
        fn client_certificate(&self) -> Option<Certificate> {
            connection::client_certificate()
        }
        fn visitor_present(&self) -> bool {
            visitor::present()
        }
        fn visitor_subject(&self) -> Option<String> {
            visitor::subject()
        }
        fn visitor_in_group(&self, name: &str) -> bool {
            visitor::in_group(name)
        }
        fn visitor_claim(&self, name: &str) -> Option<String> {
            visitor::claim(name)
        }
        fn target(&self) -> String {
            target::name()
        }
        fn target_content(&self) -> Option<String> {
            target::content()
        }
        fn active_bundle(&self) -> Option<String> {
            target::active_bundle()
        }
        fn has_bundle(&self, number: &str) -> bool {
            target::has_bundle(number)
        }
        fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
            let fields: Vec<(String, String)> =
                fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            logging::log(level, message, &fields);
        }
        fn name(&self) -> String {
            config::name()
        }
        fn document(&self) -> String {
            config::document()
        }
        fn config(&self, key: &str) -> Option<String> {
            config::get(key)
        }
        fn config_keys(&self) -> Vec<String> {
            config::keys()
        }
        fn unix_millis(&self) -> u64 {
            clock::unix_millis()
        }
        fn random_bytes(&self, len: u32) -> Vec<u8> {
            random::bytes(len)
        }
        fn vanity(&self) -> Option<Mount> {
            content::vanity()
        }
        fn find_key(&self, key: &str) -> Option<Identity> {
            directory::find_key(key)
        }
        fn find_user(&self, name: &str) -> Option<Identity> {
            directory::find_user(name)
        }
        fn session(&self) -> Option<Identity> {
            directory::session()
        }
        fn check_password(&self, username: &str, password: &str) -> Result<Identity, Refusal> {
            directory::check_password(username, password)
        }
        fn sign_in(&self, profile: &Profile) -> Result<Identity, SignInRefusal> {
            accounts::sign_in(profile)
        }
        fn verify_token(
            &self,
            token: &str,
            keys: &Keys,
            expectations: &Expectations,
        ) -> Result<Verified, TokenRefusal> {
            tokens::verify(token, keys, expectations)
        }
        fn hmac_sha256(&self, secret: &str, data: &[u8]) -> Option<Vec<u8>> {
            secrets::hmac_sha256(secret, data)
        }
        fn secret_matches(&self, secret: &str, candidate: &[u8]) -> Option<bool> {
            secrets::matches(secret, candidate)
        }
        fn reveal_secret(&self, secret: &str) -> Option<Vec<u8>> {
            secret_values::reveal(secret)
        }
        fn value(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
            key_value::get(key)
        }
        fn set_value(&self, key: &str, value: &[u8], ttl_seconds: Option<u32>) -> Result<(), StoreError> {
            key_value::set(key, value, ttl_seconds)
        }
        fn delete_value(&self, key: &str) -> Result<(), StoreError> {
            key_value::delete(key)
        }
        fn swap_value(
            &self,
            key: &str,
            expected: Option<&[u8]>,
            value: Option<&[u8]>,
            ttl_seconds: Option<u32>,
        ) -> Result<bool, StoreError> {
            key_value::swap(key, expected, value, ttl_seconds)
        }
        fn take(&self, bucket: &str, per_minute: u32, burst: u32) -> Option<u32> {
            limiter::take(bucket, per_minute, burst)
        }
        fn fetch(&self, request: &Fetch) -> Result<Fetched, FetchError> {
            outbound::fetch(request)
        }
    }
}
