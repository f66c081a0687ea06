//! Reads a signed token without believing it: to find out whose it is before the host verifies it (`tokens.verify`).

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::people::Claims;

/// Tokens longer than this, in bytes, are none: the host verifies no longer ones.
const MAX_TOKEN_BYTES: usize = 16 << 10;

/// Some issuers pad (AWS load balancers do), though RFC 7515 §2 forbids it.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a token says of itself. Anybody can write it: use it to choose, never to admit.
#[derive(Debug, Clone)]
pub struct Unverified {
    /// Its header.
    pub header: Claims,
    /// Its claims.
    pub claims: Claims,
}

/// Reads the two JSON parts of a token in compact form (RFC 7515 §7.1); none where it is no such token.
///
/// ```
/// use lectern_plugin::jwt;
///
/// let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIn0.c2ln";
/// assert_eq!(jwt::peek(token).unwrap().claims.text("iss").as_deref(), Some("https://idp.example"));
/// assert!(jwt::peek("opaque").is_none());
/// ```
pub fn peek(token: &str) -> Option<Unverified> {
    let mut parts = token.split('.');
    let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || signature.is_empty() || token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let read = |part: &str| Claims::parse(std::str::from_utf8(&BASE64URL.decode(part).ok()?).ok()?);
    Some(Unverified { header: read(header)?, claims: read(claims)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_signed_tokens_are_read() {
        // {"alg":"none"} and {"iss":"a"}, the second with padding.
        let (header, claims) = ("eyJhbGciOiJub25lIn0", "eyJpc3MiOiJhIn0=");
        let token = peek(&format!("{header}.{claims}.x"));
        assert_eq!(token.and_then(|token| token.claims.text("iss")).as_deref(), Some("a"));
        let long = format!("{header}.{claims}.{}", "x".repeat(MAX_TOKEN_BYTES));
        for bad in [
            "",
            "a.b.c",
            &format!("{header}.{claims}"),
            &format!("{header}.{claims}."),
            &format!("{header}.{claims}.x.y"),
            // Lists and texts are no claims.
            &format!("{header}.W10.x"),
            &format!("{header}.ImEi.x"),
            &format!("{header}.eyJpc3MiOiJhIn0\u{e9}.x"),
            &long,
        ] {
            assert!(peek(bad).is_none(), "{bad}");
        }
    }
}
