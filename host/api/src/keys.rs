//! `/v1/users/{guid}/keys`: API keys, made, listed and revoked by their owner.

use std::convert::Infallible;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use lectern_domain::access::{Principal, PrincipalVia};
use lectern_domain::audit::Action;
use lectern_domain::ids::{KeyId, UserGuid};
use lectern_domain::user::UserRole;
use lectern_metadata::keys::{self, KeyRow};
use lectern_metadata::{Client, Database, DbError, users};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use crate::Services;
use crate::audit::record;
use crate::body::Object;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Account;
use crate::services::{Backstage, Part};
use crate::stamp::Stamp;

/// Characters of a key. With 62 to choose from each, 40 carry 238 bits.
const KEY_LENGTH: usize = 40;

/// Most keys an account may have: far more than people and their machines need, and a bound for the snapshot.
const MAX_KEYS: usize = 500;

/// The text of a new API key: letters and digits, so that it never looks like an option on a command line.
pub struct ApiKeyText(Zeroizing<String>);

impl ApiKeyText {
    /// Makes one from the system's random numbers.
    pub fn random() -> Result<Self, ApiError> {
        Self::from_bytes(|bytes| getrandom::fill(bytes).map_err(ApiError::no_random))
    }

    /// The one that belongs to a secret and a seed, which are worth nothing without each other.
    pub(crate) fn derived(secret: &[u8; 32], seed: &[u8; 16]) -> Self {
        let key = Zeroizing::new(blake3::derive_key("lectern 2026 text of a visitor key", secret));
        let mut stream = blake3::Hasher::new_keyed(&key).update(seed).finalize_xof();
        let Ok(text) = Self::from_bytes(|bytes| {
            stream.fill(bytes);
            Ok::<(), Infallible>(())
        });
        text
    }

    fn from_bytes<E>(mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut text = Zeroizing::new(String::with_capacity(KEY_LENGTH));
        let mut random = Zeroizing::new([0u8; 64]);
        while text.len() < KEY_LENGTH {
            fill(random.as_mut())?;
            // 248 is the largest multiple of 62 in a byte: what lies above would favour some characters.
            let fair = random.iter().filter(|byte| **byte < 248).take(KEY_LENGTH - text.len());
            text.extend(fair.map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
        }
        Ok(Self(text))
    }

    /// How the key is stored and looked up: the BLAKE3 hash of its text.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(self.0.as_bytes()).as_bytes()
    }

    /// The text, to be shown once.
    pub fn into_text(self) -> String {
        (*self.0).clone()
    }
}

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// An API key, without its text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyView {
    id: String,
    user_guid: String,
    name: String,
    /// The most it may do.
    #[schema(value_type = String, example = "publisher")]
    role: UserRole,
    created_time: Stamp,
    /// When it ends by itself; null: when it is revoked.
    expires_time: Option<Stamp>,
    /// To the minute or so; null: never.
    last_used_time: Option<Stamp>,
}

/// A key just made: the only reply that holds its text.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewKeyView {
    #[serde(flatten)]
    about: KeyView,
    /// The text to present.
    key: String,
}

fn view(row: KeyRow, owner: &Principal) -> KeyView {
    KeyView {
        id: row.id.to_string(),
        user_guid: owner.guid.to_string(),
        name: row.name,
        role: row.role,
        created_time: row.created_at.into(),
        expires_time: row.expires_at.map(Stamp),
        last_used_time: row.last_used_at.map(Stamp),
    }
}

/// Keys are their owner's business alone, an administrator's neither.
async fn own(services: &Services, caller: Principal, guid: &str) -> Result<Principal, ApiError> {
    let guid: UserGuid = guid.parse()?;
    if guid == caller.guid {
        return Ok(caller);
    }
    let client = services.database.client().await?;
    match users::get_by_guid(&client, guid).await? {
        Some(_) => Err(ApiError::new(Code::NoAccess, "API keys are shown to and made by their owner only")),
        None => Err(ApiError::new(Code::UserMissing, "there is no such user")),
    }
}

/// Lists one's own keys.
#[utoipa::path(get, path = "/v1/users/{guid}/keys", tag = "users", params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<KeyView>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn list(
    State(services): State<Services>,
    Account(caller): Account,
    Path(guid): Path<String>,
) -> Result<Json<Vec<KeyView>>, ApiError> {
    let owner = own(&services, caller, &guid).await?;
    let client = services.database.client().await?;
    let rows = keys::list(&client, owner.user).await?;
    Ok(Json(rows.into_iter().map(|row| view(row, &owner)).collect()))
}

/// Refuses a program that somebody let act (code 22): what it made to prove who it is would outlive what it was allowed.
pub(crate) async fn keeps_credentials(client: &Client, caller: &Principal) -> Result<(), ApiError> {
    if let PrincipalVia::Key(key) = caller.via
        && keys::is_of_program(client, key).await?
    {
        return Err(ApiError::new(
            Code::NotPermitted,
            "a program that acts for a user makes no keys and confirms no tokens",
        ));
    }
    Ok(())
}

