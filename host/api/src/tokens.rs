//! `/tokens`: programs that sign their requests ask for a token, and a user confirms it. Also the list of one's own.
//!
//! Asking needs no credential, so it is bounded: per address, and in all. What was not confirmed within the hour never will be.

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use lectern_domain::audit::{Action, Actor};
use lectern_domain::ids::UserId;
use lectern_metadata::signed_tokens::{self, TokenRow};
use lectern_metadata::{Client, DbError, GenericClient, audit, users};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::Services;
use crate::audit::record;
use crate::body::Object;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::{Account, Base, ClientAddress};
use crate::keys::keeps_credentials;
use crate::stamp::Stamp;
use crate::users::{Standing, somebody};

/// How long a token may be claimed (the protocol's hour).
const CLAIM: Duration = Duration::hours(1);
/// Unclaimed tokens of one address: people try a few times, and an office may share an address.
const WAITING_FROM_ONE: i64 = 50;
/// Unclaimed tokens in all: they take some 10 MB then, and are forgotten by themselves.
const WAITING: i64 = 10_000;
/// Bits a key may have: fewer are weak, more are slow to verify.
const KEY_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Most tokens of one account that are listed.
const LISTED: i64 = 500;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(ask)).routes(routes!(claim_with_key)).routes(routes!(list)).routes(routes!(end))
}

/// A token that a program asks for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct NewToken {
    /// Its id, chosen by the program.
    #[schema(required = true, value_type = String, pattern = "^[-_0-9A-Za-z]{16,128}$")]
    token: Option<String>,
    /// The RSA public key: base64 of a DER `SubjectPublicKeyInfo`.
    #[schema(required = true, value_type = String, min_length = 1)]
    public_key: Option<String>,
}

/// Where a user confirms the token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClaimView {
    token_claim_url: String,
}

/// Asks for a token. Needs no credential; the token is worth nothing until a user confirms it.
#[utoipa::path(post, path = "/tokens", tag = "users", security(()), request_body = NewToken,
    responses((status = 200, body = ClaimView), (status = 400, body = ErrorBody),
        (status = 429, description = "too many of one address wait to be confirmed", body = ErrorBody),
        (status = 503, description = "too many wait to be confirmed", body = ErrorBody)))]
async fn ask(
    State(services): State<Services>,
    base: Base,
    address: Option<axum::Extension<ClientAddress>>,
    Object(wanted): Object<NewToken>,
) -> Result<Json<ClaimView>, ApiError> {
    let incomplete = |text: &str| ApiError::new(Code::TokenIncomplete, text);
    let id = wanted.token.filter(|id| !id.is_empty()).ok_or_else(|| incomplete("a token needs an id: `token`"))?;
    if id.len() > 128 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) || id.len() < 16
    {
        return Err(incomplete("a token's id has 16 to 128 letters, digits, `-` and `_`"));
    }
    let key = wanted.public_key.filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| incomplete("a token needs a public key: `public_key`"))?;
    let key = read_key(&key).map_err(incomplete)?;
    let from = address.map_or_else(|| "unknown".to_owned(), |address| address.0.0.to_string());
    let client = services.database.client().await?;
    let waiting = signed_tokens::waiting(&client, &from).await?;
    let again = "too many tokens wait to be confirmed; confirm one, or wait an hour";
    if waiting.from_here >= WAITING_FROM_ONE {
        return Err(ApiError::too_many(again));
    }
    if waiting.total >= WAITING {
        return Err(ApiError::busy(again));
    }
    signed_tokens::create(&client, &id, &key, &from, OffsetDateTime::now_utc() + CLAIM).await?;
    Ok(Json(ClaimView { token_claim_url: base.url(&format!("/connect/tokens/{id}")) }))
}

/// Reads an RSA key of a usable size: base64 of DER, as `SubjectPublicKeyInfo` or bare. Answers the bare `RSAPublicKey`.
fn read_key(text: &str) -> Result<Vec<u8>, &'static str> {
    const FORM: &str = "public_key must be an RSA key: base64 of a DER SubjectPublicKeyInfo";
    // Some programs break the lines.
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    if text.len() > 8192 {
        return Err(FORM);
    }
    let der = STANDARD.decode(text).map_err(|_| FORM)?;
    let bare = match SubjectPublicKeyInfo::from_der(&der) {
        Ok(([], info)) => match info.parsed() {
            Ok(PublicKey::RSA(_)) => info.subject_public_key.data.to_vec(),
            Ok(_) | Err(_) => return Err(FORM),
        },
        Ok(_) | Err(_) => der,
    };
    let (rest, key) = RSAPublicKey::from_der(&bare).map_err(|_| FORM)?;
    if !rest.is_empty() {
        return Err(FORM);
    }
    if !KEY_BITS.contains(&key.key_size()) {
        return Err("public_key must have 2048 to 8192 bits");
    }
    Ok(bare)
}

