//! The head of a request as its worker gets it, and the head of the answer as the client gets it.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Request, Response, Version, response};
use lectern_domain::{AppMode, Principal};
use lectern_gate::{Forward, Head, without_session_cookie};

use super::{cookies, hop, location};
use crate::body::RequestBody;
use crate::origin::{
    Origin, READ_FROM, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PREFIX, X_FORWARDED_PROTO,
    X_RSC_REQUEST,
};
use crate::request_id::RequestId;

const SHINY_CREDENTIALS: HeaderName = HeaderName::from_static("shiny-server-credentials");
const CREDENTIALS: HeaderName = HeaderName::from_static("rstudio-connect-credentials");
const BASE_URL: HeaderName = HeaderName::from_static("rstudio-connect-app-base-url");
const X_RSC_AUTHORIZATION: HeaderName = HeaderName::from_static("x-rsc-authorization");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const SERVICE_WORKER_ALLOWED: HeaderName = HeaderName::from_static("service-worker-allowed");

/// What a worker is told about a request besides the request.
pub(crate) struct Story<'a> {
    pub(crate) forward: &'a Forward,
    pub(crate) origin: &'a Origin,
    pub(crate) id: &'a RequestId,
    /// The path below which the client sees the content, without a last slash; empty: it sees it at the root.
    pub(crate) mount: &'a str,
    pub(crate) principal: Option<&'a Principal>,
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
    cause: http::uri::InvalidUri,
}

/// `path` with the query of the request, as a target.
pub(crate) fn target_uri(path: &str, query: Option<&str>) -> Result<Uri, BadAddress> {
    let address = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    match PathAndQuery::try_from(address.as_str()) {
        Ok(target) => Ok(Uri::from(target)),
        Err(cause) => Err(BadAddress { address, cause }),
    }
}

/// Makes the worker's request.
pub(crate) fn to_worker(head: Head, story: &Story<'_>, body: RequestBody) -> Result<Request<RequestBody>, BadAddress> {
    let uri = target_uri(story.forward.target_path(&head.path), head.query.as_deref())?;
    let external_path = lectern_gate::path_and_query(&head.path, head.query.as_deref());
    let Head { method, mut headers, .. } = head;
    hop::remove_hop_by_hop(&mut headers);
    // The listener answers it: a worker that did so too would answer twice.
    headers.remove(header::EXPECT);
    apply(story.forward, &mut headers);
    keep_credentials_back(&mut headers);
    if story.websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    tell(&mut headers, story, &external_path);
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
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

/// Removes what proves to Lectern who is asking: content must not be able to act as its visitors.
fn keep_credentials_back(headers: &mut HeaderMap) {
    headers.remove(X_RSC_AUTHORIZATION);
    if headers.get_all(header::AUTHORIZATION).iter().any(is_api_key) {
        let kept: Vec<HeaderValue> =
            headers.get_all(header::AUTHORIZATION).iter().filter(|value| !is_api_key(value)).cloned().collect();
        headers.remove(header::AUTHORIZATION);
        for value in kept {
            headers.append(header::AUTHORIZATION, value);
        }
    }
    drop_session_cookie(headers);
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

/// Whether an `Authorization` field carries one of Lectern's own credentials: `Key …`, or the bootstrap token.
fn is_api_key(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes().trim_ascii_start();
    let scheme = bytes.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"key") || scheme.eq_ignore_ascii_case(b"connect-bootstrap")
}

/// Writes what the worker may trust about the request: how it came, where it is seen, who is asking.
fn tell(headers: &mut HeaderMap, story: &Story<'_>, external_path: &str) {
    let origin = story.origin;
    for name in READ_FROM {
        headers.remove(name);
    }
    let mount = format!("{}{}", origin.prefix, story.mount);
    let base = origin.base();
    let host = text(origin.host());
    if !headers.contains_key(header::HOST) {
        headers.insert(header::HOST, host.clone());
    }
    headers.insert(X_FORWARDED_FOR, origin.forwarded_for.clone());
    headers.insert(X_FORWARDED_HOST, host);
    headers.insert(X_FORWARDED_PORT, HeaderValue::from(origin.port));
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(origin.scheme.as_str()));
    headers.insert(header::FORWARDED, origin.forwarded());
    if !mount.is_empty() {
        headers.insert(X_FORWARDED_PREFIX, text(&mount));
    }
    headers.insert(BASE_URL, text(&format!("{base}{mount}")));
    let url = origin.url.clone();
    headers.insert(X_RSC_REQUEST, url.unwrap_or_else(|| text(&format!("{base}{}{external_path}", origin.prefix))));
    headers.insert(X_REQUEST_ID, story.id.value());
    headers.insert(X_CORRELATION_ID, story.id.value());
    if let Some(principal) = story.principal {
        let name = if is_shiny(story.mode) { SHINY_CREDENTIALS } else { CREDENTIALS };
        headers.insert(name, credentials(principal));
    }
}

