//! What happened when a case was run. Whoever runs it fills this in.

/// Everything that a case can look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The decision, or how the call failed.
    pub answer: Answer,
    /// The lines that the plugin logged: the message, then its fields as ` name=value`.
    pub logs: Vec<String>,
    /// The calls it made to other servers, in order: `POST https://idp.example/token`.
    pub outbound: Vec<String>,
    /// Those of them for which the case has no answer. Each fails the case.
    pub unanswered: Vec<String>,
    /// The questions it asked, in order: the function's name and its arguments, secrets left out (`path-prefix 1`). `None`: whoever
    /// ran the case does not know them, and nothing is compared.
    pub asked: Option<Vec<String>>,
}

impl Outcome {
    /// An answer that took no questions.
    pub fn of(answer: Answer) -> Self {
        Self { answer, logs: Vec::new(), outbound: Vec::new(), unanswered: Vec::new(), asked: Some(Vec::new()) }
    }
}

/// What a plugin answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `next`.
    Next,
    /// `forward`.
    Forward {
        /// `content:<guid>` or `system:<part>`.
        target: String,
        /// What the target sees as path.
        rewrite: Rewrite,
        /// Fields that replace the client's: names in lower case.
        set_headers: Vec<(String, Vec<u8>)>,
        /// Fields that the target does not see: names in lower case.
        remove_headers: Vec<String>,
        /// Requests with the same key go to the same process.
        sticky_key: Option<String>,
        /// Further hints.
        hints: Vec<(String, String)>,
    },
    /// `respond`, or a page's plain reply.
    Respond(Reply),
    /// `abstain`.
    Abstain,
    /// `authenticated`.
    Authenticated(Identity),
    /// `challenge`.
    Challenge(Reply),
    /// `rejected`, with the text for the log.
    Rejected(String),
    /// `signed-in`.
    SignedIn(Identity, Reply),
    /// `signed-out`.
    SignedOut(Reply),
    /// `lifecycle.check` accepted the configuration.
    Accepted,
    /// No decision.
    Failed(FailureKind, String),
}

impl Answer {
    /// The word in a file of cases.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Forward { .. } => "forward",
            Self::Respond(_) => "respond",
            Self::Abstain => "abstain",
            Self::Authenticated(_) => "authenticated",
            Self::Challenge(_) => "challenge",
            Self::Rejected(_) => "rejected",
            Self::SignedIn(..) => "signed-in",
            Self::SignedOut(_) => "signed-out",
            Self::Accepted => "accepted",
            Self::Failed(..) => "failure",
        }
    }
}

/// What the target sees as path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewrite {
    /// The path of the request.
    Keep,
    /// The path without so many segments.
    StripSegments(u32),
    /// This path.
    Replace(String),
}

/// Why there is no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The plugin says that something it needs is away.
    Unavailable,
    /// The plugin says that its configuration must be changed.
    Misconfigured,
    /// The plugin says that it found itself in a state that its author excluded.
    Internal,
    /// It crashed: a panic, an access out of bounds.
    Crashed,
    /// It ran into a limit.
    Limit,
    /// Its answer breaks the contract.
    Invalid,
}

impl FailureKind {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Unavailable, Self::Misconfigured, Self::Internal, Self::Crashed, Self::Limit, Self::Invalid];

    /// The word in a file of cases.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Misconfigured => "misconfigured",
            Self::Internal => "internal",
            Self::Crashed => "crashed",
            Self::Limit => "limit",
            Self::Invalid => "invalid",
        }
    }
}

/// Somebody whom a plugin names, or whom a case makes known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// For users in the directory, the user GUID.
    pub subject: String,
    /// A name to show.
    pub display_name: Option<String>,
    /// Groups, in order.
    pub groups: Vec<String>,
    /// Further statements, in order.
    pub claims: Vec<(String, String)>,
    /// How long the answer may be reused, in seconds.
    pub ttl: Option<u32>,
}

/// A response that a plugin makes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Fields in order: names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}
