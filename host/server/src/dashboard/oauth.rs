//! `/connect/oauth/…`: a user lets a program act in their name; by the browser that the program opened, or by a code that it shows.

use askama::Template;
use axum::Form;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use lectern_api::ApiError;
use lectern_api::oauth::{Asked, Declined, DeviceAsked, DeviceRefusal, allow, answer_device, device_waiting};
use lectern_domain::UserRole;
use lectern_domain::access::Principal;
use lectern_domain::oauth::{UserCode, granted};
use serde::Deserialize;
use time::OffsetDateTime;

use super::forms::{Opened, Purpose};
use super::pages::Frame;
use super::{Dashboard, Visit, away, message, needs_secure, sealed_page, sealed_page_to, sign_in_first};
use crate::moment;

#[derive(Template)]
#[template(path = "authorize.html")]
struct AuthorizePage {
    frame: Frame,
    pass: String,
    query: String,
    name: String,
    username: String,
    role: &'static str,
    may: &'static str,
    asked_from: String,
    asked: String,
    origin: String,
}

#[derive(Template)]
#[template(path = "device_code.html")]
struct CodePage {
    frame: Frame,
    pass: String,
    code: String,
    notice: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "device.html")]
struct DevicePage {
    frame: Frame,
    pass: String,
    code: String,
    name: String,
    username: String,
    role: &'static str,
    may: &'static str,
    asked_from: String,
    asked: String,
}

/// What a program may do with this role.
fn may(role: UserRole) -> &'static str {
    match role {
        UserRole::Viewer => "and opens what you may open",
        UserRole::Publisher => "and publishes, changes and deletes content as you may",
        UserRole::Administrator => "and administers this server: all content, and all accounts",
    }
}

/// The answer to who does not open a page as a page; `None`: it is opened as one.
fn not_opened(visit: &Visit, headers: &HeaderMap) -> Option<Response> {
    match Opened::read(headers) {
        Opened::Page => None,
        Opened::Unsaid => Some(needs_secure(visit)),
        Opened::Otherwise => {
            let text = "This page is for opening in a window of its own, not for other pages to use.";
            Some(message(visit, StatusCode::FORBIDDEN, "Refused", text))
        }
    }
}

/// The answer to a form whose pass is not good.
fn stale(visit: &Visit) -> Response {
    let text = "The page was open for too long, or was not made by this server. Begin again in the program.";
    message(visit, StatusCode::FORBIDDEN, "Not allowed", text)
}

/// The answer where something failed, or the account may not.
fn failed(visit: &Visit, error: &ApiError) -> Response {
    if error.status().is_client_error() {
        return message(visit, error.status(), "Not allowed", error.message());
    }
    tracing::error!(error = crate::cli::chain(error), "let a program act");
    let text = "The server failed to write it down; its log says why. Try again in a minute.";
    message(visit, StatusCode::SERVICE_UNAVAILABLE, "Not allowed", text)
}

fn declined(visit: &Visit, why: Declined) -> Response {
    match why {
        Declined::Page(text) => message(visit, StatusCode::BAD_REQUEST, "This request cannot be answered", text),
        // Always the visitor's own machine, at an address that was registered.
        Declined::Program(address) => Redirect::to(&address).into_response(),
        Declined::Failed(error) => failed(visit, &error),
    }
}

/// Whose form it is, by its pass: the cookie does not come with a sandboxed page's form.
fn by_pass(dashboard: &Dashboard, pass: &str, purpose: &Purpose<'_>) -> Option<Principal> {
    let pass = dashboard.passes.judge(pass, purpose, OffsetDateTime::now_utc())?;
    dashboard.view.current().principal_of_user(pass.user)
}

/// Shows who asks, and for what.
pub(super) async fn ask(
    visit: Visit,
    State(dashboard): State<Dashboard>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let query = query.unwrap_or_default();
    let database = match dashboard.database.client().await {
        Ok(database) => database,
        Err(error) => return away(&visit, &error),
    };
    // What cannot be answered anyway, nobody needs to sign in for.
    let asked = match Asked::read(&database, &query).await {
        Ok(asked) => asked,
        Err(why) => return declined(&visit, why),
    };
    let Some(principal) = visit.person() else { return sign_in_first(&visit, &whole_way_back(&visit.base, &uri)) };
    if let Some(refusal) = not_opened(&visit, &headers) {
        return refusal;
    }
    let role = granted(asked.scope, principal.role);
    let origin = asked.origin();
    let page = AuthorizePage {
        frame: visit.sealed_frame(),
        pass: dashboard.passes.make(principal.user, &Purpose::Authorize(&query), OffsetDateTime::now_utc()),
        query,
        name: asked.name,
        username: principal.username.clone(),
        role: role.as_str(),
        may: may(role),
        asked_from: asked.registered.1,
        asked: moment::show(asked.registered.0),
        origin: origin.clone(),
    };
    sealed_page_to(&origin, &page)
}

/// The address of this page with its query, for the way back after signing in.
fn whole_way_back(base: &str, uri: &Uri) -> String {
    format!("{base}{}", uri.path_and_query().map_or(uri.path(), |path| path.as_str()))
}