fn is_shiny(mode: AppMode) -> bool {
    matches!(mode, AppMode::Shiny | AppMode::RmdShiny | AppMode::QuartoShiny | AppMode::PythonShiny)
}

/// `{"user":…,"groups":[]}`. Nobody has groups yet.
fn credentials(principal: &Principal) -> HeaderValue {
    text(&serde_json::json!({ "user": principal.username, "groups": [] }).to_string())
}

/// Text made of parsed addresses, encoded paths and user names, which hold no control characters.
fn text(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or(HeaderValue::from_static(""))
}

/// Makes the client's answer of the worker's: `mount` is the external path of the content, `host` what the client addressed.
pub(crate) fn from_worker<B>(answer: Response<B>, mount: &str, host: &str) -> (response::Parts, B) {
    let (mut parts, body) = answer.into_parts();
    let websocket = parts.status == http::StatusCode::SWITCHING_PROTOCOLS;
    hop::remove_hop_by_hop(&mut parts.headers);
    if websocket {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    // What runs the content is nobody's business.
    parts.headers.remove(header::SERVER);
    // It would let a script of one content item take over the pages of all others.
    parts.headers.remove(SERVICE_WORKER_ALLOWED);
    cookies::confine(&mut parts.headers, mount);
    location::rewrite(&mut parts.headers, mount, host);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    (parts, body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::origin::Peer;
    use http::Method;
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

    fn request(fields: &[(&str, &str)], principal: Option<&Principal>, mode: AppMode) -> Request<RequestBody> {
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
        let id = RequestId::adopt(&HeaderValue::from_static("r-1")).unwrap();
        let story =
            Story { forward: &forward, origin: &origin, id: &id, mount: &mount, principal, mode, websocket: false };
        to_worker(head, &story, RequestBody::empty()).unwrap()
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
            ("rstudio-connect-credentials", r#"{"user":"ada","groups":[]}"#.into()),
        ];
        for (name, value) in &expected {
            assert_eq!(request.headers().get(*name).map(|v| v.to_str().unwrap()), Some(value.as_str()), "{name}");
        }
        assert_eq!(request.headers().len(), expected.len());
    }

    #[test]
    fn credentials_are_named_by_mode_and_absent_for_strangers() {
        let principal = ada();
        let names = |principal, mode| {
            let request = request(&[], principal, mode);
            [SHINY_CREDENTIALS, CREDENTIALS].map(|name| request.headers().contains_key(name))
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
    fn answers_are_confined() {
        let mut answer = Response::new(());
        *answer.headers_mut() = map(&[
            ("server", "uvicorn"),
            ("connection", "close, x-internal"),
            ("x-internal", "1"),
            ("keep-alive", "timeout=5"),
            ("service-worker-allowed", "/"),
            ("set-cookie", "a=1; Path=/"),
            ("set-cookie", "lectern=evil"),
            ("location", "/login"),
            ("x-fine", "1"),
        ]);
        *answer.version_mut() = Version::HTTP_10;
        let (parts, ()) = from_worker(answer, "/content/x", "h");
        assert_eq!(parts.version, Version::HTTP_11);
        let mut left: Vec<(&str, &str)> =
            parts.headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(left, [("location", "/content/x/login"), ("set-cookie", "a=1; Path=/content/x/"), ("x-fine", "1")]);
    }
}
