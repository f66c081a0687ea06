//! `/connect/oauth/integrations` and `/__oauth__/integrations/…`: a visitor signs in to the providers that content reaches in the
//! visitor's name, and out of them. The second addresses are the ones that content written for the product knows.
//!
//! A provider sends the browser back to one address for all integrations ([`lectern_api::providers::CALLBACK`]).

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use lectern_api::ApiError;
use lectern_api::providers::{self, CALLBACK, NotSignedIn, sign_in_path};
use lectern_domain::access::{Action, Principal, Verdict, decide};
use lectern_domain::integrations::way_back::is_way_back;
use lectern_domain::{IntegrationGuid, UserRole};
use lectern_metadata::DbError;
use lectern_metadata::integrations::offers::{self, Offer};
use serde::Deserialize;
use time::OffsetDateTime;

use super::forms::{Opened, Purpose};
use super::pages::Frame;
use super::{Dashboard, Visit, away, message, needs_secure, page, sealed_page, sign_in_first};
use crate::moment;

const LIST: &str = "/connect/oauth/integrations";

#[derive(Template)]
#[template(path = "integrations.html")]
struct ListPage {
    frame: Frame,
    pass: String,
    notice: Option<&'static str>,
    rows: Vec<Row>,
}

struct Row {
    guid: String,
    name: String,
    description: String,
    /// When the tokens last changed; `None`: not signed in.
    since: Option<String>,
    sign_in: String,
}

#[derive(Template)]
#[template(path = "integration_sign_in.html")]
struct SignInPage {
    frame: Frame,
    pass: String,
    action: String,
    next: String,
    name: String,
    description: String,
    provider: String,
    username: String,
}

#[derive(Template)]
#[template(path = "integration_on_the_way.html")]
struct OnTheWay {
    frame: Frame,
    provider: String,
    location: String,
}

#[derive(Template)]
#[template(path = "integration_refused.html")]
struct RefusedPage {
    frame: Frame,
    title: &'static str,
    text: String,
    again: String,
}

fn name(offer: &Offer) -> String {
    offer.name.clone().unwrap_or_else(|| "Unnamed integration".to_owned())
}

/// The integrations that a user may sign in to: those of content that the user may open, and those where the user has signed in.
/// Administrators try all of them.
async fn offered(
    dashboard: &Dashboard,
    principal: &Principal,
    of: Option<IntegrationGuid>,
) -> Result<Vec<Offer>, DbError> {
    let client = dashboard.database.client().await?;
    let view = dashboard.view.current();
    let opens = |guid: &lectern_domain::ContentGuid| {
        let entry = view.content.get(guid);
        entry.is_some_and(|entry| matches!(decide(Some(principal), &entry.access, Action::Open), Verdict::Allowed(_)))
    };
    let mut offers = offers::list(&client, principal.user, of).await?;
    offers.retain(|offer| {
        principal.role == UserRole::Administrator || offer.session.is_some() || offer.content.iter().any(opens)
    });
    Ok(offers)
}

/// Lists them.
pub(super) async fn list(visit: Visit, State(dashboard): State<Dashboard>, headers: HeaderMap, uri: Uri) -> Response {
    match opener(&visit, &headers, &uri) {
        Ok(principal) => list_page(&visit, &dashboard, &principal, None).await,
        Err(refusal) => *refusal,
    }
}

/// Who opens a page as a page, or the answer to who does not.
fn opener(visit: &Visit, headers: &HeaderMap, uri: &Uri) -> Result<Principal, Box<Response>> {
    let Some(principal) = visit.person().cloned() else {
        let path = uri.path_and_query().map_or(uri.path(), |path| path.as_str());
        return Err(Box::new(sign_in_first(visit, &format!("{}{path}", visit.base))));
    };
    match Opened::read(headers) {
        Opened::Page => Ok(principal),
        Opened::Unsaid => Err(Box::new(needs_secure(visit))),
        Opened::Otherwise => {
            let text = "This page is for opening in a window of its own, not for other pages to use.";
            Err(Box::new(message(visit, StatusCode::FORBIDDEN, "Refused", text)))
        }
    }
}

