//! `/connect/account`: one's own keys, programs, browsers and password. A form's answer is the page again, with what became of it.

use askama::Template;
use axum::Form;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use lectern_api::{ApiError, ClientAddress, Part};
use lectern_domain::access::Principal;
use lectern_domain::{KeyId, UserRole};
use lectern_metadata::{Client, DbError, keys, oauth, sessions, signed_tokens};
use serde::Deserialize;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::forms::{Opened, Purpose, way_back};
use super::pages::Frame;
use super::{Dashboard, Visit, away, message, needs_secure, sealed_page, sign_in_first};
use crate::moment;

/// Rows of each table; the API lists more.
const ROWS: i64 = 200;

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    pass: String,
    roles: Vec<&'static str>,
    notice: Notice,
    keys: Vec<Key>,
    programs: Vec<Program>,
    grants: Vec<Granted>,
    browsers: Vec<Browser>,
}

/// What became of a form.
#[derive(Default)]
struct Notice {
    done: Option<String>,
    refused: Option<String>,
    /// A key's text, shown this once.
    key: Option<String>,
}

struct Key {
    id: String,
    name: String,
    role: &'static str,
    created: String,
    ends: String,
    used: String,
}

struct Program {
    id: String,
    asked_from: String,
    confirmed: String,
    used: String,
}

/// A program that was allowed by OAuth.
struct Granted {
    id: i64,
    name: String,
    role: &'static str,
    allowed: String,
    renewed: String,
    ends: String,
}

struct Browser {
    id: String,
    source: String,
    began: String,
    ends: String,
}

fn or_never(at: Option<OffsetDateTime>) -> String {
    at.map_or_else(|| "never".to_owned(), moment::show)
}

/// Shows the page.
pub(super) async fn show(visit: Visit, State(dashboard): State<Dashboard>, headers: HeaderMap, uri: Uri) -> Response {
    let Some(principal) = visit.person().cloned() else { return sign_in_first(&visit, &way_back(&visit.base, &uri)) };
    match Opened::read(&headers) {
        Opened::Page => account(&visit, &dashboard, &principal, Notice::default()).await,
        Opened::Unsaid => needs_secure(&visit),
        Opened::Otherwise => {
            let text = "This page is for opening in a window of its own, not for other pages to use.";
            message(&visit, StatusCode::FORBIDDEN, "Refused", text)
        }
    }
}

async fn account(visit: &Visit, dashboard: &Dashboard, principal: &Principal, notice: Notice) -> Response {
    let gathered = async {
        let client = dashboard.database.client().await?;
        gather(&client, visit, dashboard, principal, notice).await
    };
    match gathered.await {
        Ok(page) => sealed_page(StatusCode::OK, &page),
        Err(error) => away(visit, &error),
    }
}

async fn gather(
    client: &Client,
    visit: &Visit,
    dashboard: &Dashboard,
    principal: &Principal,
    notice: Notice,
) -> Result<AccountPage, DbError> {
    let keys = keys::list(client, principal.user).await?.into_iter().map(|row| Key {
        id: row.id.to_string(),
        name: row.name,
        role: row.role.as_str(),
        created: moment::show(row.created_at),
        ends: or_never(row.expires_at),
        used: or_never(row.last_used_at),
    });
    let programs = signed_tokens::list(client, principal.user, ROWS).await?.into_iter().map(|row| Program {
        id: row.id,
        asked_from: row.asked_from,
        confirmed: or_never(row.claimed_at),
        used: or_never(row.last_used_at),
    });
    let grants = oauth::grants(client, principal.user, ROWS).await?.into_iter().map(|row| Granted {
        id: row.id,
        name: row.client_name,
        role: row.role.as_str(),
        allowed: moment::show(row.created_at),
        renewed: moment::show(row.renewed_at),
        ends: moment::show(row.expires_at),
    });
    let browsers = sessions::list(client, principal.user, ROWS).await?.into_iter().map(|row| Browser {
        id: row.guid.to_string(),
        source: row.source.unwrap_or_else(|| "a client".to_owned()),
        began: moment::show(row.created_at),
        ends: moment::show(row.expires_at),
    });
    let roles = [UserRole::Administrator, UserRole::Publisher, UserRole::Viewer];
    Ok(AccountPage {
        frame: visit.sealed_frame(),
        pass: dashboard.passes.make(principal.user, &Purpose::Account, OffsetDateTime::now_utc()),
        roles: roles.into_iter().filter(|role| *role <= principal.role).map(UserRole::as_str).collect(),
        notice,
        keys: keys.collect(),
        programs: programs.collect(),
        grants: grants.collect(),
        browsers: browsers.collect(),
    })
}

