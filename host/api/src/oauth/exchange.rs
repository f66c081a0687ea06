//! The grant of RFC 8693 at `/oauth/token`: an identity token of an issuer that the operator trusts, for an access token of the account
//! that is linked to the identity. So a program that has one already, a pipeline for example, publishes without a key that somebody
//! keeps for it.
//!
//! A token is worth this once. What comes of it ends within the hour, is not refreshed, and never administers the server: a linked
//! administrator's is a publisher's. No account is made or changed.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use lectern_domain::oauth::{ACCESS_LIFETIME, granted};
use lectern_domain::user::UserRole;
use lectern_metadata::users::UserRow;
use lectern_metadata::{DbError, Transaction, identities, oauth, signed_tokens};
use time::OffsetDateTime;

use super::TOKEN_EXCHANGE;
use super::error::{OAuthError, Word};
use super::form::Form;
use super::secret::{self, RefreshToken};
use super::token::{TokenView, scope_of};
use crate::Services;
use crate::services::{IdToken, IdTokenRefusal, Part};
use crate::users::Standing;

/// The kinds of token that are taken and given (RFC 8693 §3).
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// What these tokens are registered as. Nothing else can be redeemed under this name: it has no address and no other grant.
const CLIENT: &str = "token-exchange";
const CLIENT_NAME: &str = "identity tokens";

/// Tokens of one account at a time, of this kind: one for each run of a pipeline within the hour. The oldest ends for a new one.
const MOST: i64 = 50;

/// Exchanges a token.
pub(super) async fn exchange(services: &Services, form: &Form) -> Result<Response, OAuthError> {
    let invalid = |text: &str| OAuthError::new(Word::InvalidRequest, text);
    if form.need("subject_token_type")? != ID_TOKEN {
        return Err(invalid("subject_token_type is that of an id_token"));
    }
    if form.get("requested_token_type").is_some_and(|kind| kind != ACCESS_TOKEN) {
        return Err(invalid("requested_token_type is that of an access_token"));
    }
    if form.get("actor_token").is_some() || form.get("actor_token_type").is_some() {
        return Err(invalid("nobody acts for somebody else here: send no actor_token"));
    }
    if form.get("audience").is_some() || form.get("resource").is_some() {
        return Err(OAuthError::new(
            Word::InvalidTarget,
            "tokens are for this server only: send no audience or resource",
        ));
    }
    let asked = scope_of(form)?;
    if asked == Some(UserRole::Administrator) {
        return Err(OAuthError::new(
            Word::InvalidScope,
            "an identity token administers nothing: ask for publisher or less",
        ));
    }
    let vouched = verified(services, form.need("subject_token")?).await?;
    let mut database = services.database.client().await?;
    let tx = database.transaction().await.map_err(DbError::from)?;
    let user = user_of(&tx, &vouched).await?;
    let role = granted(asked, user.role).min(UserRole::Publisher);
    let until = OffsetDateTime::now_utc() + ACCESS_LIFETIME;
    oauth::keep_client(&tx, CLIENT, CLIENT_NAME, &[TOKEN_EXCHANGE]).await?;
    // A grant has a refresh token's hashes, and nobody is told this one.
    let nobodys = RefreshToken::first()?;
    let id = oauth::create_grant_apart(&tx, CLIENT, user.id, role, &nobodys.family(), &nobodys.latest(), until, MOST)
        .await?;
    let (access_token, hash) = secret::access()?;
    oauth::create_access(&tx, id, role, &hash, until).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(database); // Refreshing needs a connection too.
    services.backstage.refresh(Part::Keys).await;
    let (issuer, subject) = (vouched.issuer.as_str(), vouched.subject.as_str());
    tracing::info!(user.name = user.username, issuer, subject, role = role.as_str(), "an identity token was exchanged");
    let view = TokenView::exchanged(access_token, ACCESS_TOKEN, role);
    Ok(([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(view)).into_response())
}

/// Verifies an identity token. Stock clients tell refusals apart by `invalid_grant` and a word of the text.
pub(crate) async fn verified(services: &Services, token: &str) -> Result<IdToken, OAuthError> {
    let verified = services.backstage.verify_id_token(token).await;
    verified.map_err(|refusal| match refusal {
        IdTokenRefusal::NotTaken => OAuthError::new(
            Word::UnsupportedGrantType,
            "identity tokens are not taken: the administrator has not configured an issuer",
        ),
        IdTokenRefusal::Bad(why) => refused(format!("the identity token could not be verified: {why}")),
        IdTokenRefusal::Unavailable(why) => OAuthError::new(
            Word::TemporarilyUnavailable,
            format!("the identity token cannot be verified at present: {why}"),
        ),
    })
}

/// The account that is linked to whom a verified token vouches for. The token is used up when the transaction is committed.
pub(crate) async fn user_of(tx: &Transaction<'_>, vouched: &IdToken) -> Result<UserRow, OAuthError> {
    if !signed_tokens::use_signature(tx, &vouched.mark, vouched.good_until).await? {
        return Err(refused("the identity token was exchanged before: get another"));
    }
    let linked = identities::find(tx, &vouched.issuer, &vouched.subject).await?;
    let unknown = || refused("no account here is linked to this identity: sign in with it in a browser first");
    let user = linked.ok_or_else(unknown)?;
    if Standing::check(&user).is_err() {
        return Err(refused("the account that is linked to this identity is locked or not confirmed"));
    }
    Ok(user)
}

fn refused(text: impl Into<String>) -> OAuthError {
    OAuthError::new(Word::InvalidGrant, text)
}