async fn list_page(
    visit: &Visit,
    dashboard: &Dashboard,
    principal: &Principal,
    notice: Option<&'static str>,
) -> Response {
    let offers = match offered(dashboard, principal, None).await {
        Ok(offers) => offers,
        Err(error) => return away(visit, &error),
    };
    let row = |offer: Offer| Row {
        guid: offer.guid.to_string(),
        name: name(&offer),
        since: offer.session.map(|(_, at)| moment::show(at)),
        sign_in: format!("{}{}", visit.base, sign_in_path(offer.guid)),
        description: offer.description.unwrap_or_default(),
    };
    let page = ListPage {
        frame: visit.sealed_frame(),
        pass: dashboard.passes.make(principal.user, &Purpose::Integrations, OffsetDateTime::now_utc()),
        notice,
        rows: offers.into_iter().map(row).collect(),
    };
    sealed_page(StatusCode::OK, &page)
}

#[derive(Deserialize)]
pub(super) struct SignOut {
    #[serde(default)]
    pass: String,
    #[serde(default)]
    guid: String,
}

/// Signs out of one.
pub(super) async fn sign_out(
    mut visit: Visit,
    State(dashboard): State<Dashboard>,
    Form(form): Form<SignOut>,
) -> Response {
    let Some(principal) = by_pass(&dashboard, &form.pass, &Purpose::Integrations) else { return stale(&visit) };
    visit.principal = Some(principal.clone());
    let ended = match form.guid.parse() {
        Ok(guid) => providers::sign_out(&dashboard.database, &principal, guid).await,
        Err(_) => Ok(false),
    };
    let notice = match ended {
        Ok(true) => "Done: content gets nothing more in your name there.",
        Ok(false) => "You are not signed in there any more.",
        Err(error) => return failed(&visit, &error),
    };
    list_page(&visit, &dashboard, &principal, Some(notice)).await
}

/// Whose form it is, by its pass: the cookie does not come with a sandboxed page's form.
fn by_pass(dashboard: &Dashboard, pass: &str, purpose: &Purpose<'_>) -> Option<Principal> {
    let pass = dashboard.passes.judge(pass, purpose, OffsetDateTime::now_utc())?;
    dashboard.view.current().principal_of_user(pass.user)
}

fn stale(visit: &Visit) -> Response {
    let text = "The page was open for too long, or was not made by this server. Open it again.";
    message(visit, StatusCode::FORBIDDEN, "Nothing was done", text)
}

fn failed(visit: &Visit, error: &ApiError) -> Response {
    let status = error.status();
    if status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE {
        return message(visit, status, "Not signed in", error.message());
    }
    tracing::error!(error = crate::cli::chain(error), "sign in to an integration");
    let text = "The server failed; its log says why. Try again in a minute.";
    message(visit, StatusCode::INTERNAL_SERVER_ERROR, "Not signed in", text)
}

#[derive(Deserialize)]
pub(super) struct Next {
    /// A page of this server to go to in the end.
    #[serde(default)]
    next: String,
    #[serde(default)]
    pass: String,
}

impl Next {
    fn page(&self, base: &str) -> String {
        if is_way_back(&self.next) { self.next.clone() } else { format!("{base}{LIST}") }
    }
}

/// What a form for one integration and one way back is for.
fn subject(guid: IntegrationGuid, next: &str) -> String {
    format!("{guid} {next}")
}

/// Shows where the user is about to sign in.
pub(super) async fn ask(
    visit: Visit,
    State(dashboard): State<Dashboard>,
    Path(guid): Path<String>,
    Query(next): Query<Next>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let principal = match opener(&visit, &headers, &uri) {
        Ok(principal) => principal,
        Err(refusal) => return *refusal,
    };
    let guid = match allowed(&visit, &dashboard, &principal, &guid).await {
        Ok(guid) => guid,
        Err(refusal) => return *refusal,
    };
    let asked = match providers::look(&dashboard.database, &*dashboard.backstage, guid).await {
        Ok(asked) => asked,
        Err(error) => return failed(&visit, &error),
    };
    let next = next.page(&visit.base);
    let purpose = subject(guid, &next);
    let page = SignInPage {
        frame: visit.sealed_frame(),
        pass: dashboard.passes.make(principal.user, &Purpose::SignIn(&purpose), OffsetDateTime::now_utc()),
        action: format!("{}{}", visit.base, sign_in_path(guid)),
        next,
        name: asked.name,
        description: asked.description,
        provider: asked.provider,
        username: principal.username,
    };
    sealed_page(StatusCode::OK, &page)
}

async fn allowed(
    visit: &Visit,
    dashboard: &Dashboard,
    principal: &Principal,
    guid: &str,
) -> Result<IntegrationGuid, Box<Response>> {
    let absent = || {
        let text = "There is no integration of this address, or no content that you may open uses it.";
        Box::new(message(visit, StatusCode::NOT_FOUND, "No such integration", text))
    };
    let guid: IntegrationGuid = guid.parse().map_err(|_| absent())?;
    match offered(dashboard, principal, Some(guid)).await {
        Ok(offers) if offers.is_empty() => Err(absent()),
        Ok(_) => Ok(guid),
        Err(error) => Err(Box::new(away(visit, &error))),
    }
}

