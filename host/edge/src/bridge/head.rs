//! The head of a request as its worker gets it: written once, field by field, into the bytes that are sent.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::{BufMut as _, BytesMut};
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http_body::Body as _;
use lectern_domain::oauth::ACCESS_PREFIX;
use lectern_domain::{AppMode, Principal};
use lectern_gate::{Forward, Head, without_session_cookie};

use super::hop;
use super::outgoing::{Framing, Outgoing};
use crate::body::RequestBody;
use crate::origin::Origin;
use crate::request_id::RequestId;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// Names that are written anew or belong to one connection: what came under them stays behind. `Host`, the cookies and
/// `Authorization` have rules of their own. Standard names are in [`stays_behind`].
const OURS: [&str; 17] = [
    "http2-settings",
    "keep-alive",
    "posit-connect-user-session-token",
    "proxy-authentication-info",
    "proxy-connection",
    "rstudio-connect-app-base-url",
    "rstudio-connect-credentials",
    "shiny-server-credentials",
    "x-correlation-id",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-request-id",
    "x-rsc-authorization",
    "x-rsc-request",
];

/// Room for a usual head: a browser's own fields are some 1,000 bytes, ours some 700.
const HEAD_BYTES: usize = 2048;

/// What a worker is told about a request besides the request.
pub(crate) struct Story<'a> {
    pub(crate) forward: &'a Forward,
    pub(crate) origin: &'a Origin,
    pub(crate) id: &'a RequestId,
    /// The path below which the client sees the content, without a last slash; empty: it sees it at the root.
    pub(crate) mount: &'a str,
    pub(crate) principal: Option<&'a Principal>,
    /// The names of the principal's groups.
    pub(crate) groups: &'a [String],
    /// What the content can exchange for credentials in the principal's name.
    pub(crate) visitor_token: Option<&'a str>,
    pub(crate) mode: AppMode,
    /// The client asked for a WebSocket.
    pub(crate) websocket: bool,
}

/// The address of a request could not be put together again; the listener parsed its parts, so this is our mistake.
#[derive(Debug, thiserror::Error)]
#[error("address {address:?} for the worker")]
pub(crate) struct BadAddress {
    address: String,
    #[source]
    cause: Option<http::uri::InvalidUri>,
}

/// `path` with the query of the request, as a target.
pub(crate) fn target_uri(path: &str, query: Option<&str>) -> Result<Uri, BadAddress> {
    let address = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    match PathAndQuery::try_from(address.as_str()) {
        Ok(target) => Ok(Uri::from(target)),
        Err(cause) => Err(BadAddress { address, cause: Some(cause) }),
    }
}

/// Makes the worker's request.
pub(crate) fn to_worker(head: &Head, story: &Story<'_>, body: RequestBody) -> Result<Outgoing, BadAddress> {
    let path = story.forward.target_path(&head.path);
    let query = head.query.as_deref();
    // Whatever could end the first line early; both parts were parsed by the listener, so there is nothing of the kind.
    if path.bytes().chain(query.unwrap_or_default().bytes()).any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(BadAddress { address: path.to_owned(), cause: None });
    }
    let headers = decided(head, story.forward);
    let mut out = BytesMut::with_capacity(HEAD_BYTES);
    for part in [head.method.as_str(), " ", path] {
        out.put_slice(part.as_bytes());
    }
    if let Some(query) = query {
        out.put_u8(b'?');
        out.put_slice(query.as_bytes());
    }
    out.put_slice(b" HTTP/1.1\r\n");
    if !headers.contains_key(header::HOST) {
        field(&mut out, header::HOST.as_str(), &[story.origin.host()]);
    }
    for (name, value) in &*headers {
        if !stays_behind(name, value) {
            put(&mut out, name.as_str(), value.as_bytes());
        }
    }
    cookies(&mut out, &headers);
    tell(&mut out, head, story);
    let framing = frame(&mut out, &head.method, &headers, &body);
    if story.websocket {
        put(&mut out, "connection", b"upgrade");
        put(&mut out, "upgrade", b"websocket");
    }
    out.put_slice(b"\r\n");
    Ok(Outgoing::new(head.method.clone(), out.freeze(), framing, body))
}

