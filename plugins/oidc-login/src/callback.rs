//! Where the provider sends the browser back to.

use lectern_plugin::browser::Next;
use lectern_plugin::web::{form, one_line};
use lectern_plugin::{Handled, Host, Level, Reply, SignInRefusal};

use crate::flow::{self, Flow};
use crate::notice::{Notice, Stop};
use crate::provider::Provider;
use crate::settings::Settings;
use crate::token;

/// Longest code sent on, in bytes. Real ones have a few hundred, some over a thousand.
const MAX_CODE_BYTES: usize = 4_096;

/// The parameters of an answer, each at most once (RFC 6749 §3.1).
#[derive(Debug, Default)]
struct Answer {
    state: Option<String>,
    code: Option<String>,
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Answer {
    /// Reads the query; none where a parameter is there twice.
    fn read(query: &str) -> Option<Self> {
        let mut answer = Self::default();
        for (name, value) in form(query.as_bytes()) {
            let place = match name.as_str() {
                "state" => &mut answer.state,
                "code" => &mut answer.code,
                "iss" => &mut answer.iss,
                "error" => &mut answer.error,
                "error_description" => &mut answer.error_description,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(answer)
    }
}

/// Finishes a sign-in. The order matters: nothing of the answer is shown or sent on before the browser has proved that it
/// began this sign-in, and that the answer is the asked provider's.
pub(crate) fn callback(host: &impl Host, settings: &Settings) -> Result<Handled, Stop> {
    let answer = Answer::read(&host.query().unwrap_or_default()).ok_or(Stop::Shown(Notice::Malformed))?;
    let state = answer.state.ok_or(Stop::Shown(Notice::Malformed))?;
    let flow = flow::take(host, settings, &state)?;
    let cookie = flow::cookie(settings, &state, &flow.redirect_uri);
    let finished = finish(host, settings, &flow, Answer { state: None, ..answer });
    // The sign-in is over, and with it the cookie's use, whatever came of it.
    match finished {
        Ok((identity, next)) => {
            let reply = Reply::redirect(303, next.location()).with("cache-control", "no-store");
            Ok(Handled::SignedIn((identity, cookie.clear(reply))))
        }
        Err(Stop::Shown(notice)) => Ok(Handled::Reply(cookie.clear(notice.page(settings)))),
        Err(failed) => Err(failed),
    }
}

fn finish(
    host: &impl Host,
    settings: &Settings,
    flow: &Flow,
    answer: Answer,
) -> Result<(lectern_plugin::Identity, Next), Stop> {
    let provider = Provider::find(host, settings)?;
    // RFC 9207 §2.4: also before an error is believed.
    let from_elsewhere = match &answer.iss {
        Some(iss) => *iss != provider.issuer,
        None => provider.authorization_response_iss_parameter_supported,
    };
    if from_elsewhere {
        let iss = one_line(answer.iss.as_deref().unwrap_or("none"), 200);
        host.log(Level::Warn, "an answer of another provider", &[("iss", &iss), ("client.ip", &host.client_ip())]);
        return Err(Notice::OtherProvider.into());
    }
    if let Some(code) = answer.error {
        let (code, words) = (one_line(&code, 100), one_line(&answer.error_description.unwrap_or_default(), 400));
        host.log(Level::Info, "the provider refused", &[("error", &code), ("description", &words)]);
        return Err(Notice::Refused(code, words).into());
    }
    let code = answer.code.filter(|code| (1..=MAX_CODE_BYTES).contains(&code.len()));
    let code = code.ok_or(Stop::Shown(Notice::Malformed))?;
    let claims = token::exchange(host, settings, &provider, flow, &code)?;
    let subject = claims.text("sub").unwrap_or_default();
    let refuse = |notice: Notice, reason: &str| {
        host.log(Level::Warn, "not signed in", &[("subject", &one_line(&subject, 255)), ("reason", reason)]);
        Stop::Shown(notice)
    };
    if let Some(claim) = claims.lacks(&settings.required) {
        return Err(refuse(Notice::NotAllowed, &format!("the claim {claim} is not as required")));
    }
    let profile = settings
        .accounts
        .profile(&settings.issuer, &subject, &claims, &settings.claims)
        .map_err(|why| refuse(Notice::NotAllowed, &why.0))?;
    let identity = host.sign_in(&profile).map_err(|refusal| match refusal {
        SignInRefusal::Unknown => refuse(Notice::NoAccount, "no account is linked, and none may be made"),
        SignInRefusal::Locked => refuse(Notice::Locked, "the account is locked"),
        SignInRefusal::NameTaken => {
            refuse(Notice::NameTaken, &format!("the user name {:?} is another account's", profile.username))
        }
        SignInRefusal::Invalid(what) => refuse(Notice::Unusable, &what),
        SignInRefusal::NotGranted => {
            host.log(Level::Error, "the role is above the grant: raise accounts:<role>, or change accounts.roles", &[]);
            refuse(Notice::NotAllowed, "the role is above the grant")
        }
        SignInRefusal::Unavailable => refuse(Notice::Unavailable, "the accounts cannot be read"),
    })?;
    let identity = settings.claims.complete(identity, &claims, &profile.groups);
    // Checked once more: what was stored is ours, and costs nothing to doubt.
    Ok((identity, Next::of(Some(&flow.next))))
}
