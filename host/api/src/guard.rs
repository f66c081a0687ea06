//! The one check before every route, and the request extensions the listener hands over.
//!
//! The listener's side: it puts [`External`], `Option<Principal>` and, where a credential was presented and refused,
//! [`CredentialRejected`] into the request's extensions, all taken from the gate's decision and never from the client's
//! own words. What is missing counts as "anonymous", so a forgotten extension can only deny.
//!
//! A program that signs its requests proves who it is here and not in the gate: its signature covers the method, the path and
//! the body's checksum, so it speaks of this interface only, and what it announces of the body is checked as the body is read
//! (see [`crate::signed`]). Content takes no signatures.
//!
//! Our side: a request whose credential came to nothing is refused on every route, public ones too, because clients test
//! their keys on public routes; the bootstrap route alone reads its own kind of credential.

use std::net::IpAddr;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Method, Uri, header};
use lectern_domain::access::{Principal, PrincipalVia};
use lectern_domain::user::UserRole;
use lectern_metadata::integrations::visitor_keys;
use percent_encoding::percent_decode_str;
use url::Url;

use crate::error::{ApiError, Code};
use crate::{Services, checksum, login, signed, upload};

/// Where the bootstrap token is presented.
pub(crate) const BOOTSTRAP_PATH: &str = "/__api__/v1/experimental/bootstrap";

/// How the client addressed this server, as established by the listener (trusted proxies only).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// `http` or `https`.
    pub scheme: String,
    /// Host and, where it is not the scheme's own, port.
    pub authority: String,
    /// The path the whole server is published below: empty, or with a leading and without a trailing slash.
    pub prefix: String,
}

/// The client's address, as established by the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// Marks a request whose credential the gate refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialRejected;

/// Who is asking, after the check; `None`: nobody in particular.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Option<Principal>);

/// Somebody with an account. As an extractor it refuses the anonymous with code 24.
#[derive(Debug, Clone)]
pub(crate) struct Account(pub(crate) Principal);

/// An account that may publish; refuses others with code 22.
#[derive(Debug, Clone)]
pub(crate) struct Publisher(pub(crate) Principal);

/// An account that administers the server; refuses others with code 22.
#[derive(Debug, Clone)]
pub(crate) struct Administrator(pub(crate) Principal);

/// Runs before every route.
pub(crate) async fn check(State(services): State<Services>, request: Request, next: Next) -> Response {
    let (mut parts, mut body) = request.into_parts();
    let principal = match admitted(&services, &parts).await {
        Ok(principal) => principal,
        Err(refusal) => return refusal.into_response(),
    };
    // Whoever reads a part of it later would refuse it in words of its own.
    if percent_decode_str(parts.uri.path()).decode_utf8().is_err() {
        return ApiError::new(Code::BadId, "the address is not valid text").into_response();
    }
    parts.extensions.insert(Caller(principal));
    if !upload::is_sent_to(parts.uri.path()) {
        match checksum::announced(&parts.headers) {
            Ok(None) => {}
            Ok(Some(announced)) => body = checksum::checked(body, announced),
            Err(refusal) => return refusal.into_response(),
        }
    }
    next.run(Request::from_parts(parts, body)).await
}

/// Who is asking, and whether they may ask at all; which routes they may use is for each route to say.
async fn admitted(services: &Services, request: &Parts) -> Result<Option<Principal>, ApiError> {
    if request.uri.path() == BOOTSTRAP_PATH {
        return Ok(None);
    }
    let known = request.extensions.get::<Option<Principal>>().cloned().flatten();
    let rejected = request.extensions.get::<CredentialRejected>().is_some();
    let bad = || ApiError::new(Code::BadCredential, "the credential presented is not valid");
    if rejected {
        return Err(bad());
    }
    let Some(principal) = known else {
        let Some(signature) = signed::Presented::read(request)? else {
            return if presents_credential(&request.headers) { Err(bad()) } else { Ok(None) };
        };
        return signed::principal(services, &signature).await.map(Some);
    };
    refuse_accounts_to_content(services, &principal, request).await?;
    match changes_by_session(&principal, &request.method) {
        Some(refusal) if !login::may_make_key(services, &principal, request).await? => Err(refusal),
        Some(_) | None => Ok(Some(principal)),
    }
}

