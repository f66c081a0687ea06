//! Errors as the RFCs of OAuth word them: `{"error": "<word>", "error_description": "<text>"}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use lectern_metadata::DbError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;

macro_rules! words {
    ($($variant:ident $word:literal $status:ident;)*) => {
        /// The words that clients read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Word { $(#[doc = $word] $variant,)* }

        impl Word {
            pub(crate) fn text(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }
        }
    };
}

// RFC 6749 §5.2, RFC 7591 §3.2.2, RFC 8628 §3.5, RFC 7009 §2.2.1, RFC 8693 §2.2.2.
words! {
    InvalidRequest "invalid_request" BAD_REQUEST;
    InvalidClient "invalid_client" UNAUTHORIZED;
    InvalidGrant "invalid_grant" BAD_REQUEST;
    UnauthorizedClient "unauthorized_client" BAD_REQUEST;
    UnsupportedGrantType "unsupported_grant_type" BAD_REQUEST;
    UnsupportedResponseType "unsupported_response_type" BAD_REQUEST;
    InvalidScope "invalid_scope" BAD_REQUEST;
    InvalidTarget "invalid_target" BAD_REQUEST;
    InvalidRedirectUri "invalid_redirect_uri" BAD_REQUEST;
    InvalidClientMetadata "invalid_client_metadata" BAD_REQUEST;
    AuthorizationPending "authorization_pending" BAD_REQUEST;
    SlowDown "slow_down" BAD_REQUEST;
    AccessDenied "access_denied" BAD_REQUEST;
    ExpiredToken "expired_token" BAD_REQUEST;
    TemporarilyUnavailable "temporarily_unavailable" SERVICE_UNAVAILABLE;
    ServerError "server_error" INTERNAL_SERVER_ERROR;
}

/// The body of every error of these routes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OAuthErrorBody {
    /// One of the RFCs' words.
    #[schema(example = "invalid_grant")]
    error: String,
    /// What went wrong, for a person.
    error_description: String,
}

/// What a handler answers instead of a result.
#[derive(Debug)]
pub(crate) struct OAuthError {
    word: Word,
    description: String,
    /// A failure of ours, which the log tells of.
    cause: Option<ApiError>,
}

impl OAuthError {
    pub(crate) fn new(word: Word, description: impl Into<String>) -> Self {
        Self { word, description: description.into(), cause: None }
    }
}

impl From<ApiError> for OAuthError {
    fn from(error: ApiError) -> Self {
        let word = match error.status() {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Word::TemporarilyUnavailable,
            status if status.is_server_error() => Word::ServerError,
            _ => Word::InvalidRequest,
        };
        Self { word, description: error.message().to_owned(), cause: Some(error) }
    }
}

impl From<DbError> for OAuthError {
    fn from(error: DbError) -> Self {
        ApiError::from(error).into()
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        // The protocol's own answer of a failure logs it, with all its causes, and knows when to try again.
        let own = self.cause.map(IntoResponse::into_response);
        let status = own.as_ref().map_or(self.word.status(), Response::status);
        let body = OAuthErrorBody { error: self.word.text().to_owned(), error_description: self.description };
        let mut response = (status, Json(body)).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let again = own.and_then(|own| own.headers().get(header::RETRY_AFTER).cloned());
        if let Some(again) = again {
            response.headers_mut().insert(header::RETRY_AFTER, again);
        }
        response
    }
}
