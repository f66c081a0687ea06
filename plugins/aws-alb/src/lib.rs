//! An AWS Application Load Balancer that signs people in and says who is asking, in a signed token (`X-Amzn-Oidc-Data`).
//!
//! Any load balancer of any AWS account signs with keys of the same address, so a good signature proves only that *some* load balancer
//! wrote the token: what counts is that its `signer` is one of the operator's. A field without a good token is rejected, never ignored.
//!
//! In the phase select the plugin takes the load balancer's fields and session cookies away before the request reaches content: whoever
//! wrote an app could otherwise use them in the visitor's name.

mod content;
mod settings;

use lectern_plugin::jwt;
use lectern_plugin::people::{Claims, outcome};
use lectern_plugin::{
    Authenticator, Decision, Expectations, Failure, Host, Identity, Keys, Level, Outcome, Router, TokenRefusal,
    Verified, export_gate,
};

use settings::{Settings, UserBy};

/// The field with the token. Its claims are the provider's answer about the user.
const DATA: &str = "x-amzn-oidc-data";

/// The host may reuse an identity for so many seconds: so long a lock can go unnoticed. Tokens end after two minutes.
const MAX_TTL_SECONDS: u32 = 60;

/// The plugin.
#[derive(Debug)]
pub struct AwsAlb;

export_gate!(AwsAlb);

impl Authenticator for AwsAlb {
    fn check(host: &impl Host) -> Result<(), Failure> {
        Settings::read(host).map(drop)
    }

    fn authenticate(host: &impl Host) -> Result<Outcome, Failure> {
        let values = host.header(DATA);
        let value = match values.as_slice() {
            [] => return Ok(Outcome::Abstain),
            [value] => value.trim_ascii(),
            _ => return rejected("more than one token of a load balancer"),
        };
        let settings = Settings::read(host)?;
        let token = std::str::from_utf8(value).ok();
        let Some((token, unverified)) = token.and_then(|token| Some((token, jwt::peek(token)?))) else {
            return rejected("a token that is none");
        };
        // Before any key is asked for: which keys it may be depends on the signer, and neither is the token's to choose.
        let signer = unverified.header.text("signer").unwrap_or_default();
        let Some(key_url) = settings.key_url_of(&signer) else {
            let fields = [("signer", &*lectern_plugin::web::one_line(&signer, 200)), ("peer.ip", &*host.peer_ip())];
            host.log(Level::Warn, "a token of a load balancer that is not ours", &fields);
            return rejected("signed by a load balancer that is not ours");
        };
        // It becomes part of the address.
        let is_key = |kid: &str| {
            (1..=64).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !unverified.header.text("kid").is_some_and(|kid| is_key(&kid)) {
            return rejected("a token whose key has no usable name");
        }
        let expectations = Expectations {
            issuers: Vec::new(),
            audiences: Vec::new(),
            algorithms: vec!["ES256".to_owned()],
            leeway_seconds: settings.leeway_seconds,
            required: Vec::new(),
        };
        match host.verify_token(token, &Keys::PemUrl(key_url), &expectations) {
            Ok(verified) => identify(host, &settings, &verified),
            Err(TokenRefusal::Keys(reason)) => Err(Failure::Unavailable(format!("the load balancer's key: {reason}"))),
            Err(refusal) => rejected(&explained(&refusal)),
        }
    }
}

impl Router for AwsAlb {
    fn route(host: &impl Host) -> Result<Decision, Failure> {
        content::without_credentials(host)
    }
}

/// Checks what the host does not know of these tokens, and finds whose it is.
fn identify(host: &impl Host, settings: &Settings, verified: &Verified) -> Result<Outcome, Failure> {
    let parse = |json: &str| {
        Claims::parse(json).ok_or_else(|| Failure::Internal("the host verified a token that is no object".to_owned()))
    };
    let (header, claims) = (parse(&verified.header)?, parse(&verified.claims)?);
    // From the verified header this time.
    if settings.key_url_of(&header.text("signer").unwrap_or_default()).is_none() {
        return rejected("signed by a load balancer that is not ours");
    }
    if settings.client.is_some() && header.text("client") != settings.client {
        return rejected("of another client of the identity provider");
    }
    let Some(issuer) = header.text("iss").or_else(|| claims.text("iss")) else {
        return rejected("a token without issuer");
    };
    let others = settings.issuer.iter().cloned().chain(claims.text("iss"));
    if others.into_iter().any(|other| other != issuer) {
        return rejected("of another identity provider");
    }
    let valid_seconds = match remaining(host, settings, verified, &header, &claims) {
        Ok(seconds) => seconds,
        Err(reason) => return rejected(reason),
    };
    if let Some(claim) = claims.lacks(&settings.required) {
        return rejected(&format!("the claim {claim} is not as required"));
    }
    let Some(subject) = claims.text(&settings.subject_claim) else {
        return rejected(&format!("without the claim {}", settings.subject_claim));
    };
    let profile = match settings.accounts.profile(&issuer, &subject, &claims, &settings.claims) {
        Ok(profile) => profile,
        Err(why) => return rejected(&why.0),
    };
    let ttl = Some(valid_seconds.min(MAX_TTL_SECONDS));
    let whole = |identity: Identity| Identity { ttl, ..settings.claims.complete(identity, &claims, &profile.groups) };
    match settings.user {
        UserBy::Account => {
            let signed_in = host.sign_in(&profile);
            outcome(host, signed_in.map(whole))
        }
        UserBy::Name => match host.find_user(&subject) {
            Some(identity) => Ok(Outcome::Authenticated(whole(identity))),
            None => rejected("there is no such user, or the account is locked"),
        },
    }
}

/// Seconds for which the token stays good. The documented place of its end is the header, where the host does not look; in
/// practice the claims have it too.
fn remaining(
    host: &impl Host,
    settings: &Settings,
    verified: &Verified,
    header: &Claims,
    claims: &Claims,
) -> Result<u32, &'static str> {
    match (header.seconds("exp"), claims.seconds("exp"), verified.valid_seconds) {
        (None, _, Some(seconds)) => Ok(seconds),
        // The host has checked it, and no clock needs to be asked.
        (Some(in_header), Some(in_claims), Some(seconds)) if in_header >= in_claims => Ok(seconds),
        (Some(end), _, checked) => {
            let now = host.unix_millis() / 1_000;
            if now >= end.saturating_add(u64::from(settings.leeway_seconds)) {
                return Err("expired");
            }
            let seconds = u32::try_from(end.saturating_sub(now)).unwrap_or(u32::MAX);
            Ok(seconds.min(checked.unwrap_or(u32::MAX)))
        }
        (None, _, None) => Err("a token without an end"),
    }
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
        TokenRefusal::Expired => "expired".to_owned(),
        TokenRefusal::NotYet => "from the future".to_owned(),
        TokenRefusal::Issuer => "of another issuer".to_owned(),
        TokenRefusal::Audience => "for another audience".to_owned(),
        TokenRefusal::Missing(claim) => format!("without {claim}"),
        TokenRefusal::Keys(what) => what.clone(),
    }
}

#[cfg(test)]
mod tests;
