//! What is sent to a provider, and what comes of it.

use std::fmt;

use lectern_domain::outbound::Target;
use zeroize::Zeroizing;

/// A form for a server that somebody named.
pub struct SentForm {
    /// Where to.
    pub target: Target,
    /// The value of the field `Authorization`, if there is one.
    pub authorization: Option<Zeroizing<String>>,
    /// The form, encoded.
    pub body: Zeroizing<String>,
}

impl fmt::Debug for SentForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentForm").field("target", &self.target.as_str()).finish_non_exhaustive()
    }
}

/// What a server answered.
pub struct FormAnswer {
    /// The status; redirects are answers too.
    pub status: u16,
    /// The body, whole.
    pub body: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for FormAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FormAnswer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why there is no answer. The texts are for people, and hold nothing of what was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormFailure {
    /// The operator does not let this server connect there.
    #[error("{0}")]
    Refused(String),
    /// It took too long.
    #[error("no answer came in time")]
    Timeout,
    /// The answer is larger than any of its kind.
    #[error("the answer was too large")]
    TooLarge,
    /// The exchange failed.
    #[error("{0}")]
    Failed(String),
}
