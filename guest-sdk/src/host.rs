//! What a plugin may ask. The trait stands between a plugin and the host so that the plugin's logic runs in native tests:
//! an import of the contract called outside a component ends the whole test process.

use crate::{Field, Identity, Level, Mount, Refusal};

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

    /// `visitor.present`: whether a signed-in visitor is known.
    fn visitor_present(&self) -> bool;
    /// `visitor.subject`: for users in the directory, the user GUID.
    fn visitor_subject(&self) -> Option<String>;
    /// `visitor.in-group`: whether the visitor belongs to a group.
    fn visitor_in_group(&self, name: &str) -> bool;
    /// `visitor.claim`: a statement about the visitor.
    fn visitor_claim(&self, name: &str) -> Option<String>;

    /// `logging.log`: one line for the operator. Never put credentials into it.
    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]);
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
    /// `directory.session`: the user signed in by this request's session cookie.
    fn session(&self) -> Option<Identity>;
    /// `directory.check-password`: the user with this name and password.
    fn check_password(&self, username: &str, password: &str) -> Result<Identity, Refusal>;

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
    use super::{Field, Host, Identity, Level, Live, Mount, Refusal};
    use crate::bindings::imports::lectern::plugin::{
        clock, config, content, directory, logging, random, request, visitor,
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
        fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
            let fields: Vec<(String, String)> =
                fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            logging::log(level, message, &fields);
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
        fn session(&self) -> Option<Identity> {
            directory::session()
        }
        fn check_password(&self, username: &str, password: &str) -> Result<Identity, Refusal> {
            directory::check_password(username, password)
        }
    }
}
