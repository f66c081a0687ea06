//! The questions a plugin can ask whose answers may change from request to request. Each is a node of the tree.
//!
//! What is the same for all calls of a release (configuration, grants, the bytes of the component) is no question here: the
//! tree dies with the release. A secret is one: it may be changed under a release that stays.

use std::fmt;

/// Characters of a question's argument that are shown.
const SHOWN_CHARS: usize = 80;

/// One question.
///
/// `Debug` shows the kind alone: a plugin may make an argument out of what it read, a token for example.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Question {
    /// `request.method`
    Method,
    /// `request.scheme`
    Scheme,
    /// `request.authority`
    Authority,
    /// `request.host`
    Host,
    /// `request.client-ip`
    ClientIp,
    /// `request.path`
    Path,
    /// `request.path-prefix`
    PathPrefix(u32),
    /// `request.path-has-prefix`
    PathHasPrefix(Box<str>),
    /// `request.query`
    Query,
    /// `request.query-param`
    QueryParam(Box<str>),
    /// `request.header`; the name in lower case.
    Header(Box<str>),
    /// `request.cookie`
    Cookie(Box<str>),
    /// `request.headers`
    Headers,
    /// `connection.peer-ip`
    PeerIp,
    /// `connection.client-certificate`
    ClientCertificate,
    /// `visitor.present`
    VisitorPresent,
    /// `visitor.subject`
    VisitorSubject,
    /// `visitor.in-group`
    InGroup(Box<str>),
    /// `visitor.claim`
    Claim(Box<str>),
    /// `target.name`
    TargetName,
    /// `target.content`
    TargetContent,
    /// `target.active-bundle`
    ActiveBundle,
    /// `target.has-bundle`
    HasBundle(Box<str>),
    /// `content.vanity`
    Vanity,
    /// `directory.find-key`, by the digest under which the directory knows the key; the key itself is never kept. The answer
    /// is the stamp of the key's record, which changes when the key, its role or its user changes: a revoked key has no edge.
    FindKey(Box<[u8; 32]>),
    /// `directory.find-user`. The answer is the stamp of the account.
    FindUser(Box<str>),
    /// `directory.session`. The answer is the stamp of the session and its account.
    Session,
    /// A key set that the host keeps for `tokens.verify`, by its address. The answer is its version; none: the host has none
    /// that is young enough.
    KeySet(Box<str>),
    /// A secret that the host uses for the plugin or hands to it. The answer stands for its bytes: a changed secret is another.
    Secret(Box<str>),
    /// `limiter.take`: an effect, evaluated exactly once for each time that a plugin asks.
    Take(Box<Take>),
}

/// The arguments of `limiter.take`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Take {
    /// Which bucket.
    pub bucket: Box<str>,
    /// How fast it fills.
    pub per_minute: u32,
    /// How much it holds.
    pub burst: u32,
}

impl Question {
    /// A question for a header field; the case of the name does not matter.
    pub fn header(name: &str) -> Self {
        Self::Header(name.to_ascii_lowercase().into())
    }

