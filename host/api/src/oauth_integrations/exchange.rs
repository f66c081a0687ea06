//! `POST /v1/oauth/integrations/credentials`: content exchanges what it was told of a visitor for credentials (RFC 8693).
//!
//! No credential is needed besides the token itself, which only content is given; one that is presented must be good, as everywhere.

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use lectern_domain::ids::IntegrationGuid;
use lectern_domain::integrations::AuthType;
use lectern_domain::integrations::exchange::{NoChoice, Wanted, choose};
use lectern_metadata::integrations::{self, associations};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::access::{self, AccessToken};
use super::subject::Subject;
use super::view::missing;
use super::visitor_keys;
use crate::Services;
use crate::body;
use crate::error::{ApiError, Code, ErrorBody};
use crate::oauth::form::Form;

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const API_KEY: &str = "urn:posit:connect:api-key";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The parameters.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what the form holds")]
pub(crate) struct CredentialsForm {
    /// `urn:ietf:params:oauth:grant-type:token-exchange`.
    grant_type: String,
    /// What kind of token is presented: `urn:posit:connect:user-session-token`, for example.
    subject_token_type: String,
    /// The token.
    subject_token: String,
    /// `urn:posit:connect:api-key` or `urn:ietf:params:oauth:token-type:access_token`; absent: what the integration gives.
    requested_token_type: Option<String>,
    /// The integration, by GUID; absent: the only one of the content's that fits.
    audience: Option<String>,
}

/// What a token was exchanged for: a reply that holds secrets.
#[derive(Serialize, ToSchema)]
pub(crate) struct CredentialsView {
    access_token: String,
    #[schema(example = "urn:posit:connect:api-key")]
    issued_token_type: &'static str,
    /// How it is presented: `Key` or `Bearer`.
    token_type: &'static str,
    /// In seconds; absent: the provider did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<i64>,
}

/// What was asked.
pub(super) struct Asked {
    subject_type: String,
    subject_token: String,
    wanted: Wanted,
    audience: Option<IntegrationGuid>,
}

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = ApiError;
    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = body::collect(request.into_body()).await?;
        let form = Form::parse(&bytes).map_err(|text| ApiError::new(Code::BadParameter, text))?;
        let need = |name: &str| {
            let missing = || ApiError::new(Code::MissingParameter, format!("the parameter {name} is missing"));
            form.get(name).map(str::to_owned).ok_or_else(missing)
        };
        if need("grant_type")? != TOKEN_EXCHANGE {
            return Err(ApiError::new(Code::BadParameter, format!("grant_type must be {TOKEN_EXCHANGE}")));
        }
        let wanted = match form.get("requested_token_type") {
            None => Wanted::Any,
            Some(API_KEY) => Wanted::ApiKey,
            Some(ACCESS_TOKEN) => Wanted::AccessToken,
            Some(_) => {
                let message = format!("requested_token_type must be {API_KEY} or {ACCESS_TOKEN}");
                return Err(ApiError::new(Code::BadParameter, message));
            }
        };
        Ok(Self {
            subject_type: need("subject_token_type")?,
            subject_token: need("subject_token")?,
            wanted,
            audience: form.get("audience").map(str::parse).transpose()?,
        })
    }
}

impl From<NoChoice> for ApiError {
    fn from(why: NoChoice) -> Self {
        let code = match why {
            NoChoice::None | NoChoice::NotUsed => Code::NoIntegration,
            NoChoice::OtherKind | NoChoice::Several => Code::BadParameter,
        };
        Self::new(code, why.to_string())
    }
}

/// Exchanges a token that content was given for credentials in a visitor's name, or in its own.
#[utoipa::path(post, path = "/v1/oauth/integrations/credentials", tag = "integrations", security(()),
    request_body(content = CredentialsForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = CredentialsView), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 413, body = ErrorBody)))]
pub(super) async fn exchange(State(services): State<Services>, asked: Asked) -> Result<Response, ApiError> {
    let subject = Subject::read(&services, &asked.subject_type, &asked.subject_token).await?;
    let client = services.database.client().await?;
    let used = associations::of_content(&client, subject.content().guid).await?;
    let kinds: Vec<_> = used.iter().map(|one| (one.integration_guid, one.auth_type)).collect();
    let chosen = &used[choose(&kinds, subject.whom(), asked.wanted, asked.audience)?];
    let integration = integrations::get(&client, chosen.integration_guid).await?.ok_or_else(missing)?;
    drop(client);
    let view = match &subject {
        Subject::Visitor { content, visitor } => match integration.fields.auth_type {
            AuthType::VisitorApiKey => {
                let key = visitor_keys::issue(&services, content, chosen.id, &integration, visitor).await?;
                CredentialsView {
                    access_token: key.text.into_text(),
                    issued_token_type: API_KEY,
                    token_type: "Key",
                    expires_in: Some(seconds_until(key.expires_at)),
                }
            }
            AuthType::Viewer => bearer(access::viewer_token(&services, &integration, visitor).await?),
            // What was chosen was of another kind a moment ago.
            AuthType::ServiceAccount => return Err(NoChoice::OtherKind.into()),
        },
        Subject::Content { .. } => match integration.fields.auth_type {
            AuthType::ServiceAccount => bearer(access::service_token(&services, &integration).await?),
            AuthType::Viewer | AuthType::VisitorApiKey => return Err(NoChoice::OtherKind.into()),
        },
    };
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((no_store, Json(view)).into_response())
}

fn bearer(token: AccessToken) -> CredentialsView {
    CredentialsView {
        access_token: token.text.to_string(),
        issued_token_type: ACCESS_TOKEN,
        token_type: "Bearer",
        expires_in: token.expires_at.map(seconds_until),
    }
}

fn seconds_until(end: OffsetDateTime) -> i64 {
    (end - OffsetDateTime::now_utc()).whole_seconds().max(0)
}
