//! What the provider says of itself (OpenID Connect Discovery §4), kept in the plugin's store.

use lectern_plugin::web::{base64url, is_confidential, one_line};
use lectern_plugin::{Failure, Fetch, FetchError, Host, Level};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::notice::{Notice, Stop};
use crate::settings::Settings;

/// For so long it is not read again: providers change keys often, addresses seldom, and keys are the host's matter.
const FRESH_SECONDS: u64 = 3_600;
/// For so long it is still good when it cannot be read again.
const KEPT_SECONDS: u32 = 86_400;
/// Tries per minute to read it: a provider that is away is not asked by every visitor.
const READS_PER_MINUTE: u32 = 6;
/// Longest address believed, in bytes.
const MAX_ADDRESS_BYTES: usize = 1_024;
/// Longest document read, in bytes. Real ones have 5 KiB.
const MAX_DOCUMENT_BYTES: usize = 64 << 10;

/// The provider's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Provider {
    pub(crate) issuer: String,
    pub(crate) authorization_endpoint: String,
    pub(crate) token_endpoint: String,
    pub(crate) jwks_uri: String,
    #[serde(default)]
    pub(crate) end_session_endpoint: Option<String>,
    /// Whether it says in each answer who it is (RFC 9207 §3).
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
}

/// As it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Seconds since 1970.
    read_at: u64,
    provider: Provider,
}

impl Provider {
    /// The provider as it is known, or read now.
    pub(crate) fn find(host: &impl Host, settings: &Settings) -> Result<Self, Stop> {
        let now = host.unix_millis() / 1_000;
        // The store is the plugin's, whatever the settings of a binding are; addresses can be longer than its keys.
        let key = format!("provider:{}", base64url(&Sha256::digest(&settings.issuer)));
        let stored = host.value(&key).ok().flatten();
        let kept: Option<Kept> = stored.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        // As everywhere, compared as text.
        let kept = kept.filter(|kept| kept.provider.issuer == settings.issuer);
        if let Some(kept) = &kept
            && now.saturating_sub(kept.read_at) < FRESH_SECONDS
        {
            return Ok(kept.provider.clone());
        }
        let read = match host.take(&key, READS_PER_MINUTE, READS_PER_MINUTE) {
            None => Self::read(host, settings),
            Some(_) => Err(Stop::Shown(Notice::Unreachable)),
        };
        match (read, kept) {
            (Ok(provider), _) => {
                let value = serde_json::to_vec(&Kept { read_at: now, provider: provider.clone() }).unwrap_or_default();
                if host.set_value(&key, &value, Some(KEPT_SECONDS)).is_err() {
                    host.log(Level::Warn, "the provider's description was not kept", &[]);
                }
                Ok(provider)
            }
            (Err(Stop::Shown(_)), Some(kept)) => Ok(kept.provider),
            (Err(stop), _) => Err(stop),
        }
    }

    fn read(host: &impl Host, settings: &Settings) -> Result<Self, Stop> {
        let url = format!("{}/.well-known/openid-configuration", settings.issuer.trim_end_matches('/'));
        let unusable = |reason: &str| {
            host.log(Level::Error, "the provider's description cannot be used", &[("url", &url), ("error", reason)]);
            Stop::Shown(Notice::Unreachable)
        };
        let answer = host.fetch(&request("GET", &url)).map_err(|error| fetch_failed(host, &url, &error))?;
        if answer.status != 200 {
            return Err(unusable(&format!("status {}", answer.status)));
        }
        if answer.body.len() > MAX_DOCUMENT_BYTES {
            return Err(unusable("it is too large"));
        }
        let provider: Self =
            serde_json::from_slice(&answer.body).map_err(|error| unusable(&one_line(&error.to_string(), 200)))?;
        // Compared as text (Discovery §4.3): who speaks for another issuer could take its users' codes.
        if provider.issuer != settings.issuer {
            return Err(unusable(&format!("it is of the issuer {:?}", one_line(&provider.issuer, 200))));
        }
        let bad = {
            let named = [&provider.authorization_endpoint, &provider.token_endpoint, &provider.jwks_uri];
            let fits = |address: &String| is_confidential(address) && address.len() <= MAX_ADDRESS_BYTES;
            let mut all = named.into_iter().chain(&provider.end_session_endpoint);
            all.find(|address| !fits(address)).map(|address| one_line(address, 200))
        };
        match bad {
            Some(bad) => Err(unusable(&format!("the address {bad:?} is none that secrets may go to"))),
            None => Ok(provider),
        }
    }
}

/// A request for JSON.
pub(crate) fn request(method: &str, url: &str) -> Fetch {
    Fetch {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: vec![("accept".to_owned(), b"application/json".to_vec())],
        body: Vec::new(),
        timeout_ms: None,
        bearer_secret: None,
        basic_secret: None,
    }
}

/// Says in the log why a request failed, and ends the handling. What is not granted is the operator's to change.
pub(crate) fn fetch_failed(host: &impl Host, url: &str, error: &FetchError) -> Stop {
    let reason = match error {
        FetchError::Forbidden(reason) => {
            return Failure::Misconfigured(format!("request to {url}: not granted: {reason}")).into();
        }
        FetchError::Timeout => "no answer in time",
        FetchError::TooLarge => "too large an answer",
        FetchError::Invalid(reason) | FetchError::Failed(reason) => reason,
    };
    host.log(Level::Error, "the provider cannot be reached", &[("url", url), ("error", reason)]);
    Notice::Unreachable.into()
}