    /// What kind of question it is, as the contract calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Scheme => "scheme",
            Self::Authority => "authority",
            Self::Host => "host",
            Self::ClientIp => "client-ip",
            Self::Path => "path",
            Self::PathPrefix(_) => "path-prefix",
            Self::PathHasPrefix(_) => "path-has-prefix",
            Self::Query => "query",
            Self::QueryParam(_) => "query-param",
            Self::Header(_) => "header",
            Self::Cookie(_) => "cookie",
            Self::Headers => "headers",
            Self::PeerIp => "peer-ip",
            Self::ClientCertificate => "client-certificate",
            Self::VisitorPresent => "visitor present",
            Self::VisitorSubject => "visitor subject",
            Self::InGroup(_) => "in-group",
            Self::Claim(_) => "claim",
            Self::TargetName => "target",
            Self::TargetContent => "target content",
            Self::ActiveBundle => "active-bundle",
            Self::HasBundle(_) => "has-bundle",
            Self::Vanity => "vanity",
            Self::FindKey(_) => "find-key",
            Self::FindUser(_) => "find-user",
            Self::Session => "session",
            Self::KeySet(_) => "key-set",
            Self::Secret(_) => "secret",
            Self::Take(_) => "take",
        }
    }

    /// Its argument in words, cut to 80 characters; `None` when it has none or one that is never shown: a key's digest or a
    /// user's name, which come out of a request.
    pub fn argument(&self) -> Option<String> {
        match self {
            Self::PathPrefix(segments) => Some(segments.to_string()),
            Self::PathHasPrefix(text)
            | Self::QueryParam(text)
            | Self::Header(text)
            | Self::Cookie(text)
            | Self::InGroup(text)
            | Self::Claim(text)
            | Self::HasBundle(text)
            | Self::KeySet(text)
            | Self::Secret(text) => Some(shown(text)),
            Self::Take(take) => Some(shown(&take.bucket)),
            Self::Method
            | Self::Scheme
            | Self::Authority
            | Self::Host
            | Self::ClientIp
            | Self::Path
            | Self::Query
            | Self::Headers
            | Self::PeerIp
            | Self::ClientCertificate
            | Self::VisitorPresent
            | Self::VisitorSubject
            | Self::TargetName
            | Self::TargetContent
            | Self::ActiveBundle
            | Self::Vanity
            | Self::FindKey(_)
            | Self::FindUser(_)
            | Self::Session => None,
        }
    }

    /// Whether its answers may be kept and shown in words. Those of the others can carry credentials or say who somebody is:
    /// of them only hashes are kept, and whether the answer was "there is none".
    pub fn shows_answers(&self) -> bool {
        match self {
            Self::Method
            | Self::Scheme
            | Self::Authority
            | Self::Host
            | Self::Path
            | Self::PathPrefix(_)
            | Self::PathHasPrefix(_)
            | Self::VisitorPresent
            | Self::InGroup(_)
            | Self::TargetName
            | Self::TargetContent
            | Self::ActiveBundle
            | Self::HasBundle(_)
            | Self::Vanity
            | Self::Take(_) => true,
            Self::ClientIp
            | Self::Query
            | Self::QueryParam(_)
            | Self::Header(_)
            | Self::Cookie(_)
            | Self::Headers
            | Self::PeerIp
            | Self::ClientCertificate
            | Self::VisitorSubject
            | Self::Claim(_)
            | Self::FindKey(_)
            | Self::FindUser(_)
            | Self::Session
            | Self::KeySet(_)
            | Self::Secret(_) => false,
        }
    }

    /// Whether its argument is a number, and small enough to be no secret.
    pub(super) fn is_numeric(&self) -> bool {
        matches!(self, Self::PathPrefix(_))
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::PathHasPrefix(text)
            | Self::QueryParam(text)
            | Self::Header(text)
            | Self::Cookie(text)
            | Self::InGroup(text)
            | Self::Claim(text)
            | Self::HasBundle(text)
            | Self::FindUser(text)
            | Self::KeySet(text)
            | Self::Secret(text) => text.len(),
            Self::FindKey(digest) => digest.len(),
            Self::Take(take) => size_of::<Take>() + take.bucket.len(),
            _ => 0,
        }
    }
}

/// In plain words: `header x-tenant`, `path-prefix 2`. The argument may come out of a request; see [`super::Report`] for what
/// is shown to operators.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        self.argument().map_or(Ok(()), |argument| write!(f, " {argument}"))
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl fmt::Debug for Take {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Take").finish_non_exhaustive()
    }
}

/// The first 80 characters, control characters replaced.
pub(super) fn shown(text: &str) -> String {
    cut(text, SHOWN_CHARS)
}

/// The first `limit` characters, control characters replaced.
pub(super) fn cut(text: &str, limit: usize) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
    let mut cut: String = chars.by_ref().take(limit).collect();
    if chars.next().is_some() {
        cut.pop();
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_read_as_words() {
        let cases = [
            (Question::Method, "method"),
            (Question::PathPrefix(2), "path-prefix 2"),
            (Question::header("X-Tenant"), "header x-tenant"),
            (Question::PathHasPrefix("/a\nb".into()), "path-has-prefix /a\u{fffd}b"),
            (Question::FindKey(Box::new([7; 32])), "find-key"),
            (Question::FindUser("ada".into()), "find-user"),
        ];
        for (question, words) in cases {
            assert_eq!(question.to_string(), words);
        }
        assert_eq!(format!("{:?}", Question::Cookie("secret".into())), "cookie");
        assert_eq!(shown(&"ä".repeat(100)).chars().count(), 80);
        assert_eq!(size_of::<Question>(), 24);
    }
}
