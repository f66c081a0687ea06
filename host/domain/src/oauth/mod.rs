//! What programs may do that people let act in their name (OAuth 2): every decision about it, as functions of values.
//!
//! Programs are public clients in the sense of RFC 6749 §2.1: they keep no secret of their own, so each proves by PKCE that it asked
//! for the code it redeems. Codes are sent to the user's own machine only (RFC 8252 §7.3): whoever registers a program is a
//! stranger, and an address elsewhere would turn one careless click into somebody else's access.

mod redirect;
mod user_code;

pub use redirect::{BadRedirect, Redirect};
pub use user_code::UserCode;

use time::{Duration, OffsetDateTime};

use crate::UserRole;

/// How long an authorization code is worth something (RFC 6749 §4.1.2: at most ten minutes).
pub const CODE_LIFETIME: Duration = Duration::minutes(10);
/// How long a program may wait until its code was entered.
pub const DEVICE_LIFETIME: Duration = Duration::minutes(15);
/// How long an access token works. Short, because it is sent with each request.
pub const ACCESS_LIFETIME: Duration = Duration::hours(1);
/// How long a program that is not used can still refresh: people publish a report once a quarter.
pub const GRANT_LIFETIME: Duration = Duration::days(100);
/// Between a waiting program's questions (RFC 8628 §3.2), and what asking too often adds (§3.5).
pub const POLL_SECONDS: i32 = 5;
/// The longest that a program is told to wait between questions, in seconds.
pub const MOST_POLL_SECONDS: i32 = 60;
/// Wrong codes that a user may enter within [`GUESS_WINDOW`]: people mistype once or twice. With 34 bits in a code and at most
/// 10,000 that wait, an account needs years to hit one.
pub const MOST_GUESSES: i32 = 10;
/// How long wrong codes count.
pub const GUESS_WINDOW: Duration = Duration::minutes(10);

/// What begins every access token, so that a credential for something else is not mistaken for one.
pub const ACCESS_PREFIX: &str = "lectern_access_";

/// A `scope` that is no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("scope is viewer, publisher or administrator, or absent")]
pub struct BadScope;

/// Reads a `scope`: nothing, or one role, which is the most that the program shall be given.
pub fn scope(text: Option<&str>) -> Result<Option<UserRole>, BadScope> {
    match text.map(str::trim) {
        None | Some("") => Ok(None),
        Some(word) => UserRole::parse(word).map(Some).ok_or(BadScope),
    }
}

/// The role that a program gets: what it asked for, at most what its user has here and now.
pub fn granted(asked: Option<UserRole>, user: UserRole) -> UserRole {
    asked.map_or(user, |asked| asked.min(user))
}

