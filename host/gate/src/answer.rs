//! Decisions of the gate, already checked: whoever holds one may act on it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, LOCATION};
use http::{Method, Response, StatusCode};
use lectern_domain::{BundleId, ContentGuid, Principal};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::head::Head;
use crate::path::{RequestPath, path_and_query};

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// A content item; it may not exist.
    Content(ContentGuid),
    /// A part of the server itself.
    System(System),
}

/// The parts of the server that requests are routed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum System {
    /// The publishing protocol under `/__api__/`.
    Api,
    /// What the protocol has no word for, under `/__lectern__/`.
    Lectern,
    /// The pages under `/connect/`.
    Dashboard,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Content(guid) => write!(f, "content:{guid}"),
            Self::System(System::Api) => f.write_str("system:api"),
            Self::System(System::Lectern) => f.write_str("system:lectern"),
            Self::System(System::Dashboard) => f.write_str("system:dashboard"),
        }
    }
}

/// The path that the target sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewrite {
    /// The path of the request.
    Keep,
    /// The path without so many segments; never more than it has.
    StripSegments(usize),
    /// This path.
    Replace(RequestPath),
}

/// A request that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Who decided.
    pub plugin: Arc<str>,
    /// Where it goes.
    pub target: Target,
    /// The path that the target sees.
    pub rewrite: Rewrite,
    /// The version to show instead of the active one, if the visitor may preview it.
    pub bundle: Option<BundleId>,
    /// The version that the phase select chose for this visitor instead of the active one.
    pub selected: Option<BundleId>,
    /// Further hints, as the plugin gave them: 16 at most, names of 64 and values of 256 bytes at most.
    pub hints: Vec<(String, String)>,
    /// Fields that replace the client's.
    pub set_headers: HeaderMap,
    /// Fields that the target must not see.
    pub remove_headers: Vec<HeaderName>,
    /// Requests with the same key go to the same process where possible. 256 bytes at most.
    pub sticky_key: Option<String>,
}

impl Forward {
    /// The encoded path that the target sees; the query stays as it was.
    pub fn target_path<'a>(&'a self, path: &'a RequestPath) -> &'a str {
        match &self.rewrite {
            Rewrite::Keep => path.encoded(),
            Rewrite::StripSegments(segments) => path.without(*segments).unwrap_or("/"),
            Rewrite::Replace(path) => path.encoded(),
        }
    }

    /// The encoded path below which the client sees the target, without a slash at its end: `/content/<guid>`; empty when
    /// nothing is stripped.
    pub fn base_path<'a>(&self, path: &'a RequestPath) -> Cow<'a, str> {
        match &self.rewrite {
            Rewrite::StripSegments(segments) => Cow::Borrowed(path.encoded_prefix(*segments).trim_end_matches('/')),
            Rewrite::Keep | Rewrite::Replace(_) => Cow::Borrowed(""),
        }
    }
}

/// What the routing plugins decided.
#[derive(Debug, Clone)]
pub enum Routed {
    /// It goes on. Shared with requests that were decided alike.
    Forward(Arc<Forward>),
    /// The plugin answers it.
    Respond {
        /// Who decided.
        plugin: Arc<str>,
        /// The answer.
        reply: Reply,
    },
    /// Nobody's: 404.
    NotMine,
}

/// What the plugins of the phase select decided.
#[derive(Debug, Clone)]
pub enum Selected {
    /// It goes on, perhaps with more.
    Forward(Arc<Forward>),
    /// A plugin answers it.
    Respond {
        /// Who decided.
        plugin: Arc<str>,
        /// The answer.
        reply: Reply,
    },
}

/// Somebody a plugin vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// For users in the directory, the user GUID. 256 bytes at most, never empty.
    pub subject: String,
    /// A name to show.
    pub display_name: Option<String>,
    /// Groups that the source asserts.
    pub groups: Vec<String>,
    /// Further statements of the source.
    pub claims: Vec<(String, String)>,
    /// How long the answer may be reused for the same credential; `None`: not at all.
    pub ttl: Option<std::time::Duration>,
}

/// An identity and how much it is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// Who vouches.
    pub plugin: Arc<str>,
    /// What the plugin said.
    pub identity: Identity,
    /// The principal that the directory gave during this very call for this subject: it carries the key or session used, so
    /// that a key never does more than its own role. `None`: the plugin knows the subject from elsewhere, and the host looks
    /// the account up.
    pub principal: Option<Principal>,
}

/// A request for a credential, held back until it is known that one is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Who asks.
    pub plugin: Arc<str>,
    /// What the client gets if it must sign in. `{here}` in its `location` stands for the address of the request.
    pub reply: Reply,
}

/// What stands for the address of the request in the `location` of a challenge.
const HERE: &str = "{here}";
/// Longest address that is remembered over a sign-in, in bytes; a longer one is forgotten.
const MAX_HERE_BYTES: usize = 2048;

