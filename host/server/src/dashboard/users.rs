//! `/connect/users`: administrators look after accounts. A form's answer is the page again, with what became of it.

use askama::Template;
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use lectern_api::ApiError;
use lectern_domain::UserRole;
use lectern_domain::access::Principal;
use lectern_metadata::users::{self, UserFilter};
use serde::Deserialize;
use time::OffsetDateTime;

use super::forms::{Opened, Purpose, way_back};
use super::pages::Frame;
use super::{Dashboard, Visit, away, message, needs_secure, sealed_page, sign_in_first};
use crate::moment;

/// Accounts on one page: more are found by the beginning of their name.
const ROWS: i64 = 100;

#[derive(Template)]
#[template(path = "users.html")]
struct UsersPage {
    frame: Frame,
    pass: String,
    prefix: String,
    page: i64,
    pages: i64,
    total: i64,
    done: Option<String>,
    refused: Option<String>,
    /// An address by which somebody chooses a password, shown this once.
    link: Option<String>,
    users: Vec<Row>,
}

struct Row {
    guid: String,
    username: String,
    name: String,
    email: String,
    role: &'static str,
    locked: bool,
    confirmed: bool,
    active: String,
}

/// Which accounts are shown.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Shown {
    prefix: String,
    page: i64,
}

/// What became of a form.
#[derive(Default)]
struct Notice {
    done: Option<String>,
    refused: Option<String>,
    link: Option<String>,
}

/// Shows the page.
pub(super) async fn show(
    visit: Visit,
    State(dashboard): State<Dashboard>,
    Query(shown): Query<Shown>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let Some(principal) = visit.person().cloned() else { return sign_in_first(&visit, &way_back(&visit.base, &uri)) };
    match (principal.role, Opened::read(&headers)) {
        (UserRole::Administrator, Opened::Page) => {
            listing(&visit, &dashboard, &principal, shown, Notice::default()).await
        }
        (UserRole::Administrator, Opened::Unsaid) => needs_secure(&visit),
        (UserRole::Administrator, Opened::Otherwise) => {
            let text = "This page is for opening in a window of its own, not for other pages to use.";
            message(&visit, StatusCode::FORBIDDEN, "Refused", text)
        }
        _ => message(
            &visit,
            StatusCode::FORBIDDEN,
            "For administrators",
            "Your account does not administer this server.",
        ),
    }
}

async fn listing(
    visit: &Visit,
    dashboard: &Dashboard,
    principal: &Principal,
    shown: Shown,
    notice: Notice,
) -> Response {
    let prefix = Some(shown.prefix.clone()).filter(|prefix| !prefix.is_empty());
    let filter = UserFilter { prefix, ..UserFilter::default() };
    let page = shown.page.max(1);
    let offset = (page - 1).saturating_mul(ROWS);
    let found = async { users::list(&dashboard.database.client().await?, &filter, offset, ROWS).await };
    let found = match found.await {
        Ok(found) => found,
        Err(error) => return away(visit, &error),
    };
    let rows = found.users.into_iter().map(|row| Row {
        guid: row.guid.to_string(),
        name: format!("{} {}", row.first_name, row.last_name).trim().to_owned(),
        username: row.username,
        email: row.email,
        role: row.role.as_str(),
        locked: row.locked,
        confirmed: row.confirmed,
        active: row.active_at.map_or_else(|| "never".to_owned(), moment::show),
    });
    let template = UsersPage {
        frame: visit.sealed_frame(),
        pass: dashboard.passes.make(principal.user, &Purpose::Users, OffsetDateTime::now_utc()),
        prefix: shown.prefix,
        page,
        pages: (found.total + ROWS - 1) / ROWS,
        total: found.total,
        done: notice.done,
        refused: notice.refused,
        link: notice.link,
        users: rows.collect(),
    };
    sealed_page(StatusCode::OK, &template)
}

/// What a form of the page asks for.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    Add,
    SetRole,
    Lock,
    Unlock,
    MakeLink,
}

#[derive(Deserialize)]
pub(super) struct Sent {
    pass: String,
    deed: Deed,
    #[serde(default)]
    guid: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    role: String,
}

/// Does what a form asks for. The pass says who asks: the cookie does not come with a sandboxed page's form.
pub(super) async fn act(
    mut visit: Visit,
    State(dashboard): State<Dashboard>,
    form: Result<Form<Sent>, FormRejection>,
) -> Response {
    let now = OffsetDateTime::now_utc();
    let judged = form.as_ref().ok().and_then(|form| dashboard.passes.judge(&form.pass, &Purpose::Users, now));
    let principal = judged.and_then(|pass| dashboard.view.current().principal_of_user(pass.user));
    let principal = principal.filter(|principal| principal.role == UserRole::Administrator);
    let (Ok(Form(sent)), Some(principal)) = (form, principal) else {
        let text = "The page was open for too long, or was not made by this server. Open the page of users again.";
        return message(&visit, StatusCode::FORBIDDEN, "Nothing was changed", text);
    };
    visit.principal = Some(principal.clone());
    let notice = match perform(&visit, &dashboard, &principal, &sent).await {
        Ok(notice) => notice,
        Err(error) if error.status().is_client_error() => {
            Notice { refused: Some(error.message().to_owned()), ..Notice::default() }
        }
        Err(error) => {
            tracing::error!(error = crate::cli::chain(&error), "change accounts by their page");
            let text = "The server failed; its log says why. Try again in a minute.";
            return message(&visit, StatusCode::SERVICE_UNAVAILABLE, "Nothing was changed", text);
        }
    };
    listing(&visit, &dashboard, &principal, Shown::default(), notice).await
}

async fn perform(visit: &Visit, dashboard: &Dashboard, who: &Principal, sent: &Sent) -> Result<Notice, ApiError> {
    let (database, backstage) = (&dashboard.database, &*dashboard.backstage);
    let done = |text: String| Notice { done: Some(text), ..Notice::default() };
    let with_link = async |guid: &str, text: String| {
        let (secret, until) = lectern_api::make_password_link(database, who, guid).await?;
        let link = format!("{}/connect/password?link={}", visit.server, secret.into_text());
        let text = format!("{text} The address works once and until {}; it is not shown again.", moment::show(until));
        Ok(Notice { link: Some(link), ..done(text) })
    };
    let role = UserRole::parse(&sent.role).unwrap_or(UserRole::Viewer);
    match sent.deed {
        Deed::Add => {
            let row = lectern_api::invite(database, backstage, who, &sent.username, &sent.email, role).await?;
            let text = format!("{} was added. Give them this address to choose a password.", row.username);
            with_link(&row.guid.to_string(), text).await
        }
        Deed::MakeLink => with_link(&sent.guid, "Give the user this address to choose a password.".to_owned()).await,
        Deed::SetRole => {
            let row = lectern_api::set_role(database, backstage, who, &sent.guid, role).await?;
            Ok(done(format!("{} has the role {} now.", row.username, row.role.as_str())))
        }
        Deed::Lock | Deed::Unlock => {
            let locked = matches!(sent.deed, Deed::Lock);
            let row = lectern_api::set_locked(database, backstage, who, &sent.guid, locked).await?;
            let state =
                if row.locked { "locked: sessions have ended, keys open nothing" } else { "not locked any more" };
            Ok(done(format!("{} is {state}.", row.username)))
        }
    }
}
