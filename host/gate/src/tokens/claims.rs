//! What a token says, compared with what it must say (RFC 7519 §4.1). Pure: the time is an argument.

use serde_json::{Map, Value};

use super::{Expectations, TokenRefusal};

/// Most that clocks may differ.
const MAX_LEEWAY_SECONDS: u32 = 300;

/// Checks the claims; answers the seconds for which the token stays good, counted without leeway and rounded down.
pub(super) fn check(
    claims: &Map<String, Value>,
    expected: &Expectations,
    now_ms: u64,
) -> Result<Option<u32>, TokenRefusal> {
    let (now, leeway) = (i128::from(now_ms), i128::from(expected.leeway_seconds.min(MAX_LEEWAY_SECONDS)) * 1_000);
    let expires = time(claims, "exp")?;
    let begins = time(claims, "nbf")?;
    let issued = time(claims, "iat")?;
    let issuer = text(claims, "iss")?;
    text(claims, "sub")?;
    let audiences = audiences(claims)?;

    if expires.is_some_and(|expires| now >= expires + leeway) {
        return Err(TokenRefusal::Expired);
    }
    if [begins, issued].into_iter().flatten().any(|begins| now + leeway < begins) {
        return Err(TokenRefusal::NotYet);
    }
    if !expected.issuers.is_empty() && !issuer.is_some_and(|issuer| expected.issuers.iter().any(|one| one == issuer)) {
        return Err(TokenRefusal::Issuer);
    }
    let is_expected = |audience: &&str| expected.audiences.iter().any(|one| one == audience);
    if !expected.audiences.is_empty() && !audiences.iter().any(is_expected) {
        return Err(TokenRefusal::Audience);
    }
    let is_missing = |name: &&String| claims.get(*name).is_none_or(Value::is_null);
    if let Some(name) = expected.required.iter().find(is_missing) {
        return Err(TokenRefusal::Missing(name.clone()));
    }
    Ok(expires.map(|expires| u32::try_from((expires - now).max(0) / 1_000).unwrap_or(u32::MAX)))
}

fn malformed(name: &str, form: &str) -> TokenRefusal {
    TokenRefusal::Malformed(format!("{name} is not {form}"))
}

/// A NumericDate in milliseconds since 1970: whole or broken seconds, also before it.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<i128>, TokenRefusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let Value::Number(number) = value else { return Err(malformed(name, "a number")) };
    let whole = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    let ms = match (whole, number.as_f64()) {
        (Some(seconds), _) => seconds * 1_000,
        // `as` saturates; the largest u64 is as good as any end of time.
        #[allow(clippy::cast_possible_truncation, reason = "times after the last u64 are all alike")]
        (None, Some(seconds)) => {
            ((seconds * 1_000.0).floor() as i128).clamp(i128::from(i64::MIN), i128::from(u64::MAX))
        }
        (None, None) => return Err(malformed(name, "a number")),
    };
    Ok(Some(ms))
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, TokenRefusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(malformed(name, "a text")),
    }
}

