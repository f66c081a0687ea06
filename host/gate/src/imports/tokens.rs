//! Signed tokens, verified for the plugin.

use lectern_domain::plugin::{GrantKind, Origin};

use crate::asked::tell;
use crate::backend::Secret;
use crate::bindings::lectern::plugin::tokens;
use crate::learn::{Question, Taint};
use crate::state::State;
use crate::tokens::{Expectations, Keys, TokenRefusal};

/// Verifications of one call: each is a signature.
const MAX_VERIFICATIONS: u32 = 8;

impl tokens::Host for State {
    async fn verify(
        &mut self,
        token: String,
        keys: tokens::Keys,
        expectations: tokens::Expectations,
    ) -> wasmtime::Result<Result<tokens::Verified, tokens::Refusal>> {
        tell!("verify");
        self.count_verification(MAX_VERIFICATIONS)?;
        let (keys, secret) = match self.keys(keys) {
            Ok(found) => found,
            Err(why) => return Ok(Err(tokens::Refusal::Keys(why))),
        };
        let expectations = Expectations {
            issuers: expectations.issuers,
            audiences: expectations.audiences,
            algorithms: expectations.algorithms,
            leeway_seconds: expectations.leeway_seconds,
            required: expectations.required,
        };
        let backend = self.backend().clone();
        let now = backend.clock.unix_millis();
        let set = keys.name_of_set(&token);
        let before = set.as_deref().and_then(|name| backend.key_sets.version(name, now));
        let verified = backend
            .key_sets
            .verify(&token, &keys, &expectations, secret.as_ref(), backend.outbound.as_ref(), now)
            .await;
        if let Some(name) = set {
            let after = self.ask(Question::KeySet(name.into())).number();
            // The answer is the version that the token was verified with only if it was the same all the while.
            if before.is_none() || before != after {
                self.taint(Taint::AnswerChanged);
            }
        }
        match &verified {
            Ok(verified) => self.holds_until(
                verified.valid_seconds.map_or(u64::MAX, |seconds| now.saturating_add(u64::from(seconds) * 1_000)),
            ),
            // Follows from the token and the keys alone.
            Err(TokenRefusal::Malformed(_)) => {}
            // May follow from the time, or from keys that cannot be had at present.
            Err(_) => self.taint(Taint::Clock),
        }
        Ok(match verified {
            Ok(verified) => Ok(tokens::Verified {
                header: verified.header,
                claims: verified.claims,
                valid_seconds: verified.valid_seconds,
            }),
            Err(refusal) => Err(match refusal {
                TokenRefusal::Malformed(why) => tokens::Refusal::Malformed(why),
                TokenRefusal::Algorithm(why) => tokens::Refusal::Algorithm(why),
                TokenRefusal::UnknownKey => tokens::Refusal::UnknownKey,
                TokenRefusal::Signature => tokens::Refusal::Signature,
                TokenRefusal::Expired => tokens::Refusal::Expired,
                TokenRefusal::NotYet => tokens::Refusal::NotYet,
                TokenRefusal::Issuer => tokens::Refusal::Issuer,
                TokenRefusal::Audience => tokens::Refusal::Audience,
                TokenRefusal::Missing(claim) => tokens::Refusal::Missing(claim),
                TokenRefusal::Keys(why) => tokens::Refusal::Keys(why),
            }),
        })
    }
}

impl State {
    /// The keys to verify with, if the grants give them; an error says what is missing.
    fn keys(&mut self, keys: tokens::Keys) -> Result<(Keys, Option<Secret>), String> {
        let origin = |url: &str| match Origin::of_url(url) {
            Some(origin) if self.grants().allows_origin(GrantKind::Outbound, &origin) => Ok(()),
            Some(origin) => Err(format!("outbound:{origin} is not granted")),
            None => Err("the address of the keys is no http or https address".to_owned()),
        };
        Ok(match keys {
            tokens::Keys::JwksUrl(url) => {
                origin(&url)?;
                (Keys::JwksUrl(url), None)
            }
            tokens::Keys::PemUrl(url) => {
                origin(&url)?;
                (Keys::PemUrl(url), None)
            }
            tokens::Keys::Jwks(text) => (Keys::Jwks(text), None),
            tokens::Keys::Secret(name) => {
                let secret = self.secret(GrantKind::Secret, &name);
                let secret =
                    secret.ok_or_else(|| format!("secret:{name} is not granted, or there is no such secret"))?;
                (Keys::Secret, Some(secret))
            }
        })
    }
}
