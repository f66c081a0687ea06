//! Sign-in with OpenID Connect: the authorization code flow with PKCE, sessions, sign-out here and at the provider.
//!
//! Pages below `/__plugin__/oidc-login/`: `start` sends the browser to the provider, `callback` is where it comes back to, `sign-out`
//! and `signed-out` are the way out, `error` explains. A browser that opens a page without a session is sent to `start` if the page asks
//! for somebody; programs are not.
//!
//! What comes back is believed only if this server sent the browser away (a one-time `state`), the same browser (a cookie), to this provider
//! (`iss`), with the proof only this server holds (PKCE), and if the provider signed who it is, for this client and this sign-in (audience,
//! `nonce`). The plugin sees neither the client's secret nor the session's token.

mod callback;
mod flow;
mod notice;
mod provider;
mod settings;
mod sign_out;
mod start;
mod token;

use lectern_plugin::browser::accepts_html;
use lectern_plugin::{Authenticator, Failure, Handled, Host, Outcome, Reply, export_authenticator};

use notice::{Notice, Stop};
use settings::{NAME, Settings};

/// The plugin.
#[derive(Debug)]
pub struct OidcLogin;

export_authenticator!(OidcLogin);

impl Authenticator for OidcLogin {
    fn check(host: &impl Host) -> Result<(), Failure> {
        Settings::read(host).map(drop)
    }

    fn authenticate(host: &impl Host) -> Result<Outcome, Failure> {
        if let Some(identity) = host.session() {
            return Ok(Outcome::Authenticated(identity));
        }
        // A yes or no before the segment itself, which differs from page to page.
        let of_programs = || host.path_has_prefix("/__api__") && host.path_prefix(1) == "/__api__";
        if !host.reads() || !accepts_html(host) || of_programs() {
            return Ok(Outcome::Abstain);
        }
        let name = host.config("name");
        let location = format!("/__plugin__/{}/start?next={{here}}", name.as_deref().unwrap_or(NAME));
        Ok(Outcome::Challenge(Reply::redirect(303, &location).with("cache-control", "no-store")))
    }

    fn page(host: &impl Host, _body: &[u8]) -> Result<Handled, Failure> {
        let settings = Settings::read(host)?;
        let base = settings.base();
        let path = host.path();
        let method = host.method();
        let page = match path.strip_prefix(&base) {
            // Links to sign in lead to the root of whatever plugin signs people in.
            Some("") => "start",
            Some(page) => page,
            None => "",
        };
        let handled = match (page, method.as_str()) {
            ("start", "GET") => start::start(host, &settings),
            ("callback", "GET") => callback::callback(host, &settings),
            ("sign-out", "GET" | "HEAD") => sign_out::ask(host, &settings),
            ("sign-out", "POST") => sign_out::sign_out(host, &settings),
            ("signed-out", "GET" | "HEAD") => sign_out::signed_out(host, &settings),
            ("error", "GET" | "HEAD") => {
                Err(Notice::of_word(host.query_param("reason").as_deref().unwrap_or_default()).into())
            }
            // Coming back by a form is another response mode, which is not asked for.
            ("start" | "callback", _) => Ok(Handled::Reply(not_allowed("GET"))),
            ("sign-out", _) => Ok(Handled::Reply(not_allowed("GET, HEAD, POST"))),
            ("signed-out" | "error", _) => Ok(Handled::Reply(not_allowed("GET, HEAD"))),
            _ => Ok(Handled::Reply(Reply::not_found())),
        };
        match handled {
            Ok(handled) => Ok(handled),
            Err(Stop::Shown(notice)) => Ok(Handled::Reply(notice.page(&settings))),
            Err(Stop::Failed(failure)) => Err(failure),
        }
    }
}

fn not_allowed(methods: &str) -> Reply {
    Reply::text(405, "method not allowed\n").with("allow", methods)
}

#[cfg(test)]
mod tests;
