//! `/connect/tokens/{id}`: a user confirms that a program may sign requests in their name.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use lectern_metadata::signed_tokens;
use serde::Deserialize;
use time::OffsetDateTime;

use super::forms::{Opened, Purpose, way_back};
use super::pages::Frame;
use super::{Dashboard, Visit, away, message, needs_secure, sealed_page, sign_in_first};
use crate::moment;

#[derive(Template)]
#[template(path = "claim.html")]
struct ClaimPage {
    frame: Frame,
    id: String,
    asked_from: String,
    asked: String,
    pass: String,
    username: String,
}

/// Shows who asks.
pub(super) async fn show(
    visit: Visit,
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let Some(principal) = visit.person() else { return sign_in_first(&visit, &way_back(&visit.base, &uri)) };
    match Opened::read(&headers) {
        Opened::Page => {}
        Opened::Unsaid => return needs_secure(&visit),
        Opened::Otherwise => return refused(&visit),
    }
    let found = async { signed_tokens::get(&dashboard.database.client().await?, &id).await };
    let token = match found.await {
        Ok(token) => token,
        Err(error) => return away(&visit, &error),
    };
    match token {
        Some(token) if token.user.is_none() && !token.late => {
            let pass = dashboard.passes.make(principal.user, &Purpose::Claim(&id), OffsetDateTime::now_utc());
            let page = ClaimPage {
                frame: visit.sealed_frame(),
                id,
                asked_from: token.asked_from,
                asked: moment::show(token.created_at),
                pass,
                username: principal.username.clone(),
            };
            sealed_page(StatusCode::OK, &page)
        }
        Some(token) if token.user.is_some() => over(&visit, "This request was confirmed already", USED),
        Some(_) => over(&visit, "Too late", LATE),
        None => over(&visit, "No such request", LATE),
    }
}

const USED: &str =
    "Each request can be confirmed once. If it was not you, ask an administrator to end the program's token.";
const LATE: &str = "A request must be confirmed within an hour. Begin again in the program that asks for access.";

fn over(visit: &Visit, title: &str, text: &str) -> Response {
    message(visit, StatusCode::GONE, title, text)
}

fn refused(visit: &Visit) -> Response {
    let text = "This page is for opening in a window of its own, not for other pages to use.";
    message(visit, StatusCode::FORBIDDEN, "Refused", text)
}

#[derive(Deserialize)]
pub(super) struct Confirmation {
    #[serde(default)]
    pass: String,
}

/// Confirms. The pass says who does: the cookie does not come with a sandboxed page's form.
pub(super) async fn confirm(
    mut visit: Visit,
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    Form(form): Form<Confirmation>,
) -> Response {
    let judged = dashboard.passes.judge(&form.pass, &Purpose::Claim(&id), OffsetDateTime::now_utc());
    let principal = judged.and_then(|pass| dashboard.view.current().principal_of_user(pass.user));
    let Some(principal) = principal else {
        let text = "The page was open for too long, or was not made by this server. Open the address again.";
        return message(&visit, StatusCode::FORBIDDEN, "Not confirmed", text);
    };
    let user = principal.user;
    visit.principal = Some(principal);
    let mut client = match dashboard.database.client().await {
        Ok(client) => client,
        Err(error) => return away(&visit, &error),
    };
    match lectern_api::claim(&mut client, &id, user).await {
        Ok(()) => {
            let text = "The program may act in your name now. You can close this page and go back to it.";
            message(&visit, StatusCode::OK, "Confirmed", text)
        }
        Err(error) if error.code() == 84 => over(&visit, "This request was confirmed already", USED),
        Err(error) if error.status().is_client_error() => over(&visit, "Too late", LATE),
        Err(error) => {
            tracing::error!(error = crate::cli::chain(&error), "confirm a token");
            let text = "The server failed to confirm the request; its log says why. Try again in a minute.";
            message(&visit, StatusCode::SERVICE_UNAVAILABLE, "Not confirmed", text)
        }
    }
}
