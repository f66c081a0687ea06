//! Requests that a program signs with a key of its own, after a user confirmed its token in a browser.
//!
//! The signature is RSA PKCS#1 v1.5 with SHA-1 over `METHOD \n PATH \n DATE \n CHECKSUM`: the protocol's choice, and enough, as
//! nobody but the holder of the key chooses what is signed. The path is signed with or without the prefix that the server is
//! published below. The date bounds how long a signature is worth anything, and one that changes something counts once; reads
//! may repeat within that time, as clients poll more often than the date's second changes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use lectern_domain::access::{Principal, PrincipalVia};
use lectern_metadata::{signed_tokens, users};
use ring::signature::{RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use time::format_description::well_known::Rfc2822;
use time::{Duration, OffsetDateTime};

use crate::error::{ApiError, Code};
use crate::guard::{External, PathAsSent};
use crate::{Services, checksum};

/// How far the client's clock may be from this server's: what Kerberos allows, and programs run on people's own machines.
const SKEW: Duration = Duration::minutes(5);

/// Longest signature read, in bytes of base64: that of a key of 8192 bits has 1368.
const MAX_SIGNATURE: usize = 2048;

/// A signature as it was sent, and what it is to be over.
#[derive(Debug)]
pub(crate) struct Presented {
    token: String,
    signature: Vec<u8>,
    date: String,
    checksum: String,
    method: Method,
    /// The path as this server sees it; then as the client does, with the prefix.
    paths: Vec<String>,
}

impl Presented {
    /// Reads the signature of a request; `None`: it has no token, or the one by which R clients say that they have none.
    pub(crate) fn read(request: &Parts) -> Result<Option<Self>, ApiError> {
        let headers = &request.headers;
        let Some(token) = one(headers, "x-auth-token") else { return Ok(None) };
        if token == "anonymous-access" || headers.contains_key(header::AUTHORIZATION) {
            return Ok(None);
        }
        let need = |name: &'static str| {
            let missing =
                || ApiError::new(Code::BadCredential, format!("a signed request needs the field {name}, once"));
            one(headers, name).map(str::to_owned).ok_or_else(missing)
        };
        let text = need("x-auth-signature")?;
        let signature = if text.len() <= MAX_SIGNATURE { STANDARD.decode(&text).ok() } else { None };
        let signature =
            signature.ok_or_else(|| ApiError::new(Code::BadCredential, "X-Auth-Signature is not base64"))?;
        let path = match request.extensions.get::<PathAsSent>() {
            Some(PathAsSent(path)) => path.clone(),
            None => request.uri.path().to_owned(),
        };
        let prefix = request.extensions.get::<External>().map_or("", |external| external.prefix.trim_end_matches('/'));
        let paths = if prefix.is_empty() { vec![path] } else { vec![format!("{prefix}{path}"), path] };
        Ok(Some(Self {
            token: token.to_owned(),
            signature,
            date: need("date")?,
            checksum: need(checksum::FIELD)?,
            method: request.method.clone(),
            paths,
        }))
    }

    /// The texts one of which must have been signed.
    fn texts(&self, public_prefix: &str) -> Vec<String> {
        let Self { method, date, checksum, paths, .. } = self;
        let mut paths = paths.clone();
        if let Some(bare) =
            paths.last().filter(|_| !public_prefix.is_empty()).map(|path| format!("{public_prefix}{path}"))
        {
            paths.push(bare);
        }
        paths.iter().map(|path| format!("{method}\n{path}\n{date}\n{checksum}")).collect()
    }

    /// The answer to who asks whether the token has been confirmed. R's client before 1.0 takes only a 500 for "not yet" and gives
    /// up on anything else; it asks on a route of its own, and later ones and Publisher take both.
    fn not_yet(&self) -> ApiError {
        let refusal = ApiError::new(Code::BadCredential, "the token has not been confirmed yet");
        let of_r = self.paths.last().is_some_and(|path| path == "/__api__/users/current");
        if of_r { refusal.with_status(StatusCode::INTERNAL_SERVER_ERROR) } else { refusal }
    }

    /// Whether the date is close enough to `now`.
    fn is_fresh(&self, now: OffsetDateTime) -> bool {
        OffsetDateTime::parse(&self.date, &Rfc2822).is_ok_and(|date| (now - date).abs() <= SKEW)
    }

    /// Whether the holder of this key (PKCS#1 `RSAPublicKey`, DER) signed it.
    fn is_of(&self, public_key: &[u8], public_prefix: &str) -> bool {
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, public_key);
        self.texts(public_prefix).iter().any(|text| key.verify(text.as_bytes(), &self.signature).is_ok())
    }
}

