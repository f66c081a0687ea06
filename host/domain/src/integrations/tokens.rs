//! What a provider answers to a request for tokens (RFC 6749 §5), how long its tokens are used, and when they are renewed.

use std::fmt;

use serde_json::Value;
use time::{Duration, OffsetDateTime};

/// Longest token, in bytes: providers that put claims and groups into theirs come to a few thousand.
const MAX_TOKEN_BYTES: usize = 32 << 10;
/// Longest life of a token that is believed: an answer with more says that it does not end.
const LONGEST: Duration = Duration::days(3650);
/// Tokens are renewed this long before they end, or a fifth of their life where that is less: who is given one must get to use it.
const MARGIN: Duration = Duration::minutes(1);

/// Tokens that a provider gave.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    /// What is sent to the services.
    pub access_token: String,
    /// What renews it, if the provider gave anything.
    pub refresh_token: Option<String>,
    /// How it is sent; `Bearer` as a rule.
    pub token_type: String,
    /// How long it lasts; `None`: nobody said.
    pub lasts: Option<Duration>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("refreshes", &self.refresh_token.is_some())
            .field("lasts", &self.lasts)
            .finish_non_exhaustive()
    }
}

/// Why an answer brings no tokens. Holds nothing of what was sent or might be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTokens {
    /// The provider said no, with a word of RFC 6749 §5.2 or one of its own.
    #[error("the provider answered {0}")]
    Refused(String),
    /// The provider is not well.
    #[error("the provider answered with the status {0}")]
    Failed(u16),
    /// It is not an answer to such a request.
    #[error("the provider's answer is not one to a request for tokens: {0}")]
    Odd(&'static str),
}

impl NoTokens {
    /// Whether what the user granted is over, so that only signing in again helps. Beside the word of the RFC, those of a large
    /// provider that has its own.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Refused(word) if ["invalid_grant", "bad_refresh_token", "bad_verification_code"].contains(&word.as_str()))
    }
}

/// Whether this can be a provider's word for an error; others are not shown.
pub fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// Whether a token or a code can be one (RFC 6749 A.11, A.12, A.17): printable ASCII.
pub fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&text.len()) && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
}

/// Reads an answer. Some providers send errors with the status 200, so the body is asked first.
pub fn read_answer(status: u16, body: &[u8]) -> Result<Tokens, NoTokens> {
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let text = |name: &str| answer.as_ref().and_then(|answer| answer.get(name)).and_then(Value::as_str);
    if let Some(word) = text("error") {
        return Err(NoTokens::Refused(if is_word(word) {
            word.to_owned()
        } else {
            "an error without a name".to_owned()
        }));
    }
    if status != 200 {
        return Err(NoTokens::Failed(status));
    }
    if answer.is_none() {
        return Err(NoTokens::Odd("it is not JSON"));
    }
    let access_token =
        text("access_token").filter(|token| is_token(token)).ok_or(NoTokens::Odd("it has no access_token"))?;
    let refresh_token = text("refresh_token").filter(|token| !token.is_empty());
    if refresh_token.is_some_and(|token| !is_token(token)) {
        return Err(NoTokens::Odd("its refresh_token is none"));
    }
    let token_type = match text("token_type") {
        None => "Bearer",
        Some(kind) if kind.eq_ignore_ascii_case("bearer") => "Bearer",
        Some(kind) if is_word(kind) => kind,
        Some(_) => return Err(NoTokens::Odd("its token_type is none")),
    };
    let lasts = match answer.as_ref().and_then(|answer| answer.get("expires_in")) {
        None | Some(Value::Null) => None,
        // As a text in answers of some providers.
        Some(value) => {
            let seconds = value.as_i64().or_else(|| value.as_str()?.parse().ok());
            let seconds =
                seconds.or_else(|| value.as_f64().filter(|number| number.is_finite()).map(|number| number as i64));
            let seconds = seconds.ok_or(NoTokens::Odd("its expires_in is no number"))?;
            Some(Duration::seconds(seconds.max(0)).min(LONGEST))
        }
    };
    Ok(Tokens {
        access_token: access_token.to_owned(),
        refresh_token: refresh_token.map(str::to_owned),
        token_type: token_type.to_owned(),
        lasts,
    })
}

/// What to do with a token that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Give it.
    Good,
    /// Renew it; if that fails for a moment and it is still `usable`, give it.
    Renew {
        /// It has not ended yet.
        usable: bool,
    },
    /// It has ended, and nothing renews it.
    Ended,
}

/// Decides about a token that was got at `got_at` and ends at `ends_at`.
pub fn freshness(
    got_at: OffsetDateTime,
    ends_at: Option<OffsetDateTime>,
    renews: bool,
    now: OffsetDateTime,
) -> Freshness {
    let Some(ends_at) = ends_at else { return Freshness::Good };
    let usable = now < ends_at;
    if usable && ends_at - now > margin(ends_at - got_at) {
        return Freshness::Good;
    }
    match (renews, usable) {
        (true, usable) => Freshness::Renew { usable },
        (false, true) => Freshness::Good,
        (false, false) => Freshness::Ended,
    }
}

