//! Why a repository gave no bundle, in words for its publisher.

use std::time::Duration;

use http::StatusCode;
use lectern_bundles::{StoreError, UnpackError};
use lectern_domain::git::{BadAdvertisement, BadAnswer, BadListing, BadLocation, Wanted};
use lectern_domain::outbound::{BadTarget, Refused};
use lectern_gate::OutboundError;
use lectern_runtimes::git::GitError;

/// A repository could not be reached or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitFailure {
    #[error(transparent)]
    Target(#[from] BadTarget),
    #[error("a repository's URL has no query (?)")]
    Query,
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Location(#[from] BadLocation),
    #[error("this server's password for {origin} cannot be read: its administrator can mend git.credentials")]
    Password { origin: String },
    #[error("{url} could not be reached: {}", said(cause))]
    Unreached { url: String, cause: OutboundError },
    #[error("{url}: {hint} (status {})", .status.as_u16())]
    Status { url: String, status: StatusCode, hint: String },
    #[error("{url} redirects to {to}: give that URL instead, as redirects are not followed")]
    Redirect { url: String, to: String },
    #[error("{url} is not a git repository over HTTP: it answers with {kind:?}")]
    Kind { url: String, kind: String },
    #[error("{url} cannot be read: {cause}")]
    Advertisement { url: String, cause: BadAdvertisement },
    #[error("the repository cannot be used: {0}")]
    Wanted(#[from] Wanted),
    #[error("the repository could not be fetched: {0}")]
    Answer(#[from] BadAnswer),
    #[error("the repository could not be fetched: its server's answer broke off")]
    Broken,
    #[error("the commit has more than {limit} bytes, the most that this server fetches (git.max_repository_bytes)")]
    TooLarge { limit: u64 },
    #[error("the list of branches is longer than {limit} bytes")]
    LongList { limit: usize },
    #[error("the repository's server was silent for {} seconds", .0.as_secs())]
    Silent(Duration),
    #[error("the repository gave no answer within {} seconds", .0.as_secs())]
    Late(Duration),
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("the repository cannot be published: {0}")]
    Listing(#[from] BadListing),
    #[error("the repository cannot be published: {0}")]
    Packing(#[source] UnpackError),
    #[error("the bundle could not be stored: {0}")]
    Store(#[from] StoreError),
    #[error("what the repository's server sent could not be written")]
    Write(#[source] std::io::Error),
    #[error("the server is stopping")]
    Stopping,
}

impl GitFailure {
    /// Whether trying again soon may help: nothing is wrong with what was asked for.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreached { cause, .. } => !matches!(cause, OutboundError::Forbidden(_)),
            Self::Status { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::Broken | Self::Silent(_) | Self::Answer(BadAnswer::Short) => true,
            _ => false,
        }
    }
}

fn said(error: &OutboundError) -> String {
    match error {
        OutboundError::Forbidden(why) | OutboundError::Failed(why) => why.clone(),
        OutboundError::Timeout => "no answer in time".to_owned(),
        other => format!("{other:?}"),
    }
}
