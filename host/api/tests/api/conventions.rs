//! What holds for every route: who is refused and with what, unknown addresses, bodies, slashes.

use axum::body::Body;
use lectern_api::CredentialRejected;
use lectern_domain::access::{PermissionRole, PrincipalVia};
use serde_json::{Value, json};

use crate::support::{Server, request, send};

/// Routes about one item: method, address, whether reading rights suffice.
const ABOUT_AN_ITEM: &[(&str, &str, bool)] = &[
    ("GET", "/__api__/v1/content/{guid}", true),
    ("PATCH", "/__api__/v1/content/{guid}", false),
    ("DELETE", "/__api__/v1/content/{guid}", false),
    ("GET", "/__api__/v1/content/{guid}/environment", false),
    ("PATCH", "/__api__/v1/content/{guid}/environment", false),
    ("PUT", "/__api__/v1/content/{guid}/environment", false),
    ("GET", "/__api__/v1/content/{guid}/bundles", false),
    ("POST", "/__api__/v1/content/{guid}/bundles", false),
    ("GET", "/__api__/v1/content/{guid}/bundles/1", false),
    ("DELETE", "/__api__/v1/content/{guid}/bundles/1", false),
    ("GET", "/__api__/v1/content/{guid}/bundles/1/download", false),
    ("POST", "/__api__/v1/content/{guid}/deploy", false),
    ("POST", "/__api__/v1/content/{guid}/build", false),
    ("GET", "/__api__/v1/content/{guid}/permissions", false),
    ("POST", "/__api__/v1/content/{guid}/permissions", false),
    ("GET", "/__api__/v1/content/{guid}/permissions/1", false),
    ("PUT", "/__api__/v1/content/{guid}/permissions/1", false),
    ("DELETE", "/__api__/v1/content/{guid}/permissions/1", false),
    ("GET", "/__api__/v1/content/{guid}/vanity", true),
    ("PUT", "/__api__/v1/content/{guid}/vanity", false),
    ("DELETE", "/__api__/v1/content/{guid}/vanity", false),
    ("GET", "/__api__/v1/content/{guid}/jobs", false),
    ("GET", "/__api__/v1/content/{guid}/jobs/0123456789abcdef", false),
    ("GET", "/__api__/v1/content/{guid}/jobs/0123456789abcdef/log", false),
    ("GET", "/__api__/applications/{guid}", true),
    ("GET", "/__api__/applications/{guid}/config", true),
    ("POST", "/__api__/applications/{guid}/upload", false),
    ("POST", "/__api__/applications/{guid}/deploy", false),
];

#[tokio::test]
async fn every_route_about_an_item_refuses_alike() {
    let server = Server::new().await;
    let guid = server.content("guarded").await;
    server.permit(&guid, &server.viewer, PermissionRole::Viewer).await;
    let absent = uuid::Uuid::new_v4().to_string();
    for (method, template, reading) in ABOUT_AN_ITEM {
        let at = |guid: &str| template.replace("{guid}", guid);
        let ask = async |who, guid: &str| server.ask(who, method, &at(guid), Value::Null).await;
        assert_eq!(ask(None, &guid).await.refusal(), (401, 24), "{method} {template} anonymous");
        assert_eq!(ask(None, "nonsense").await.refusal(), (401, 24), "{method} {template} anonymous, malformed");
        let owner = Some(&server.owner);
        assert_eq!(ask(owner, "not-a-guid").await.refusal(), (400, 3), "{method} {template} malformed");
        assert_eq!(ask(owner, &absent).await.refusal(), (404, 4), "{method} {template} absent");
        assert_eq!(ask(Some(&server.stranger), &guid).await.refusal(), (403, 19), "{method} {template} stranger");
        let listed = ask(Some(&server.viewer), &guid).await;
        if *reading {
            assert_ne!(listed.status, 403, "{method} {template} listed viewer");
        } else {
            assert_eq!(listed.refusal(), (403, 21), "{method} {template} listed viewer");
        }
    }
}

