//! What was allowed, and how it ends: by the program that holds a token (RFC 7009), or by the user who allowed it.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use lectern_domain::ids::OAuthGrantId;
use lectern_domain::user::UserRole;
use lectern_metadata::oauth::{self, GrantRow};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{OAuthError, OAuthErrorBody};
use super::form::Form;
use super::secret::{self, RefreshToken};
use crate::Services;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Account;
use crate::services::Part;
use crate::stamp::Stamp;
use crate::users::somebody;

/// Most grants listed: one account has no more.
const LISTED: i64 = 100;

/// The parameters.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what the form holds")]
pub(crate) struct RevokeForm {
    client_id: String,
    /// An access token or a refresh token.
    token: String,
    token_type_hint: Option<String>,
}

/// Ends what a token came of: the refresh token and all access tokens. A token that is unknown has ended already.
#[utoipa::path(post, path = "/oauth/revoke", tag = "oauth", security(()),
    request_body(content = RevokeForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200), (status = 400, body = OAuthErrorBody), (status = 401, body = OAuthErrorBody),
        (status = 413, body = OAuthErrorBody)))]
pub(crate) async fn revoke(State(services): State<Services>, form: Form) -> Result<StatusCode, OAuthError> {
    let database = services.database.client().await?;
    let client = form.client(&database).await?;
    let token = form.need("token")?;
    let family = RefreshToken::parse(token).map(|token| token.family());
    let ended = oauth::revoke_token(&database, &client.id, family.as_ref(), &secret::hash(token)).await?;
    drop(database); // Refreshing needs a connection too.
    if ended {
        services.backstage.refresh(Part::Keys).await;
    }
    Ok(StatusCode::OK)
}

/// A program that acts in a user's name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GrantView {
    id: String,
    client_id: String,
    /// As it calls itself.
    client_name: String,
    /// The most that it may do.
    #[schema(value_type = String, example = "publisher")]
    role: UserRole,
    created_time: Stamp,
    /// When it last got a token.
    renewed_time: Stamp,
    /// When it ends unless it is used.
    expires_time: Stamp,
}

fn view(row: GrantRow) -> GrantView {
    GrantView {
        id: row.id.to_string(),
        client_id: row.client,
        client_name: row.client_name,
        role: row.role,
        created_time: row.created_at.into(),
        renewed_time: row.renewed_at.into(),
        expires_time: row.expires_at.into(),
    }
}

/// Lists the programs that act in a user's name by OAuth; one's own, or for administrators.
#[utoipa::path(get, path = "/v1/users/{guid}/oauth_grants", tag = "users", params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<GrantView>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(services): State<Services>,
    Account(caller): Account,
    Path(guid): Path<String>,
) -> Result<Json<Vec<GrantView>>, ApiError> {
    let client = services.database.client().await?;
    let user = somebody(&client, &caller, &guid, Code::NoAccess).await?;
    Ok(Json(oauth::grants(&client, user.id, LISTED).await?.into_iter().map(view).collect()))
}

/// Ends what a user allowed a program, at once and for good; one's own, or for administrators.
#[utoipa::path(delete, path = "/v1/users/{guid}/oauth_grants/{id}", tag = "users",
    params(("guid" = String, Path,), ("id" = String, Path,)),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn end(
    State(services): State<Services>,
    Account(caller): Account,
    Path((guid, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let client = services.database.client().await?;
    let user = somebody(&client, &caller, &guid, Code::MayNotRemove).await?;
    let OAuthGrantId(id) = id.parse()?;
    if !oauth::delete_grant_of(&client, user.id, id).await? {
        return Err(ApiError::new(Code::CannotRemove, "there is no such grant"));
    }
    drop(client); // Refreshing needs a connection too.
    services.backstage.refresh(Part::Keys).await;
    Ok(StatusCode::NO_CONTENT)
}