/// The client's fields where nothing has to be taken out of them, which is the usual case, or a copy without what belongs to
/// the connection and to Lectern, and with what the routing plugin decided.
fn decided<'a>(head: &'a Head, forward: &Forward) -> Cow<'a, HeaderMap> {
    let plain =
        forward.remove_headers.is_empty() && forward.set_headers.is_empty() && !hop::names_others(&head.headers);
    if plain {
        return Cow::Borrowed(&head.headers);
    }
    let mut headers = head.headers.clone();
    hop::remove_hop_by_hop(&mut headers);
    apply(forward, &mut headers);
    Cow::Owned(headers)
}

/// Whether a field is not for the worker as it came: it belongs to the connection (RFC 9110 §7.6.1), is written anew, or proves
/// to Lectern who is asking, which would let content act as its visitors.
fn stays_behind(name: &HeaderName, value: &HeaderValue) -> bool {
    match *name {
        header::AUTHORIZATION => is_own_credential(value),
        header::CONNECTION
        | header::CONTENT_LENGTH
        | header::COOKIE
        // The listener answers it: a worker that did so too would answer twice.
        | header::EXPECT
        | header::FORWARDED
        | header::PROXY_AUTHENTICATE
        | header::PROXY_AUTHORIZATION
        | header::TE
        | header::TRAILER
        | header::TRANSFER_ENCODING
        | header::UPGRADE => true,
        // Names without a number in the `http` crate are compared as text.
        _ => OURS.contains(&name.as_str()),
    }
}

/// Writes how the end of the body is told (RFC 9112 §6, RFC 9110 §8.6).
fn frame(out: &mut BytesMut, method: &Method, headers: &HeaderMap, body: &RequestBody) -> Framing {
    let Some(length) = body.size_hint().exact() else {
        put(out, "transfer-encoding", b"chunked");
        return Framing::Chunked;
    };
    let expected = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    if length > 0 || expected || headers.contains_key(header::CONTENT_LENGTH) {
        let _ = write!(out, "content-length: {length}\r\n");
    }
    Framing::Length(length)
}

/// Sets and removes fields as the routing plugin decided.
pub(crate) fn apply(forward: &Forward, headers: &mut HeaderMap) {
    for name in &forward.remove_headers {
        headers.remove(name);
    }
    for name in forward.set_headers.keys() {
        headers.remove(name);
        for value in forward.set_headers.get_all(name) {
            headers.append(name, value.clone());
        }
    }
}

/// Writes the cookies without the session's, as one field, which HTTP/1.1 asks for (RFC 9113 §8.2.3).
fn cookies(out: &mut BytesMut, headers: &HeaderMap) {
    let mut before = "cookie: ";
    for kept in headers.get_all(header::COOKIE).iter().filter_map(without_session_cookie) {
        if kept.is_empty() {
            continue;
        }
        out.put_slice(before.as_bytes());
        out.put_slice(kept.as_bytes());
        before = "; ";
    }
    if before == "; " {
        out.put_slice(b"\r\n");
    }
}

/// Removes the session cookie; the other cookies become one field, which HTTP/1.1 asks for (RFC 9113 §8.2.3).
pub(crate) fn drop_session_cookie(headers: &mut HeaderMap) {
    let mut kept: Vec<HeaderValue> = Vec::new();
    let mut same = true;
    for value in headers.get_all(header::COOKIE) {
        match without_session_cookie(value) {
            Some(left) => {
                same &= left == *value && kept.is_empty();
                kept.push(left);
            }
            None => same = false,
        }
    }
    if same {
        return;
    }
    headers.remove(header::COOKIE);
    let joined = kept.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    if !joined.is_empty()
        && let Ok(value) = HeaderValue::from_bytes(&joined)
    {
        headers.insert(header::COOKIE, value);
    }
}

