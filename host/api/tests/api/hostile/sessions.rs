//! What a browser's session may do: look. Pages of content share its origin, so no header proves who sent a request.

use axum::body::Body;
use lectern_domain::access::{Principal, PrincipalVia};

use super::objects::Objects;
use super::operations::operations;
use crate::support::{Server, request};

/// Headers that a page can send, or have sent, to look like the server's own.
const DISGUISES: [&[(&str, &str)]; 8] = [
    &[],
    &[("x-rsc-xsrf", "guess")],
    &[("x-rsc-xsrf", ""), ("cookie", "RSC-XSRF=guess; session=x")],
    &[("origin", "https://lectern.example"), ("referer", "https://lectern.example/connect/")],
    &[("origin", "null")],
    &[("origin", "https://evil.example"), ("x-rsc-xsrf", "guess")],
    &[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "navigate")],
    &[("x-http-method-override", "GET"), ("x-requested-with", "XMLHttpRequest")],
];

#[tokio::test]
async fn a_session_changes_nothing_whatever_it_says_of_itself() {
    let server = Server::new().await;
    let objects = Objects::new(&server).await;
    server.backstage.take();
    let mut refused = 0;
    for operation in operations().iter().filter(|operation| operation.method != "GET") {
        // It reads its own credential, and has no use for a session.
        if operation.path.ends_with("/experimental/bootstrap") {
            continue;
        }
        for who in [&server.admin, &server.owner] {
            let session = Principal { via: PrincipalVia::Session, ..who.clone() };
            for disguise in DISGUISES {
                let path = objects.fill(&operation.path);
                let mut request = request(&operation.method, &path).header("content-type", "application/json");
                for (name, value) in disguise {
                    request = request.header(*name, *value);
                }
                let reply = server.send(Some(&session), request.body(Body::from("{}")).unwrap()).await;
                assert_eq!(reply.refusal(), (403, 92), "{} {disguise:?}", operation.name());
                refused += 1;
            }
        }
    }
    assert!(refused > 500, "{refused}");
    assert_eq!(server.backstage.take(), [], "nothing was told to anybody");
}

/// The method is what was sent, whatever a header or a parameter says.
#[tokio::test]
async fn looking_changes_nothing() {
    let server = Server::new().await;
    let objects = Objects::new(&server).await;
    let session = Principal { via: PrincipalVia::Session, ..server.owner.clone() };
    let item = format!("/__api__/v1/content/{}", objects.content);
    for path in [format!("{item}?_method=DELETE"), format!("{item}?method=DELETE")] {
        let request = request("GET", &path).header("x-http-method-override", "DELETE").body(Body::empty()).unwrap();
        server.send(Some(&session), request).await.ok();
    }
    // No route that changes something is also found by another method.
    for operation in operations().iter().filter(|operation| operation.method != "GET") {
        for method in ["OPTIONS", "TRACE", "PROPFIND", "get"] {
            let path = objects.fill(&operation.path);
            let reply = server.send(Some(&session), request(method, &path).body(Body::empty()).unwrap()).await;
            assert!(reply.status.is_client_error(), "{method} {path}: {reply:?}");
        }
    }
    server.get(&server.owner, &item).await.ok();
}
