//! Sends the browser to the provider.

use lectern_plugin::browser::Next;
use lectern_plugin::web::{base64url, with_query};
use lectern_plugin::{Handled, Host, Reply};
use sha2::{Digest, Sha256};

use crate::flow::{self, FLOW_SECONDS};
use crate::notice::{Notice, Stop};
use crate::provider::Provider;
use crate::settings::Settings;

/// Begins a sign-in; who has a session goes on at once.
pub(crate) fn start(host: &impl Host, settings: &Settings) -> Result<Handled, Stop> {
    let next = Next::of(host.query_param("next").as_deref());
    if host.session().is_some() {
        return Ok(Handled::Reply(Reply::redirect(303, next.location()).with("cache-control", "no-store")));
    }
    // Anybody can begin a sign-in, and each takes a place in the store.
    let bucket = format!("start {}", neighbourhood(&host.client_ip()));
    if let Some(seconds) = host.take(&bucket, settings.starts_per_minute, settings.starts_per_minute) {
        return Err(Notice::TooMany(seconds).into());
    }
    let provider = Provider::find(host, settings)?;
    let origin = settings.origin(host).ok_or(Stop::Shown(Notice::Malformed))?;
    let redirect_uri = format!("{origin}{}callback", settings.base());
    let begun = flow::begin(host, settings, redirect_uri, next.as_str())?;
    let mut scope = "openid".to_owned();
    for extra in settings.scopes.iter().filter(|scope| *scope != "openid") {
        scope.push(' ');
        scope.push_str(extra);
    }
    let challenge = base64url(&Sha256::digest(&begun.flow.verifier));
    let max_age = settings.max_age.map(|seconds| seconds.to_string());
    let mut parameters = vec![
        ("response_type", "code"),
        ("client_id", &settings.client_id),
        ("redirect_uri", &begun.flow.redirect_uri),
        ("scope", &scope),
        ("state", &begun.state),
        ("nonce", &begun.flow.nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    if let Some(prompt) = settings.prompt {
        parameters.push(("prompt", prompt.as_str()));
    }
    if let Some(max_age) = &max_age {
        parameters.push(("max_age", max_age));
    }
    let location = with_query(&provider.authorization_endpoint, &parameters);
    let reply = Reply::redirect(303, &location).with("cache-control", "no-store");
    let cookie = flow::cookie(settings, &begun.state, &begun.flow.redirect_uri);
    Ok(Handled::Reply(cookie.set(reply, &begun.flow.browser, FLOW_SECONDS)))
}

/// Whom an address stands for: of IPv6 the first 64 bits, which are one household's or one server's.
fn neighbourhood(address: &str) -> String {
    match address.parse() {
        Ok(std::net::IpAddr::V6(v6)) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_bucket() {
        assert_eq!(neighbourhood("192.0.2.7"), "192.0.2.7");
        assert_eq!(neighbourhood("2001:db8:1:2:3::4"), "2001:db8:1:2::/64");
        assert_eq!(neighbourhood("2001:db8:1:2:ffff::4"), "2001:db8:1:2::/64");
    }
}
