//! `/oauth/token`: codes and refresh tokens are redeemed here.
//!
//! Each is decided on in one transaction that holds its row, so that of two who present the same one the second is seen as such.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Json, http::HeaderValue};
use http::header;
use lectern_domain::oauth::{
    ACCESS_LIFETIME, Answer, CodeSeen, DeviceSeen, GRANT_LIFETIME, Poll, Redeem, Redirect, Refresh, RefreshSeen, poll,
    redeem, refresh, scope,
};
use lectern_domain::{UserId, UserRole};
use lectern_metadata::oauth::{self, ClientRow, CodeRow};
use lectern_metadata::{GenericClient, Transaction, users};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::error::{OAuthError, OAuthErrorBody, Word};
use super::form::Form;
use super::secret::{self, RefreshToken};
use super::{AUTHORIZATION_CODE, DEVICE_CODE, REFRESH_TOKEN, TOKEN_EXCHANGE, exchange};
use crate::Services;
use crate::services::Part;
use crate::users::Standing;

/// Most programs that one account has let act for it: far more than people use, and a bound for the snapshot, which holds two access
/// tokens of each. The one that was idle the longest ends for a new one.
const MOST_GRANTS: i64 = 100;

/// Tokens just issued: the only reply that holds their texts.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenView {
    access_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// What kind of token it is, where one was exchanged for it (RFC 8693).
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    /// In seconds.
    expires_in: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// The role that the access token gives.
    scope: &'static str,
}

impl TokenView {
    /// An access token that another token was exchanged for.
    pub(super) fn exchanged(access_token: String, kind: &'static str, role: UserRole) -> Self {
        Self {
            access_token,
            token_type: "Bearer",
            issued_token_type: Some(kind),
            expires_in: ACCESS_LIFETIME.whole_seconds(),
            refresh_token: None,
            scope: role.as_str(),
        }
    }
}

/// The parameters.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what the form holds")]
pub(crate) struct TokenForm {
    grant_type: String,
    /// Absent where a token is exchanged.
    client_id: Option<String>,
    code: Option<String>,
    redirect_uri: Option<String>,
    code_verifier: Option<String>,
    device_code: Option<String>,
    refresh_token: Option<String>,
    /// An identity token.
    subject_token: Option<String>,
    subject_token_type: Option<String>,
    requested_token_type: Option<String>,
    /// The most that is asked for: `viewer`, `publisher` or `administrator`.
    scope: Option<String>,
}

/// Redeems a code or a refresh token, or exchanges an identity token.
#[utoipa::path(post, path = "/oauth/token", tag = "oauth", security(()),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = TokenView), (status = 400, body = OAuthErrorBody), (status = 401, body = OAuthErrorBody),
        (status = 413, body = OAuthErrorBody)))]
pub(crate) async fn token(State(services): State<Services>, form: Form) -> Result<Response, OAuthError> {
    let grant_type = form.need("grant_type")?;
    if grant_type == TOKEN_EXCHANGE {
        return exchange::exchange(&services, &form).await;
    }
    let grant_type = [AUTHORIZATION_CODE, REFRESH_TOKEN, DEVICE_CODE].into_iter().find(|known| *known == grant_type);
    let grant_type = grant_type.ok_or_else(|| {
        OAuthError::new(
            Word::UnsupportedGrantType,
            "grant_type is authorization_code, refresh_token, the device code's or the token exchange's",
        )
    })?;
    let mut database = services.database.client().await?;
    let client = form.client(&database).await?;
    registered_for(&client, grant_type)?;
    let tx = database.transaction().await.map_err(lectern_metadata::DbError::from)?;
    let outcome = match grant_type {
        AUTHORIZATION_CODE => of_code(&tx, &client, &form).await?,
        REFRESH_TOKEN => of_refresh(&tx, &client, &form).await?,
        _ => of_device(&tx, &client, &form).await?,
    };
    // What was decided stands, also where it is a refusal.
    tx.commit().await.map_err(lectern_metadata::DbError::from)?;
    drop(database); // Refreshing needs a connection too.
    // Anybody may ask, so only what changed something has the keys loaded anew.
    if !matches!(outcome, Outcome::Refused(_)) {
        services.backstage.refresh(Part::Keys).await;
    }
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    match outcome {
        Outcome::Issued(view) => Ok((no_store, Json(view)).into_response()),
        Outcome::Refused(why) | Outcome::Ended(why) => Err(why),
    }
}

