//! Errors as the protocol words them: one table from code to status, one body, one place that logs.
//!
//! Body: `{"code": <int>, "error": "<text>", "payload": null}`. Texts never carry causes, paths or values of other
//! users; the cause of a failure of ours goes to the log, once.

use std::error::Error;
use std::fmt;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use lectern_domain::content::BadSetting;
use lectern_domain::ids::BadId;
use lectern_domain::schedule::BadSchedule;
use lectern_domain::tags::BadTag;
use lectern_metadata::DbError;
use serde::Serialize;
use utoipa::ToSchema;

/// Seconds after which a client may try again when the database is away: a fail-over takes longer, a restart less.
const RETRY_AFTER_SECONDS: u32 = 5;

/// Seconds after which a client that has had its share may ask again: what waits is forgotten in minutes to hours.
const SHARE_AFTER_SECONDS: u32 = 60;

macro_rules! codes {
    ($($variant:ident $number:literal $status:ident, $doc:literal;)*) => {
        /// The protocol's error codes, as far as Lectern answers them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $doc] $variant,)* }

        impl Code {
            /// Every code, for the table's own test.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number clients read.
            pub fn number(self) -> i32 {
                match self { $(Self::$variant => $number,)* }
            }

            /// The status that goes with it.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }
        }
    };
}

