//! Sign-in for clients, and the one thing its session may change.

use axum::body::Body;
use http::header::SET_COOKIE;
use lectern_api::ClientAddress;
use lectern_domain::access::{Principal, PrincipalVia};
use lectern_metadata::users;
use serde_json::{Value, json};

use crate::support::{IMPATIENT, Reply, Server, request};

async fn sign_in(server: &Server, body: Value) -> Reply {
    server.ask(None, "POST", "/__api__/__login__", body).await
}

async fn grace(server: &Server) -> Principal {
    let made = json!({"username": "grace", "password": "right password", "user_role": "publisher"});
    server.ask(Some(&server.admin), "POST", "/__api__/v1/users", made).await.ok();
    let row = users::get_by_username(&server.database.client().await.unwrap(), "grace").await.unwrap().unwrap();
    Principal { user: row.id, guid: row.guid, username: row.username, role: row.role, via: PrincipalVia::Session }
}

#[tokio::test]
async fn a_session_of_a_client_makes_a_key_and_nothing_else() {
    let server = Server::new().await;
    let grace = grace(&server).await;
    let reply = sign_in(&server, json!({"username": "grace", "password": "right password"})).await;
    assert_eq!(reply.ok()["guid"], grace.guid.to_string());
    let cookies: Vec<&str> = reply.headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()).collect();
    assert_eq!(cookies.len(), 2);
    assert!(cookies.iter().all(|cookie| cookie.contains("HttpOnly; SameSite=Lax; Secure")), "{cookies:?}");
    assert!(cookies[0].starts_with("session=secret;"), "{cookies:?}");
    let second = cookies[1].strip_prefix("RSC-XSRF=").unwrap().split(';').next().unwrap();

    let keys = format!("/__api__/v1/users/{}/keys", grace.guid);
    let ask = async |who: &Principal, method: &str, path: &str, second: Option<&str>| {
        let mut request = request(method, path);
        if let Some(second) = second {
            request = request.header("x-rsc-xsrf", second);
        }
        let body = Body::from(json!({"name": "made by a session", "title": "x"}).to_string());
        server.send(Some(who), request.body(body).unwrap()).await
    };
    assert_eq!(ask(&grace, "POST", &keys, None).await.refusal(), (403, 92));
    for wrong in ["", "x", &second[1..]] {
        assert_eq!(ask(&grace, "POST", &keys, Some(wrong)).await.refusal(), (403, 92), "{wrong}");
    }
    // The secret is its user's, and for this route alone.
    let other = Principal { via: PrincipalVia::Session, ..server.owner.clone() };
    let others = format!("/__api__/v1/users/{}/keys", other.guid);
    assert_eq!(ask(&other, "POST", &others, Some(second)).await.refusal(), (403, 92));
    assert_eq!(ask(&grace, "POST", &others, Some(second)).await.refusal(), (403, 92));
    for (method, path) in
        [("POST", "/__api__/v1/content"), ("DELETE", &format!("{keys}/1")), ("PUT", "/__api__/v1/users/x")]
    {
        assert_eq!(ask(&grace, method, path, Some(second)).await.refusal(), (403, 92), "{method} {path}");
    }
    let made = ask(&grace, "POST", &keys, Some(second)).await.ok();
    assert!(made["key"].as_str().is_some_and(|key| key.len() >= 32), "{made}");
}

#[tokio::test]
async fn only_who_knows_the_password_learns_of_the_account() {
    let server = Server::new().await;
    let grace = grace(&server).await;
    let right = json!({"username": "grace", "password": "right password"});
    for body in [
        json!({"username": "grace", "password": "wrong"}),
        json!({"username": "nobody", "password": "right password"}),
        json!({"username": "viewer", "password": "right password"}),
    ] {
        assert_eq!(sign_in(&server, body.clone()).await.refusal(), (401, 30), "{body}");
    }
    for body in [json!({}), json!({"username": "grace"}), json!({"password": "x"})] {
        assert_eq!(sign_in(&server, body.clone()).await.refusal(), (400, 12), "{body}");
    }
    let client = server.database.client().await.unwrap();
    client.execute("UPDATE users SET confirmed = false WHERE username = 'grace'", &[]).await.unwrap();
    assert_eq!(sign_in(&server, right.clone()).await.refusal(), (400, 40));
    users::set_locked(&client, grace.user, true).await.unwrap();
    assert_eq!(sign_in(&server, right.clone()).await.refusal(), (403, 50));
    assert_eq!(sign_in(&server, json!({"username": "grace", "password": "wrong"})).await.refusal(), (401, 30));

    // A page of any origin is refused, and who tries too often waits.
    for (name, value) in [("origin", "https://lectern.example"), ("sec-fetch-site", "same-origin")] {
        let asked =
            request("POST", "/__api__/__login__").header(name, value).body(Body::from(right.to_string())).unwrap();
        assert_eq!(server.send(None, asked).await.refusal(), (403, 92), "{name}");
    }
    let often = request("POST", "/__api__/__login__").extension(ClientAddress(IMPATIENT));
    let often = server.send(None, often.body(Body::from(right.to_string())).unwrap()).await;
    assert_eq!(often.refusal(), (429, 30));
}