#[tokio::test]
async fn routes_about_no_item_want_an_account() {
    let server = Server::new().await;
    let paths = [
        "v1/user",
        "users/current",
        "me",
        "v1/users",
        "v1/content",
        "applications",
        "v1/vanities",
        "server_settings/applications",
        "server_settings/scheduler",
        "server_settings/scheduler/python-fastapi",
        "v1/server_settings/python",
        "v1/server_settings/r",
        "v1/server_settings/quarto",
        "v1/server_settings/nodejs",
        "v1/server_settings/tensorflow",
        "v1/tasks/0123456789abcdef",
        "tasks/0123456789abcdef",
    ];
    for path in paths {
        let path = format!("/__api__/{path}");
        assert_eq!(server.ask(None, "GET", &path, Value::Null).await.refusal(), (401, 24), "{path}");
    }
    for path in ["/__api__/v1/content", "/__api__/applications", "/__api__/v1/users"] {
        assert_eq!(server.ask(None, "POST", path, json!({})).await.refusal(), (401, 24), "{path}");
        assert_eq!(server.ask(Some(&server.viewer), "POST", path, json!({})).await.refusal(), (403, 22), "{path}");
    }
    let publisher = Some(&server.owner);
    assert_eq!(server.ask(publisher, "POST", "/__api__/v1/users", json!({})).await.refusal(), (403, 22));
}

#[tokio::test]
async fn a_credential_that_came_to_nothing_is_refused_everywhere() {
    let server = Server::new().await;
    for path in ["server_settings", "v1/user", "v1/content", "openapi.json", "no/such/route"] {
        let path = format!("/__api__/{path}");
        let mut rejected = request("GET", &path).body(Body::empty()).unwrap();
        rejected.extensions_mut().insert(CredentialRejected);
        assert_eq!(send(&server.router, rejected).await.refusal(), (401, 30), "{path}");
        for (name, value) in [
            ("authorization", "Bearer invalid"),
            ("authorization", "Key "),
            ("authorization", "Connect-Bootstrap a.b.c"),
            ("x-rsc-authorization", "Key wrong"),
            ("x-auth-token", "T0123"),
        ] {
            let presented = request("GET", &path).header(name, value).body(Body::empty()).unwrap();
            assert_eq!(send(&server.router, presented).await.refusal(), (401, 30), "{path} {name} {value}");
        }
    }
    let anonymous = request("GET", "/__api__/server_settings").header("x-auth-token", "anonymous-access");
    assert_eq!(send(&server.router, anonymous.body(Body::empty()).unwrap()).await.status, 200);
}

#[tokio::test]
async fn a_signed_in_browser_is_not_used_by_published_pages() {
    let server = Server::new().await;
    let mut session = server.owner.clone();
    session.via = PrincipalVia::Session;
    let post = |origin: &str| {
        let request = request("POST", "/__api__/v1/content").header("origin", origin);
        request.body(Body::from("{}")).unwrap()
    };
    for origin in ["https://evil.example", "https://lectern.example"] {
        assert_eq!(server.send(Some(&session), post(origin)).await.refusal(), (403, 92), "{origin}");
    }
    let keys = format!("/__api__/v1/users/{}/keys", session.guid);
    let mint = request("POST", &keys).body(Body::from("{\"name\":\"stolen\"}")).unwrap();
    assert_eq!(server.send(Some(&session), mint).await.refusal(), (403, 92));
    assert_eq!(server.get(&session, "/__api__/v1/user").await.status, 200, "reading is allowed");
}