/// How long before its end a token that lasts so long is no longer given.
pub fn margin(lasts: Duration) -> Duration {
    (lasts / 5_i32).clamp(Duration::ZERO, MARGIN)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use time::macros::datetime;

    fn read(status: u16, answer: &Value) -> Result<Tokens, NoTokens> {
        read_answer(status, answer.to_string().as_bytes())
    }

    #[test]
    fn tokens() {
        let all =
            read(200, &json!({"access_token": "a", "refresh_token": "r", "token_type": "bearer", "expires_in": 300}))
                .unwrap();
        let lasts = Some(Duration::minutes(5));
        assert_eq!(
            all,
            Tokens { access_token: "a".into(), refresh_token: Some("r".into()), token_type: "Bearer".into(), lasts }
        );
        assert!(!format!("{all:?}").contains("\"a\""), "tokens do not print");
        let least = read(200, &json!({"access_token": "a"})).unwrap();
        assert_eq!((least.refresh_token, least.token_type.as_str(), least.lasts), (None, "Bearer", None));
        for (seconds, expected) in [
            (json!("300"), Duration::minutes(5)),
            (json!(299.9), Duration::seconds(299)),
            (json!(-7), Duration::ZERO),
            (json!(i64::MAX), LONGEST),
        ] {
            let read = read(200, &json!({"access_token": "a", "expires_in": seconds})).unwrap();
            assert_eq!(read.lasts, Some(expected), "{seconds}");
        }
    }

    #[test]
    fn no_tokens() {
        let refused = |word: &str| Err(NoTokens::Refused(word.into()));
        for (status, answer, expected) in [
            (
                400,
                json!({"error": "invalid_grant", "error_description": "code SECRET is old"}),
                refused("invalid_grant"),
            ),
            (200, json!({"error": "bad_verification_code"}), refused("bad_verification_code")),
            (401, json!({"error": "<script>", "access_token": "a"}), refused("an error without a name")),
            (500, json!({}), Err(NoTokens::Failed(500))),
            (302, json!({"access_token": "a"}), Err(NoTokens::Failed(302))),
            (200, json!({}), Err(NoTokens::Odd("it has no access_token"))),
            (200, json!([]), Err(NoTokens::Odd("it has no access_token"))),
            (200, json!({"access_token": 7}), Err(NoTokens::Odd("it has no access_token"))),
            (200, json!({"access_token": ""}), Err(NoTokens::Odd("it has no access_token"))),
            (200, json!({"access_token": "a\r\nb"}), Err(NoTokens::Odd("it has no access_token"))),
            (
                200,
                json!({"access_token": "a", "refresh_token": "\u{e4}"}),
                Err(NoTokens::Odd("its refresh_token is none")),
            ),
            (200, json!({"access_token": "a", "token_type": "a b"}), Err(NoTokens::Odd("its token_type is none"))),
            (
                200,
                json!({"access_token": "a", "expires_in": "soon"}),
                Err(NoTokens::Odd("its expires_in is no number")),
            ),
        ] {
            assert_eq!(read(status, &answer), expected, "{answer}");
        }
        assert_eq!(read_answer(200, b"<html>"), Err(NoTokens::Odd("it is not JSON")));
        assert_eq!(read_answer(503, b"<html>"), Err(NoTokens::Failed(503)));
        assert!(NoTokens::Refused("invalid_grant".into()).is_over());
        assert!(!NoTokens::Refused("invalid_client".into()).is_over());
    }

    #[test]
    fn tokens_are_renewed_in_time() {
        use Freshness::{Ended, Good, Renew};
        let got = datetime!(2026-11-26 10:00:00 UTC);
        let at = |lasts: i64, renews, after: i64| {
            freshness(got, Some(got + Duration::seconds(lasts)), renews, got + Duration::seconds(after))
        };
        for (lasts, renews, after, expected) in [
            (3600, true, 0, Good),
            (3600, true, 3539, Good),
            (3600, true, 3540, Renew { usable: true }),
            (3600, true, 3600, Renew { usable: false }),
            (10, true, 7, Good),
            (10, true, 8, Renew { usable: true }),
            (10, true, 10, Renew { usable: false }),
            (10, false, 9, Good),
            (10, false, 10, Ended),
            (0, true, 0, Renew { usable: false }),
            (0, false, 0, Ended),
        ] {
            assert_eq!(at(lasts, renews, after), expected, "{lasts} {renews} {after}");
        }
        assert_eq!(freshness(got, None, true, got + Duration::days(9000)), Good);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(status in 100_u16..600, body: Vec<u8>) {
            let _ = read_answer(status, &body);
        }

        #[test]
        fn what_is_given_has_not_ended(lasts in 0_i64..10_000, renews: bool, after in 0_i64..20_000) {
            let got = datetime!(2026-11-26 10:00:00 UTC);
            let decided = freshness(got, Some(got + Duration::seconds(lasts)), renews, got + Duration::seconds(after));
            if matches!(decided, Freshness::Good | Freshness::Renew { usable: true }) {
                prop_assert!(after < lasts);
            }
        }
    }
}