/// Whether an `Authorization` field carries one of Lectern's own credentials: `Key …`, the bootstrap token, or an access token. Other
/// bearer tokens are the content's own.
fn is_own_credential(value: &HeaderValue) -> bool {
    let mut words = value.as_bytes().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let scheme = words.next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"key")
        || scheme.eq_ignore_ascii_case(b"connect-bootstrap")
        || (scheme.eq_ignore_ascii_case(b"bearer") && words.any(|word| word.starts_with(ACCESS_PREFIX.as_bytes())))
}

/// Writes what the worker may trust about the request: how it came, where it is seen, who is asking.
fn tell(out: &mut BytesMut, head: &Head, story: &Story<'_>) {
    let origin = story.origin;
    let (scheme, host, prefix) = (origin.scheme.as_str(), origin.host(), origin.prefix.as_str());
    put(out, "x-forwarded-for", origin.forwarded_for.as_bytes());
    field(out, "x-forwarded-host", &[host]);
    let _ = write!(out, "x-forwarded-port: {}\r\n", origin.port);
    field(out, "x-forwarded-proto", &[scheme]);
    field(out, "forwarded", &[&origin.forwarded()]);
    if !prefix.is_empty() || !story.mount.is_empty() {
        field(out, "x-forwarded-prefix", &[prefix, story.mount]);
    }
    field(out, "rstudio-connect-app-base-url", &[scheme, "://", host, prefix, story.mount]);
    match &origin.url {
        Some(url) => put(out, "x-rsc-request", url.as_bytes()),
        None => {
            let (mark, query) = head.query.as_deref().map_or(("", ""), |query| ("?", query));
            field(out, "x-rsc-request", &[scheme, "://", host, prefix, head.path.encoded(), mark, query]);
        }
    }
    put(out, "x-request-id", story.id.as_str().as_bytes());
    put(out, "x-correlation-id", story.id.as_str().as_bytes());
    if let Some(principal) = story.principal {
        let name = if is_shiny(story.mode) { "shiny-server-credentials" } else { "rstudio-connect-credentials" };
        // `{"user":…,"groups":[…]}`. A string always has a form in JSON.
        let user = serde_json::to_string(&principal.username).unwrap_or_default();
        field(out, name, &["{\"user\":", &user, ",\"groups\":", &group_names(story.groups), "}"]);
    }
    if let Some(token) = story.visitor_token {
        field(out, "posit-connect-user-session-token", &[token]);
    }
}

/// Bytes of group names that a worker is told: servers that it is written with take heads of 8 KiB and more.
const GROUPS_BYTES: usize = 4096;

/// The names as an array of JSON. Somebody with so many groups that a worker would refuse the head is told the first of them.
fn group_names(groups: &[String]) -> Cow<'static, str> {
    if groups.is_empty() {
        return Cow::Borrowed("[]");
    }
    let mut text = String::from("[");
    for name in groups.iter().filter_map(|name| serde_json::to_string(name).ok()) {
        if text.len() + name.len() > GROUPS_BYTES {
            break;
        }
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&name);
    }
    text.push(']');
    Cow::Owned(text)
}

fn is_shiny(mode: AppMode) -> bool {
    matches!(mode, AppMode::Shiny | AppMode::RmdShiny | AppMode::QuartoShiny | AppMode::PythonShiny)
}

/// Writes a field whose value is made of parsed addresses, encoded paths and user names, which hold no control characters; one
/// that did would be written empty, because it could begin a field of its own.
fn field(out: &mut BytesMut, name: &str, parts: &[&str]) {
    let control = |byte: u8| byte < b' ' || byte == 0x7f;
    let parts = if parts.iter().any(|part| part.bytes().any(control)) { &[] } else { parts };
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    for part in parts {
        out.put_slice(part.as_bytes());
    }
    out.put_slice(b"\r\n");
}

