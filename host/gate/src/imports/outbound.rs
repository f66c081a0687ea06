//! HTTP requests to granted origins.

use std::time::Duration;

use base64::Engine as _;
use http::Method;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use lectern_domain::plugin::{GrantKind, Origin};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::asked::tell;
use crate::backend::{OutboundError, OutboundRequest};
use crate::bindings::lectern::plugin::outbound;
use crate::learn::Taint;
use crate::state::State;

/// Requests of one call.
const MAX_FETCHES: u32 = 4;
/// Bytes of one body, either way.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Longest address, in bytes.
const MAX_URL_BYTES: usize = 8 << 10;
/// Fields of one request, and their bytes.
const MAX_FIELDS: (usize, usize) = (64, 16 << 10);
/// Longest time for one exchange.
const MAX_TIME: Duration = Duration::from_secs(2);

/// Fields that the host sets, or that would change what the connection means.
const HOST_FIELDS: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl outbound::Host for State {
    async fn fetch(
        &mut self,
        request: outbound::Request,
    ) -> wasmtime::Result<Result<outbound::Response, outbound::Error>> {
        self.count_fetch(MAX_FETCHES)?;
        tell!("fetch {} {}", request.method, request.url);
        self.taint(Taint::Outbound);
        let request = match self.checked(request) {
            Ok(request) => request,
            Err(error) => return Ok(Err(error)),
        };
        if !self.has_effects() {
            return Ok(Err(outbound::Error::Failed("shadows have no network".into())));
        }
        let outbound = self.backend().outbound.clone();
        Ok(match outbound.fetch(request).await {
            Ok(response) => Ok(outbound::Response {
                status: response.status.as_u16(),
                headers: response
                    .headers
                    .iter()
                    .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                    .collect(),
                body: response.body,
            }),
            Err(OutboundError::Forbidden(why)) => Err(outbound::Error::Forbidden(why)),
            Err(OutboundError::Timeout) => Err(outbound::Error::Timeout),
            Err(OutboundError::TooLarge) => Err(outbound::Error::TooLarge),
            Err(OutboundError::Failed(why)) => Err(outbound::Error::Failed(why)),
        })
    }
}

impl State {
    /// Turns what the guest wants into a request that is granted, bounded and complete.
    fn checked(&self, raw: outbound::Request) -> Result<OutboundRequest, outbound::Error> {
        let invalid = |why: &str| outbound::Error::Invalid(why.to_owned());
        if raw.url.len() > MAX_URL_BYTES || raw.body.len() > MAX_BODY_BYTES {
            return Err(outbound::Error::TooLarge);
        }
        let url = Url::parse(&raw.url).map_err(|error| invalid(&format!("address: {error}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("an address with a user name"));
        }
        // The parsed address, not the guest's text: only one of them is connected to.
        let origin = Origin::of_url(url.as_str()).ok_or_else(|| invalid("only http and https addresses"))?;
        if !self.grants().allows_origin(GrantKind::Outbound, &origin) {
            return Err(outbound::Error::Forbidden(format!("outbound:{origin} is not granted")));
        }
        let method = Method::from_bytes(raw.method.as_bytes()).map_err(|_| invalid("method"))?;
        if matches!(method, Method::CONNECT | Method::TRACE) {
            return Err(invalid("method"));
        }
        let bytes: usize = raw.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if raw.headers.len() > MAX_FIELDS.0 || bytes > MAX_FIELDS.1 {
            return Err(outbound::Error::TooLarge);
        }
        let mut headers = HeaderMap::with_capacity(raw.headers.len() + 1);
        for (name, value) in raw.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("a field name"))?;
            if HOST_FIELDS.contains(&name.as_str()) {
                return Err(invalid(&format!("the field {name} belongs to the host")));
            }
            headers.append(name, HeaderValue::from_bytes(&value).map_err(|_| invalid("a field value"))?);
        }
        if let Some(credential) = self.credential(raw.bearer_secret, raw.basic_secret)? {
            headers.insert(AUTHORIZATION, credential);
        }
        let timeout = raw
            .timeout_ms
            .map_or(MAX_TIME, |ms| Duration::from_millis(u64::from(ms)).clamp(Duration::from_millis(1), MAX_TIME));
        Ok(OutboundRequest { method, url, headers, body: raw.body, timeout, max_body_bytes: MAX_BODY_BYTES })
    }

    fn credential(
        &self,
        bearer: Option<String>,
        basic: Option<(String, String)>,
    ) -> Result<Option<HeaderValue>, outbound::Error> {
        let secret = |name: &str| {
            let secret = self.granted_secret(GrantKind::Secret, name);
            secret.ok_or_else(|| {
                outbound::Error::Forbidden(format!("secret:{name} is not granted, or there is no such secret"))
            })
        };
        let bytes = match (bearer, basic) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(outbound::Error::Invalid("two credentials".into())),
            (Some(name), None) => [b"Bearer ".as_slice(), secret(&name)?.reveal()].concat(),
            (None, Some((user, name))) => {
                let secret = secret(&name)?;
                let password = std::str::from_utf8(secret.reveal())
                    .map_err(|_| outbound::Error::Invalid(format!("secret:{name} is no text")))?;
                let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                let pair = format!("{}:{}", encode(&user), encode(password));
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)).into_bytes()
            }
        };
        let mut value = HeaderValue::from_bytes(&bytes)
            .map_err(|_| outbound::Error::Invalid("the secret cannot be a field's value".into()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}
