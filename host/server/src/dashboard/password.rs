//! `/connect/password?link=…`: somebody who was given an administrator's link chooses a password. The secret in the link is all it
//! takes, so nothing here looks at who is signed in, and no page of anybody else's can know it. It is in the query, which no log
//! keeps.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use lectern_metadata::password_links;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::pages::Frame;
use super::{Dashboard, Visit, away, message, sealed_page};

#[derive(Template)]
#[template(path = "password.html")]
struct PasswordPage {
    frame: Frame,
    secret: String,
    username: String,
    notice: Option<String>,
}

const OVER: &str = "A link works once and for a day. Ask an administrator for another one.";

#[derive(Deserialize)]
pub(super) struct Link {
    #[serde(default)]
    link: String,
}

/// Shows the form.
pub(super) async fn show(
    visit: Visit,
    State(dashboard): State<Dashboard>,
    Query(Link { link }): Query<Link>,
) -> Response {
    form(&visit, &dashboard, link, StatusCode::OK, None).await
}

async fn form(
    visit: &Visit,
    dashboard: &Dashboard,
    secret: String,
    status: StatusCode,
    notice: Option<String>,
) -> Response {
    let hash = *blake3::hash(secret.as_bytes()).as_bytes();
    let found = async { password_links::find(&dashboard.database.client().await?, &hash).await };
    match found.await {
        Ok(Some(user)) if !user.locked => {
            let page = PasswordPage { frame: visit.sealed_frame(), secret, username: user.username, notice };
            sealed_page(status, &page)
        }
        Ok(_) => message(visit, StatusCode::GONE, "This link does not work any more", OVER),
        Err(error) => away(visit, &error),
    }
}

#[derive(Deserialize)]
pub(super) struct Chosen {
    #[serde(default)]
    link: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    again: String,
}

/// Sets the password and uses the link up.
pub(super) async fn choose(
    visit: Visit,
    State(dashboard): State<Dashboard>,
    Form(Chosen { link: secret, password, again }): Form<Chosen>,
) -> Response {
    let (password, again) = (Zeroizing::new(password), Zeroizing::new(again));
    if password != again {
        let notice = Some("The two passwords are not the same.".to_owned());
        return form(&visit, &dashboard, secret, StatusCode::BAD_REQUEST, notice).await;
    }
    let set = lectern_api::set_password_by_link(&dashboard.database, &*dashboard.backstage, &secret, password).await;
    match set {
        Ok(Some(_)) => {
            let text = "Your password is set. You can sign in with it now; where you were signed in before, you are not any more.";
            message(&visit, StatusCode::OK, "Password chosen", text)
        }
        Ok(None) => message(&visit, StatusCode::GONE, "This link does not work any more", OVER),
        Err(error) if error.status().is_client_error() => {
            form(&visit, &dashboard, secret, StatusCode::BAD_REQUEST, Some(error.message().to_owned())).await
        }
        Err(error) => {
            tracing::error!(error = crate::cli::chain(&error), "choose a password by a link");
            let text = "The server failed to set the password; its log says why. Try again in a minute.";
            message(&visit, StatusCode::SERVICE_UNAVAILABLE, "Not set", text)
        }
    }
}
