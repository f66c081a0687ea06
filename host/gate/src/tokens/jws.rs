//! Takes a signed token apart (RFC 7515 §7.1): three parts, nothing before, between or after them.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::{TokenRefusal, json};

/// Largest token: twice what servers take as one header field, where most tokens come from.
pub const TOKEN_BYTES: usize = 16 << 10;

/// Longest name of a key.
const KID_BYTES: usize = 1024;

/// base64url. RFC 7515 leaves out padding; AWS load balancers send it and sign it, so it may be there.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes base64url, with or without padding; `None`: it is something else.
pub(super) fn base64url(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// The parts of a token. Nothing in it has been verified.
pub(super) struct Token<'a> {
    /// `alg`.
    pub(super) algorithm: String,
    /// `kid`.
    pub(super) kid: Option<String>,
    /// The header's JSON.
    pub(super) header: String,
    /// The claims' JSON.
    pub(super) payload: String,
    /// The claims.
    pub(super) claims: Map<String, Value>,
    /// What was signed: the first two parts, byte for byte as they came.
    pub(super) signed: &'a [u8],
    /// The signature.
    pub(super) signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Reads a token.
    ///
    /// Of the header only `alg` and `kid` are used. Keys and addresses of keys in it (`jwk`, `jku`, `x5c`, `x5u`) are whoever
    /// made the token's own, and mean nothing.
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenRefusal> {
        let malformed = |what: &str| TokenRefusal::Malformed(what.to_owned());
        if token.len() > TOKEN_BYTES {
            return Err(malformed("larger than 16 KiB"));
        }
        let parts: Vec<&str> = token.splitn(4, '.').collect();
        let [header, payload, signature] = parts[..] else { return Err(malformed("not three parts")) };
        let text = |part: &str, what: &str| {
            let bytes = base64url(part).ok_or_else(|| malformed(&format!("the {what} is not base64url")))?;
            String::from_utf8(bytes).map_err(|_| malformed(&format!("the {what} is not UTF-8")))
        };
        let members = |text: &str, what: &str| {
            json::object(text)
                .map_err(|reason| malformed(&format!("the {what} is not JSON with one meaning: {reason}")))
        };
        let signed = &token.as_bytes()[..header.len() + 1 + payload.len()];
        let signature = base64url(signature).ok_or_else(|| malformed("the signature is not base64url"))?;
        let header = text(header, "header")?;
        let fields = members(&header, "header")?;
        // RFC 7515 §4.1.11: who does not understand all that is critical must refuse; nothing here is understood.
        if fields.contains_key("crit") {
            return Err(malformed("it has critical header fields"));
        }
        // RFC 7797: the payload would not be encoded. Honest tokens say so in `crit` too.
        if fields.get("b64").is_some_and(|b64| b64 != &Value::Bool(true)) {
            return Err(malformed("its payload is not base64url"));
        }
        let Some(Value::String(algorithm)) = fields.get("alg") else { return Err(malformed("it has no alg")) };
        let kid = match fields.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= KID_BYTES => Some(kid.clone()),
            Some(_) => return Err(malformed("its kid is not a text of at most 1,024 bytes")),
        };
        let payload = text(payload, "payload")?;
        let claims = members(&payload, "payload")?;
        Ok(Self { algorithm: algorithm.clone(), kid, header, payload, claims, signed, signature })
    }
}