/// Why a token of this state cannot be claimed.
fn refusal(token: Option<&TokenRow>) -> ApiError {
    match token {
        None => ApiError::new(Code::Missing, "there is no such token; it may have been forgotten: ask for another"),
        Some(token) if token.user.is_some() => ApiError::new(Code::TokenClaimed, "the token was confirmed before"),
        Some(_) => ApiError::new(Code::TokenLate, "the token was not confirmed within the hour: ask for another"),
    }
}

/// Confirms a token for a user. Codes 29 (late), 84 (claimed before), 4 (unknown); 40 and 50 for accounts that prove nobody.
pub async fn claim(client: &mut Client, id: &str, user: UserId) -> Result<(), ApiError> {
    let tx = client.transaction().await.map_err(DbError::from)?;
    let account = users::get(&tx, user).await?;
    let account = account.ok_or_else(|| ApiError::new(Code::UserMissing, "the account is gone"))?;
    Standing::check(&account)?;
    if signed_tokens::claim(&tx, id, user).await? {
        let actor = Actor::account(account.id, account.guid, &account.username);
        audit::append(&tx, actor, &Action::TokenConfirmed { user: &account.username }).await?;
        tx.commit().await.map_err(DbError::from)?;
        tracing::info!(user.name = account.username, "a token was confirmed");
        return Ok(());
    }
    Err(refusal(signed_tokens::get(&tx, id).await?.as_ref()))
}

/// Confirms a token, for programs that have a key. People do so in a browser.
#[utoipa::path(post, path = "/tokens/{id}/claim", tag = "users", params(("id" = String, Path,)),
    responses((status = 204), (status = 401, description = "late", body = ErrorBody),
        (status = 403, description = "claimed before", body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn claim_with_key(
    State(services): State<Services>,
    Account(caller): Account,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    // A signature acts with its user's whole role: a lesser key would gain by confirming one.
    let mut client = services.database.client().await?;
    keeps_credentials(&client, &caller).await?;
    let account = users::get(&client, caller.user).await?;
    if account.is_some_and(|account| account.role > caller.role) {
        return Err(ApiError::new(Code::NotPermitted, "a key of a lesser role than its user's confirms no token"));
    }
    claim(&mut client, &id, caller.user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A program that signs its requests.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenView {
    id: String,
    /// The address that asked for it.
    asked_from: String,
    created_time: Stamp,
    claimed_time: Option<Stamp>,
    /// To the minute or so; null: never.
    last_used_time: Option<Stamp>,
}

async fn of_user(client: &impl GenericClient, user: UserId) -> Result<Vec<TokenView>, ApiError> {
    let rows = signed_tokens::list(client, user, LISTED).await?;
    let view = |row: TokenRow| TokenView {
        id: row.id,
        asked_from: row.asked_from,
        created_time: row.created_at.into(),
        claimed_time: row.claimed_at.map(Stamp),
        last_used_time: row.last_used_at.map(Stamp),
    };
    Ok(rows.into_iter().map(view).collect())
}

/// Lists the programs that sign requests in a user's name; one's own, or for administrators.
#[utoipa::path(get, path = "/v1/users/{guid}/tokens", tag = "users", params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<TokenView>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn list(
    State(services): State<Services>,
    Account(caller): Account,
    Path(guid): Path<String>,
) -> Result<Json<Vec<TokenView>>, ApiError> {
    let client = services.database.client().await?;
    let user = somebody(&client, &caller, &guid, Code::NoAccess).await?;
    Ok(Json(of_user(&client, user.id).await?))
}

/// Ends a program's token at once and for good; one's own, or for administrators.
#[utoipa::path(delete, path = "/v1/users/{guid}/tokens/{id}", tag = "users",
    params(("guid" = String, Path,), ("id" = String, Path,)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn end(
    State(services): State<Services>,
    Account(caller): Account,
    Path((guid, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let user = somebody(&tx, &caller, &guid, Code::MayNotRemove).await?;
    if !signed_tokens::delete(&tx, user.id, &id).await? {
        return Err(ApiError::new(Code::CannotRemove, "there is no such token"));
    }
    record(&tx, &caller, &Action::TokenEnded { user: &user.username }).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_rsa_key_is_refused() {
        for bad in ["", "x", "AAAA", "MAA=", &STANDARD.encode([0x30; 300]), &"A".repeat(9000)] {
            assert!(read_key(bad).is_err(), "{bad}");
        }
    }
}