codes! {
    Internal 1 INTERNAL_SERVER_ERROR, "A failure of ours.";
    BadId 3 BAD_REQUEST, "An identifier in the address is malformed.";
    Missing 4 NOT_FOUND, "The object does not exist.";
    BadName 5 BAD_REQUEST, "A content name breaks its rule.";
    UsernameTaken 8 CONFLICT, "Another account has this user name.";
    UserMissing 9 NOT_FOUND, "The user does not exist.";
    MissingParameter 12 BAD_REQUEST, "A required parameter is absent.";
    GroupNameTaken 15 CONFLICT, "Another group has this name.";
    AlreadyMember 16 CONFLICT, "The user belongs to the group already.";
    CannotRemove 17 NOT_FOUND, "What is to be removed does not exist.";
    MissingToChange 18 NOT_FOUND, "What is to be changed does not exist.";
    NoAccess 19 FORBIDDEN, "The caller may not see the object.";
    MayNotRemove 20 FORBIDDEN, "The caller may not remove the object.";
    CannotChange 21 FORBIDDEN, "The caller may not change the object.";
    NotPermitted 22 FORBIDDEN, "The caller's role does not allow the operation.";
    SignInNeeded 24 UNAUTHORIZED, "No credential was presented.";
    BadParameter 25 BAD_REQUEST, "A parameter has a value that is not allowed.";
    NameTaken 26 CONFLICT, "The owner has another content item of this name.";
    NoBundle 28 NOT_FOUND, "There is no bundle to deploy.";
    TokenLate 29 UNAUTHORIZED, "The token was not claimed in time.";
    BadCredential 30 UNAUTHORIZED, "The credential presented is not valid.";
    CannotCollaborate 33 FORBIDDEN, "A viewer's account cannot collaborate.";
    IsOwner 34 BAD_REQUEST, "The owner needs no permission entry.";
    BadManifest 38 BAD_REQUEST, "The manifest is absent or not usable.";
    NotConfirmed 40 BAD_REQUEST, "The user's account has not been confirmed.";
    ModeFixed 48 FORBIDDEN, "The kind of content is fixed after the first deployment.";
    UserLocked 50 FORBIDDEN, "The user's account is locked.";
    VanityTaken 51 CONFLICT, "Another content item has this vanity path.";
    VanityRefused 52 BAD_REQUEST, "This vanity path is not allowed.";
    BundleActive 75 BAD_REQUEST, "The active bundle cannot be deleted.";
    TagCategory 79 BAD_REQUEST, "A category of tags cannot be given to content.";
    TagName 81 BAD_REQUEST, "A tag's name is not allowed, or taken at its place.";
    ForeignBundle 82 BAD_REQUEST, "The bundle belongs to another content item.";
    TokenClaimed 84 FORBIDDEN, "The token was claimed before.";
    TokenTaken 85 BAD_REQUEST, "There is a token of this id.";
    TokenIncomplete 86 BAD_REQUEST, "What describes the token is not complete.";
    BadField 87 BAD_REQUEST, "A field has a value that is not allowed.";
    CrossSite 92 FORBIDDEN, "A signed-in browser was sent here by another site.";
    BadChecksum 104 BAD_REQUEST, "The bytes received are not those announced.";
    TooManyVariables 106 CONFLICT, "The content has too many environment variables.";
    VariableProhibited 108 CONFLICT, "The variable is the server's own.";
    BadJson 121 BAD_REQUEST, "The request body is not the JSON expected.";
    EmptyUpload 125 BAD_REQUEST, "The bundle received is empty.";
    ShortUpload 126 BAD_REQUEST, "The bundle received is incomplete.";
    CategoryFixed 110 FORBIDDEN, "The category is fixed after the first deployment.";
    ParametersFixed 111 FORBIDDEN, "Whether a document has parameters is fixed after the first deployment.";
    CannotStore 134 INSUFFICIENT_STORAGE, "The server has no room for the bundle.";
    BadArchive 135 BAD_REQUEST, "The bundle received cannot be extracted.";
    TaskMissing 141 NOT_FOUND, "The task does not exist.";
    GitManaged 142 CONFLICT, "The content is managed by git already.";
    NotGitManaged 143 CONFLICT, "The content is not managed by git.";
    GitUpload 144 CONFLICT, "A bundle cannot be uploaded to content that is managed by git.";
    GitDisabled 145 CONFLICT, "Git is switched off on this server.";
    GitRefused 146 BAD_REQUEST, "The repository is where this server does not go.";
    VariableTwice 149 CONFLICT, "The same variable is named twice.";
    GroupMissing 153 NOT_FOUND, "The group does not exist.";
    AlreadyListed 154 CONFLICT, "The user already has a permission entry.";
    GroupListed 155 CONFLICT, "The group already has a permission entry.";
    CannotOwn 156 FORBIDDEN, "A viewer's account cannot own content.";
    TagParent 157 BAD_REQUEST, "A tag's parent does not exist or is too deep.";
    TagMove 158 BAD_REQUEST, "A tag cannot be moved there.";
    BadInclude 161 BAD_REQUEST, "An `include` value is unknown.";
    JobNotActive 163 CONFLICT, "The job has ended.";
    GitUrl 164 BAD_REQUEST, "The URL is not that of a git repository.";
    Bootstrapped 165 FORBIDDEN, "There are users already.";
    BadBootstrapToken 166 UNAUTHORIZED, "The bootstrap token is not valid.";
    NoIntegration 212 BAD_REQUEST, "The content uses no such integration.";
}

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// One of the protocol's codes.
    #[schema(example = 4)]
    pub code: i32,
    /// What went wrong, for a person.
    pub error: String,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    pub payload: Option<()>,
}

/// What a handler answers instead of a result.
#[derive(Debug)]
pub struct ApiError {
    code: i32,
    status: StatusCode,
    message: String,
    retry_after: Option<u32>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl ApiError {
    /// An error with the code's own status; `message` is shown to the client.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code: code.number(), status: code.status(), message: message.into(), retry_after: None, cause: None }
    }

    /// A failure of ours: the client learns that it happened, the log why.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into()), ..Self::new(Code::Internal, "internal error; the server's log says more") }
    }

    /// The system gave no random numbers.
    pub(crate) fn no_random(cause: getrandom::Error) -> Self {
        Self::internal(format!("ask the system for random numbers: {cause}"))
    }

    /// The database cannot be reached: 503 with `Retry-After`; nothing was changed.
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let message = "the metadata database cannot be reached at the moment; try again shortly";
        Self { cause: Some(cause.into()), ..Self::busy(message) }
    }

    /// The server has no capacity for this now: 503 with `Retry-After`.
    pub fn busy(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: Some(RETRY_AFTER_SECONDS),
            ..Self::new(Code::Internal, message)
        }
    }

    /// One client asks for more than its share: 429 with `Retry-After`. Nothing of ours has failed.
    pub(crate) fn too_many(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            retry_after: Some(SHARE_AFTER_SECONDS),
            ..Self::new(Code::NotPermitted, message)
        }
    }

    /// The same error under another status.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same error with what caused it, for the log.
    #[must_use]
    pub fn caused_by(self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    /// The status answered.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What the client is told.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The code answered.
    pub fn code(&self) -> i32 {
        self.code
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {}, status {})", self.message, self.code, self.status.as_u16())
    }
}

