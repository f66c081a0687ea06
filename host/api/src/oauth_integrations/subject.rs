//! Who credentials are asked for: what a client presents as `subject_token` (RFC 8693 §2.1), read and looked up.

use http::StatusCode;
use lectern_domain::access::{Action, Principal, PrincipalVia};
use lectern_domain::integrations::exchange::For;
use lectern_domain::integrations::visitor::{self, Visit};
use lectern_metadata::content::{self, ContentRow};
use lectern_metadata::users;
use time::OffsetDateTime;

use crate::Services;
use crate::access::permit;
use crate::error::{ApiError, Code};
use crate::users::Standing;

/// The protocol's word for a visitor's token.
pub(super) const USER_SESSION_TOKEN: &str = "urn:posit:connect:user-session-token";

/// The protocol's word for the token of a process of content.
pub(super) const CONTENT_SESSION_TOKEN: &str = "urn:posit:connect:content-session-token";

/// Who credentials are for.
pub(super) enum Subject {
    /// A content item, by a process of it that lives.
    Content {
        /// Which.
        content: ContentRow,
    },
    /// A visitor of a content item, who may open it now; at most with the role that the visitor came with.
    Visitor {
        /// What is visited.
        content: ContentRow,
        /// Who visits.
        visitor: Principal,
    },
}

impl Subject {
    /// Reads a token of the kind that `kind` names, and looks up whether it still means something.
    pub(super) async fn read(services: &Services, kind: &str, token: &str) -> Result<Self, ApiError> {
        match kind {
            USER_SESSION_TOKEN => visitor_of(services, token).await,
            CONTENT_SESSION_TOKEN => content_of(services, token).await,
            _ => {
                let message = format!("subject_token_type must be {USER_SESSION_TOKEN} or {CONTENT_SESSION_TOKEN}");
                Err(ApiError::new(Code::BadParameter, message))
            }
        }
    }

    /// The content that asks: only its integrations count.
    pub(super) fn content(&self) -> &ContentRow {
        match self {
            Self::Visitor { content, .. } | Self::Content { content } => content,
        }
    }

    /// Whom it asks for.
    pub(super) fn whom(&self) -> For {
        match self {
            Self::Visitor { .. } => For::Visitor,
            Self::Content { .. } => For::Content,
        }
    }
}

/// Content by the token that one of its processes was given: it ends with the process.
async fn content_of(services: &Services, token: &str) -> Result<Subject, ApiError> {
    let ended = || ApiError::new(Code::BadCredential, "the token is of no process of content that runs on this server");
    let guid = services.backstage.content_of_token(token).ok_or_else(ended)?;
    let client = services.database.client().await?;
    let content = content::get_by_guid(&client, guid).await?.ok_or_else(ended)?;
    Ok(Subject::Content { content })
}

/// A visitor by the token that content was sent. The account may be locked meanwhile, the content gone or shared with others: a token
/// proves a visit, and the rest is what it is now.
///
/// Anybody may ask, so the database is asked only about tokens that this server made.
async fn visitor_of(services: &Services, token: &str) -> Result<Subject, ApiError> {
    let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(0);
    let visit = visitor::read(token, &services.backstage.visitor_key(), now)
        .map_err(|bad| ApiError::new(Code::BadCredential, bad.to_string()))?;
    let Visit { content, user, role } = visit;
    let gone =
        |what| ApiError::new(Code::BadCredential, format!("the {what} that the visitor's token tells of is gone"));
    let client = services.database.client().await?;
    let content = content::get_by_guid(&client, content).await?.ok_or_else(|| gone("content"))?;
    let user = users::get_by_guid(&client, user).await?.ok_or_else(|| gone("account"))?;
    Standing::check(&user)?;
    let visitor = Principal {
        user: user.id,
        guid: user.guid,
        username: user.username,
        role: user.role.min(role),
        via: PrincipalVia::Session,
    };
    permit(&client, &visitor, &content, Action::Open).await.map_err(|refused| {
        if refused.status() != StatusCode::FORBIDDEN {
            return refused;
        }
        ApiError::new(Code::NoAccess, "the visitor may not open this content any more")
    })?;
    Ok(Subject::Visitor { content, visitor })
}
