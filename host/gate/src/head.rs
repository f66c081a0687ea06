//! The head of a request, and the answers to what plugins ask about it.
//!
//! Every getter of `lectern:plugin/request` is one plain method here: a guest's calls and the search for a learned decision
//! evaluate the same code. What is asked often allocates nothing.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{COOKIE, HeaderMap, HeaderValue};
use http::{Method, uri::Authority};
use percent_encoding::percent_decode_str;

use crate::path::RequestPath;

/// The cookie that carries a browser session. The host makes it, reads it and keeps it from plugins and from content.
pub const SESSION_COOKIE: &str = "lectern";

/// The cookie that names the worker a visitor's session is with. Its name holds the session cookie's, so one look finds both.
pub const WORKER_COOKIE: &str = "lectern-worker";

/// How the client reached the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS, here or at a trusted proxy.
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

/// A certificate that a client proved to hold, verified against the authorities that the operator trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of its DER form, in lower-case hexadecimal digits.
    pub sha256: String,
    /// Its subject as RFC 4514 text.
    pub subject: String,
    /// The DNS names it is for.
    pub dns_names: Vec<String>,
}

/// The head of one request. The listener makes it from parsed parts, moving the fields in; nothing is copied.
#[derive(Debug, Clone)]
pub struct Head {
    /// Unique on this server; printable ASCII.
    pub id: String,
    /// The method.
    pub method: Method,
    /// The scheme, after trusted proxies.
    pub scheme: Scheme,
    /// Host and port as the client addressed them, after trusted proxies; `None`: it sent none.
    pub authority: Option<Authority>,
    /// The path.
    pub path: RequestPath,
    /// The query as sent, without its question mark.
    pub query: Option<String>,
    /// The client's address, after trusted proxies.
    pub client_ip: IpAddr,
    /// The address of whoever opened the connection.
    pub peer_ip: IpAddr,
    /// The verified certificate of whoever opened the connection.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The fields, with those that only the host may set already removed.
    pub headers: HeaderMap,
}

impl Head {
    /// Host and port as addressed; empty when none was sent.
    pub fn authority(&self) -> &str {
        self.authority.as_ref().map_or("", Authority::as_str)
    }

    /// The authority in lower case without its port; empty when none was sent.
    pub fn host(&self) -> Cow<'_, str> {
        let host = self.authority.as_ref().map_or("", Authority::host);
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) { host.to_ascii_lowercase().into() } else { host.into() }
    }

    /// The first value of a query parameter, decoded as a form field (`+` is a space; bytes that are no UTF-8 become U+FFFD).
    pub fn query_param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query.as_deref()?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decode(key) == name).then(|| form_decode(value))
        })
    }

    /// The first cookie of that name.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(cookie_pairs).find_map(
            |pair| {
                let (key, value) = pair.split_once('=')?;
                (key == name).then(|| value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value))
            },
        )
    }

    /// The token in the session cookie.
    pub fn session_token(&self) -> Option<&str> {
        self.cookie(SESSION_COOKIE).filter(|token| !token.is_empty())
    }

    /// What a plugin sees as the cookie of that name: Lectern's own are never there.
    pub(crate) fn guest_cookie(&self, name: &str) -> Option<&str> {
        if is_own_cookie(name) { None } else { self.cookie(name) }
    }

    /// What a plugin sees as the values of a field.
    pub(crate) fn guest_header(&self, name: &str) -> impl Iterator<Item = Cow<'_, [u8]>> {
        let is_cookie = name.eq_ignore_ascii_case(COOKIE.as_str());
        self.headers.get_all(name).iter().filter_map(move |value| guest_value(is_cookie, value))
    }

    /// What a plugin sees as all fields.
    pub(crate) fn guest_headers(&self) -> impl Iterator<Item = (&str, Cow<'_, [u8]>)> {
        self.headers.iter().filter_map(|(name, value)| Some((name.as_str(), guest_value(*name == COOKIE, value)?)))
    }
}

