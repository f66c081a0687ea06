//! `/v1/packages`, `/v1/content/{guid}/packages` and `…/lockfile`.

use lectern_domain::access::PermissionRole;
use lectern_domain::packages::{Language, Package};
use lectern_metadata::{content, packages};
use serde_json::json;

use crate::support::Server;

impl Server {
    /// Records packages of a bundle, as its preparation does, with the Python version that was chosen.
    async fn record(&self, bundle: &str, python: &[(&str, &str)]) {
        let mut client = self.database.client().await.unwrap();
        let tx = client.transaction().await.unwrap();
        let package = |(name, version): &(&str, &str)| Package {
            language: Language::Python,
            name: (*name).to_owned(),
            version: (*version).to_owned(),
        };
        let found: Vec<Package> = python.iter().map(package).collect();
        packages::record(&tx, bundle.parse().unwrap(), &found).await.unwrap();
        tx.execute(
            "UPDATE content SET py_version = '3.11.2' WHERE active_bundle_id = $1",
            &[&bundle.parse::<i64>().unwrap()],
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn packages_of_the_active_bundle_are_shown() {
    let server = Server::new().await;
    let guid = server.content("packaged").await;
    let item = format!("/__api__/v1/content/{guid}");
    let (list, lock) = (format!("{item}/packages"), format!("{item}/lockfile"));
    assert_eq!(server.get(&server.owner, &list).await.ok(), json!([]));
    assert_eq!(server.get(&server.owner, &lock).await.refusal(), (404, 4));
    let bundle = server.bundle(&guid).await;
    server.activate(&guid, &bundle).await;
    server.record(&bundle, &[("flask", "3.0.0"), ("click", "8.1")]).await;
    let entry =
        |name: &str, version: &str| json!({"language": "python", "name": name, "version": version, "hash": null});
    assert_eq!(server.get(&server.owner, &list).await.ok(), json!([entry("click", "8.1"), entry("flask", "3.0.0")]));
    let text = server.get(&server.owner, &lock).await;
    assert_eq!((text.status.as_u16(), &text.bytes[..]), (200, &b"click==8.1\nflask==3.0.0\n"[..]));
    assert!(text.headers["generated-by"].to_str().unwrap().contains("python=3.11.2"));
    // Recorded anew when it is prepared anew.
    server.record(&bundle, &[("flask", "3.1.0")]).await;
    assert_eq!(server.get(&server.owner, &list).await.ok(), json!([entry("flask", "3.1.0")]));
    // The inside of an item is for those who may change it.
    server.permit(&guid, &server.viewer, PermissionRole::Viewer).await;
    for path in [&list, &lock] {
        assert_eq!(server.get(&server.viewer, path).await.refusal(), (403, 21));
        assert_eq!(server.get(&server.stranger, path).await.refusal(), (403, 19));
        assert_eq!(server.ask(None, "GET", path, serde_json::Value::Null).await.refusal(), (401, 24));
    }
}

#[tokio::test]
async fn packages_of_the_server_come_in_pages() {
    let server = Server::new().await;
    let path = "/__api__/v1/packages";
    assert_eq!(server.get(&server.admin, path).await.ok(), json!({"results": [], "current_page": 1, "total": 0}));
    let mut guids = Vec::new();
    for name in ["one", "two"] {
        let guid = server.content(name).await;
        let bundle = server.bundle(&guid).await;
        server.activate(&guid, &bundle).await;
        server.record(&bundle, &[("flask", "3.0.0"), (name, "1.0")]).await;
        guids.push((guid, bundle));
    }
    let draft = server.bundle(&guids[0].0).await;
    server.record(&draft, &[("draft-only", "1")]).await;
    let all = server.get(&server.admin, &format!("{path}?page_size=1000000")).await.ok();
    assert_eq!((&all["total"], &all["current_page"]), (&json!(4), &json!(1)));
    assert_eq!(all.as_object().unwrap().len(), 3, "exactly three fields");
    let names: Vec<&str> = all["results"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["flask", "flask", "one", "two"], "drafts do not count");
    let client = server.database.client().await.unwrap();
    let row = content::get_by_guid(&client, guids[0].0.parse().unwrap()).await.unwrap().unwrap();
    let expected = json!({
        "language": "python", "language_version": "3.11.2", "name": "flask", "version": "3.0.0", "hash": null,
        "bundle_id": guids[0].1, "app_id": row.id.to_string(), "app_guid": guids[0].0,
    });
    assert_eq!(all["results"][0], expected);
    let second = server.get(&server.admin, &format!("{path}?page_size=3&page_number=2")).await.ok();
    assert_eq!((&second["results"][0]["name"], &second["total"]), (&json!("two"), &json!(4)));
    let beyond = server.get(&server.admin, &format!("{path}?page_size=3&page_number=9")).await.ok();
    assert_eq!((&beyond["results"], &beyond["total"]), (&json!([]), &json!(4)));
    assert_eq!(server.get(&server.admin, &format!("{path}?name=FLASK")).await.ok()["total"], 2);
    assert_eq!(server.get(&server.admin, &format!("{path}?page_number=x")).await.refusal(), (400, 25));
    // Of content that one may change.
    assert_eq!(server.get(&server.owner, path).await.ok()["total"], 4);
    assert_eq!(server.get(&server.stranger, path).await.ok()["total"], 0);
    server.permit(&guids[1].0, &server.stranger, PermissionRole::Owner).await;
    server.permit(&guids[0].0, &server.stranger, PermissionRole::Viewer).await;
    assert_eq!(server.get(&server.stranger, path).await.ok()["total"], 2);
    server.permit(&guids[1].0, &server.viewer, PermissionRole::Owner).await;
    assert_eq!(server.get(&server.viewer, path).await.ok()["total"], 0);
}