/// What a new key shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"name": "laptop", "role": "viewer"}))]
pub(crate) struct NewKey {
    /// What the owner calls it.
    #[schema(required = true, value_type = String, min_length = 1)]
    name: Option<String>,
    /// The most it may do; absent: what its owner may.
    #[schema(pattern = "^(viewer|publisher|administrator)$")]
    role: Option<String>,
    /// When it shall end by itself (RFC 3339); absent: when it is revoked.
    #[schema(format = DateTime)]
    expires_time: Option<String>,
}

/// Makes a key. It gives at most what the caller's own credential gives; its name is unique among the owner's keys.
#[utoipa::path(post, path = "/v1/users/{guid}/keys", tag = "users", params(("guid" = String, Path,)),
    request_body = NewKey,
    responses((status = 200, body = NewKeyView), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
async fn create(
    State(services): State<Services>,
    Account(caller): Account,
    Path(guid): Path<String>,
    Object(wanted): Object<NewKey>,
) -> Result<Json<NewKeyView>, ApiError> {
    let owner = own(&services, caller, &guid).await?;
    keeps_credentials(&services.database.client().await?, &owner).await?;
    let role = match wanted.role.as_deref() {
        None | Some("") => None,
        Some(word) => Some(
            UserRole::parse(word)
                .ok_or_else(|| ApiError::new(Code::BadField, "role must be viewer, publisher or administrator"))?,
        ),
    };
    let expires_at = wanted.expires_time.as_deref().map(end_of).transpose()?;
    let name = wanted.name.unwrap_or_default();
    let (row, text) = make_key(&services.database, &*services.backstage, &owner, &name, role, expires_at).await?;
    Ok(Json(NewKeyView { about: view(row, &owner), key: text.into_text() }))
}

/// Makes a key for `owner`: at most of the role that `owner` has here and now, which is also what `None` gives. Its name is unique
/// among the owner's keys (code 26).
pub async fn make_key(
    database: &Database,
    backstage: &dyn Backstage,
    owner: &Principal,
    name: &str,
    role: Option<UserRole>,
    expires_at: Option<OffsetDateTime>,
) -> Result<(KeyRow, ApiKeyText), ApiError> {
    if name.trim().is_empty() || name.chars().count() > 255 {
        return Err(ApiError::new(Code::BadField, "a key needs a name of 1 to 255 characters"));
    }
    let role = role.unwrap_or(owner.role);
    if role > owner.role {
        let (have, want) = (owner.role.as_str(), role.as_str());
        let message = format!("a credential of role {have} cannot make a key of role {want}");
        return Err(ApiError::new(Code::NotPermitted, message));
    }
    let mut client = database.client().await?;
    if keys::list(&client, owner.user).await?.len() >= MAX_KEYS {
        return Err(ApiError::new(
            Code::BadField,
            format!("an account has at most {MAX_KEYS} keys; delete some first"),
        ));
    }
    let text = ApiKeyText::random()?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let row = keys::create(&tx, owner.user, name, role, &text.hash(), expires_at).await?;
    record(&tx, owner, &Action::KeyMade { user: &owner.username, key: name, role }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client); // Refreshing needs a connection too.
    backstage.refresh(Part::Keys).await;
    Ok((row, text))
}

/// Reads when a key shall end: in the future.
fn end_of(text: &str) -> Result<OffsetDateTime, ApiError> {
    let read = OffsetDateTime::parse(text, &Rfc3339).ok().filter(|end| *end > OffsetDateTime::now_utc());
    let refused = || ApiError::new(Code::BadField, "expires_time must be a time to come, as 2030-01-31T12:00:00Z");
    read.ok_or_else(refused)
}

/// Revokes a key at once and for good. A credential revokes no key that gives more than itself.
#[utoipa::path(delete, path = "/v1/users/{guid}/keys/{id}", tag = "users",
    params(("guid" = String, Path,), ("id" = String, Path,)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn revoke(
    State(services): State<Services>,
    Account(caller): Account,
    Path((guid, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let owner = own(&services, caller, &guid).await?;
    let key: KeyId = id.parse()?;
    let mut client = services.database.client().await?;
    let missing = || ApiError::new(Code::Missing, "there is no such key");
    let row = keys::get(&client, owner.user, key).await?.ok_or_else(missing)?;
    if row.role > owner.role {
        return Err(ApiError::new(Code::MayNotRemove, "a key of a lesser role does not revoke this one"));
    }
    let tx = client.transaction().await.map_err(DbError::from)?;
    if !keys::revoke(&tx, owner.user, key).await? {
        return Err(missing());
    }
    record(&tx, &owner, &Action::KeyRevoked { user: &owner.username, key: &row.name }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    services.backstage.refresh(Part::Keys).await;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn key_texts_are_long_plain_and_new() {
        let (one, other) = (ApiKeyText::random().unwrap(), ApiKeyText::random().unwrap());
        assert_ne!(one.hash(), other.hash());
        let text = one.into_text();
        assert!(text.len() == KEY_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text}");
        let derived = |secret, seed| ApiKeyText::derived(&[secret; 32], &[seed; 16]).hash();
        assert_eq!(derived(1, 1), derived(1, 1));
        assert!(derived(1, 1) != derived(1, 2) && derived(1, 1) != derived(2, 1));
    }
}
