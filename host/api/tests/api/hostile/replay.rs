//! Signed requests that somebody kept and sends again, at every route that changes something.

use time::{Duration, OffsetDateTime};

use super::objects::Objects;
use super::operations::operations;
use crate::support::Server;
use crate::tokens::{confirmed, send};

#[tokio::test]
async fn a_signed_change_counts_once_everywhere() {
    let server = Server::new().await;
    let objects = Objects::new(&server).await;
    let program = confirmed(&server, &server.stranger).await;
    let now = OffsetDateTime::now_utc();
    let mut replayed = 0;
    for operation in operations().iter().filter(|operation| operation.method != "GET") {
        // It reads a credential of another kind and no other.
        if operation.path.ends_with("/experimental/bootstrap") {
            continue;
        }
        let (method, path, body) = (operation.method.as_str(), objects.fill(&operation.path), b"{}".to_vec());
        let name = operation.name();
        // Outside its time, before and after: whatever else it holds.
        for skew in [Duration::minutes(-6), Duration::minutes(6)] {
            let fields = program.signed(method, &path, &body, now + skew);
            assert_eq!(send(&server, method, &path, body.clone(), &fields).await.refusal(), (401, 30), "{name} {skew}");
        }
        let fields = program.signed(method, &path, &body, now);
        let first = send(&server, method, &path, body.clone(), &fields).await;
        // Nobody's signature is refused for itself; what it asks for may be.
        assert!(!String::from_utf8_lossy(&first.bytes).contains("signature"), "{name}: {first:?}");
        assert!(first.status.as_u16() < 500, "{name}: {first:?}");
        // Within its time: as it was, at another address, with another method, with more in the query, and with a slash.
        let slash = format!("{path}/");
        let query = format!("{path}?a=b");
        let method_of_another = if method == "DELETE" { "PUT" } else { "DELETE" };
        for (method, path) in [
            (method, path.as_str()),
            (method, &query),
            (method, &slash),
            (method, "/__api__/v1/content"),
            (method_of_another, path.as_str()),
        ] {
            let again = send(&server, method, path, body.clone(), &fields).await;
            assert_eq!(again.refusal(), (401, 30), "{name} again as {method} {path}");
            replayed += 1;
        }
    }
    assert!(replayed > 250, "{replayed}");
}