/// Whether the client presented a credential of any kind. `X-Auth-Token: anonymous-access` is how R clients say "none".
fn presents_credential(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION)
        || headers.contains_key("x-rsc-authorization")
        || headers.get("x-auth-token").is_some_and(|token| token.as_bytes() != b"anonymous-access")
}

/// Refuses every change that a signed-in browser asks for without a key.
///
/// Published pages are served from this server's own origin: their scripts could use the session of whoever looks at them,
/// and no header tells them from the dashboard. Keys are not sent by browsers on their own.
fn changes_by_session(principal: &Principal, method: &Method) -> Option<ApiError> {
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    (principal.via == PrincipalVia::Session && changes).then(|| {
        ApiError::new(Code::CrossSite, "a browser's session changes nothing through this interface; use an API key")
    })
}

/// Refuses every change of accounts, and of what proves who somebody is, that is asked for with a key that content was given.
///
/// A process's own key ends with it, a visitor's with what content may do for visitors. What they made would not: another key, a password, an
/// account. So whoever gets hold of one, through a hole in an application, keeps nothing.
async fn refuse_accounts_to_content(
    services: &Services,
    principal: &Principal,
    request: &Parts,
) -> Result<(), ApiError> {
    if !changes_accounts(&request.method, request.uri.path()) {
        return Ok(());
    }
    let text = match principal.via {
        PrincipalVia::Content(_) => "the key of a content process makes no keys and changes no accounts",
        PrincipalVia::Key(key) if visitor_keys::is_one(&services.database.client().await?, key).await? => {
            "a key that content got for its visitor makes no keys and changes no accounts"
        }
        PrincipalVia::Key(_) | PrincipalVia::Session | PrincipalVia::Signature => return Ok(()),
    };
    Err(ApiError::new(Code::NotPermitted, text))
}

/// Whether a request changes an account, or what proves who somebody is: what comes of it would outlive the key that it is asked with.
fn changes_accounts(method: &Method, path: &str) -> bool {
    const ROOTS: [&str; 6] = [
        "/__api__/v1/users",
        "/__api__/v1/user",
        "/__api__/users",
        "/__api__/tokens",
        "/__api__/oauth",
        "/__api__/__login__",
    ];
    let below = |root: &&str| path.strip_prefix(*root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) && ROOTS.iter().any(below)
}

/// The path of a request before a slash at its end was taken off; only where there was one.
#[derive(Debug, Clone)]
pub(crate) struct PathAsSent(pub(crate) String);

