//! Sign-in with user name and password: the form, the session, the way out.
//!
//! Pages below `/__plugin__/password-login/`: the form, and `sign-out`. A browser that opens a page without a session is sent
//! to the form if the page asks for somebody. An expired session is no session, never an error.
//!
//! Against forged requests a form is accepted only from this server's own pages (`Sec-Fetch-Site`, or `Origin` where a browser
//! does not send that); the answers to unknown users and to wrong passwords are the same bytes, and the host makes them equally
//! slow; pages run no script and load nothing.

mod page;

use lectern_plugin::browser::{Next, accepts_html, is_from_other_site};
use lectern_plugin::web::{form, is_below};
use lectern_plugin::{Authenticator, Failure, Handled, Host, Level, Outcome, Refusal, Reply, export_authenticator};
use serde::Deserialize;

use page::Notice;

/// Where a visitor goes after signing out.
const HOME: &str = "/connect/";

/// Longest user name and password tried, in bytes. Longer ones are wrong without being hashed.
const MAX_CREDENTIAL_BYTES: usize = 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What the plugin's pages stand under.
    #[serde(default = "usual_name")]
    name: String,
}

fn usual_name() -> String {
    "password-login".to_owned()
}

impl Settings {
    fn base(&self) -> String {
        format!("/__plugin__/{}/", self.name)
    }
}

/// The plugin.
#[derive(Debug)]
pub struct PasswordLogin;

export_authenticator!(PasswordLogin);

impl Authenticator for PasswordLogin {
    fn check(host: &impl Host) -> Result<(), Failure> {
        let settings: Settings = host.settings()?;
        let name = &settings.name;
        let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= 64
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let shown: String = name.chars().take(100).collect();
        let refuse =
            || Failure::Misconfigured(format!("name {shown:?} must be the name that the plugin is bound under"));
        if fits { Ok(()) } else { Err(refuse()) }
    }

    fn authenticate(host: &impl Host) -> Result<Outcome, Failure> {
        if let Some(identity) = host.session() {
            return Ok(Outcome::Authenticated(identity));
        }
        if !host.reads() || !accepts_html(host) || is_below(host, "/__api__") {
            return Ok(Outcome::Abstain);
        }
        let settings: Settings = host.settings()?;
        // The host puts the address of the request there: this plugin gives one answer for all of them.
        let location = format!("{}?next={{here}}", settings.base());
        Ok(Outcome::Challenge(Reply::redirect(303, &location).with("cache-control", "no-store")))
    }

    fn page(host: &impl Host, body: &[u8]) -> Result<Handled, Failure> {
        let settings: Settings = host.settings()?;
        let base = settings.base();
        let path = host.path();
        Ok(if path == base || path == base.trim_end_matches('/') {
            match host.method().as_str() {
                "GET" | "HEAD" => form_page(host),
                "POST" => sign_in(host, body),
                _ => Handled::Reply(not_allowed()),
            }
        } else if path == format!("{base}sign-out") {
            match host.method().as_str() {
                "GET" | "HEAD" => Handled::Reply(page::sign_out()),
                "POST" if is_from_other_site(host) => Handled::Reply(page::refused()),
                "POST" => Handled::SignedOut(Reply::redirect(303, HOME).with("cache-control", "no-store")),
                _ => Handled::Reply(not_allowed()),
            }
        } else {
            Handled::Reply(Reply::not_found())
        })
    }
}

fn form_page(host: &impl Host) -> Handled {
    let next = Next::of(host.query_param("next").as_deref());
    Handled::Reply(match host.session() {
        Some(_) => Reply::redirect(303, next.location()).with("cache-control", "no-store"),
        None => page::sign_in(200, "", next.as_str(), None),
    })
}

fn sign_in(host: &impl Host, body: &[u8]) -> Handled {
    if is_from_other_site(host) {
        host.log(Level::Warn, "refused a sign-in form from another site", &[("client.ip", &host.client_ip())]);
        return Handled::Reply(page::refused());
    }
    let mut fields = form(body);
    let mut take = |name: &str| fields.iter_mut().find(|(field, _)| field == name).map(|(_, v)| std::mem::take(v));
    let (username, password) = (take("username").unwrap_or_default(), take("password").unwrap_or_default());
    let next = Next::of(take("next").as_deref());
    let fits = |text: &str| (1..=MAX_CREDENTIAL_BYTES).contains(&text.len());
    let checked = if fits(&username) && fits(&password) {
        host.check_password(&username, &password)
    } else {
        Err(Refusal::Wrong)
    };
    let again = |status, notice| page::sign_in(status, &username, next.as_str(), Some(notice));
    match checked {
        Ok(identity) => {
            let reply = Reply::redirect(303, next.location()).with("cache-control", "no-store");
            Handled::SignedIn((identity, reply))
        }
        Err(Refusal::Wrong) => Handled::Reply(again(403, Notice::Wrong)),
        Err(Refusal::Throttled(seconds)) => {
            Handled::Reply(again(429, Notice::Throttled(seconds)).with("retry-after", &seconds.to_string()))
        }
        Err(Refusal::Unavailable) => Handled::Reply(again(503, Notice::Unavailable).with("retry-after", "5")),
    }
}

fn not_allowed() -> Reply {
    Reply::text(405, "method not allowed\n").with("allow", "GET, HEAD, POST")
}

#[cfg(test)]
mod tests;
