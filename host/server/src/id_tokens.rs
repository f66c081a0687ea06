//! Identity tokens (OpenID Connect) of the one issuer that the operator trusts for exchanging them.
//!
//! They are verified by what verifies tokens for plugins: algorithms of public keys only, keys of the configured address only, kept
//! and asked for again within bounds, reached as plugins reach the network.

use std::time::Duration;

use lectern_api::{IdToken, IdTokenRefusal};
use lectern_gate::{Backend, Expectations, Keys, TokenRefusal};
use serde::Deserialize;
use time::OffsetDateTime;

use crate::config;

/// Signatures by private keys that only the issuer has. A shared secret would be in the configuration of everybody who verifies.
const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
/// By how much the issuer's clock may differ.
const LEEWAY: u32 = 60;
/// The longest that a token may be good for. Each that was exchanged is remembered until its end; those of people and of pipelines
/// are good for minutes to a day.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Keeps marks apart from the hashes of other things that are used once.
const MARK: &str = "lectern 2026 exchanged identity token";

/// Verifies them.
pub(crate) struct IdTokens {
    keys: Keys,
    expected: Expectations,
    backend: Backend,
}

/// What is read of the claims.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    jti: Option<String>,
}

impl IdTokens {
    /// Of the issuer that is configured.
    pub(crate) fn new(issuer: &config::IdTokens, backend: Backend) -> Self {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Self {
            keys: Keys::JwksUrl(issuer.jwks_url.to_string()),
            expected: Expectations {
                issuers: vec![issuer.issuer.clone()],
                audiences: vec![issuer.audience.clone()],
                algorithms: texts(&ALGORITHMS),
                leeway_seconds: LEEWAY,
                required: texts(&["iss", "sub", "aud", "exp", "iat"]),
            },
            backend,
        }
    }

    /// Whom a token vouches for. May be dropped.
    pub(crate) async fn verify(&self, token: &str) -> Result<IdToken, IdTokenRefusal> {
        let Backend { key_sets, outbound, clock, .. } = &self.backend;
        let now_ms = clock.unix_millis();
        let verified = key_sets.verify(token, &self.keys, &self.expected, None, outbound.as_ref(), now_ms).await;
        let verified = verified.map_err(|refusal| match refusal {
            TokenRefusal::Keys(why) => {
                tracing::warn!(why, "the keys of id_tokens.jwks_url cannot be had");
                IdTokenRefusal::Unavailable("the issuer's keys cannot be had".to_owned())
            }
            other => IdTokenRefusal::Bad(words(&other)),
        })?;
        let left = verified.valid_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let left = left.filter(|left| *left <= LONGEST);
        let left = left.ok_or_else(|| IdTokenRefusal::Bad("it is good for more than a day".to_owned()))?;
        let claims: Claims = serde_json::from_str(&verified.claims)
            .map_err(|_| IdTokenRefusal::Bad("its claims do not have the form that they should".to_owned()))?;
        // The longest that the database keeps; OpenID Connect Core §2 allows 255.
        if claims.sub.is_empty() || claims.sub.len() > 1024 {
            return Err(IdTokenRefusal::Bad("its subject is empty or too long".to_owned()));
        }
        Ok(IdToken {
            mark: mark(&claims, &verified.claims),
            issuer: claims.iss,
            subject: claims.sub,
            good_until: OffsetDateTime::now_utc() + left + Duration::from_secs(2 * u64::from(LEEWAY)),
        })
    }
}

/// What makes a token the same as another: the issuer's name for it, or all that it says. The signature is left out, because some
/// algorithms have several for one text.
fn mark(claims: &Claims, all: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(MARK);
    let (kind, own) = match &claims.jti {
        Some(jti) => ("jti", jti.as_str()),
        None => ("claims", all),
    };
    for part in [claims.iss.as_str(), kind, own] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// For who sent it: says nothing that the token does not.
fn words(refusal: &TokenRefusal) -> String {
    match refusal {
        TokenRefusal::Malformed(why) | TokenRefusal::Algorithm(why) | TokenRefusal::Keys(why) => why.clone(),
        TokenRefusal::UnknownKey => "it is signed by a key that the issuer does not show".to_owned(),
        TokenRefusal::Signature => "its signature is wrong".to_owned(),
        TokenRefusal::Expired => "its time is over".to_owned(),
        TokenRefusal::NotYet => "its time has not come: check the clocks".to_owned(),
        TokenRefusal::Issuer => "it is of another issuer".to_owned(),
        TokenRefusal::Audience => "it is for another audience".to_owned(),
        TokenRefusal::Missing(claim) => format!("it has no {claim}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_apart_by_their_names_or_by_all_that_they_say() {
        let claims = |iss: &str, jti: Option<&str>| Claims {
            iss: iss.to_owned(),
            sub: "ada".to_owned(),
            jti: jti.map(str::to_owned),
        };
        let one = mark(&claims("https://a", Some("1")), "{}");
        assert_eq!(one, mark(&claims("https://a", Some("1")), "{\"other\": 1}"), "named alike");
        assert_ne!(one, mark(&claims("https://b", Some("1")), "{}"), "names are an issuer's own");
        assert_ne!(one, mark(&claims("https://a", Some("2")), "{}"));
        assert_ne!(one, mark(&claims("https://a", None), "1"), "a text is no name");
        assert_ne!(mark(&claims("https://a", None), "{}"), mark(&claims("https://a", None), "{\"iat\": 1}"));
    }
}