impl Challenge {
    /// The reply to this request.
    pub fn reply_to(&self, head: &Head) -> Reply {
        let mut reply = self.reply.clone();
        let Some(location) = reply.headers.get(LOCATION).and_then(|value| value.to_str().ok()) else { return reply };
        if !location.contains(HERE) {
            return reply;
        }
        let here = path_and_query(&head.path, head.query.as_deref());
        let here = if here.len() > MAX_HERE_BYTES { String::new() } else { here };
        let encoded = utf8_percent_encode(&here, VALUE).to_string();
        // Percent-encoded text is always a field's value.
        if let Ok(location) = HeaderValue::from_str(&location.replace(HERE, &encoded)) {
            reply.headers.insert(LOCATION, location);
        }
        reply
    }
}

/// What is encoded in the value of a query parameter: everything but unreserved characters and the slash (RFC 3986 §3.4).
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// What the authentication plugins decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authenticated {
    /// This visitor. Shared with requests that were answered alike.
    Identity(Arc<Vouched>),
    /// Nobody in particular.
    Anonymous {
        /// What to answer where anonymous visitors may not enter; the first plugin's that has one.
        challenge: Option<Arc<Challenge>>,
    },
    /// A bad credential: 401, even where anonymous visitors may enter.
    Rejected {
        /// Who refused it.
        plugin: Arc<str>,
        /// Why; for the log.
        reason: String,
    },
}

/// What a plugin's page decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// Send this.
    Reply(Reply),
    /// Start a session for this visitor, if the account may, and send this with its cookie.
    SignedIn {
        /// The visitor.
        vouched: Box<Vouched>,
        /// The answer.
        reply: Reply,
    },
    /// End the session of this request and send this.
    SignedOut(Reply),
    /// No plugin of this name has pages: 404.
    NoSuchPlugin,
}

/// A checked response of a plugin. It has no framing or connection fields; the length is set when it is made a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub status: StatusCode,
    /// At most 64 fields of 16 KiB in all.
    pub headers: HeaderMap,
    /// At most 256 KiB.
    pub body: Bytes,
}

impl Reply {
    /// The response to a request of this method: with `Content-Length`, and without a body where HTTP allows none.
    pub fn into_response(self, method: &Method) -> Response<Bytes> {
        let bodiless =
            matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::RESET_CONTENT);
        let length = self.body.len();
        let body = if bodiless || method == Method::HEAD { Bytes::new() } else { self.body };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if !bodiless {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_target_sees_its_own_path() {
        let path = RequestPath::parse("/content/a%20b/x%2Fy/z").unwrap();
        let forward = |rewrite| Forward {
            plugin: "router".into(),
            target: Target::System(System::Api),
            rewrite,
            bundle: None,
            selected: None,
            hints: Vec::new(),
            set_headers: HeaderMap::new(),
            remove_headers: Vec::new(),
            sticky_key: None,
        };
        let replaced = RequestPath::from_decoded("/other one").unwrap();
        let cases = [
            (Rewrite::Keep, "/content/a%20b/x%2Fy/z", ""),
            (Rewrite::StripSegments(0), "/content/a%20b/x%2Fy/z", ""),
            (Rewrite::StripSegments(2), "/x%2Fy/z", "/content/a%20b"),
            (Rewrite::StripSegments(4), "/", "/content/a%20b/x%2Fy/z"),
            (Rewrite::Replace(replaced), "/other%20one", ""),
        ];
        for (rewrite, seen, base) in cases {
            let forward = forward(rewrite);
            assert_eq!((forward.target_path(&path), &*forward.base_path(&path)), (seen, base), "{:?}", forward.rewrite);
        }
    }

    #[test]
    fn a_challenge_remembers_where_it_was_asked() {
        let location = |template: &'static str, target: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::from_static(template));
            let reply = Reply { status: StatusCode::SEE_OTHER, headers, body: Bytes::new() };
            let challenge = Challenge { plugin: "p".into(), reply };
            let reply = challenge.reply_to(&crate::head::tests::head(target, &[]));
            reply.headers.get(LOCATION).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(location("/in?next={here}", "/a%20b/?x=1&y=%26"), "/in?next=/a%2520b/%3Fx%3D1%26y%3D%2526");
        assert_eq!(location("/in?next={here}", &format!("/{}", "x".repeat(2048))), "/in?next=");
        assert_eq!(location("/in", "/a"), "/in");
    }

    #[test]
    fn replies_have_a_length_and_bodies_only_where_allowed() {
        let reply = |status| Reply { status, headers: HeaderMap::new(), body: Bytes::from_static(b"hello") };
        let cases = [
            (StatusCode::OK, Method::GET, Some("5"), 5),
            (StatusCode::OK, Method::HEAD, Some("5"), 0),
            (StatusCode::NO_CONTENT, Method::GET, None, 0),
        ];
        for (status, method, length, body) in cases {
            let response = reply(status).into_response(&method);
            let got = response.headers().get(CONTENT_LENGTH).map(|value| value.to_str().unwrap());
            assert_eq!((got, response.body().len()), (length, body), "{status} {method}");
        }
    }
}