/// Refuses what a program did not register for.
pub(super) fn registered_for(client: &ClientRow, grant_type: &str) -> Result<(), OAuthError> {
    if client.grant_types.iter().any(|registered| registered == grant_type) {
        return Ok(());
    }
    Err(OAuthError::new(Word::UnauthorizedClient, format!("the client did not register for {grant_type}")))
}

/// The most that a program asks for.
pub(super) fn scope_of(form: &Form) -> Result<Option<UserRole>, OAuthError> {
    scope(form.get("scope")).map_err(|why| OAuthError::new(Word::InvalidScope, why.to_string()))
}

/// What was decided. It is kept, also where it is a refusal.
enum Outcome {
    Issued(TokenView),
    Refused(OAuthError),
    /// A refusal that ended a grant.
    Ended(OAuthError),
}

fn refused(why: &str) -> Outcome {
    Outcome::Refused(OAuthError::new(Word::InvalidGrant, why))
}

fn ended(why: &str) -> Outcome {
    Outcome::Ended(OAuthError::new(Word::InvalidGrant, why))
}

async fn stands(tx: &impl GenericClient, user: UserId) -> Result<bool, OAuthError> {
    Ok(users::get(tx, user).await?.is_some_and(|account| Standing::check(&account).is_ok()))
}

async fn of_code(tx: &Transaction<'_>, client: &ClientRow, form: &Form) -> Result<Outcome, OAuthError> {
    let hash = secret::hash(form.need("code")?);
    let (redirect, verifier) = (form.need("redirect_uri")?, form.need("code_verifier")?);
    let Some(held) = oauth::lock_code(tx, &hash).await? else { return Ok(refused("there is no such code")) };
    let CodeRow { user, role, .. } = held.code;
    let seen = CodeSeen {
        same_client: held.code.client == client.id,
        used: held.used,
        expires_at: held.code.expires_at,
        same_redirect: held.code.redirect_uri == redirect && Redirect::parse(redirect).is_ok(),
        verifier_fits: secret::fits(verifier, &held.code.challenge),
        user_stands: stands(tx, user).await?,
    };
    Ok(match redeem(seen, OffsetDateTime::now_utc()) {
        Redeem::Issue => {
            let (view, grant) = first_tokens(tx, client, user, role).await?;
            oauth::use_code(tx, &hash, Some(grant)).await?;
            Outcome::Issued(view)
        }
        Redeem::Refuse(why) => refused(why),
        Redeem::Spoil(why) => {
            oauth::use_code(tx, &hash, None).await?;
            tracing::warn!(oauth.client = client.id, user.id = user.0, why, "an authorization code was spoiled");
            refused(why)
        }
        Redeem::Revoke => {
            if let Some(grant) = held.grant {
                oauth::delete_grant(tx, grant).await?;
            }
            tracing::warn!(
                oauth.client = client.id,
                user.id = user.0,
                "a code was presented twice: what came of it has ended"
            );
            ended("the code was used before; what came of it has ended")
        }
    })
}

async fn of_refresh(tx: &Transaction<'_>, client: &ClientRow, form: &Form) -> Result<Outcome, OAuthError> {
    let token = RefreshToken::parse(form.need("refresh_token")?);
    let asked = scope_of(form)?;
    let unknown = "the refresh token has ended, or is none of this server's: sign in again";
    let Some(token) = token else { return Ok(refused(unknown)) };
    let Some((grant, latest)) = oauth::lock_grant(tx, &token.family(), &token.latest()).await? else {
        return Ok(refused(unknown));
    };
    let now = OffsetDateTime::now_utc();
    let seen = RefreshSeen {
        same_client: grant.client == client.id,
        latest,
        expires_at: grant.expires_at,
        user_stands: stands(tx, grant.user).await?,
        role: grant.role,
        asked,
    };
    Ok(match refresh(seen, now) {
        Refresh::Rotate(role) => {
            let next = token.next()?;
            oauth::rotate(tx, grant.id, &next.latest(), now + GRANT_LIFETIME).await?;
            Outcome::Issued(access_token(tx, grant.id, role, Some(next)).await?)
        }
        Refresh::Refuse(why) => refused(why),
        Refresh::TooMuch => {
            Outcome::Refused(OAuthError::new(Word::InvalidScope, "the scope is more than what was allowed"))
        }
        Refresh::Revoke => {
            oauth::delete_grant(tx, grant.id).await?;
            let (client, user) = (&client.id, grant.user.0);
            tracing::warn!(
                oauth.client = client,
                user.id = user,
                "a refresh token was used twice: its grant has ended"
            );
            ended("the refresh token was used before; all tokens that came of it have ended: sign in again")
        }
    })
}