/// Writes a field whose value has been checked: it is a `HeaderValue`, or made of digits.
fn put(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::origin::Peer;
    use http::Request;
    use lectern_domain::{ContentGuid, PrincipalVia, UserGuid, UserId, UserRole};
    use lectern_gate::{RequestPath, Rewrite, Scheme, Target};
    use uuid::Uuid;

    const GUID: Uuid = Uuid::from_u128(0x0f4b_8f5e_3a6c_4a8e_9c2b_1d2e_3f40_5162);

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn forward(segments: usize) -> Forward {
        Forward {
            plugin: "content-router".into(),
            target: Target::Content(ContentGuid(GUID)),
            rewrite: Rewrite::StripSegments(segments),
            bundle: None,
            selected: None,
            hints: Vec::new(),
            set_headers: HeaderMap::new(),
            remove_headers: Vec::new(),
            sticky_key: None,
        }
    }

    fn ada() -> Principal {
        Principal {
            user: UserId(1),
            guid: UserGuid(Uuid::from_u128(1)),
            username: "ada".into(),
            role: UserRole::Viewer,
            via: PrincipalVia::Session,
        }
    }

    fn request(fields: &[(&str, &str)], principal: Option<&Principal>, mode: AppMode) -> Request<()> {
        let peer = Peer::new("192.0.2.7:5".parse().unwrap(), Scheme::Http, &[]);
        let headers = map(fields);
        let authority = "apps.example.org:3939".parse().ok();
        let origin = Origin::read(&peer, &headers, authority, &[]);
        let head = Head {
            id: "r".into(),
            method: Method::GET,
            scheme: Scheme::Http,
            authority: origin.authority.clone(),
            path: RequestPath::parse("/content/0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162/a%20b").unwrap(),
            query: Some("x=1&y=%26".into()),
            client_ip: origin.client,
            peer_ip: origin.client,
            certificate: None,
            headers,
        };
        let forward = forward(2);
        let mount = forward.base_path(&head.path).into_owned();
        let groups = &["Ops \"1\"".to_owned(), "plan".to_owned()];
        let id = RequestId::adopt(&HeaderValue::from_static("r-1")).unwrap();
        let story = Story {
            forward: &forward,
            origin: &origin,
            id: &id,
            mount: &mount,
            principal,
            groups,
            visitor_token: None,
            mode,
            websocket: false,
        };
        read_back(&to_worker(&head, &story, RequestBody::empty()).unwrap())
    }

    /// What a worker reads of a head.
    fn read_back(outgoing: &Outgoing) -> Request<()> {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut fields);
        let end = parsed.parse(outgoing.head()).unwrap();
        assert_eq!(end, httparse::Status::Complete(outgoing.head().len()));
        let mut request = Request::builder().method(parsed.method.unwrap()).uri(parsed.path.unwrap());
        for field in parsed.headers.iter() {
            request = request.header(field.name, field.value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn a_worker_learns_where_it_is_and_who_asks() {
        let principal = ada();
        let request = request(&[("host", "apps.example.org:3939")], Some(&principal), AppMode::PythonFastapi);
        assert_eq!(request.uri(), "/a%20b?x=1&y=%26");
        let mount = "/content/0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162";
        let expected = [
            ("host", "apps.example.org:3939".to_owned()),
            ("x-forwarded-for", "192.0.2.7".into()),
            ("x-forwarded-host", "apps.example.org:3939".into()),
            ("x-forwarded-port", "3939".into()),
            ("x-forwarded-proto", "http".into()),
            ("x-forwarded-prefix", mount.into()),
            ("forwarded", "for=192.0.2.7;host=\"apps.example.org:3939\";proto=http".into()),
            ("rstudio-connect-app-base-url", format!("http://apps.example.org:3939{mount}")),
            ("x-rsc-request", format!("http://apps.example.org:3939{mount}/a%20b?x=1&y=%26")),
            ("x-request-id", "r-1".into()),
            ("x-correlation-id", "r-1".into()),
            ("rstudio-connect-credentials", r#"{"user":"ada","groups":["Ops \"1\"","plan"]}"#.into()),
        ];
        for (name, value) in &expected {
            assert_eq!(request.headers().get(*name).map(|v| v.to_str().unwrap()), Some(value.as_str()), "{name}");
        }
        assert_eq!(request.headers().len(), expected.len());
    }

    #[test]
    fn groups_are_told_as_far_as_there_is_room() {
        assert_eq!(group_names(&[]), "[]");
        assert_eq!(group_names(&["é\n".to_owned()]), r#"["é\n"]"#);
        let many: Vec<String> = (0..1000).map(|n| format!("group {n}")).collect();
        let told = group_names(&many);
        assert!(told.len() <= GROUPS_BYTES + 1, "{}", told.len());
        let read: Vec<String> = serde_json::from_str(&told).unwrap();
        assert!(read.len() > 300 && many.starts_with(&read));
    }

    #[test]
    fn credentials_are_named_by_mode_and_absent_for_strangers() {
        let principal = ada();
        let names = |principal, mode| {
            let request = request(&[], principal, mode);
            ["shiny-server-credentials", "rstudio-connect-credentials"].map(|name| request.headers().contains_key(name))
        };
        assert_eq!(names(Some(&principal), AppMode::Shiny), [true, false]);
        assert_eq!(names(Some(&principal), AppMode::PythonShiny), [true, false]);
        assert_eq!(names(Some(&principal), AppMode::Api), [false, true]);
        assert_eq!(names(None, AppMode::Api), [false, false]);
    }

    #[test]
    fn lecterns_credentials_stay_here() {
        // Name, value sent, value the worker sees.
        let cases = [
            ("authorization", "Key abc", None),
            ("authorization", "key  abc", None),
            ("authorization", "KEY", None),
            ("authorization", "Connect-Bootstrap a.b.c", None),
            ("authorization", "Keynote abc", Some("Keynote abc")),
            ("authorization", "Bearer abc", Some("Bearer abc")),
            ("authorization", "Bearer lectern_access_abc", None),
            ("authorization", "bearer \t lectern_access_abc", None),
            ("authorization", "Bearer x.lectern_access_abc", Some("Bearer x.lectern_access_abc")),
            ("authorization", "Basic YTpi", Some("Basic YTpi")),
            ("x-rsc-authorization", "Key abc", None),
            ("x-rsc-authorization", "abc", None),
            ("cookie", "lectern=tok", None),
            ("cookie", "a=1; lectern=tok; b=2", Some("a=1; b=2")),
            ("cookie", "a=1; b=2", Some("a=1; b=2")),
            ("cookie", "lectern=1; lectern=2", None),
        ];
        for (name, sent, seen) in cases {
            let request = request(&[(name, sent)], None, AppMode::Api);
            assert_eq!(request.headers().get(name).map(|v| v.to_str().unwrap()), seen, "{name}: {sent}");
        }
        let request = request(
            &[
                ("cookie", "a=1"),
                ("cookie", "lectern=t"),
                ("cookie", "b=2"),
                ("authorization", "Bearer x"),
                ("authorization", "Key y"),
            ],
            None,
            AppMode::Api,
        );
        assert_eq!(request.headers().get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
        assert_eq!(request.headers().get_all("authorization").iter().collect::<Vec<_>>(), ["Bearer x"]);
    }

    #[test]
    fn nothing_ends_a_line_early() {
        let mut out = BytesMut::new();
        field(&mut out, "a", &["x", "y\r\nb: 1"]);
        field(&mut out, "c", &["x", "ü"]);
        assert_eq!(out, "a: \r\nc: xü\r\n".as_bytes());
    }
}