/// Whether this can be a code challenge of the method S256: 32 bytes in base64url without padding (RFC 7636 §4.2).
pub fn is_challenge(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Whether this can be a code verifier (RFC 7636 §4.1).
pub fn is_verifier(text: &str) -> bool {
    (43..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

/// What is known when a program presents an authorization code.
#[derive(Debug, Clone, Copy)]
pub struct CodeSeen {
    /// It is the program that asked for the code.
    pub same_client: bool,
    /// It was presented before.
    pub used: bool,
    /// When it ends.
    pub expires_at: OffsetDateTime,
    /// `redirect_uri` is the one that the code was sent to.
    pub same_redirect: bool,
    /// The verifier fits the challenge.
    pub verifier_fits: bool,
    /// Its user may sign in.
    pub user_stands: bool,
}

/// What to do about a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeem {
    /// Issue tokens; the code is used from now on.
    Issue,
    /// Refuse it, and leave it to the program that it belongs to.
    Refuse(&'static str),
    /// Refuse it for good: whoever presents it holds it, but did not ask for it.
    Spoil(&'static str),
    /// It was used before: two hold it, so what came of it ends too (RFC 6749 §4.1.2).
    Revoke,
}

/// Decides about a code that a program presents.
pub fn redeem(code: CodeSeen, now: OffsetDateTime) -> Redeem {
    if !code.same_client {
        return Redeem::Refuse("the code was issued to another client");
    }
    if code.used {
        return Redeem::Revoke;
    }
    if code.expires_at <= now {
        return Redeem::Refuse("the code has expired: begin again");
    }
    if !code.same_redirect {
        return Redeem::Spoil("redirect_uri is not the one that the code was sent to");
    }
    if !code.verifier_fits {
        return Redeem::Spoil("code_verifier does not fit the code's challenge");
    }
    if !code.user_stands {
        return Redeem::Spoil("the user's account is locked or not confirmed");
    }
    Redeem::Issue
}

/// What is known when a program presents a refresh token of a family that exists.
#[derive(Debug, Clone, Copy)]
pub struct RefreshSeen {
    /// It is the program that the token was issued to.
    pub same_client: bool,
    /// It is the last one issued.
    pub latest: bool,
    /// When the grant ends unless it is refreshed.
    pub expires_at: OffsetDateTime,
    /// Its user may sign in.
    pub user_stands: bool,
    /// The most that the grant gives.
    pub role: UserRole,
    /// What is asked for now; `None`: the same.
    pub asked: Option<UserRole>,
}

/// What to do about a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// Issue an access token of this role, and the next refresh token.
    Rotate(UserRole),
    /// Refuse it.
    Refuse(&'static str),
    /// Refuse it: it asks for more than was granted.
    TooMuch,
    /// It was used before: one of two holders stole it, and which is not known, so the grant ends (RFC 9700 §4.14.2).
    Revoke,
}

/// Decides about a refresh token that a program presents.
pub fn refresh(token: RefreshSeen, now: OffsetDateTime) -> Refresh {
    if !token.same_client {
        return Refresh::Refuse("the refresh token was issued to another client");
    }
    if !token.latest {
        return Refresh::Revoke;
    }
    if token.expires_at <= now {
        return Refresh::Refuse("the refresh token has expired: sign in again");
    }
    if !token.user_stands {
        return Refresh::Refuse("the user's account is locked or not confirmed");
    }
    match token.asked {
        Some(asked) if asked > token.role => Refresh::TooMuch,
        asked => Refresh::Rotate(asked.unwrap_or(token.role)),
    }
}

/// What a user said to a program that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet.
    None,
    /// Yes, and whether that user may sign in.
    Allowed {
        /// The account is neither locked nor unconfirmed.
        stands: bool,
    },
    /// No.
    Denied,
}

/// What is known when a program asks whether its code was entered.
#[derive(Debug, Clone, Copy)]
pub struct DeviceSeen {
    /// It is the program that got the code.
    pub same_client: bool,
    /// When it ends.
    pub expires_at: OffsetDateTime,
    /// When the program last asked.
    pub polled_at: Option<OffsetDateTime>,
    /// How long it must wait between.
    pub wait_seconds: i32,
    /// What its user said.
    pub answer: Answer,
}

/// What to tell a program that waits (RFC 8628 §3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    /// Nobody has entered the code yet.
    Pending,
    /// The same, and it must wait so many seconds between from now on.
    SlowDown(i32),
    /// Issue tokens; the code is gone.
    Issue,
    /// The user said no; the code is gone.
    Denied,
    /// Too late; the code is gone.
    Expired,
    /// It is not this program's.
    Refuse(&'static str),
}

/// Decides what to tell a program that waits.
pub fn poll(device: DeviceSeen, now: OffsetDateTime) -> Poll {
    if !device.same_client {
        return Poll::Refuse("the device code was issued to another client");
    }
    if device.expires_at <= now {
        return Poll::Expired;
    }
    // A second less than told: clocks differ, and the way is not always equally long.
    let least = Duration::seconds(i64::from(device.wait_seconds) - 1);
    if device.polled_at.is_some_and(|at| now - at < least) {
        return Poll::SlowDown((device.wait_seconds + POLL_SECONDS).min(MOST_POLL_SECONDS));
    }
    match device.answer {
        Answer::None => Poll::Pending,
        Answer::Allowed { stands: true } => Poll::Issue,
        Answer::Allowed { stands: false } | Answer::Denied => Poll::Denied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-26 10:00:00 UTC);
    const SOON: OffsetDateTime = datetime!(2026-11-26 10:00:01 UTC);

    #[test]
    fn scopes_are_roles() {
        let cases = [
            (None, Ok(None)),
            (Some(""), Ok(None)),
            (Some(" publisher "), Ok(Some(UserRole::Publisher))),
            (Some("viewer publisher"), Err(BadScope)),
            (Some("openid"), Err(BadScope)),
        ];
        for (text, expected) in cases {
            assert_eq!(scope(text), expected, "{text:?}");
        }
        use UserRole::{Administrator, Publisher, Viewer};
        for (asked, user, expected) in [
            (None, Publisher, Publisher),
            (Some(Viewer), Publisher, Viewer),
            (Some(Administrator), Publisher, Publisher),
        ] {
            assert_eq!(granted(asked, user), expected, "{asked:?} {user:?}");
        }
    }

    #[test]
    fn challenges_and_verifiers() {
        let (short, right, long) = ("a".repeat(42), "a".repeat(43), "a".repeat(128));
        for (text, challenge, verifier) in [
            (short.as_str(), false, false),
            (&right, true, true),
            (&long, false, true),
            (&"a".repeat(129), false, false),
            (&right.replacen('a', "~", 1), false, true),
            (&right.replacen('a', "_", 1), true, true),
            (&right.replacen('a', "+", 1), false, false),
            ("", false, false),
        ] {
            assert_eq!((is_challenge(text), is_verifier(text)), (challenge, verifier), "{text}");
        }
    }

    #[test]
    fn codes_are_redeemed_once_by_who_asked() {
        let good = CodeSeen {
            same_client: true,
            used: false,
            expires_at: SOON,
            same_redirect: true,
            verifier_fits: true,
            user_stands: true,
        };
        assert_eq!(redeem(good, NOW), Redeem::Issue);
        assert_eq!(redeem(CodeSeen { used: true, ..good }, NOW), Redeem::Revoke);
        assert_eq!(redeem(CodeSeen { used: true, expires_at: NOW, ..good }, NOW), Redeem::Revoke, "late as well");
        assert!(matches!(redeem(CodeSeen { same_client: false, used: true, ..good }, NOW), Redeem::Refuse(_)));
        assert!(matches!(redeem(CodeSeen { expires_at: NOW, ..good }, NOW), Redeem::Refuse(_)));
        for wrong in [
            CodeSeen { same_redirect: false, ..good },
            CodeSeen { verifier_fits: false, ..good },
            CodeSeen { user_stands: false, ..good },
        ] {
            assert!(matches!(redeem(wrong, NOW), Redeem::Spoil(_)), "{wrong:?}");
        }
    }

    #[test]
    fn refresh_tokens_turn_over() {
        let good = RefreshSeen {
            same_client: true,
            latest: true,
            expires_at: SOON,
            user_stands: true,
            role: UserRole::Publisher,
            asked: None,
        };
        let asked = |role| RefreshSeen { asked: Some(role), ..good };
        assert_eq!(refresh(good, NOW), Refresh::Rotate(UserRole::Publisher));
        assert_eq!(refresh(asked(UserRole::Viewer), NOW), Refresh::Rotate(UserRole::Viewer));
        assert_eq!(refresh(asked(UserRole::Administrator), NOW), Refresh::TooMuch);
        assert_eq!(refresh(RefreshSeen { latest: false, ..good }, NOW), Refresh::Revoke);
        for wrong in [
            RefreshSeen { same_client: false, latest: false, ..good },
            RefreshSeen { expires_at: NOW, ..good },
            RefreshSeen { user_stands: false, ..good },
        ] {
            assert!(matches!(refresh(wrong, NOW), Refresh::Refuse(_)), "{wrong:?}");
        }
    }

    #[test]
    fn programs_wait_their_turn() {
        let good = DeviceSeen {
            same_client: true,
            expires_at: SOON,
            polled_at: Some(NOW - Duration::seconds(5)),
            wait_seconds: 5,
            answer: Answer::None,
        };
        assert_eq!(poll(good, NOW), Poll::Pending);
        assert_eq!(poll(DeviceSeen { polled_at: None, ..good }, NOW), Poll::Pending);
        let hasty = DeviceSeen { polled_at: Some(NOW - Duration::seconds(1)), ..good };
        assert_eq!(poll(hasty, NOW), Poll::SlowDown(10));
        assert_eq!(poll(DeviceSeen { wait_seconds: 60, ..hasty }, NOW), Poll::SlowDown(60));
        assert_eq!(poll(DeviceSeen { answer: Answer::Allowed { stands: true }, ..good }, NOW), Poll::Issue);
        assert_eq!(poll(DeviceSeen { answer: Answer::Allowed { stands: false }, ..good }, NOW), Poll::Denied);
        assert_eq!(poll(DeviceSeen { answer: Answer::Denied, ..good }, NOW), Poll::Denied);
        let allowed = DeviceSeen { answer: Answer::Allowed { stands: true }, ..good };
        assert_eq!(poll(DeviceSeen { expires_at: NOW, ..allowed }, NOW), Poll::Expired);
        assert!(matches!(poll(DeviceSeen { same_client: false, ..allowed }, NOW), Poll::Refuse(_)));
    }
}
