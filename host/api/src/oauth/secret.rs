//! The secrets that are handed out: 238 random bits each, stored as their BLAKE3 hash.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lectern_domain::oauth::{ACCESS_PREFIX, is_verifier};
use lectern_metadata::oauth::Hash;
use sha2::{Digest as _, Sha256};

use crate::error::ApiError;
use crate::keys::ApiKeyText;

/// What begins every refresh token: who finds one in a file sees what it is.
const REFRESH_PREFIX: &str = "lectern_refresh_";

/// How a secret is stored and looked up.
pub(super) fn hash(text: &str) -> Hash {
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// A code, and its hash.
pub(super) fn code() -> Result<(String, Hash), ApiError> {
    let text = ApiKeyText::random()?;
    let hash = text.hash();
    Ok((text.into_text(), hash))
}

/// An access token, and its hash.
pub(super) fn access() -> Result<(String, Hash), ApiError> {
    let text = format!("{ACCESS_PREFIX}{}", ApiKeyText::random()?.into_text());
    let hash = hash(&text);
    Ok((text, hash))
}

/// A refresh token: a part that all of a grant share, by which one that was used before is known without a list of them, and a part
/// that only the last one has.
pub(super) struct RefreshToken {
    family: String,
    latest: String,
}

impl RefreshToken {
    /// The first of a new grant.
    pub(super) fn first() -> Result<Self, ApiError> {
        Ok(Self { family: ApiKeyText::random()?.into_text(), latest: ApiKeyText::random()?.into_text() })
    }

    /// The one after this.
    pub(super) fn next(self) -> Result<Self, ApiError> {
        Ok(Self { latest: ApiKeyText::random()?.into_text(), ..self })
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (family, latest) = text.strip_prefix(REFRESH_PREFIX)?.split_once('_')?;
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (plain(family) && plain(latest)).then(|| Self { family: family.to_owned(), latest: latest.to_owned() })
    }

    pub(super) fn text(&self) -> String {
        format!("{REFRESH_PREFIX}{}_{}", self.family, self.latest)
    }

    pub(super) fn family(&self) -> Hash {
        hash(&self.family)
    }

    pub(super) fn latest(&self) -> Hash {
        hash(&self.latest)
    }
}

/// Whether the verifier fits the challenge by the method S256 (RFC 7636 §4.6).
pub(super) fn fits(verifier: &str, challenge: &str) -> bool {
    is_verifier(verifier) && URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes())) == challenge
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_example_of_rfc_7636() {
        let (verifier, challenge) =
            ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(fits(verifier, challenge));
        assert!(!fits(challenge, challenge));
        assert!(!fits("", challenge));
    }

    #[test]
    fn refresh_tokens_share_their_family() {
        let first = RefreshToken::first().unwrap();
        let read = RefreshToken::parse(&first.text()).unwrap();
        assert_eq!((read.family(), read.latest()), (first.family(), first.latest()));
        let next = read.next().unwrap();
        assert_eq!(next.family(), first.family());
        assert_ne!(next.latest(), first.latest());
        for bad in ["", "lectern_refresh_", "lectern_refresh_a", "lectern_refresh_a_", "a_b", "lectern_refresh_a_b_c"] {
            assert!(RefreshToken::parse(bad).is_none(), "{bad}");
        }
    }
}
