//! A sign-in that was begun and waits for the browser to come back: kept on the server under a random handle, bound to the
//! browser by a cookie, and taken once.

use lectern_plugin::browser::PrivateCookie;
use lectern_plugin::web::base64url;
use lectern_plugin::{Host, Level, StoreError};
use serde::{Deserialize, Serialize};

use crate::notice::{Notice, Stop};
use crate::settings::Settings;

/// Time to sign in at the provider, in seconds: a second factor and a forgotten password fit.
pub(crate) const FLOW_SECONDS: u32 = 600;

/// Bytes of each random value: 256 bits, not to be guessed.
const RANDOM_BYTES: usize = 32;
/// Characters of such a value in base64url.
const RANDOM_CHARS: usize = 43;

/// What is kept. The browser gets none of it but, apart, `state` and `browser`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flow {
    /// Which provider was asked.
    pub(crate) issuer: String,
    /// What the ID token must repeat (OpenID Connect Core §3.1.2.1).
    pub(crate) nonce: String,
    /// The secret of PKCE (RFC 7636 §4.1).
    pub(crate) verifier: String,
    /// What the browser's cookie must hold.
    pub(crate) browser: String,
    /// Where the provider sends the browser back to; the token request repeats it.
    pub(crate) redirect_uri: String,
    /// Where to go afterwards.
    pub(crate) next: String,
}

/// A flow that was stored, and its handle.
pub(crate) struct Begun {
    /// The handle: the parameter `state`.
    pub(crate) state: String,
    /// What is kept under it.
    pub(crate) flow: Flow,
}

/// Begins a sign-in and stores it.
pub(crate) fn begin(host: &impl Host, settings: &Settings, redirect_uri: String, next: &str) -> Result<Begun, Stop> {
    let drawn = host.random_bytes(4 * 32);
    let mut values = drawn.chunks_exact(RANDOM_BYTES).map(base64url);
    let mut value = || values.next().ok_or(Stop::Shown(Notice::Unavailable));
    let (state, nonce, verifier, browser) = (value()?, value()?, value()?, value()?);
    let flow = Flow { issuer: settings.issuer.clone(), nonce, verifier, browser, redirect_uri, next: next.to_owned() };
    let bytes = serde_json::to_vec(&flow).unwrap_or_default();
    match host.swap_value(&key(&state), None, Some(&bytes), Some(FLOW_SECONDS)) {
        Ok(true) => Ok(Begun { state, flow }),
        Ok(false) => Err(Notice::Unavailable.into()),
        Err(error) => Err(store_failed(host, &error)),
    }
}

/// Takes the flow of this handle: once, and only for the browser that began it.
pub(crate) fn take(host: &impl Host, settings: &Settings, state: &str) -> Result<Flow, Stop> {
    let is_handle = state.len() == RANDOM_CHARS
        && state.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if !is_handle {
        return Err(Notice::Malformed.into());
    }
    let stored = host.value(&key(state)).map_err(|error| store_failed(host, &error))?;
    let Some(stored) = stored else {
        host.log(Level::Info, "a sign-in that is over or was never begun", &[("client.ip", &host.client_ip())]);
        return Err(Notice::Over.into());
    };
    let flow: Flow = serde_json::from_slice(&stored).map_err(|_| Stop::Shown(Notice::Over))?;
    // Before it is taken: whoever learns a handle cannot end the sign-in of the browser that has the cookie.
    let sent = cookie(settings, state, &flow.redirect_uri).read(host).unwrap_or_default();
    if !same(sent.as_bytes(), flow.browser.as_bytes()) {
        host.log(Level::Warn, "a sign-in that another browser began", &[("client.ip", &host.client_ip())]);
        return Err(Notice::OtherBrowser.into());
    }
    match host.swap_value(&key(state), Some(&stored), None, None) {
        Ok(true) if flow.issuer == settings.issuer => Ok(flow),
        // Another request took it in between, or the operator changed the provider.
        Ok(_) => Err(Notice::Over.into()),
        Err(error) => Err(store_failed(host, &error)),
    }
}

/// The cookie that binds the flow to the browser.
///
/// There are sixteen, chosen by the handle: sign-ins in several tabs seldom disturb each other, and a browser never keeps more.
pub(crate) fn cookie(settings: &Settings, state: &str, redirect_uri: &str) -> PrivateCookie {
    let slot = state.bytes().next().unwrap_or_default() % 16;
    let name = settings.cookie_name(&format!("{slot:x}"));
    PrivateCookie::new(&name, &settings.base(), redirect_uri.starts_with("https://"))
}

/// Says in the log why the store did not work, and ends the handling.
pub(crate) fn store_failed(host: &impl Host, error: &StoreError) -> Stop {
    let reason = match error {
        StoreError::Quota => "its share is used up: too many sign-ins wait for an answer",
        StoreError::TooLarge => "the value is too large",
        StoreError::Unavailable(reason) => reason,
    };
    host.log(Level::Error, "the store of the plugin", &[("error", reason)]);
    Notice::Unavailable.into()
}

fn key(state: &str) -> String {
    format!("flow:{state}")
}

/// Compares without telling by its time how much was right.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}