/// `aud`: one text, or a list of them.
fn audiences(claims: &Map<String, Value>) -> Result<Vec<&str>, TokenRefusal> {
    let wrong = || malformed("aud", "a text or a list of texts");
    match claims.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one]),
        Some(Value::Array(list)) => list.iter().map(|one| one.as_str().ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tokens::json;

    /// 2001-09-09 01:46:40 UTC.
    const NOW_S: i64 = 1_000_000_000;

    fn checked(claims: &str, expected: &Expectations) -> Result<Option<u32>, TokenRefusal> {
        check(&json::object(claims).unwrap(), expected, 1_000_000_000_000)
    }

    fn expecting(issuers: &[&str], audiences: &[&str], required: &[&str], leeway_seconds: u32) -> Expectations {
        let owned = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect();
        Expectations {
            issuers: owned(issuers),
            audiences: owned(audiences),
            algorithms: vec!["RS256".into()],
            leeway_seconds,
            required: owned(required),
        }
    }

    #[test]
    fn times_with_leeway() {
        let cases = [
            ("{}", 0, Ok(None)),
            (r#"{"exp":1000000060}"#, 0, Ok(Some(60))),
            (r#"{"exp":1000000060.9}"#, 0, Ok(Some(60))),
            (r#"{"exp":1000000000.5}"#, 0, Ok(Some(0))),
            (r#"{"exp":1000000000}"#, 0, Err(TokenRefusal::Expired)),
            (r#"{"exp":999999999}"#, 2, Ok(Some(0))),
            (r#"{"exp":999999998}"#, 2, Err(TokenRefusal::Expired)),
            (r#"{"exp":999999600}"#, u32::MAX, Err(TokenRefusal::Expired)),
            (r#"{"exp":999999701}"#, u32::MAX, Ok(Some(0))),
            (r#"{"exp":0}"#, 300, Err(TokenRefusal::Expired)),
            (r#"{"exp":-1}"#, 300, Err(TokenRefusal::Expired)),
            (r#"{"exp":-1e300}"#, 300, Err(TokenRefusal::Expired)),
            (r#"{"exp":18446744073709551615}"#, 0, Ok(Some(u32::MAX))),
            (r#"{"exp":1e300}"#, 0, Ok(Some(u32::MAX))),
            (r#"{"nbf":1000000000}"#, 0, Ok(None)),
            (r#"{"nbf":1000000001}"#, 0, Err(TokenRefusal::NotYet)),
            (r#"{"nbf":1000000001}"#, 1, Ok(None)),
            (r#"{"nbf":1e300}"#, 300, Err(TokenRefusal::NotYet)),
            (r#"{"nbf":-9223372036854775808}"#, 0, Ok(None)),
            (r#"{"iat":1000000000}"#, 0, Ok(None)),
            (r#"{"iat":1000000001}"#, 0, Err(TokenRefusal::NotYet)),
            (r#"{"iat":1000000300}"#, 300, Ok(None)),
            (r#"{"iat":1000000301}"#, 300, Err(TokenRefusal::NotYet)),
            // Years ago is for the plugin to judge.
            (r#"{"iat":1}"#, 0, Ok(None)),
        ];
        for (claims, leeway, expected) in cases {
            assert_eq!(checked(claims, &expecting(&[], &[], &[], leeway)), expected, "{claims} {leeway}");
        }
        assert_eq!(NOW_S * 1_000, 1_000_000_000_000);
    }

    #[test]
    fn who_and_for_whom() {
        let expected = expecting(&["a", "b"], &["x", "y"], &["sub"], 0);
        let cases = [
            (r#"{"iss":"a","aud":"x","sub":"s"}"#, Ok(None)),
            (r#"{"iss":"b","aud":["z","y"],"sub":"s"}"#, Ok(None)),
            (r#"{"iss":"A","aud":"x","sub":"s"}"#, Err(TokenRefusal::Issuer)),
            (r#"{"iss":"a ","aud":"x","sub":"s"}"#, Err(TokenRefusal::Issuer)),
            (r#"{"aud":"x","sub":"s"}"#, Err(TokenRefusal::Issuer)),
            (r#"{"iss":"a","aud":"z","sub":"s"}"#, Err(TokenRefusal::Audience)),
            (r#"{"iss":"a","aud":"x y","sub":"s"}"#, Err(TokenRefusal::Audience)),
            (r#"{"iss":"a","aud":[],"sub":"s"}"#, Err(TokenRefusal::Audience)),
            (r#"{"iss":"a","sub":"s"}"#, Err(TokenRefusal::Audience)),
            (r#"{"iss":"a","aud":"x"}"#, Err(TokenRefusal::Missing("sub".into()))),
            (r#"{"iss":"a","aud":"x","sub":"s","exp":1}"#, Err(TokenRefusal::Expired)),
        ];
        for (claims, outcome) in cases {
            assert_eq!(checked(claims, &expected), outcome, "{claims}");
        }
        let any = expecting(&[], &[], &["email"], 0);
        assert_eq!(checked(r#"{"iss":"any","aud":"any","email":"e"}"#, &any), Ok(None));
        assert_eq!(checked(r#"{"email":null}"#, &any), Err(TokenRefusal::Missing("email".into())), "null is nothing");
    }

    #[test]
    fn wrong_types_are_not_tokens() {
        for claims in [
            r#"{"exp":"1000000060"}"#,
            r#"{"exp":null}"#,
            r#"{"exp":true}"#,
            r#"{"exp":[1000000060]}"#,
            r#"{"nbf":"0"}"#,
            r#"{"iat":{}}"#,
            r#"{"iss":["a"]}"#,
            r#"{"sub":1}"#,
            r#"{"aud":{"x":1}}"#,
            r#"{"aud":["x",1]}"#,
        ] {
            let outcome = checked(claims, &expecting(&[], &[], &[], 0));
            assert!(matches!(outcome, Err(TokenRefusal::Malformed(_))), "{claims}: {outcome:?}");
        }
    }
}