fn guest_value(is_cookie: bool, value: &HeaderValue) -> Option<Cow<'_, [u8]>> {
    if is_cookie && names_session_cookie(value) {
        without_session_cookie(value).map(|kept| Cow::Owned(kept.as_bytes().to_vec()))
    } else {
        Some(Cow::Borrowed(value.as_bytes()))
    }
}

/// Whether the name is one of Lectern's own.
pub(crate) fn is_own_cookie(name: &str) -> bool {
    name == SESSION_COOKIE || name == WORKER_COOKIE
}

fn names_session_cookie(value: &HeaderValue) -> bool {
    value.as_bytes().windows(SESSION_COOKIE.len()).any(|window| window == SESSION_COOKIE.as_bytes())
}

/// A `Cookie` field without Lectern's own cookies; `None` when nothing is left. Neither plugins nor content may see them.
///
/// A field that is not ASCII text is kept as it is unless the cookie's name occurs in it, and dropped then.
pub fn without_session_cookie(value: &HeaderValue) -> Option<HeaderValue> {
    if !names_session_cookie(value) {
        return Some(value.clone());
    }
    let kept: Vec<&str> = cookie_pairs(value.to_str().ok()?)
        .filter(|pair| !is_own_cookie(pair.split_once('=').map_or(*pair, |(key, _)| key).trim()))
        .collect();
    if kept.is_empty() { None } else { HeaderValue::from_str(&kept.join("; ")).ok() }
}

fn cookie_pairs(field: &str) -> impl Iterator<Item = &str> {
    field.split(';').map(str::trim).filter(|pair| !pair.is_empty())
}

fn form_decode(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned().into()
    } else {
        percent_decode_str(text).decode_utf8_lossy()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::HeaderName;

    /// A GET of `target` with these fields.
    pub(crate) fn head(target: &str, fields: &[(&str, &str)]) -> Head {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        Head {
            id: "r-1".into(),
            method: Method::GET,
            scheme: Scheme::Https,
            authority: Some(Authority::from_static("Apps.example.org:8443")),
            path: RequestPath::parse(path).unwrap(),
            query: query.map(str::to_owned),
            client_ip: IpAddr::from([192, 0, 2, 7]),
            peer_ip: IpAddr::from([192, 0, 2, 7]),
            certificate: None,
            headers,
        }
    }

    #[test]
    fn narrow_questions() {
        let head = head("/a?x=1&y=a+b%26&x=2&z", &[("cookie", "a=1; lectern=tok; b=\"q\""), ("cookie", "c=3")]);
        assert_eq!(head.host(), "apps.example.org");
        assert_eq!(head.authority(), "Apps.example.org:8443");
        let param = |name| head.query_param(name);
        assert_eq!(
            [param("x"), param("y"), param("z"), param("w")].map(|value| value.map(Cow::into_owned)),
            [Some("1".into()), Some("a b&".into()), Some(String::new()), None]
        );
        assert_eq!([head.cookie("a"), head.cookie("b"), head.cookie("c")], [Some("1"), Some("q"), Some("3")]);
        assert_eq!(head.session_token(), Some("tok"));
    }

    #[test]
    fn plugins_never_see_the_session_cookie() {
        let head = head("/", &[("cookie", "a=1; lectern=tok; b=2"), ("cookie", "lectern=tok"), ("x-a", "1")]);
        assert_eq!(head.guest_cookie(SESSION_COOKIE), None);
        assert_eq!(head.guest_cookie("b"), Some("2"));
        assert_eq!(head.guest_header("Cookie").collect::<Vec<_>>(), [b"a=1; b=2".as_slice()]);
        let fields: Vec<_> = head.guest_headers().map(|(name, value)| (name, value.into_owned())).collect();
        assert_eq!(fields, [("cookie", b"a=1; b=2".to_vec()), ("x-a", b"1".to_vec())]);
        let odd = HeaderValue::from_bytes(b"lectern=tok; x=\xff").unwrap();
        assert_eq!(without_session_cookie(&odd), None);
        let other = HeaderValue::from_static("lectern2=x; notlectern=y");
        assert_eq!(without_session_cookie(&other), Some(other));
    }
}