async fn of_device(tx: &Transaction<'_>, client: &ClientRow, form: &Form) -> Result<Outcome, OAuthError> {
    let hash = secret::hash(form.need("device_code")?);
    let Some(device) = oauth::lock_device(tx, &hash).await? else { return Ok(refused("there is no such device code")) };
    let now = OffsetDateTime::now_utc();
    let answer = match device.allowed {
        Some((user, _)) => Answer::Allowed { stands: stands(tx, user).await? },
        None if device.denied => Answer::Denied,
        None => Answer::None,
    };
    let seen = DeviceSeen {
        same_client: device.client == client.id,
        expires_at: device.expires_at,
        polled_at: device.polled_at,
        wait_seconds: device.wait_seconds,
        answer,
    };
    let told = |word, text: &str| Outcome::Refused(OAuthError::new(word, text));
    let decided = poll(seen, now);
    match decided {
        Poll::Pending => oauth::note_poll(tx, &hash, now, device.wait_seconds).await?,
        Poll::SlowDown(seconds) => oauth::note_poll(tx, &hash, now, seconds).await?,
        Poll::Issue | Poll::Denied | Poll::Expired => oauth::delete_device(tx, &hash).await?,
        Poll::Refuse(_) => {}
    }
    Ok(match (decided, device.allowed) {
        (Poll::Issue, Some((user, role))) => Outcome::Issued(first_tokens(tx, client, user, role).await?.0),
        (Poll::Pending, _) => told(Word::AuthorizationPending, "nobody has entered the code yet"),
        (Poll::SlowDown(_), _) => told(Word::SlowDown, "the program asks too often"),
        (Poll::Expired, _) => told(Word::ExpiredToken, "nobody entered the code in time: begin again"),
        (Poll::Denied | Poll::Issue, _) => told(Word::AccessDenied, "the user did not allow it"),
        (Poll::Refuse(why), _) => refused(why),
    })
}

/// The first tokens of a new grant.
async fn first_tokens(
    tx: &Transaction<'_>,
    client: &ClientRow,
    user: UserId,
    role: UserRole,
) -> Result<(TokenView, i64), OAuthError> {
    let first = RefreshToken::first()?;
    let refreshes = registered_for(client, REFRESH_TOKEN).is_ok();
    let lifetime = if refreshes { GRANT_LIFETIME } else { ACCESS_LIFETIME };
    let until = OffsetDateTime::now_utc() + lifetime;
    let (family, latest) = (first.family(), first.latest());
    let grant = oauth::create_grant(tx, &client.id, user, role, &family, &latest, until, MOST_GRANTS).await?;
    let view = access_token(tx, grant, role, refreshes.then_some(first)).await?;
    Ok((view, grant))
}

async fn access_token(
    tx: &Transaction<'_>,
    grant: i64,
    role: UserRole,
    refresh_token: Option<RefreshToken>,
) -> Result<TokenView, OAuthError> {
    let (access_token, hash) = secret::access()?;
    oauth::create_access(tx, grant, role, &hash, OffsetDateTime::now_utc() + ACCESS_LIFETIME).await?;
    Ok(TokenView {
        access_token,
        token_type: "Bearer",
        issued_token_type: None,
        expires_in: ACCESS_LIFETIME.whole_seconds(),
        refresh_token: refresh_token.map(|token| token.text()),
        scope: role.as_str(),
    })
}
