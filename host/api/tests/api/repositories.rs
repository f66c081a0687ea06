//! `/v1/content/{guid}/repository` and `/repo/…` where git is switched off: what is refused, and what goes on.

use lectern_domain::access::PermissionRole;
use lectern_metadata::repositories::{self, Source};
use lectern_metadata::{Client, content};
use serde_json::{Value, json};
use std::time::Duration;

use crate::support::{Server, page_bundle};

/// Has an item come from a repository, as if git had not been off then.
async fn manage(client: &Client, guid: &str) {
    let row = content::get_by_guid(client, guid.parse().unwrap()).await.unwrap().unwrap();
    let source = Source { url: "https://git.example.org/a.git".into(), branch: "main".into(), directory: ".".into() };
    repositories::set(client, row.id, &source, true, Duration::from_secs(60)).await.unwrap();
}

#[tokio::test]
async fn without_git_repositories_are_shown_and_taken_away() {
    let server = Server::new().await;
    let guid = server.content("one").await;
    let at = format!("/__api__/v1/content/{guid}/repository");
    let ask = async |method: &str, path: &str, body: Value| server.ask(Some(&server.owner), method, path, body).await;
    let wanted = json!({"repository": "https://git.example.org/a.git"});
    assert_eq!(server.get(&server.owner, &at).await.refusal(), (404, 143));
    assert_eq!(ask("PUT", &at, wanted.clone()).await.refusal(), (404, 145));
    assert_eq!(ask("PATCH", &at, wanted.clone()).await.refusal(), (404, 145));
    assert_eq!(ask("POST", &format!("{at}/bundle"), wanted).await.refusal(), (409, 145));
    assert_eq!(ask("DELETE", &at, Value::Null).await.refusal(), (409, 143));
    for look in ["account?url=https%3A%2F%2Fgit.example.org", "branches?url=x", "manifest-dirs?url=x&branch=y"] {
        assert_eq!(server.get(&server.owner, &format!("/__api__/repo/{look}")).await.refusal(), (409, 145), "{look}");
    }
    assert_eq!(server.get(&server.owner, "/__api__/server_settings").await.ok()["git_enabled"], false);

    manage(&server.database.client().await.unwrap(), &guid).await;
    let shown = server.get(&server.owner, &at).await.ok();
    let expected = json!({"repository": "https://git.example.org/a.git", "branch": "main", "directory": ".",
        "polling": true, "last_error": null, "last_known_commit": null});
    assert_eq!(shown, expected);
    let deploy = format!("/__api__/v1/content/{guid}/deploy");
    assert_eq!(ask("POST", &deploy, json!({"bundle_id": null})).await.refusal(), (409, 145));
    assert_eq!(server.upload(&guid, page_bundle("x")).await.refusal(), (409, 144));
    assert_eq!(server.stored(), (0, 0), "nothing was taken in");
    assert_eq!(ask("DELETE", &at, Value::Null).await.status, 204);
    server.bundle(&guid).await;
}

#[tokio::test]
async fn repositories_are_for_those_who_may_change_the_item() {
    let server = Server::new().await;
    let guid = server.content("one").await;
    manage(&server.database.client().await.unwrap(), &guid).await;
    server.permit(&guid, &server.viewer, PermissionRole::Viewer).await;
    let at = format!("/__api__/v1/content/{guid}/repository");
    for (who, code) in [(&server.viewer, 21), (&server.stranger, 19)] {
        for (method, path) in [
            ("GET", at.clone()),
            ("PUT", at.clone()),
            ("PATCH", at.clone()),
            ("DELETE", at.clone()),
            ("POST", format!("{at}/bundle")),
        ] {
            assert_eq!(server.ask(Some(who), method, &path, Value::Null).await.refusal(), (403, code), "{method}");
        }
    }
    for look in ["account", "branches", "manifest-dirs"] {
        let path = format!("/__api__/repo/{look}?url=x");
        assert_eq!(server.get(&server.viewer, &path).await.refusal(), (403, 22));
        assert_eq!(server.ask(None, "GET", &path, Value::Null).await.refusal(), (401, 24));
    }
}
