//! The session cookie, as it is set and taken away.

use http::header::{HeaderMap, HeaderValue, SET_COOKIE};
use lectern_gate::{SESSION_COOKIE, Scheme};

use crate::services::NewSession;

/// Gives the browser the cookie of a new session.
///
/// Scripts cannot read it, other sites cannot send it with their forms, and over HTTPS it never leaves it.
pub(crate) fn give(headers: &mut HeaderMap, session: &NewSession, scheme: Scheme) {
    set(headers, &session.token, session.max_age.as_secs(), scheme);
}

/// Takes the cookie back.
pub(crate) fn take_back(headers: &mut HeaderMap, scheme: Scheme) {
    set(headers, "", 0, scheme);
}

fn set(headers: &mut HeaderMap, token: &str, max_age_seconds: u64, scheme: Scheme) {
    let secure = if scheme == Scheme::Https { "; Secure" } else { "" };
    let cookie = format!("{SESSION_COOKIE}={token}; Path=/; Max-Age={max_age_seconds}; HttpOnly; SameSite=Lax{secure}");
    if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
        cookie.set_sensitive(true);
        headers.append(SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn cookies_are_closed_to_scripts_and_other_sites() {
        let mut headers = HeaderMap::new();
        let session = NewSession { token: "tok".into(), max_age: Duration::from_secs(60) };
        give(&mut headers, &session, Scheme::Http);
        give(&mut headers, &session, Scheme::Https);
        take_back(&mut headers, Scheme::Https);
        let cookies: Vec<_> = headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(
            cookies,
            [
                "lectern=tok; Path=/; Max-Age=60; HttpOnly; SameSite=Lax",
                "lectern=tok; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure",
                "lectern=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure",
            ]
        );
        assert!(!format!("{headers:?} {session:?}").contains("tok"));
    }
}