impl Error for ApiError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // A refusal under another status, for a client that knows no other, is no failure.
        let refusal = self.code == Code::BadCredential.number();
        if self.status.is_server_error() && !refusal {
            let chain = self.cause.as_deref().map(|cause| Chain(cause).to_string()).unwrap_or_default();
            tracing::error!(api.code = self.code, api.status = self.status.as_u16(), cause = chain, "{}", self.message);
        }
        let body = ErrorBody { code: self.code, error: self.message, payload: None };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Prints an error and all its causes on one line.
struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

impl From<BadId> for ApiError {
    fn from(bad: BadId) -> Self {
        Self::new(Code::BadId, bad.to_string())
    }
}

impl From<BadSetting> for ApiError {
    fn from(bad: BadSetting) -> Self {
        // All of them are "bad request"; the domain knows the number.
        Self { code: bad.code(), ..Self::new(Code::BadField, bad.to_string()) }
    }
}

impl From<BadSchedule> for ApiError {
    fn from(bad: BadSchedule) -> Self {
        Self::new(Code::BadField, bad.to_string())
    }
}

impl From<BadTag> for ApiError {
    fn from(bad: BadTag) -> Self {
        // All of them are "bad request"; the domain knows the number.
        Self { code: bad.code(), ..Self::new(Code::TagName, bad.to_string()) }
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        let code = match &error {
            DbError::Contended(_) | DbError::Unavailable(_) => return Self::unavailable(error),
            DbError::NotPrepared
            | DbError::LeaseLost
            // No route of this protocol signs in with another directory or changes the gate.
            | DbError::AccountLocked
            | DbError::AlreadyLinked
            | DbError::Plugin(_)
            | DbError::Corrupt { .. }
            | DbError::Other(_) => {
                return Self::internal(error);
            }
            DbError::NotFound(_) => Code::Missing,
            DbError::NameTaken
            | DbError::KeyNameTaken
            | DbError::EnvironmentTaken
            | DbError::AlreadyScheduled => Code::NameTaken,
            DbError::GroupNameTaken => Code::GroupNameTaken,
            DbError::AlreadyMember => Code::AlreadyMember,
            DbError::GroupAlreadyListed => Code::GroupListed,
            DbError::TokenTaken => Code::TokenTaken,
            DbError::UsernameTaken => Code::UsernameTaken,
            DbError::VanityTaken => Code::VanityTaken,
            DbError::TagTaken => Code::TagName,
            DbError::AlreadyListed => Code::AlreadyListed,
            DbError::UsersExist => Code::Bootstrapped,
            DbError::ModeFixed { .. } => Code::ModeFixed,
            DbError::CategoryFixed { .. } => Code::CategoryFixed,
            DbError::ParametersFixed { .. } => Code::ParametersFixed,
            DbError::ActiveBundle => Code::BundleActive,
            DbError::BadText | DbError::Refused { .. } => Code::BadField,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_code_is_listed_once_and_is_an_error() {
        for code in Code::ALL {
            assert_eq!(Code::ALL.iter().filter(|other| other.number() == code.number()).count(), 1, "{code:?}");
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
        }
    }

    #[tokio::test]
    async fn causes_stay_inside() {
        let response = ApiError::unavailable(std::io::Error::other("password=secret")).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "5");
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["code"], 1);
        assert!(body["payload"].is_null() && body.as_object().unwrap().contains_key("payload"));
        assert!(!body.to_string().contains("secret"));
    }
}