/// The value of a field that is there once, as text.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Who signed the request: the user that confirmed the token. Refuses what is not signed, late, or used before.
pub(crate) async fn principal(services: &Services, presented: &Presented) -> Result<Principal, ApiError> {
    let bad = |text: &str| ApiError::new(Code::BadCredential, text);
    // What can be judged without the database is.
    let now = OffsetDateTime::now_utc();
    if !presented.is_fresh(now) {
        let most = SKEW.whole_minutes();
        return Err(bad(&format!(
            "the request's date is more than {most} minutes from this server's time: check the clock"
        )));
    }
    let client = services.database.client().await?;
    let token = signed_tokens::get(&client, &presented.token).await?.ok_or_else(|| bad("there is no such token"))?;
    let prefix = services.settings.public_url.as_ref().map_or("", |url| url.path().trim_end_matches('/'));
    if !presented.is_of(&token.public_key, prefix) {
        return Err(bad("the signature does not fit the request"));
    }
    // From here on it is the token's holder who is told what is wrong.
    let Some(user) = token.user else {
        return Err(if token.late {
            ApiError::new(Code::TokenLate, "the token was not confirmed in time: ask for another")
        } else {
            presented.not_yet()
        });
    };
    let user = users::get(&client, user).await?.ok_or_else(|| bad("the token's account is gone"))?;
    if user.locked {
        return Err(ApiError::new(Code::UserLocked, "the account is locked"));
    }
    if !user.confirmed {
        return Err(ApiError::new(Code::NotConfirmed, "the account has not been confirmed"));
    }
    if !matches!(presented.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        let hash = *blake3::hash(&presented.signature).as_bytes();
        if !signed_tokens::use_signature(&client, &hash, now + SKEW * 2).await? {
            return Err(bad("this signature was used before: sign each request anew"));
        }
    }
    signed_tokens::touch(&client, &token.id).await?;
    Ok(Principal {
        user: user.id,
        guid: user.guid,
        username: user.username,
        role: user.role,
        via: PrincipalVia::Signature,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::macros::datetime;

    fn request(fields: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::post("/__api__/v1/content?x=1");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let external = External { scheme: "https".into(), authority: "h".into(), prefix: "/pub".into() };
        request.extension(external).body(()).unwrap().into_parts().0
    }

    const WHOLE: [(&str, &str); 4] = [
        ("x-auth-token", "T1"),
        ("x-auth-signature", "AAAA"),
        ("date", "Thu, 26 Nov 2026 10:00:00 GMT"),
        ("x-content-checksum", "1B2M2Y8AsgTpgAmY7PhCfg=="),
    ];

    #[test]
    fn the_text_has_four_lines_and_no_query() {
        let presented = Presented::read(&request(&WHOLE)).unwrap().unwrap();
        let rest = "\nThu, 26 Nov 2026 10:00:00 GMT\n1B2M2Y8AsgTpgAmY7PhCfg==";
        let expected = ["/pub/__api__/v1/content", "/__api__/v1/content", "/set/__api__/v1/content"];
        assert_eq!(presented.texts("/set"), expected.map(|path| format!("POST\n{path}{rest}")));
        assert_eq!(presented.texts("").len(), 2);
    }

    #[test]
    fn what_is_not_whole_is_no_credential() {
        assert!(Presented::read(&request(&[])).unwrap().is_none());
        assert!(Presented::read(&request(&[("x-auth-token", "anonymous-access")])).unwrap().is_none());
        for (absent, _) in &WHOLE[1..] {
            let fields: Vec<_> = WHOLE.iter().filter(|(name, _)| name != absent).copied().collect();
            assert_eq!(Presented::read(&request(&fields)).unwrap_err().code(), 30, "without {absent}");
        }
        let twice = [&WHOLE[..], &[("date", "Thu, 26 Nov 2026 11:00:00 GMT")]].concat();
        assert_eq!(Presented::read(&request(&twice)).unwrap_err().code(), 30);
    }

    #[test]
    fn dates_are_bounded_both_ways() {
        let presented = Presented::read(&request(&WHOLE)).unwrap().unwrap();
        let now = datetime!(2026-11-26 10:00:00 UTC);
        for (skew, fresh) in [(0, true), (300, true), (-300, true), (301, false), (-301, false)] {
            assert_eq!(presented.is_fresh(now + Duration::seconds(skew)), fresh, "{skew}");
        }
        let odd = Presented { date: "yesterday".into(), ..presented };
        assert!(!odd.is_fresh(now));
    }
}