#[derive(Deserialize)]
pub(super) struct Decision {
    #[serde(default)]
    pass: String,
    #[serde(default)]
    query: String,
    #[serde(default)]
    answer: String,
}

/// Lets the program act, or not, and sends the browser back to it.
pub(super) async fn decide(
    mut visit: Visit,
    State(dashboard): State<Dashboard>,
    Form(form): Form<Decision>,
) -> Response {
    let Some(principal) = by_pass(&dashboard, &form.pass, &Purpose::Authorize(&form.query)) else {
        return stale(&visit);
    };
    visit.principal = Some(principal.clone());
    let database = match dashboard.database.client().await {
        Ok(database) => database,
        Err(error) => return away(&visit, &error),
    };
    let asked = match Asked::read(&database, &form.query).await {
        Ok(asked) => asked,
        Err(why) => return declined(&visit, why),
    };
    if form.answer != "allow" {
        return Redirect::to(&asked.denied()).into_response();
    }
    match allow(&database, &principal, &asked).await {
        Ok(address) => Redirect::to(&address).into_response(),
        Err(error) => failed(&visit, &error),
    }
}

#[derive(Deserialize)]
pub(super) struct Shown {
    #[serde(default)]
    user_code: String,
}

/// Asks for the code. One in the address is filled in, but never sent by itself.
pub(super) async fn enter(
    visit: Visit,
    State(dashboard): State<Dashboard>,
    shown: axum::extract::Query<Shown>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let Some(principal) = visit.person() else { return sign_in_first(&visit, &whole_way_back(&visit.base, &uri)) };
    if let Some(refusal) = not_opened(&visit, &headers) {
        return refusal;
    }
    let code = UserCode::parse(&shown.user_code).map_or_else(String::new, |code| code.shown());
    code_page(&visit, &dashboard, principal, StatusCode::OK, code, None)
}

fn code_page(
    visit: &Visit,
    dashboard: &Dashboard,
    principal: &Principal,
    status: StatusCode,
    code: String,
    notice: Option<&'static str>,
) -> Response {
    let pass = dashboard.passes.make(principal.user, &Purpose::DeviceCode, OffsetDateTime::now_utc());
    sealed_page(status, &CodePage { frame: visit.sealed_frame(), pass, code, notice })
}

#[derive(Deserialize)]
pub(super) struct Entered {
    #[serde(default)]
    pass: String,
    #[serde(default)]
    user_code: String,
    #[serde(default)]
    answer: String,
}

/// Takes the code and shows who asks; then takes the answer.
pub(super) async fn answer(
    mut visit: Visit,
    State(dashboard): State<Dashboard>,
    Form(form): Form<Entered>,
) -> Response {
    let answers = !form.answer.is_empty();
    let purpose = if answers { Purpose::Device(&form.user_code) } else { Purpose::DeviceCode };
    let Some(principal) = by_pass(&dashboard, &form.pass, &purpose) else { return stale(&visit) };
    visit.principal = Some(principal.clone());
    let database = match dashboard.database.client().await {
        Ok(database) => database,
        Err(error) => return away(&visit, &error),
    };
    let asked = match device_waiting(&database, &principal, &form.user_code).await {
        Ok(asked) => asked,
        Err(DeviceRefusal::Failed(error)) => return failed(&visit, &error),
        Err(DeviceRefusal::Unknown) => {
            let notice = "No program waits with this code. Look again; a code ends after fifteen minutes.";
            return code_page(&visit, &dashboard, &principal, StatusCode::NOT_FOUND, String::new(), Some(notice));
        }
        Err(DeviceRefusal::TooMany) => {
            let notice = "Too many wrong codes were entered. Wait ten minutes, and begin again in the program.";
            let status = StatusCode::TOO_MANY_REQUESTS;
            return code_page(&visit, &dashboard, &principal, status, String::new(), Some(notice));
        }
    };
    if !answers {
        return device_page(&visit, &dashboard, &principal, &form.user_code, asked);
    }
    let yes = form.answer == "allow";
    match answer_device(&database, &principal, &form.user_code, &asked, yes).await {
        Ok(true) if yes => {
            let text = "The program may act in your name now. You can close this page and go back to it.";
            message(&visit, StatusCode::OK, "Allowed", text)
        }
        Ok(true) => message(&visit, StatusCode::OK, "Denied", "The program was told so. You can close this page."),
        Ok(false) => message(&visit, StatusCode::GONE, "Too late", "The program waits no more. Begin again in it."),
        Err(error) => failed(&visit, &error),
    }
}

fn device_page(
    visit: &Visit,
    dashboard: &Dashboard,
    principal: &Principal,
    code: &str,
    asked: DeviceAsked,
) -> Response {
    let code = UserCode::parse(code).map_or_else(String::new, |code| code.shown());
    let role = granted(asked.scope, principal.role);
    let page = DevicePage {
        frame: visit.sealed_frame(),
        pass: dashboard.passes.make(principal.user, &Purpose::Device(&code), OffsetDateTime::now_utc()),
        code,
        name: asked.name,
        username: principal.username.clone(),
        role: role.as_str(),
        may: may(role),
        asked_from: asked.asked_from,
        asked: moment::show(asked.asked_at),
    };
    sealed_page(StatusCode::OK, &page)
}