/// What a form of the page asks for.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    MakeKey,
    RevokeKey,
    EndProgram,
    EndGrant,
    EndBrowser,
    EndBrowsers,
    ChangePassword,
}

#[derive(Deserialize)]
pub(super) struct Sent {
    pass: String,
    deed: Deed,
    /// Of a key, a program or a session.
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    current: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    again: String,
}

/// Does what a form asks for. The pass says for whom: the cookie does not come with a sandboxed page's form.
pub(super) async fn act(
    mut visit: Visit,
    State(dashboard): State<Dashboard>,
    Extension(ClientAddress(from)): Extension<ClientAddress>,
    form: Result<Form<Sent>, axum::extract::rejection::FormRejection>,
) -> Response {
    let now = OffsetDateTime::now_utc();
    let judged = form.as_ref().ok().and_then(|form| dashboard.passes.judge(&form.pass, &Purpose::Account, now));
    let principal = judged.and_then(|pass| dashboard.view.current().principal_of_user(pass.user));
    let (Ok(Form(sent)), Some(principal)) = (form, principal) else {
        let text = "The page was open for too long, or was not made by this server. Open your account's page again.";
        return message(&visit, StatusCode::FORBIDDEN, "Nothing was changed", text);
    };
    visit.principal = Some(principal.clone());
    let notice = match perform(&dashboard, &principal, from, sent).await {
        Ok(notice) => notice,
        Err(error) if error.status().is_client_error() => {
            Notice { refused: Some(error.message().to_owned()), ..Notice::default() }
        }
        Err(error) => {
            tracing::error!(error = crate::cli::chain(&error), "change an account by its page");
            let text = "The server failed; its log says why. Try again in a minute.";
            return message(&visit, StatusCode::SERVICE_UNAVAILABLE, "Nothing was changed", text);
        }
    };
    account(&visit, &dashboard, &principal, notice).await
}

async fn perform(
    dashboard: &Dashboard,
    principal: &Principal,
    from: std::net::IpAddr,
    sent: Sent,
) -> Result<Notice, ApiError> {
    let done = |text: &str| Notice { done: Some(text.to_owned()), ..Notice::default() };
    let gone = || Notice { refused: Some("There is no such entry any more.".to_owned()), ..Notice::default() };
    let (user, backstage) = (principal.user, &*dashboard.backstage);
    let client = async || dashboard.database.client().await.map_err(ApiError::from);
    let (there, part) = match sent.deed {
        Deed::MakeKey => {
            let role = UserRole::parse(&sent.role);
            let (_, text) =
                lectern_api::make_key(&dashboard.database, backstage, principal, &sent.name, role, None).await?;
            let key = Some(text.into_text());
            return Ok(Notice { key, ..done("The key was made. Copy it now: it is not shown again.") });
        }
        Deed::ChangePassword if sent.password != sent.again => {
            let refused = Some("The two passwords are not the same.".to_owned());
            return Ok(Notice { refused, ..Notice::default() });
        }
        Deed::ChangePassword => {
            let (old, new) = (Zeroizing::new(sent.current), Zeroizing::new(sent.password));
            lectern_api::change_password(&dashboard.database, backstage, principal, from, old, new).await?;
            return Ok(done("The password was changed. Sign in again with it: all browsers were signed out."));
        }
        Deed::RevokeKey => match sent.id.parse::<KeyId>() {
            Ok(key) => (keys::revoke(&client().await?, user, key).await?, Some(Part::Keys)),
            Err(_) => (false, None),
        },
        Deed::EndProgram => (signed_tokens::delete(&client().await?, user, &sent.id).await?, None),
        Deed::EndGrant => match sent.id.parse() {
            Ok(grant) => (oauth::delete_grant_of(&client().await?, user, grant).await?, Some(Part::Keys)),
            Err(_) => (false, None),
        },
        Deed::EndBrowser => match sent.id.parse() {
            Ok(session) => (sessions::delete_by_guid(&client().await?, user, session).await?, Some(Part::Sessions)),
            Err(_) => (false, None),
        },
        Deed::EndBrowsers => {
            sessions::delete_of_user(&client().await?, user).await?;
            (true, Some(Part::Sessions))
        }
    };
    if let Some(part) = part {
        backstage.refresh(part).await;
    }
    Ok(if there { done("Done: it opens nothing any more.") } else { gone() })
}
