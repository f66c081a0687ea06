//! Who may ask what of other people's accounts and groups: each route of these against each kind of caller, as one table.
//!
//! The table is made from the OpenAPI document, so a route that is added appears in it. `LECTERN_WRITE_TABLES=1` writes the
//! answers down anew; what changed is seen in the difference.

use std::fmt::Write as _;

use axum::body::Body;
use lectern_domain::UserRole;
use lectern_domain::access::{Principal, PrincipalVia};
use lectern_domain::ids::GroupGuid;
use lectern_metadata::groups::{self, NewGroup};
use lectern_metadata::{keys, sessions, signed_tokens};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::support::{Server, request};

const TABLE: &str = "tests/api/roles.txt";

/// Kinds of callers. All ask about the owner's account and the owner's group.
const CALLERS: [&str; 7] = ["nobody", "session", "viewer", "publisher", "lesser key", "themselves", "administrator"];

fn caller(server: &Server, kind: &str) -> Option<Principal> {
    match kind {
        "nobody" => None,
        // Even of the account in question, and of an administrator.
        "session" => Some(Principal { via: PrincipalVia::Session, ..server.admin.clone() }),
        "viewer" => Some(server.viewer.clone()),
        "publisher" => Some(server.stranger.clone()),
        "lesser key" => Some(Principal { role: UserRole::Viewer, ..server.admin.clone() }),
        "themselves" => Some(server.owner.clone()),
        _ => Some(server.admin.clone()),
    }
}

/// A path that names what is the owner's.
async fn fill(server: &Server, path: &str) -> String {
    let client = server.database.client().await.unwrap();
    let later = OffsetDateTime::now_utc() + Duration::HOUR;
    let group = groups::list(&client, Some("theirs"), 0, 1).await.unwrap().groups.pop();
    let group = match group {
        Some(group) => group,
        None => {
            let guid = GroupGuid(Uuid::new_v4());
            let new = NewGroup { guid, name: "theirs".into(), owner: Some(server.owner.user), unique_id: None };
            groups::create(&client, &new).await.unwrap()
        }
    };
    let _ = groups::add_member(&client, group.id, server.viewer.user).await;
    let guid = if path.contains("/groups/") { group.guid.0 } else { server.owner.guid.0 };
    let id = if path.contains("/keys/") {
        let name = Uuid::new_v4().to_string();
        let hash = *blake3::hash(name.as_bytes()).as_bytes();
        keys::create(&client, server.owner.user, &name, UserRole::Viewer, &hash, None).await.unwrap().id.to_string()
    } else if path.contains("/sessions/") {
        let hash = *blake3::hash(Uuid::new_v4().as_bytes()).as_bytes();
        sessions::create(&client, &hash, server.owner.user, later, &[], None).await.unwrap();
        sessions::list(&client, server.owner.user, 1).await.unwrap()[0].guid.to_string()
    } else if path.contains("/oauth_grants/") {
        let secret = || blake3::hash(Uuid::new_v4().as_bytes()).as_bytes().to_vec();
        let sql = "INSERT INTO oauth_clients (id, name, redirect_uris, grant_types, asked_from) \
                   VALUES ('c', 'c', '{}', '{}', 'x') ON CONFLICT DO NOTHING";
        client.execute(sql, &[]).await.unwrap();
        let sql = "INSERT INTO oauth_grants (family, latest, client_id, user_id, role, expires_at) \
                   VALUES ($1, $2, 'c', $3, 'viewer', $4) RETURNING id::text";
        let owner = server.owner.user.0;
        client.query_one(sql, &[&secret(), &secret(), &owner, &later]).await.unwrap().get(0)
    } else {
        let id = Uuid::new_v4().simple().to_string();
        signed_tokens::create(&client, &id, b"k", "x", later).await.unwrap();
        if path.contains("/users/") {
            signed_tokens::claim(&client, &id, server.owner.user).await.unwrap();
        }
        id
    };
    path.replace("{guid}", &guid.to_string()).replace("{id}", &id).replace("{user}", &server.viewer.guid.to_string())
}

async fn answer(server: &Server, kind: &str, method: &str, path: &str) -> String {
    let filled = fill(server, path).await;
    let unique = Uuid::new_v4().simple().to_string();
    let body = json!({
        "name": unique, "username": unique, "locked": true, "user_guid": server.stranger.guid.to_string(),
        "temp_ticket": "x", "current_password": "x", "password": "long enough",
    });
    // A change of the account itself names nothing that only administrators change.
    let body = if method == "PUT" && path.ends_with("/{guid}") { json!({"email": "new@example.org"}) } else { body };
    let body = if method == "GET" { Body::empty() } else { Body::from(body.to_string()) };
    let reply = server.send(caller(server, kind).as_ref(), request(method, &filled).body(body).unwrap()).await;
    if reply.status.is_success() {
        return reply.status.as_u16().to_string();
    }
    let (status, code) = reply.refusal();
    format!("{status}/{code}")
}

#[tokio::test]
async fn each_route_against_each_caller() {
    let document = serde_json::to_value(lectern_api::openapi()).unwrap();
    let mut routes: Vec<(String, String)> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let tags = operation["tags"].as_array().into_iter().flatten();
            if tags.into_iter().any(|tag| tag == "users" || tag == "groups") {
                routes.push((path.clone(), method.to_uppercase()));
            }
        }
    }
    routes.sort();
    // What takes something away comes last, so that it is there for the others.
    let order = |(path, method): &(String, String)| (method == "DELETE", path.ends_with("/lock"));
    routes.sort_by_key(order);
    let mut rows: Vec<Vec<String>> = routes.iter().map(|(path, method)| vec![format!("{method} {path}")]).collect();
    for kind in CALLERS {
        let server = Server::new().await;
        for ((path, method), row) in routes.iter().zip(&mut rows) {
            row.push(answer(&server, kind, method, path).await);
        }
    }
    let mut table = format!("{:<58}", "status/code, of what is another's");
    CALLERS.iter().for_each(|kind| write!(table, "{kind:<14}").unwrap());
    for row in rows {
        write!(table, "\n{:<58}", row[0]).unwrap();
        row[1..].iter().for_each(|cell| write!(table, "{cell:<14}").unwrap());
    }
    let table = table.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n";
    if std::env::var_os("LECTERN_WRITE_TABLES").is_some() {
        std::fs::write(TABLE, &table).unwrap();
    }
    assert_eq!(table, include_str!("roles.txt"), "the table has changed: LECTERN_WRITE_TABLES=1 writes it anew");
    assert!(!table.contains(" 5"), "a route failed");
    assert_eq!(document["paths"]["/__api__/v1/users"]["get"]["tags"], Value::from(vec!["users"]));
}