/// Treats `/x/` as `/x`: some clients add the slash.
pub(crate) fn without_trailing_slash(mut request: Request) -> Request {
    let path = request.uri().path().to_owned();
    let trimmed = path.trim_end_matches('/');
    if trimmed.len() == path.len() || trimmed.is_empty() {
        return request;
    }
    let target = match request.uri().query() {
        Some(query) => format!("{trimmed}?{query}"),
        None => trimmed.to_owned(),
    };
    let mut parts = request.uri().clone().into_parts();
    // A shorter form of a valid path is valid; were it not, the request would go on as it came.
    if let Ok(target) = target.parse() {
        request.extensions_mut().insert(PathAsSent(path));
        parts.path_and_query = Some(target);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

fn caller(parts: &Parts) -> Option<Principal> {
    parts.extensions.get::<Caller>().and_then(|caller| caller.0.clone())
}

fn account(parts: &Parts) -> Result<Principal, ApiError> {
    caller(parts).ok_or_else(|| ApiError::new(Code::SignInNeeded, "this needs a credential: an API key, for example"))
}

fn with_role(parts: &Parts, least: UserRole) -> Result<Principal, ApiError> {
    let principal = account(parts)?;
    if principal.role >= least {
        return Ok(principal);
    }
    let (have, need) = (principal.role.as_str(), least.as_str());
    Err(ApiError::new(Code::NotPermitted, format!("this needs the role {need}; the credential gives {have}")))
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self(caller(parts)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Account {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        account(parts).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Publisher {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        with_role(parts, UserRole::Publisher).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Administrator {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        with_role(parts, UserRole::Administrator).map(Self)
    }
}

/// The server's address as this client should use it, without a trailing slash.
#[derive(Debug, Clone)]
pub(crate) struct Base(String);

impl Base {
    fn of(public: Option<&Url>, external: Option<&External>, headers: &HeaderMap) -> Self {
        if let Some(url) = public {
            return Self(url.as_str().trim_end_matches('/').to_owned());
        }
        if let Some(external) = external {
            let External { scheme, authority, prefix } = external;
            return Self(format!("{scheme}://{authority}{}", prefix.trim_end_matches('/')));
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        Self(format!("http://{host}"))
    }

    /// The address `path`, which begins with a slash, has outside.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl FromRequestParts<Services> for Base {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        let public = services.settings.public_url.as_ref();
        Ok(Self::of(public, parts.extensions.get::<External>(), &parts.headers))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::body::Body;
    use lectern_domain::ids::{UserGuid, UserId};

    #[test]
    fn trailing_slashes_go() {
        let cases = [("/a/", "/a"), ("/a//?x=/y/", "/a?x=/y/"), ("/a", "/a"), ("/", "/"), ("/a?b/", "/a?b/")];
        for (given, expected) in cases {
            let request = Request::builder().uri(given).body(Body::empty()).unwrap();
            assert_eq!(without_trailing_slash(request).uri(), expected, "{given}");
        }
    }

    #[test]
    fn base_addresses() {
        let external = External { scheme: "https".into(), authority: "h:1".into(), prefix: "/rsc".into() };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "127.0.0.1:3939".parse().unwrap());
        let public: Url = "https://apps.example.org/x/".parse().unwrap();
        let at = |public, external| Base::of(public, external, &headers).url("/content/");
        assert_eq!(at(Some(&public), Some(&external)), "https://apps.example.org/x/content/");
        assert_eq!(at(None, Some(&external)), "https://h:1/rsc/content/");
        assert_eq!(at(None, None), "http://127.0.0.1:3939/content/");
    }

    #[test]
    fn accounts_are_changed_below_some_roots() {
        for path in
            ["/v1/users", "/v1/users/x/keys", "/v1/users/x/keys/1", "/v1/user", "/tokens/T1/claim", "/oauth/revoke"]
        {
            let path = format!("/__api__{path}");
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert!(changes_accounts(&method, &path), "{method} {path}");
            }
            assert!(!changes_accounts(&Method::GET, &path), "{path}");
        }
        for path in ["/__api__/v1/content", "/__api__/v1/usersx", "/__api__/v1/groups", "/x/__api__/v1/users"] {
            assert!(!changes_accounts(&Method::POST, path), "{path}");
        }
    }

    #[test]
    fn sessions_change_nothing() {
        let principal = |via| Principal {
            user: UserId(1),
            guid: UserGuid(uuid::Uuid::nil()),
            username: "ada".into(),
            role: UserRole::Publisher,
            via,
        };
        let session = principal(PrincipalVia::Session);
        let key = principal(PrincipalVia::Key(lectern_domain::KeyId(1)));
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert!(changes_by_session(&session, &method).is_some(), "{method}");
            assert!(changes_by_session(&key, &method).is_none(), "{method}");
        }
        assert!(changes_by_session(&session, &Method::GET).is_none());
    }

    #[test]
    fn what_changes_accounts() {
        for path in ["/v1/users", "/v1/users/x/keys", "/v1/users/x/keys/1", "/v1/user", "/users/x", "/tokens/T1/claim"]
        {
            let path = format!("/__api__{path}");
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert!(changes_accounts(&method, &path), "{method} {path}");
            }
            assert!(!changes_accounts(&Method::GET, &path), "{path}");
        }
        for path in ["/__api__/v1/content", "/__api__/v1/usersx", "/__api__/v1/groups"] {
            assert!(!changes_accounts(&Method::POST, path), "{path}");
        }
    }
}