/// Sends the browser to the provider, with a cookie that it must bring back.
pub(super) async fn go(
    mut visit: Visit,
    State(dashboard): State<Dashboard>,
    Path(guid): Path<String>,
    Form(form): Form<Next>,
) -> Response {
    let next = form.page(&visit.base);
    let judged = guid.parse().ok().and_then(|guid: IntegrationGuid| {
        let purpose = subject(guid, &next);
        by_pass(&dashboard, &form.pass, &Purpose::SignIn(&purpose))
    });
    let Some(principal) = judged else { return stale(&visit) };
    visit.principal = Some(principal.clone());
    // Again: what the user may open can have changed.
    let guid = match allowed(&visit, &dashboard, &principal, &guid).await {
        Ok(guid) => guid,
        Err(refusal) => return *refusal,
    };
    let (database, backstage) = (&dashboard.database, &*dashboard.backstage);
    match providers::begin(database, backstage, &principal, guid, &next, &callback(&visit)).await {
        Ok(begun) => {
            let (name, value) = &begun.cookie;
            let cookie = cookie(&visit, name, value, begun.lasts);
            // Not a redirect: browsers hold a form to its page's policy on the whole way, and a provider may lead on to others.
            let page = OnTheWay { frame: visit.frame(), provider: begun.provider, location: begun.location };
            with_cookie(super::page(StatusCode::OK, &page), &cookie)
        }
        Err(error) => failed(&visit, &error),
    }
}

/// The one address that providers send browsers back to, as it is registered there.
fn callback(visit: &Visit) -> String {
    format!("{}{CALLBACK}", visit.server)
}

/// For the callback alone, and for browsers that are sent there by another site.
fn cookie(visit: &Visit, name: &str, value: &str, lasts: i64) -> String {
    let secure = if visit.server.starts_with("https:") { "; Secure" } else { "" };
    format!("{name}={value}; Path={}{CALLBACK}; Max-Age={lasts}; HttpOnly; SameSite=Lax{secure}", visit.base)
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

/// Takes a browser that a provider sent back.
pub(super) async fn back(
    visit: Visit,
    State(dashboard): State<Dashboard>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(principal) = visit.person() else {
        let text = "You are not signed in to this server any more. Sign in, and then begin again where you came from.";
        return message(&visit, StatusCode::UNAUTHORIZED, "Not signed in", text);
    };
    let cookies: Vec<&str> = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).collect();
    let (database, backstage) = (&dashboard.database, &*dashboard.backstage);
    let query = query.unwrap_or_default();
    let came = providers::finish(database, backstage, principal, &query, &cookies.join("; "), &callback(&visit)).await;
    match came {
        Ok(came) => {
            tracing::info!(user.name = principal.username, integration = came.integration, "signed in to a provider");
            with_cookie(Redirect::to(&came.return_to).into_response(), &cookie(&visit, &came.cookie, "", 0))
        }
        Err(why) => not_signed_in(&visit, why),
    }
}

fn not_signed_in(visit: &Visit, why: NotSignedIn) -> Response {
    match why {
        NotSignedIn::Incomplete => {
            let text = "The provider sent you back with an address that is not whole. Begin again.";
            message(visit, StatusCode::BAD_REQUEST, "Not signed in", text)
        }
        NotSignedIn::Unknown => {
            let text = "This sign-in was finished before, took longer than a quarter of an hour, or was begun in another \
                        browser. Begin again in this one. If you did not begin it, close the page.";
            message(visit, StatusCode::GONE, "Not signed in", text)
        }
        NotSignedIn::Another => {
            let text =
                "This sign-in was begun by another account than the one that you are signed in with. Begin again.";
            message(visit, StatusCode::FORBIDDEN, "Not signed in", text)
        }
        NotSignedIn::Refused { word, integration, guid } => {
            let text = match word.as_str() {
                "access_denied" => {
                    format!("The provider says that access for {integration} was not allowed. Nothing was changed.")
                }
                word => format!("The provider of {integration} answered {word}. Nothing was changed."),
            };
            let again = format!("{}{}", visit.base, sign_in_path(guid));
            let refused = RefusedPage { frame: visit.frame(), title: "Not signed in", text, again };
            page(StatusCode::FORBIDDEN, &refused)
        }
        NotSignedIn::Failed(error) => failed(visit, &error),
    }
}