#[tokio::test]
async fn unknown_addresses_are_told_in_plain_text() {
    let server = Server::new().await;
    for (method, path) in [
        ("GET", "/__api__/v1/no-such-thing"),
        ("GET", "/__api__"),
        ("GET", "/"),
        ("DELETE", "/__api__/v1/user"),
        ("POST", "/__api__/server_settings"),
        ("GET", "/__api__/v1/content/x/y/z"),
    ] {
        let reply = server.ask(Some(&server.admin), method, path, Value::Null).await;
        assert_eq!(reply.status, 404, "{method} {path}");
        assert!(reply.headers["content-type"].to_str().unwrap().starts_with("text/plain"), "{method} {path}");
        assert!(!String::from_utf8_lossy(&reply.bytes).contains("code"), "{method} {path}");
    }
}

#[tokio::test]
async fn a_trailing_slash_changes_nothing() {
    let server = Server::new().await;
    let guid = server.content("slashed").await;
    for path in ["/__api__/applications", "/__api__/users/current", &format!("/__api__/v1/content/{guid}")] {
        let plain = server.get(&server.owner, path).await.ok();
        assert_eq!(server.get(&server.owner, &format!("{path}/")).await.ok(), plain, "{path}");
    }
    let filtered = server.get(&server.owner, "/__api__/applications/?filter=name:other").await.ok();
    assert_eq!(filtered["total"], 0);
}

#[tokio::test]
async fn bodies_are_read_whatever_they_are_called() {
    let server = Server::new().await;
    for (index, kind) in ["text/plain", "application/json; charset=utf-8", ""].iter().enumerate() {
        let mut builder = request("POST", "/__api__/v1/content");
        if !kind.is_empty() {
            builder = builder.header("content-type", *kind);
        }
        let body = format!("{{\n  \"name\": \"typed-{index}\"\n}}");
        let reply = server.send(Some(&server.owner), builder.body(Body::from(body)).unwrap()).await;
        assert_eq!(reply.ok()["name"], format!("typed-{index}"), "{kind}");
    }
    for (body, status) in [("{", 400), ("[1]", 400), ("\"x\"", 400), ("{\"title\": 7}", 400)] {
        let request = request("POST", "/__api__/v1/content").body(Body::from(body)).unwrap();
        assert_eq!(server.send(Some(&server.owner), request).await.refusal(), (status, 121), "{body}");
    }
    let long = Body::from(format!("{{\"description\": \"{}\"}}", "x".repeat(2 << 20)));
    let long = request("POST", "/__api__/v1/content").body(long).unwrap();
    assert_eq!(server.send(Some(&server.owner), long).await.refusal(), (413, 121));
}

#[tokio::test]
async fn a_database_that_is_away_is_said_so() {
    use lectern_api::{Services, router};
    use std::sync::Arc;
    let server = Server::new().await;
    let mut config = lectern_metadata::DatabaseConfig::new("postgresql://lectern@/lectern?host=/nonexistent/lectern");
    config.wait_timeout = std::time::Duration::from_millis(200);
    let away = lectern_metadata::Database::open(config).unwrap();
    let cache = lectern_bundles::Cache::open(&server.directory.path().join("other-cache"), 1 << 20).unwrap();
    let settings = crate::support::settings(false);
    let services = Services::new(away, Arc::clone(&server.store), Arc::new(cache), server.backstage.clone(), settings);
    let router = router(services);
    let guid = uuid::Uuid::new_v4();
    for (method, path) in [
        ("GET", "/__api__/v1/content".to_owned()),
        ("POST", "/__api__/v1/content".to_owned()),
        ("POST", format!("/__api__/v1/content/{guid}/bundles")),
        ("POST", format!("/__api__/v1/content/{guid}/deploy")),
        ("GET", "/__api__/v1/user".to_owned()),
    ] {
        let mut request = request(method, &path).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Some(server.owner.clone()));
        let reply = send(&router, request).await;
        assert_eq!(reply.refusal(), (503, 1), "{method} {path}");
        assert!(reply.headers.contains_key("retry-after"), "{method} {path}");
    }
    // What needs no database goes on.
    let settings = request("GET", "/__api__/server_settings").body(Body::empty()).unwrap();
    assert_eq!(send(&router, settings).await.status, 200);
}
