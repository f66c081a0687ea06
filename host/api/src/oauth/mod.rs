//! `/oauth/…`: programs that people let act in their name, by OAuth 2 (RFC 6749), as public clients with PKCE.
//!
//! The document at `/.well-known/oauth-authorization-server` (RFC 8414) leads to all of it. A program registers itself (RFC 7591),
//! gets a user's consent in a browser (pages of the dashboard), and redeems a code for an access token and a refresh token. A
//! program with an identity token that the operator's issuer signed exchanges it (RFC 8693). An
//! access token is an API key that ends by itself, so it is worth the same in the same places. What is decided about a code or a
//! token is decided by `lectern_domain::oauth`. Errors here are those of the RFCs, not the protocol's own.

mod consent;
mod device;
mod error;
mod exchange;
pub(crate) mod form;
mod grants;
mod register;
mod secret;
mod token;

pub use consent::{Asked, Declined, DeviceAsked, DeviceRefusal, allow, answer_device, device_waiting};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::guard::Base;

/// The grant types that a program may register, as RFC 7591 and RFC 8628 word them.
const AUTHORIZATION_CODE: &str = "authorization_code";
const REFRESH_TOKEN: &str = "refresh_token";
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// RFC 8693's; not one that programs register: whoever has a good token may exchange it.
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const GRANT_TYPES: [&str; 3] = [AUTHORIZATION_CODE, REFRESH_TOKEN, DEVICE_CODE];

/// Registrations, or programs that wait, from one address: people try a few times, and an office may share an address.
const WAITING_FROM_ONE: i64 = 50;
/// The same in all: they take some 10 MB then, and are removed by themselves.
const WAITING: i64 = 10_000;

/// Below `/__api__`.
pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(register::register))
        .routes(routes!(token::token))
        .routes(routes!(device::begin))
        .routes(routes!(grants::revoke))
        .routes(routes!(grants::list))
        .routes(routes!(grants::end))
}

/// Below the server's address.
pub(crate) fn well_known() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(discover))
}

/// Where everything is (RFC 8414 §2).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    registration_endpoint: String,
    device_authorization_endpoint: String,
    revocation_endpoint: String,
    scopes_supported: [&'static str; 3],
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    grant_types_supported: Vec<&'static str>,
    token_endpoint_auth_methods_supported: [&'static str; 1],
    revocation_endpoint_auth_methods_supported: [&'static str; 1],
    code_challenge_methods_supported: [&'static str; 1],
}

/// Tells programs how to sign their users in.
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "oauth", security(()),
    responses((status = 200, body = Metadata), (status = 401, body = crate::ErrorBody)))]
async fn discover(State(services): State<Services>, base: Base) -> Json<Metadata> {
    let exchanges = services.backstage.takes_id_tokens().then_some(TOKEN_EXCHANGE);
    let api = |path: &str| base.url(&format!("/__api__/oauth/{path}"));
    Json(Metadata {
        issuer: base.url(""),
        authorization_endpoint: base.url("/connect/oauth/authorize"),
        token_endpoint: api("token"),
        registration_endpoint: api("register"),
        device_authorization_endpoint: api("device"),
        revocation_endpoint: api("revoke"),
        scopes_supported: ["viewer", "publisher", "administrator"],
        response_types_supported: ["code"],
        response_modes_supported: ["query"],
        grant_types_supported: GRANT_TYPES.into_iter().chain(exchanges).collect(),
        token_endpoint_auth_methods_supported: ["none"],
        revocation_endpoint_auth_methods_supported: ["none"],
        code_challenge_methods_supported: ["S256"],
    })
}
