//! The way out: the session here, then at the provider (OpenID Connect RP-Initiated Logout 1.0).

use lectern_plugin::browser::{PrivateCookie, is_from_other_site};
use lectern_plugin::page::Page;
use lectern_plugin::web::{base64url, escape_html, origin_of, with_query};
use lectern_plugin::{Handled, Host, Level, Reply};

use crate::flow::same;
use crate::notice::{Notice, Stop};
use crate::provider::Provider;
use crate::settings::{Settings, SignOut};

/// Time to sign out at the provider, in seconds.
const SIGN_OUT_SECONDS: u32 = 600;

/// Asks before signing out: a link on another page must not do it.
pub(crate) fn ask(host: &impl Host, settings: &Settings) -> Result<Handled, Stop> {
    let form = format!(
        r#"<form method="post" action="{}">
<button type="submit" autofocus>Sign out</button>
</form>"#,
        escape_html(&format!("{}sign-out", settings.base()))
    );
    let page = Page::new("Sign out");
    let page = match end_session(host, settings) {
        Some(endpoint) => page
            .text(&format!("You will be signed out here, and then at {}.", settings.provider_name))
            .form_may_lead_to(origin_of(&endpoint).unwrap_or_default()),
        None => page.text(&format!(
            "You will be signed out here. At {} you stay signed in until you sign out there.",
            settings.provider_name
        )),
    };
    Ok(Handled::Reply(page.html(&form).reply()))
}

/// Ends the session, then goes on to the provider.
pub(crate) fn sign_out(host: &impl Host, settings: &Settings) -> Result<Handled, Stop> {
    if is_from_other_site(host) {
        host.log(Level::Warn, "refused a sign-out form from another site", &[("client.ip", &host.client_ip())]);
        return Err(Notice::Forged.into());
    }
    let back = format!("{}signed-out", settings.base());
    let (Some(endpoint), Some(origin)) = (end_session(host, settings), settings.origin(host)) else {
        return Ok(Handled::SignedOut(Reply::redirect(303, &back).with("cache-control", "no-store")));
    };
    let state = base64url(&host.random_bytes(32));
    let location = with_query(
        &endpoint,
        &[
            ("client_id", &settings.client_id),
            ("post_logout_redirect_uri", &format!("{origin}{back}")),
            ("state", &state),
        ],
    );
    let reply = Reply::redirect(303, &location).with("cache-control", "no-store");
    Ok(Handled::SignedOut(cookie(settings, &origin).set(reply, &state, SIGN_OUT_SECONDS)))
}

/// Where the provider sends the browser back to. It says that the provider's session is over only to the browser that was
/// sent there: anybody can link to this page.
pub(crate) fn signed_out(host: &impl Host, settings: &Settings) -> Result<Handled, Stop> {
    let start = format!("{}start", settings.base());
    if host.session().is_some() {
        return ask(host, settings);
    }
    let cookie = settings.origin(host).map(|origin| cookie(settings, &origin));
    let sent = cookie.as_ref().and_then(|cookie| cookie.read(host)).unwrap_or_default();
    let came_back = host.query_param("state").is_some_and(|state| same(state.as_bytes(), sent.as_bytes()));
    let text = if came_back && !sent.is_empty() {
        format!("You are signed out here and at {}.", settings.provider_name)
    } else {
        "You are signed out here.".to_owned()
    };
    let reply = Page::new("Signed out").text(&text).link(&start, "Sign in again").reply();
    Ok(Handled::Reply(match cookie {
        Some(cookie) if !sent.is_empty() => cookie.clear(reply),
        _ => reply,
    }))
}

/// Where the provider ends its session; none where it does not, or is not to be asked.
fn end_session(host: &impl Host, settings: &Settings) -> Option<String> {
    if settings.sign_out == SignOut::Here {
        return None;
    }
    // Signing out here must work while the provider is away.
    Provider::find(host, settings).ok()?.end_session_endpoint
}

fn cookie(settings: &Settings, origin: &str) -> PrivateCookie {
    PrivateCookie::new(&settings.cookie_name("out"), &settings.base(), origin.starts_with("https://"))
}
