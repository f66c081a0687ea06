//! `/v1/content/{guid}/thumbnail` and `/applications/{app}/image`.

use axum::body::Body;
use lectern_api::Part;
use lectern_domain::access::PermissionRole;
use serde_json::Value;

use crate::support::{Reply, Server, Told, request};

pub(crate) fn png(size: usize) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x10\0\0\0\x10\x08\x06\0\0\0".to_vec();
    bytes.resize(size.max(bytes.len()), 7);
    bytes
}

#[tokio::test]
async fn a_picture_is_given_shown_and_taken_away() {
    let server = Server::new().await;
    let guid = server.content("pictured").await;
    let at = format!("/__api__/v1/content/{guid}/thumbnail");
    let legacy = format!("/__api__/applications/{guid}/image");
    let send = async |who, method: &str, path: &str, bytes: Vec<u8>| -> Reply {
        server
            .send(Some(who), request(method, path).header("content-type", "text/html").body(Body::from(bytes)).unwrap())
            .await
    };
    for path in [&at, &legacy] {
        let none = server.get(&server.owner, path).await;
        assert_eq!((none.status.as_u16(), none.bytes.len()), (204, 0));
        assert_eq!(send(&server.owner, "DELETE", path, vec![]).await.refusal(), (404, 17));
    }
    server.backstage.take();
    for (method, path) in [("PUT", &at), ("POST", &legacy)] {
        assert_eq!(send(&server.owner, method, path, png(5 << 20)).await.status, 204);
        assert_eq!(server.backstage.take(), [Told::Refresh(Part::Content(guid.parse().unwrap()))]);
    }
    for path in [&at, &legacy] {
        let picture = server.get(&server.owner, path).await;
        assert_eq!((picture.status.as_u16(), picture.bytes.to_vec()), (200, png(5 << 20)));
        assert_eq!(picture.headers["content-type"], "image/png", "what the bytes are, not what was said");
        assert_eq!(picture.headers["x-content-type-options"], "nosniff");
    }
    let refused: [(Vec<u8>, (u16, i64)); 5] = [
        (vec![], (400, 87)),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>".to_vec(), (400, 87)),
        (b"GIF89a".to_vec(), (400, 87)),
        (png(0)[..20].to_vec(), (400, 87)),
        (png((5 << 20) + 1), (413, 87)),
    ];
    for (bytes, refusal) in refused {
        assert_eq!(send(&server.owner, "PUT", &at, bytes.clone()).await.refusal(), refusal, "{} bytes", bytes.len());
    }
    server.permit(&guid, &server.viewer, PermissionRole::Viewer).await;
    assert_eq!(server.get(&server.viewer, &at).await.status, 200);
    for (method, path) in [("PUT", &at), ("DELETE", &at), ("POST", &legacy), ("DELETE", &legacy)] {
        assert_eq!(send(&server.viewer, method, path, png(0)).await.refusal(), (403, 21));
        assert_eq!(send(&server.stranger, method, path, png(0)).await.refusal(), (403, 19));
    }
    assert_eq!(server.ask(None, "GET", &at, Value::Null).await.refusal(), (401, 24));
    assert_eq!(send(&server.owner, "DELETE", &at, vec![]).await.status, 204);
    assert_eq!(server.get(&server.owner, &at).await.status, 204);
}
