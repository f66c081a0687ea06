//! `POST /v1/experimental/bootstrap`: makes the first administrator and returns their first API key.
//!
//! Proof is a short-lived token signed with a secret that the operator gave to both sides. The token is judged before
//! anything is looked up, so a caller without the secret learns nothing but that bootstrap is on.

use axum::Json;
use axum::extract::State;
use http::{HeaderMap, header};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use lectern_domain::audit::{Action, Actor};
use lectern_domain::ids::UserGuid;
use lectern_domain::user::UserRole;
use lectern_metadata::users::NewUser;
use lectern_metadata::{DbError, audit, keys, users};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::Services;
use crate::error::{ApiError, Code, ErrorBody};
use crate::keys::ApiKeyText;
use crate::services::Part;

/// The user name of the first administrator.
const FIRST_ADMINISTRATOR: &str = "admin";

/// The name of their first key.
const FIRST_KEY: &str = "bootstrap";

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(bootstrap))
}

/// The first administrator's key: shown here and never again.
#[derive(Serialize, ToSchema)]
pub(crate) struct BootstrapReply {
    api_key: String,
}

/// Makes the first administrator.
#[utoipa::path(post, path = "/v1/experimental/bootstrap", tag = "server", security(()),
    description = "Needs `Authorization: Connect-Bootstrap <JWT>`.",
    responses((status = 200, body = BootstrapReply), (status = 401, body = ErrorBody),
        (status = 403, description = "there are users already", body = ErrorBody),
        (status = 404, description = "bootstrap is off", body = ErrorBody)))]
async fn bootstrap(State(services): State<Services>, headers: HeaderMap) -> Result<Json<BootstrapReply>, ApiError> {
    let Some(secret) = &services.settings.bootstrap_secret else {
        return Err(ApiError::new(Code::Missing, "bootstrap is not enabled on this server"));
    };
    judge(&headers, secret)?;
    let key = ApiKeyText::random()?;
    let user = NewUser {
        guid: UserGuid(Uuid::new_v4()),
        username: FIRST_ADMINISTRATOR.to_owned(),
        email: String::new(),
        first_name: String::new(),
        last_name: String::new(),
        role: UserRole::Administrator,
        password_hash: None,
        confirmed: true,
    };
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let user = users::create_first_administrator(&tx, &user).await?;
    keys::create(&tx, user.id, FIRST_KEY, UserRole::Administrator, &key.hash(), None).await?;
    let made = Action::UserMade { user: &user.username, role: user.role };
    audit::append(&tx, Actor::bootstrap(), &made).await?;
    let key_made = Action::KeyMade { user: &user.username, key: FIRST_KEY, role: UserRole::Administrator };
    audit::append(&tx, Actor::bootstrap(), &key_made).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    services.backstage.refresh(Part::Users).await;
    services.backstage.refresh(Part::Keys).await;
    tracing::info!(user.name = FIRST_ADMINISTRATOR, "bootstrap made the first administrator");
    Ok(Json(BootstrapReply { api_key: key.into_text() }))
}

#[derive(Deserialize)]
struct Claims {
    scope: String,
}

fn judge(headers: &HeaderMap, secret: &[u8]) -> Result<(), ApiError> {
    // One text for every reason: which part was wrong helps only those who guess.
    let refused = || ApiError::new(Code::BadBootstrapToken, "the bootstrap token is not valid");
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(refused)?;
    let token = given.strip_prefix("Connect-Bootstrap ").ok_or_else(refused)?;
    let mut rules = Validation::new(Algorithm::HS256);
    rules.leeway = 0; // The token lives 15 minutes: clocks that differ by more than that need another remedy.
    rules.set_issuer(&["rsconnect-python"]);
    rules.set_audience(&["rsconnect"]);
    rules.set_required_spec_claims(&["exp", "iss", "aud"]);
    let token = decode::<Claims>(token.trim(), &DecodingKey::from_secret(secret), &rules).map_err(|_| refused())?;
    if token.claims.scope == "bootstrap" { Ok(()) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn good() -> Value {
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        json!({"iss": "rsconnect-python", "aud": "rsconnect", "scope": "bootstrap", "iat": now, "exp": now + 900})
    }

    fn token(claims: &Value, secret: &[u8], algorithm: Algorithm) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).unwrap()
    }

    fn judged(authorization: Option<&str>) -> Result<(), i32> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        judge(&headers, SECRET).map_err(|refusal| refusal.code())
    }

    #[test]
    fn only_the_right_token_passes() {
        let with = |change: &dyn Fn(&mut Value)| {
            let mut claims = good();
            change(&mut claims);
            judged(Some(&format!("Connect-Bootstrap {}", token(&claims, SECRET, Algorithm::HS256))))
        };
        assert_eq!(with(&|_| ()), Ok(()));
        assert_eq!(with(&|c| c["iss"] = "other".into()), Err(166));
        assert_eq!(with(&|c| c["aud"] = "other".into()), Err(166));
        assert_eq!(with(&|c| c["scope"] = "other".into()), Err(166));
        assert_eq!(with(&|c| c["exp"] = 1.into()), Err(166), "expired");
        for claim in ["iss", "aud", "scope", "exp"] {
            assert_eq!(with(&|c| drop(c.as_object_mut().unwrap().remove(claim))), Err(166), "no {claim}");
        }
    }

    #[test]
    fn other_credentials_do_not() {
        let right = token(&good(), SECRET, Algorithm::HS256);
        assert_eq!(judged(None), Err(166));
        assert_eq!(judged(Some("Connect-Bootstrap")), Err(166));
        assert_eq!(judged(Some("Connect-Bootstrap notatoken")), Err(166));
        assert_eq!(judged(Some(&format!("Bearer {right}"))), Err(166));
        assert_eq!(judged(Some(&format!("Key {right}"))), Err(166));
        let foreign = token(&good(), b"another secret of 32 bytes......", Algorithm::HS256);
        assert_eq!(judged(Some(&format!("Connect-Bootstrap {foreign}"))), Err(166));
        let other_algorithm = token(&good(), SECRET, Algorithm::HS512);
        assert_eq!(judged(Some(&format!("Connect-Bootstrap {other_algorithm}"))), Err(166));
        let unsigned = "eyJhbGciOiJub25lIn0.e30.";
        assert_eq!(judged(Some(&format!("Connect-Bootstrap {unsigned}"))), Err(166));
    }
}
