//! Passwords: changed by who knows the old one, or chosen by who was given an administrator's link.

use std::net::IpAddr;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use http::StatusCode;
use lectern_domain::UserId;
use lectern_domain::access::Principal;
use lectern_domain::audit::{Action, Actor};
use lectern_domain::ids::UserGuid;
use lectern_domain::user::UserRole;
use lectern_metadata::users::{self, PasswordHash, UserRow};
use lectern_metadata::{Database, DbError, Transaction, audit, password_links, sessions};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{Standing, somebody};
use crate::audit::record;
use crate::body::Object;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::{Account, Administrator, Base, ClientAddress};
use crate::keys::ApiKeyText;
use crate::services::{Backstage, Part};
use crate::stamp::Stamp;
use crate::{Services, login};

/// How long a link works: it is sent by hand, and read on the next working day at the latest.
const LINK_LIFETIME: Duration = Duration::hours(24);

/// A new password, and the old one as proof.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct NewPassword {
    #[schema(format = Password)]
    current_password: Option<String>,
    #[schema(required = true, value_type = String, format = Password, min_length = 1)]
    password: Option<String>,
}

/// Changes one's own password. All of the account's browser sessions end; keys stay.
#[utoipa::path(post, path = "/v1/users/{guid}/password", tag = "users", params(("guid" = String, Path,)),
    request_body = NewPassword,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(super) async fn change(
    State(services): State<Services>,
    Account(caller): Account,
    address: Option<Extension<ClientAddress>>,
    Path(guid): Path<String>,
    Object(wanted): Object<NewPassword>,
) -> Result<StatusCode, ApiError> {
    let guid: UserGuid = guid.parse()?;
    if guid != caller.guid {
        let client = services.database.client().await?;
        return Err(match users::get_by_guid(&client, guid).await? {
            Some(_) => {
                ApiError::new(Code::CannotChange, "a password is changed by its user, or by an administrator's link")
            }
            None => ApiError::new(Code::UserMissing, "there is no such user"),
        });
    }
    let need = |field: Option<String>, name: &str| {
        let missing = || ApiError::new(Code::MissingParameter, format!("changing a password needs {name}"));
        field.filter(|text| !text.is_empty()).map(Zeroizing::new).ok_or_else(missing)
    };
    let old = need(wanted.current_password, "current_password")?;
    let new = need(wanted.password, "password")?;
    let from = address.map_or_else(|| std::net::Ipv4Addr::UNSPECIFIED.into(), |address| address.0.0);
    change_password(&services.database, &*services.backstage, &caller, from, old, new).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes a password by the old one. Code 87: the old one is wrong, or the new one breaks the rule for passwords.
pub async fn change_password(
    database: &Database,
    backstage: &dyn Backstage,
    who: &Principal,
    from: IpAddr,
    old: Zeroizing<String>,
    new: Zeroizing<String>,
) -> Result<(), ApiError> {
    if !backstage.check_password(from, &who.username, old).await.map_err(login::refused)? {
        return Err(ApiError::new(Code::BadField, "the present password is wrong, or the account has none"));
    }
    let hash = backstage.hash_password(new).await.map_err(login::refused)?;
    let mut client = database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    set(&tx, who.user, hash).await?;
    record(&tx, who, &Action::PasswordSet { user: &who.username }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    backstage.refresh(Part::Sessions).await;
    Ok(())
}

/// Sets a password; what the old one opened ends.
async fn set(tx: &Transaction<'_>, user: UserId, hash: String) -> Result<(), DbError> {
    users::set_password_hash(tx, user, Some(&PasswordHash(hash))).await?;
    password_links::delete_of_user(tx, user).await?;
    sessions::delete_of_user(tx, user).await.map(drop)
}

/// A link for choosing a password: shown here and never again.
#[derive(Serialize, ToSchema)]
pub(crate) struct LinkView {
    /// To be given to the user, over a way that nobody else reads.
    url: String,
    expires_time: Stamp,
}

/// Makes a link by which a user chooses a password; for administrators. It works once and for a day; a new one ends the one
/// before.
#[utoipa::path(post, path = "/v1/users/{guid}/password_link", tag = "users", params(("guid" = String, Path,)),
    responses((status = 200, body = LinkView), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(super) async fn make_link(
    State(services): State<Services>,
    Administrator(caller): Administrator,
    base: Base,
    Path(guid): Path<String>,
) -> Result<Json<LinkView>, ApiError> {
    let (secret, expires_at) = make_password_link(&services.database, &caller, &guid).await?;
    let url = base.url(&format!("/connect/password?link={}", secret.into_text()));
    Ok(Json(LinkView { url, expires_time: expires_at.into() }))
}

/// Makes the secret of a link, and says when it ends. Code 22: the caller is no administrator; code 50: the account is locked.
pub async fn make_password_link(
    database: &Database,
    caller: &Principal,
    guid: &str,
) -> Result<(ApiKeyText, OffsetDateTime), ApiError> {
    if caller.role < UserRole::Administrator {
        return Err(ApiError::new(Code::NotPermitted, "only administrators make links for choosing a password"));
    }
    let mut client = database.client().await?;
    let user = somebody(&client, caller, guid, Code::CannotChange).await?;
    if user.locked {
        Standing::check(&user)?;
    }
    let secret = ApiKeyText::random()?;
    let expires_at = OffsetDateTime::now_utc() + LINK_LIFETIME;
    let tx = client.transaction().await.map_err(DbError::from)?;
    password_links::create(&tx, &secret.hash(), user.id, expires_at).await?;
    record(&tx, caller, &Action::PasswordLinkMade { user: &user.username }).await?;
    tx.commit().await.map_err(DbError::from)?;
    tracing::info!(user.name = user.username, by = caller.username, "a link for choosing a password was made");
    Ok((secret, expires_at))
}

/// Chooses a password with the secret of a link, which is used up; confirms the account. `None`: the link does not work (any
/// more). Code 87: the password breaks the rule for passwords, and the link still works.
pub async fn set_password_by_link(
    database: &Database,
    backstage: &dyn Backstage,
    secret: &str,
    password: Zeroizing<String>,
) -> Result<Option<UserRow>, ApiError> {
    let link = *blake3::hash(secret.as_bytes()).as_bytes();
    // Hashing is slow, and nobody without a link shall cause it.
    let found = password_links::find(&database.client().await?, &link).await?;
    let Some(user) = found.filter(|user| !user.locked) else { return Ok(None) };
    let hash = backstage.hash_password(password).await.map_err(login::refused)?;
    let mut client = database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    if password_links::take(&tx, &link).await? != Some(user.id) {
        return Ok(None);
    }
    set(&tx, user.id, hash).await?;
    users::confirm(&tx, user.id).await?;
    let actor = Actor::account(user.id, user.guid, &user.username);
    audit::append(&tx, actor, &Action::PasswordSet { user: &user.username }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    backstage.refresh(Part::Sessions).await;
    tracing::info!(user.name = user.username, "a password was chosen by a link");
    Ok(Some(user))
}
