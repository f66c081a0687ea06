//! Machine tokens: `Authorization: Bearer <JWT>` (RFC 6750) of one issuer, for this server as audience.
//!
//! Content may have bearer tokens of its own, and several issuers may be bound beside each other: a token that is no JWT, or of another
//! issuer, is left alone. One that says it is of this issuer is either good or rejected, also where anonymous visitors may enter.
//!
//! In the phase select the plugin takes the token away before the request reaches content: whoever wrote an app could otherwise collect the
//! tokens of its callers and use them here.

mod settings;

use lectern_plugin::jwt;
use lectern_plugin::people::{Claims, outcome};
use lectern_plugin::{
    Authenticator, Decision, Expectations, Failure, Forward, Host, Identity, Outcome, Router, TokenRefusal, export_gate,
};

use settings::{Settings, UserBy};

/// The host may reuse an identity for so many seconds: so long a revoked account or a changed key can go unnoticed.
const MAX_TTL_SECONDS: u32 = 60;

/// The plugin.
#[derive(Debug)]
pub struct JwtBearer;

export_gate!(JwtBearer);

impl Authenticator for JwtBearer {
    fn check(host: &impl Host) -> Result<(), Failure> {
        Settings::read(host).map(drop)
    }

    fn authenticate(host: &impl Host) -> Result<Outcome, Failure> {
        // Most requests have no token: one question.
        let values = host.header("authorization");
        let (first, second) = {
            let mut tokens = values.iter().filter_map(|value| bearer(value));
            (tokens.next(), tokens.next())
        };
        let Some(token) = first else { return Ok(Outcome::Abstain) };
        let settings = Settings::read(host)?;
        if !settings.concerns(host) {
            return Ok(Outcome::Abstain);
        }
        // Which one counts would be anybody's guess.
        if second.is_some() {
            return rejected("more than one bearer token");
        }
        let unverified = std::str::from_utf8(token).ok().and_then(|token| Some((token, jwt::peek(token)?)));
        let Some((token, unverified)) = unverified else {
            return if settings.strict { rejected("a bearer token that is no JWT") } else { Ok(Outcome::Abstain) };
        };
        match unverified.claims.text("iss") {
            Some(issuer) if issuer == settings.issuer => identify(host, &settings, token),
            None if settings.strict => rejected("a token without issuer"),
            _ => Ok(Outcome::Abstain),
        }
    }
}

impl Router for JwtBearer {
    fn route(host: &impl Host) -> Result<Decision, Failure> {
        let values = host.header("authorization");
        let Some(token) = values.iter().find_map(|value| bearer(value)) else { return Ok(Decision::Next) };
        let settings = Settings::read(host)?;
        let issuer = std::str::from_utf8(token).ok().and_then(jwt::peek).and_then(|token| token.claims.text("iss"));
        if settings.pass_on || issuer.is_none_or(|issuer| issuer != settings.issuer) {
            return Ok(Decision::Next);
        }
        // Empty in the phase route: nothing is decided yet.
        let target = host.target();
        if !target.starts_with("content:") {
            return Ok(Decision::Next);
        }
        let mut forward = Forward::to(&target);
        forward.remove_headers.push("authorization".to_owned());
        Ok(Decision::Forward(forward))
    }
}

/// Verifies a token of this issuer, and finds whose it is.
fn identify(host: &impl Host, settings: &Settings, token: &str) -> Result<Outcome, Failure> {
    let expectations = Expectations {
        issuers: vec![settings.issuer.clone()],
        audiences: settings.audiences.clone(),
        algorithms: settings.algorithms(),
        leeway_seconds: settings.leeway_seconds,
        required: vec!["exp".to_owned(), "aud".to_owned()],
    };
    let verified = match host.verify_token(token, &settings.keys()?, &expectations) {
        Ok(verified) => verified,
        Err(TokenRefusal::Keys(reason)) => {
            return Err(Failure::Unavailable(format!("keys of {}: {reason}", settings.issuer)));
        }
        Err(refusal) => return rejected(&explained(&refusal)),
    };
    let parse = |json: &str| {
        Claims::parse(json).ok_or_else(|| Failure::Internal("the host verified a token that is no object".to_owned()))
    };
    let (header, claims) = (parse(&verified.header)?, parse(&verified.claims)?);
    if !settings.is_type(header.text("typ").as_deref()) {
        return rejected("a token of another type: its typ is not among the types");
    }
    if let Some(claim) = claims.lacks(&settings.required) {
        return rejected(&format!("the claim {claim} is not as required"));
    }
    if let Some(scope) = settings.lacks_scope(&claims) {
        return rejected(&format!("the scope {scope} is missing"));
    }
    let Some(subject) = claims.text(&settings.subject_claim) else {
        return rejected(&format!("without the claim {}", settings.subject_claim));
    };
    let ttl = verified.valid_seconds.unwrap_or(MAX_TTL_SECONDS).min(MAX_TTL_SECONDS);
    let limited = |identity: Identity| Identity { ttl: Some(ttl), ..identity };
    let groups = claims.list(&settings.claims.groups);
    let user = match settings.user {
        UserBy::Account => {
            return match settings.accounts.profile(&settings.issuer, &subject, &claims, &settings.claims) {
                Err(why) => rejected(&why.0),
                Ok(profile) => {
                    let signed_in = host.sign_in(&profile);
                    let whole = |identity| limited(settings.claims.complete(identity, &claims, &profile.groups));
                    outcome(host, signed_in.map(whole))
                }
            };
        }
        UserBy::Name => host.find_user(&subject),
        UserBy::Map => match settings.users.get(&subject) {
            Some(name) => host.find_user(name),
            None => return rejected("its subject is not among the users"),
        },
    };
    match user {
        Some(identity) => Ok(Outcome::Authenticated(limited(settings.claims.complete(identity, &claims, &groups)))),
        None => rejected("there is no such user, or the account is locked"),
    }
}

/// The token in a value of `Authorization`, where its scheme is Bearer in any case (RFC 9110 §11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let end = value.iter().position(u8::is_ascii_whitespace)?;
    let (scheme, token) = value.split_at(end);
    scheme.eq_ignore_ascii_case(b"bearer").then(|| token.trim_ascii())
}

fn rejected(reason: &str) -> Result<Outcome, Failure> {
    Ok(Outcome::Rejected(reason.to_owned()))
}

fn explained(refusal: &TokenRefusal) -> String {
    match refusal {
        TokenRefusal::Malformed(what) => format!("malformed token: {what}"),
        TokenRefusal::Algorithm(what) => format!("algorithm {what}"),
        TokenRefusal::UnknownKey => "signed with an unknown key".to_owned(),
        TokenRefusal::Signature => "wrong signature".to_owned(),
        TokenRefusal::Expired => "expired token".to_owned(),
        TokenRefusal::NotYet => "token from the future".to_owned(),
        TokenRefusal::Issuer => "token of another issuer".to_owned(),
        TokenRefusal::Audience => "token for another audience".to_owned(),
        TokenRefusal::Missing(claim) => format!("token without {claim}"),
        TokenRefusal::Keys(what) => what.clone(),
    }
}

#[cfg(test)]
mod tests;
