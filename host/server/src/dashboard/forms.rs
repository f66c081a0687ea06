//! Forms that change something in a visitor's name, safe from the pages that share the server's origin.
//!
//! Published content is served from the same origin as these pages: its scripts may ask for any address with the visitor's
//! cookie, and read what they get. So a page with such a form
//!
//! - is given only to a browser that opens it as a page of its own (`Sec-Fetch-Mode: navigate`, which no script can claim);
//! - is sandboxed by its policy, which gives it an origin of its own: who opened it cannot look into it, and it runs no script;
//! - carries a [`Pass`], without which the form is worth nothing. The cookie is: browsers do not even send it with a form from
//!   another origin.
//!
//! Browsers speak of how they fetch only over HTTPS and on the machine itself. Elsewhere there are no such pages.

use axum::http::{HeaderMap, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lectern_domain::UserId;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

/// How long a page may lie open before its form is sent.
const LIFETIME: Duration = Duration::minutes(30);

/// What a form is for: a pass for one purpose opens no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose<'a> {
    /// Confirming the token of this id.
    Claim(&'a str),
    /// Letting the program act that asks with this query.
    Authorize(&'a str),
    /// Entering the code of a program that waits.
    DeviceCode,
    /// Answering the program that waits with this code.
    Device(&'a str),
    /// Going to a provider: the integration's GUID and the way back.
    SignIn(&'a str),
    /// Signing out of providers.
    Integrations,
    /// Keys and sessions of the user's own account.
    Account,
    /// Other people's accounts.
    Users,
}

impl Purpose<'_> {
    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Claim(id) => ("claim", id),
            Self::Authorize(query) => ("authorize", query),
            Self::DeviceCode => ("device-code", ""),
            Self::Device(code) => ("device", code),
            Self::SignIn(subject) => ("sign-in", subject),
            Self::Integrations => ("integrations", ""),
            Self::Account => ("account", ""),
            Self::Users => ("users", ""),
        }
    }
}

/// Makes passes and judges them.
#[derive(Clone)]
pub(crate) struct Passes(Zeroizing<[u8; 32]>);

/// What a pass says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    /// Whose form it is.
    pub(super) user: UserId,
}

impl Passes {
    /// With a key of this server's own.
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// A pass for one user and purpose, to be put into the form.
    pub(super) fn make(&self, user: UserId, purpose: &Purpose<'_>, now: OffsetDateTime) -> String {
        let until = (now + LIFETIME).unix_timestamp();
        let mac = URL_SAFE_NO_PAD.encode(self.mac(user.0, until, purpose).as_bytes());
        format!("{}.{until}.{mac}", user.0)
    }

    /// Whose form it is; `None`: the pass is for something else, too old, or none of ours.
    pub(super) fn judge(&self, pass: &str, purpose: &Purpose<'_>, now: OffsetDateTime) -> Option<Pass> {
        let mut parts = pass.splitn(3, '.');
        let (user, until, mac) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
        let given: [u8; 32] = URL_SAFE_NO_PAD.decode(mac).ok()?.try_into().ok()?;
        // Equality of blake3's hashes takes the same time whatever they are.
        let fits = self.mac(user, until, purpose) == blake3::Hash::from_bytes(given);
        (fits && until > now.unix_timestamp()).then_some(Pass { user: UserId(user) })
    }

    fn mac(&self, user: i64, until: i64, purpose: &Purpose<'_>) -> blake3::Hash {
        let (kind, subject) = purpose.words();
        blake3::keyed_hash(&self.0, format!("{kind}\0{user}\0{until}\0{subject}").as_bytes())
    }
}

/// Whether a browser opens the page as a page of its own, and not a script or a frame for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    /// As a page.
    Page,
    /// Otherwise.
    Otherwise,
    /// The browser does not say: it is old, or the connection is not secure.
    Unsaid,
}

impl Opened {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let said = |name: &str| headers.get(name).map(|value| value.as_bytes());
        match (said("sec-fetch-mode"), said("sec-fetch-dest")) {
            (Some(b"navigate"), Some(b"document")) => Self::Page,
            (None, None) => Self::Unsaid,
            _ => Self::Otherwise,
        }
    }
}

/// The path of this page, for the way back after signing in.
pub(super) fn way_back(base: &str, uri: &Uri) -> String {
    format!("{base}{}", uri.path())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_pass_opens_one_form_of_one_user_for_a_while() {
        let (passes, other) = (Passes::new([1; 32]), Passes::new([2; 32]));
        let now = datetime!(2026-11-26 10:00:00 UTC);
        let pass = passes.make(UserId(7), &Purpose::Claim("T1"), now);
        let judged = |passes: &Passes, pass: &str, purpose: &Purpose<'_>, now| {
            passes.judge(pass, purpose, now).map(|pass| pass.user.0)
        };
        assert_eq!(judged(&passes, &pass, &Purpose::Claim("T1"), now), Some(7));
        assert_eq!(judged(&passes, &pass, &Purpose::Claim("T1"), now + LIFETIME), None, "late");
        assert_eq!(judged(&passes, &pass, &Purpose::Claim("T2"), now), None, "another token");
        assert_eq!(judged(&passes, &pass, &Purpose::Account, now), None, "another purpose");
        assert_eq!(judged(&other, &pass, &Purpose::Claim("T1"), now), None, "another key");
        assert_eq!(judged(&passes, &pass.replacen('7', "8", 1), &Purpose::Claim("T1"), now), None, "another user");
        let longer = pass.replacen(&(now + LIFETIME).unix_timestamp().to_string(), "9999999999", 1);
        assert_eq!(judged(&passes, &longer, &Purpose::Claim("T1"), now), None, "made to last");
        for odd in ["", ".", "7", "7.1", "7.1.x", "7.1.2.3", &"x".repeat(10_000)] {
            assert_eq!(judged(&passes, odd, &Purpose::Claim("T1"), now), None, "{odd}");
        }
    }

    #[test]
    fn only_a_page_of_its_own_is_a_page() {
        let read = |fields: &[(&'static str, &str)]| {
            let headers: HeaderMap = fields.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
            Opened::read(&headers)
        };
        assert_eq!(read(&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]), Opened::Page);
        for (mode, dest) in
            [("navigate", "iframe"), ("cors", "empty"), ("no-cors", "document"), ("same-origin", "empty")]
        {
            assert_eq!(read(&[("sec-fetch-mode", mode), ("sec-fetch-dest", dest)]), Opened::Otherwise, "{mode} {dest}");
        }
        assert_eq!(read(&[("sec-fetch-mode", "navigate")]), Opened::Otherwise);
        assert_eq!(read(&[]), Opened::Unsaid);
    }
}
