//! A proxy in front says who is asking: the user's name in a field of the request (`X-Auth-User`), and a proof that the proxy
//! wrote it.
//!
//! The proof is a secret in another field, which the host compares, or the proxy's certificate from mutual TLS, or both; addresses may be
//! limited too, but prove nothing alone. Everything that is set must hold. A name without its proof is rejected, never ignored: somebody
//! reached the server past the proxy, or the proxy lets the field through from clients.
//!
//! In the phase select the plugin takes these fields away before the request reaches content: whoever wrote an app could otherwise
//! read the secret and be anybody.

mod proof;
mod settings;

use lectern_plugin::people::{Claims, outcome};
use lectern_plugin::{Authenticator, Decision, Failure, Forward, Host, Identity, Level, Outcome, Router, export_gate};

use proof::Flaw;
use settings::{Settings, UserBy};

/// Longest value read, in bytes: what the host takes as a text.
const MAX_VALUE_BYTES: usize = 256;
/// Longest list of groups read, in bytes.
const MAX_GROUPS_BYTES: usize = 8 << 10;
/// The host may reuse a linked account for so many seconds: so long a lock can go unnoticed.
const TTL_SECONDS: u32 = 60;

/// The plugin.
#[derive(Debug)]
pub struct TrustedHeader;

export_gate!(TrustedHeader);

impl Authenticator for TrustedHeader {
    fn check(host: &impl Host) -> Result<(), Failure> {
        Settings::read(host).map(drop)
    }

    fn authenticate(host: &impl Host) -> Result<Outcome, Failure> {
        let settings = Settings::read(host)?;
        let values = host.header(&settings.header);
        // Proxies send the field empty for visitors who are not signed in.
        if values.iter().all(|value| value.trim_ascii().is_empty()) {
            return Ok(Outcome::Abstain);
        }
        match proof::flaw(host, &settings) {
            None => {}
            Some(Flaw::NoSecret(name)) => {
                return Err(Failure::Misconfigured(format!("there is no secret {name:?}, or it is not granted")));
            }
            Some(Flaw::Unproven(reason)) => {
                let fields = [("field", settings.header.as_str()), ("reason", reason), ("peer.ip", &host.peer_ip())];
                host.log(Level::Warn, "a user's name without the proxy's proof", &fields);
                return rejected(reason);
            }
        }
        match said(host, &settings) {
            Ok(claims) => identify(host, &settings, &claims),
            Err(reason) => rejected(&reason),
        }
    }
}

impl Router for TrustedHeader {
    fn route(host: &impl Host) -> Result<Decision, Failure> {
        // Empty in the phase route: nothing is decided yet.
        let target = host.target();
        if !target.starts_with("content:") {
            return Ok(Decision::Next);
        }
        let settings = Settings::read(host)?;
        let mut forward = Forward::to(&target);
        if settings.secret.is_some() {
            forward.remove_headers.push(settings.secret_header.clone());
        }
        if !settings.pass_on {
            forward.remove_headers.extend(settings.fields().map(|(_, field)| field.to_owned()));
        }
        Ok(if forward.remove_headers.is_empty() { Decision::Next } else { Decision::Forward(forward) })
    }
}

/// What the proxy says, as claims; each field once, in visible text.
fn said(host: &impl Host, settings: &Settings) -> Result<Claims, String> {
    let mut claims = Vec::new();
    for (claim, field) in settings.fields() {
        let values = host.header(field);
        let value = match values.as_slice() {
            [] => continue,
            [value] => value.trim_ascii(),
            // One of them may be the client's.
            _ => return Err(format!("the field {field} is there more than once")),
        };
        let limit = if claim == "groups" { MAX_GROUPS_BYTES } else { MAX_VALUE_BYTES };
        let text =
            std::str::from_utf8(value).ok().filter(|text| text.len() <= limit && !text.contains(char::is_control));
        match text {
            Some(text) => claims.push((claim.to_owned(), text.to_owned())),
            None => return Err(format!("the field {field} is no text of at most {limit} bytes")),
        }
    }
    Ok(Claims::of(claims))
}

/// The user of that name, or the account linked to it.
fn identify(host: &impl Host, settings: &Settings, claims: &Claims) -> Result<Outcome, Failure> {
    let Some(name) = claims.text("user") else { return rejected("the name is empty") };
    let names = settings.claim_names();
    let profile = match settings.accounts.profile(&settings.issuer, &name, claims, &names) {
        Ok(profile) => profile,
        Err(why) => return rejected(&why.0),
    };
    let whole = |identity: Identity| names.complete(identity, claims, &profile.groups);
    match settings.user {
        UserBy::Name => match host.find_user(&name) {
            Some(identity) => Ok(Outcome::Authenticated(whole(identity))),
            None => rejected("there is no such user, or the account is locked"),
        },
        UserBy::Account => {
            let signed_in = host.sign_in(&profile);
            outcome(host, signed_in.map(|identity| Identity { ttl: Some(TTL_SECONDS), ..whole(identity) }))
        }
    }
}

fn rejected(reason: &str) -> Result<Outcome, Failure> {
    Ok(Outcome::Rejected(reason.to_owned()))
}

#[cfg(test)]
mod tests;
