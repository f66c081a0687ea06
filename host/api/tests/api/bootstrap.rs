//! `/v1/experimental/bootstrap`. Which tokens pass is tested beside the code.

use axum::Router;
use axum::body::Body;
use jsonwebtoken::{EncodingKey, Header, encode};
use lectern_api::Part;
use lectern_domain::user::UserRole;
use lectern_metadata::snapshots::load_snapshot;
use serde_json::json;

use crate::support::{Reply, SECRET, Told, empty_server, request, send};

const PATH: &str = "/__api__/v1/experimental/bootstrap";

pub(crate) fn token() -> String {
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let claims =
        json!({"iss": "rsconnect-python", "aud": "rsconnect", "scope": "bootstrap", "iat": now, "exp": now + 900});
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

async fn ask(router: &Router, authorization: &str) -> Reply {
    let request = request("POST", PATH).header("authorization", authorization).header("content-length", "0");
    send(router, request.body(Body::empty()).unwrap()).await
}

fn leaks(reply: &Reply) -> bool {
    String::from_utf8_lossy(&reply.bytes).contains("api_key")
}

#[tokio::test]
async fn the_first_caller_with_the_secret_becomes_administrator() {
    let (router, database, backstage, _directory, _) = empty_server(true).await;
    let refused = ask(&router, "Connect-Bootstrap nonsense").await;
    assert_eq!(refused.refusal(), (401, 166));
    assert!(!leaks(&refused));

    let reply = ask(&router, &format!("Connect-Bootstrap {}", token())).await;
    assert_eq!(reply.status, 200);
    let key = reply.json()["api_key"].as_str().unwrap().to_owned();
    assert_eq!(backstage.take(), [Told::Refresh(Part::Users), Told::Refresh(Part::Keys)]);
    let snapshot = load_snapshot(&database).await.unwrap();
    let principal =
        snapshot.principal_of_key(blake3::hash(key.as_bytes()).as_bytes(), time::OffsetDateTime::now_utc()).unwrap();
    assert_eq!((principal.role, principal.username.as_str()), (UserRole::Administrator, "admin"));

    let mut me = request("GET", "/__api__/me").body(Body::empty()).unwrap();
    me.extensions_mut().insert(Some(principal));
    let me = send(&router, me).await.ok();
    assert_eq!((&me["username"], &me["user_role"]), (&json!("admin"), &json!("administrator")));

    let again = ask(&router, &format!("Connect-Bootstrap {}", token())).await;
    assert_eq!(again.refusal(), (403, 165));
    assert!(!leaks(&again));
    // A bad token is told apart from a late one, also now; and the new key is no token.
    assert_eq!(ask(&router, "Connect-Bootstrap nonsense").await.refusal(), (401, 166));
    assert_eq!(ask(&router, &format!("Connect-Bootstrap {key}")).await.refusal(), (401, 166));
    assert_eq!(ask(&router, &format!("Key {key}")).await.refusal(), (401, 166));
    let bare = send(&router, request("POST", PATH).body(Body::empty()).unwrap()).await;
    assert_eq!(bare.refusal(), (401, 166));
}

#[tokio::test]
async fn of_many_at_a_time_one_wins() {
    let (router, database, ..) = empty_server(true).await;
    let token = format!("Connect-Bootstrap {}", token());
    let replies = futures_util::future::join_all((0..8).map(|_| ask(&router, &token))).await;
    let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403, 403, 403, 403, 403, 403, 403]);
    let client = database.client().await.unwrap();
    assert_eq!(lectern_metadata::users::count(&client).await.unwrap(), 1);
}

#[tokio::test]
async fn without_a_secret_it_is_off() {
    let (router, ..) = empty_server(false).await;
    let reply = ask(&router, &format!("Connect-Bootstrap {}", token())).await;
    assert_eq!(reply.status, 404);
    assert!(!leaks(&reply));
}

#[tokio::test]
async fn the_token_opens_nothing_else() {
    let (router, ..) = empty_server(true).await;
    let token = format!("Connect-Bootstrap {}", token());
    for path in ["/__api__/server_settings", "/__api__/v1/user", "/__api__/me"] {
        let request = request("GET", path).header("authorization", &token).body(Body::empty()).unwrap();
        assert_eq!(send(&router, request).await.refusal(), (401, 30), "{path}");
    }
}
