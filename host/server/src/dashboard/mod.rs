//! The dashboard: a list of what one may see, a page per content item and per job. These pages change nothing, and have two scripts:
//! `hash.js` leads on from addresses of the clients' kind, `log.js` adds lines to a log that grows.
//!
//! Pages with forms that change something are apart: see [`forms`].

mod account;
mod claim;
mod docs;
mod forms;
mod integrations;
mod jobs;
mod load;
mod oauth;
mod pages;
mod password;
mod users;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use lectern_api::{Backstage, External};
use lectern_domain::access::{Principal, PrincipalVia};
use lectern_metadata::{Database, DbError};

use crate::paths::Paths;
use crate::plugins::SignIn;
use crate::view::View;
pub(crate) use forms::Passes;
use pages::{Frame, MessagePage};

/// Nothing but this server's own style sheet, scripts, logs and forms.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
                      img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The same for a page with a form: it has an origin of its own, so that no other page of this server can look into it.
const SEALED_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; \
                             base-uri 'none'; frame-ancestors 'none'; sandbox allow-forms";

/// Bytes of a form: a password and a name.
const FORM_BYTES: usize = 16 << 10;

/// What the pages are made from.
#[derive(Clone)]
pub(crate) struct Dashboard {
    pub(crate) database: Database,
    pub(crate) view: Arc<View>,
    pub(crate) paths: Paths,
    /// The server's address outside, where the operator set one.
    pub(crate) public_url: Option<url::Url>,
    /// Where people sign in and out.
    pub(crate) sign_in: SignIn,
    /// The rest of the server, as the API sees it.
    pub(crate) backstage: Arc<dyn Backstage>,
    /// For the forms.
    pub(crate) passes: Passes,
}

/// Who looks, and from where.
struct Visit {
    principal: Option<Principal>,
    /// The server's address as the visitor knows it, without a trailing slash.
    server: String,
    /// Its path, without a trailing slash.
    base: String,
    /// The path that the edge puts before addresses in what plugins answer: a proxy's, never the configured one.
    added: String,
    /// Where the visitor signs in and out, below the server's address.
    sign_in: Option<String>,
}

impl FromRequestParts<Dashboard> for Visit {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, dashboard: &Dashboard) -> Result<Self, Self::Rejection> {
        let principal = parts.extensions.get::<Option<Principal>>().cloned().flatten();
        let (server, base) = match (&dashboard.public_url, parts.extensions.get::<External>()) {
            (Some(url), _) => {
                let path = url.path().trim_end_matches('/').to_owned();
                (url.as_str().trim_end_matches('/').to_owned(), path)
            }
            (None, Some(external)) => {
                (format!("{}://{}{}", external.scheme, external.authority, external.prefix), external.prefix.clone())
            }
            (None, None) => (String::new(), String::new()),
        };
        let added = parts.extensions.get::<External>().map(|external| external.prefix.clone()).unwrap_or_default();
        let host = server.parse::<url::Url>().ok().and_then(|url| url.host_str().map(str::to_ascii_lowercase));
        let sign_in = dashboard.sign_in.pages(host.as_deref());
        Ok(Self { principal, server, base, added, sign_in })
    }
}

impl Visit {
    /// The person who signed in with this browser, for pages with a form. Who has a key is not: the form is worth what the
    /// account is, which may be more than the key, and what it makes outlives the key.
    fn person(&self) -> Option<&Principal> {
        self.principal.as_ref().filter(|principal| principal.via == PrincipalVia::Session)
    }

    fn frame(&self) -> Frame {
        let user = self.principal.as_ref().map(|principal| pages::Who {
            username: principal.username.clone(),
            role: principal.role.as_str(),
            publishes: principal.role >= lectern_domain::UserRole::Publisher,
        });
        Frame {
            base: self.base.clone(),
            server: self.server.clone(),
            user,
            sign_in: self.sign_in.clone(),
            sealed: false,
        }
    }

    /// The frame of a sealed page, whose other forms would be refused.
    fn sealed_frame(&self) -> Frame {
        Frame { sealed: true, ..self.frame() }
    }
}

/// The routes below `/connect` and `/__docs__`.
pub(crate) fn router(dashboard: Dashboard) -> Router {
    Router::new()
        .route("/connect/", get(list))
        .route("/connect/apps/{guid}", get(item))
        .route("/connect/apps/{guid}/", get(item))
        .route("/connect/apps/{guid}/jobs/{key}", get(job))
        .route(
            "/connect/assets/style.css",
            get(|| asset("text/css; charset=utf-8", include_str!("../../assets/style.css"))),
        )
        .route(
            "/connect/assets/hash.js",
            get(|| asset("text/javascript; charset=utf-8", include_str!("../../assets/hash.js"))),
        )
        .route(
            "/connect/assets/log.js",
            get(|| asset("text/javascript; charset=utf-8", include_str!("../../assets/log.js"))),
        )
        .route("/connect/users", get(users::show).post(users::act))
        .route("/connect/account", get(account::show).post(account::act))
        .route("/connect/tokens/{id}", get(claim::show).post(claim::confirm))
        .route("/connect/oauth/authorize", get(oauth::ask).post(oauth::decide))
        .route("/connect/oauth/integrations", get(integrations::list).post(integrations::sign_out))
        .route("/__oauth__/integrations/{guid}/login", get(integrations::ask).post(integrations::go))
        .route(lectern_api::providers::CALLBACK, get(integrations::back))
        .route("/connect/oauth/device", get(oauth::enter).post(oauth::answer))
        .route("/connect/password", get(password::show).post(password::choose))
        .merge(docs::routes())
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(FORM_BYTES))
        .with_state(dashboard)
}

async fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "public, max-age=3600"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text)
}

async fn list(visit: Visit, State(dashboard): State<Dashboard>) -> Response {
    page(StatusCode::OK, &load::list(&dashboard, &visit))
}

async fn item(visit: Visit, State(dashboard): State<Dashboard>, Path(guid): Path<String>) -> Response {
    match load::item(&dashboard, &visit, &guid).await {
        Ok(item) => page(StatusCode::OK, &*item),
        Err(why) => no_page(&visit, why, &format!("/connect/apps/{guid}")),
    }
}

async fn job(visit: Visit, State(dashboard): State<Dashboard>, Path((guid, key)): Path<(String, String)>) -> Response {
    match load::job(&dashboard, &visit, &guid, &key).await {
        Ok(job) => page(StatusCode::OK, &*job),
        Err(why) => no_page(&visit, why, &format!("/connect/apps/{guid}/jobs/{key}")),
    }
}

/// Says why there is no page; `path` is its own, below the server's.
fn no_page(visit: &Visit, why: load::NoPage, path: &str) -> Response {
    match why {
        load::NoPage::SignIn => sign_in_first(visit, &format!("{}{path}", visit.base)),
        load::NoPage::Absent => message(
            visit,
            StatusCode::NOT_FOUND,
            "No such content",
            "There is no content with this address; it may have been deleted.",
        ),
        load::NoPage::Refused => message(
            visit,
            StatusCode::FORBIDDEN,
            "Not shared with you",
            "This content exists, but it is not shared with your account. Its owner can add you.",
        ),
        load::NoPage::Away(error) => away(visit, &error),
    }
}

/// Leads to where people sign in, and back to `next`, a path as the browser knows it.
fn sign_in_first(visit: &Visit, next: &str) -> Response {
    let Some(pages) = &visit.sign_in else {
        return message(
            visit,
            StatusCode::UNAUTHORIZED,
            "Sign in first",
            "This page needs a signed-in user, and nothing on this server signs people in with a page.",
        );
    };
    let next = next.strip_prefix(visit.added.as_str()).unwrap_or(next);
    let next = percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC);
    Redirect::to(&format!("{}{pages}?next={next}", visit.base)).into_response()
}

fn away(visit: &Visit, error: &DbError) -> Response {
    tracing::warn!(error = crate::cli::chain(error), "dashboard page without database");
    message(
        visit,
        StatusCode::SERVICE_UNAVAILABLE,
        "Settings are away for a moment",
        "The server's database does not answer. Published content goes on being served; try this page again soon.",
    )
}

/// The answer where browsers do not say how a page is opened.
fn needs_secure(visit: &Visit) -> Response {
    message(
        visit,
        StatusCode::FORBIDDEN,
        "This page needs HTTPS",
        "Your browser does not say how it opens this page: it is old, or the server is not reached over HTTPS. What can be \
         changed here would be open to other pages. Ask an administrator for HTTPS, or use an API key.",
    )
}

async fn unknown(visit: Visit) -> Response {
    message(&visit, StatusCode::NOT_FOUND, "No such page", "The dashboard has no page of this address.")
}

fn message(visit: &Visit, status: StatusCode, title: &str, text: &str) -> Response {
    page(status, &MessagePage { frame: visit.frame(), title: title.to_owned(), text: text.to_owned() })
}

fn page(status: StatusCode, template: &impl Template) -> Response {
    with_policy(status, template, POLICY)
}

/// A page with a form of [`forms`].
fn sealed_page(status: StatusCode, template: &impl Template) -> Response {
    with_policy(status, template, SEALED_POLICY)
}

/// The same for a form whose answer leads to `origin`: browsers hold forms to the policy on the whole way.
fn sealed_page_to(origin: &str, template: &impl Template) -> Response {
    let mut response = sealed_page(StatusCode::OK, template);
    // Policies have no words for addresses of IPv6 (CSP3 §2.3.1). The page has no script, so its form leads where we say.
    let origin = if origin.contains('[') { "http:" } else { origin };
    let policy = SEALED_POLICY.replace("form-action 'self'", &format!("form-action 'self' {origin}"));
    match policy.parse() {
        Ok(policy) => {
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
            response
        }
        // Without it the page is stricter, not open.
        Err(_) => response,
    }
}

fn with_policy(status: StatusCode, template: &impl Template, policy: &'static str) -> Response {
    match template.render() {
        Ok(html) => {
            let headers = [
                (header::CONTENT_SECURITY_POLICY, policy),
                (header::CACHE_CONTROL, "no-store"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                // Addresses of sealed pages may hold a secret.
                (header::REFERRER_POLICY, if policy == SEALED_POLICY { "no-referrer" } else { "same-origin" }),
            ];
            (status, headers, Html(html)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "dashboard page");
            (StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made; the server's log says why").into_response()
        }
    }
}
