//! The code for an ID token, and what makes one good (OpenID Connect Core §3.1.3).

use lectern_plugin::people::Claims;
use lectern_plugin::web::{one_line, to_form};
use lectern_plugin::{Expectations, Failure, Host, Keys, Level, TokenRefusal};
use serde::Deserialize;

use crate::flow::{Flow, same};
use crate::notice::{Notice, Stop};
use crate::provider::{Provider, fetch_failed, request};
use crate::settings::{ClientAuth, Settings};

/// What is read of the token endpoint's answer. Access and refresh tokens are not kept.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    id_token: Option<String>,
    error: Option<String>,
}

/// The verified claims of the person who signed in.
pub(crate) fn exchange(
    host: &impl Host,
    settings: &Settings,
    provider: &Provider,
    flow: &Flow,
    code: &str,
) -> Result<Claims, Stop> {
    let url = &provider.token_endpoint;
    let mut pairs = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", &flow.redirect_uri),
        ("code_verifier", &flow.verifier),
    ];
    let mut request = request("POST", url);
    match settings.client_auth {
        ClientAuth::Basic => {
            request.basic_secret = Some((settings.client_id.clone(), settings.client_secret.clone()));
        }
        ClientAuth::Public => pairs.push(("client_id", &settings.client_id)),
    }
    request.headers.push(("content-type".to_owned(), b"application/x-www-form-urlencoded".to_vec()));
    request.body = to_form(&pairs).into_bytes();
    let fetched = host.fetch(&request).map_err(|error| fetch_failed(host, url, &error))?;
    let answer: Answer = serde_json::from_slice(&fetched.body).unwrap_or_default();
    match (fetched.status, answer) {
        (200, Answer { id_token: Some(token), .. }) => verify(host, settings, provider, flow, &token),
        (status, answer) => {
            let error = one_line(answer.error.as_deref().unwrap_or("no ID token"), 100);
            let fields = [("status", &*status.to_string()), ("error", &*error)];
            host.log(Level::Error, "the provider gave no ID token", &fields);
            Err(match error.as_str() {
                // The code was used already or is too old.
                "invalid_grant" => Notice::Over.into(),
                _ if status >= 500 || status == 429 => Notice::Unreachable.into(),
                _ => Notice::NotVerified.into(),
            })
        }
    }
}

fn verify(
    host: &impl Host,
    settings: &Settings,
    provider: &Provider,
    flow: &Flow,
    token: &str,
) -> Result<Claims, Stop> {
    let expectations = Expectations {
        issuers: vec![settings.issuer.clone()],
        audiences: vec![settings.client_id.clone()],
        algorithms: settings.algorithms.clone(),
        leeway_seconds: settings.leeway_seconds,
        required: ["sub", "aud", "exp", "iat", "nonce"].map(str::to_owned).to_vec(),
    };
    let bad = |reason: &str| {
        host.log(Level::Warn, "an ID token that is not good", &[("reason", reason), ("client.ip", &host.client_ip())]);
        Stop::Shown(Notice::NotVerified)
    };
    let keys = Keys::JwksUrl(provider.jwks_uri.clone());
    let verified = host.verify_token(token, &keys, &expectations).map_err(|refusal| match refusal {
        TokenRefusal::Keys(reason) => {
            host.log(Level::Error, "the provider's keys", &[("url", &provider.jwks_uri), ("error", &reason)]);
            Stop::Shown(Notice::Unreachable)
        }
        TokenRefusal::Malformed(what) => bad(&format!("malformed: {what}")),
        TokenRefusal::Algorithm(what) => bad(&format!("algorithm {what}")),
        TokenRefusal::UnknownKey => bad("signed with an unknown key"),
        TokenRefusal::Signature => bad("wrong signature"),
        TokenRefusal::Expired => bad("expired"),
        TokenRefusal::NotYet => bad("from the future"),
        TokenRefusal::Issuer => bad("of another issuer"),
        TokenRefusal::Audience => bad("for another client"),
        TokenRefusal::Missing(claim) => bad(&format!("without {claim}")),
    })?;
    let claims = Claims::parse(&verified.claims)
        .ok_or_else(|| Failure::Internal("the host verified claims that are no object".to_owned()))?;
    match flaw(host, settings, flow, &claims) {
        Some(flaw) => Err(bad(flaw)),
        None => Ok(claims),
    }
}

/// What the host does not check: that the token is of this sign-in and for this client (§3.1.3.7, 3 to 5, 11 and 13).
fn flaw(host: &impl Host, settings: &Settings, flow: &Flow, claims: &Claims) -> Option<&'static str> {
    let text = |name: &str| claims.text(name).unwrap_or_default();
    if !same(text("nonce").as_bytes(), flow.nonce.as_bytes()) {
        return Some("of another sign-in: its nonce is another");
    }
    let authorized = claims.text("azp");
    if claims.list("aud").len() > 1 && authorized.is_none() {
        return Some("for several audiences without azp");
    }
    if authorized.is_some_and(|azp| azp != settings.client_id) {
        return Some("authorized for another client");
    }
    // §2: at most 255 ASCII characters.
    let subject = text("sub");
    if subject.is_empty() || subject.len() > 255 || !subject.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Some("its sub is no name");
    }
    if let Some(max_age) = settings.max_age {
        let allowed = u64::from(max_age) + u64::from(settings.leeway_seconds);
        match claims.seconds("auth_time") {
            Some(at) if (host.unix_millis() / 1_000).saturating_sub(at) <= allowed => {}
            Some(_) => return Some("of a sign-in that is too long ago"),
            None => return Some("without auth_time, which max_age asks for"),
        }
    }
    None
}
