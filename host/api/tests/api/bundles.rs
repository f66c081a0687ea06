//! `/v1/content/{guid}/bundles`, apart from uploading.

use serde_json::{Value, json};

use lectern_domain::access::PermissionRole;

use crate::support::{Server, Told, archive, page_bundle};

#[tokio::test]
async fn bundles_are_listed_newest_first_and_one_is_active() {
    let server = Server::new().await;
    let guid = server.content("versions").await;
    let path = format!("/__api__/v1/content/{guid}/bundles");
    assert_eq!(server.get(&server.owner, &path).await.ok(), json!([]));
    let first = server.bundle(&guid).await;
    server.activate(&guid, &first).await;
    let second = server.bundle(&guid).await;
    let list = server.get(&server.owner, &path).await.ok();
    let pairs: Vec<_> = list.as_array().unwrap().iter().map(|one| (one["id"].clone(), one["active"].clone())).collect();
    assert_eq!(pairs, [(json!(second), json!(false)), (json!(first), json!(true))]);
    assert_eq!(server.get(&server.owner, &format!("{path}/{second}")).await.ok(), list[0]);
    let item = server.get(&server.owner, &format!("/__api__/v1/content/{guid}")).await.ok();
    assert_eq!((&item["bundle_id"], &item["app_mode"]), (&json!(first), &json!("static")));
}

#[tokio::test]
async fn readers_of_a_pin_see_the_version_that_they_may_open() {
    let server = Server::new().await;
    let pin =
        r#"{"version": 1, "metadata": {"appmode": "static", "primary_html": "index.html", "content_category": "pin"}}"#;
    let pin = || archive(&[("manifest.json", pin), ("index.html", "a pin")]);
    for (name, bundle, is_pin) in [("pinned", pin(), true), ("page", page_bundle("no pin"), false)] {
        let guid = server.content(name).await;
        let path = format!("/__api__/v1/content/{guid}/bundles");
        let upload = async || server.upload(&guid, bundle.clone()).await.ok()["id"].as_str().unwrap().to_owned();
        let (old, active) = (upload().await, upload().await);
        server.activate(&guid, &active).await;
        server.permit(&guid, &server.viewer, PermissionRole::Viewer).await;
        assert_eq!(server.get(&server.stranger, &path).await.refusal(), (403, 19));
        let seen = server.get(&server.viewer, &path).await;
        if is_pin {
            let seen = seen.ok();
            assert_eq!((seen.as_array().unwrap().len(), &seen[0]["id"]), (1, &json!(active)));
            assert_eq!(server.get(&server.viewer, &format!("{path}/{active}")).await.ok(), seen[0]);
        } else {
            assert_eq!(seen.refusal(), (403, 21));
            assert_eq!(server.get(&server.viewer, &format!("{path}/{active}")).await.refusal(), (403, 21));
        }
        assert_eq!(server.get(&server.viewer, &format!("{path}/{old}")).await.refusal(), (403, 21));
        assert_eq!(server.get(&server.viewer, &format!("{path}/{active}/download")).await.refusal(), (403, 21));
    }
}

#[tokio::test]
async fn a_download_is_the_upload() {
    let server = Server::new().await;
    let guid = server.content("copy").await;
    let bytes = page_bundle("exactly this");
    let id = server.upload(&guid, bytes.clone()).await.ok()["id"].as_str().unwrap().to_owned();
    let reply = server.get(&server.owner, &format!("/__api__/v1/content/{guid}/bundles/{id}/download")).await;
    assert_eq!(reply.status, 200);
    assert!(reply.bytes == bytes, "other bytes");
    assert_eq!(reply.headers["content-type"], "application/x-gzip");
    assert_eq!(reply.headers["content-length"], bytes.len().to_string());
    assert_eq!(reply.headers["content-disposition"], format!("attachment; filename=\"bundle-{id}.tar.gz\""));
}

#[tokio::test]
async fn damaged_bytes_are_never_sent() {
    let server = Server::new().await;
    let guid = server.content("damaged").await;
    let id = server.bundle(&guid).await;
    let stored = server.store.list().unwrap()[0].hash;
    for place in ["store", "cache"] {
        std::fs::write(server.directory.path().join(place).join(stored.to_string()), b"damaged").unwrap();
    }
    let reply = server.get(&server.owner, &format!("/__api__/v1/content/{guid}/bundles/{id}/download")).await;
    assert_eq!(reply.refusal(), (500, 1));
}

#[tokio::test]
async fn all_but_the_active_one_can_be_deleted() {
    let server = Server::new().await;
    let guid = server.content("tidy").await;
    let active = server.bundle(&guid).await;
    server.activate(&guid, &active).await;
    let other = server.bundle(&guid).await;
    let path = format!("/__api__/v1/content/{guid}/bundles");
    let delete = async |id: &str| server.ask(Some(&server.owner), "DELETE", &format!("{path}/{id}"), Value::Null).await;
    assert_eq!(delete(&active).await.refusal(), (400, 75));
    server.backstage.take();
    assert_eq!(delete(&other).await.status, 204);
    let told = Told::BundleDeleted(guid.parse().unwrap(), other.parse().unwrap());
    assert!(server.backstage.take().contains(&told));
    assert_eq!(delete(&other).await.refusal(), (404, 4));
    assert_eq!(delete("x").await.refusal(), (400, 3));
    // Another item's address does not lead to it either.
    let elsewhere = server.content("elsewhere").await;
    let wrong = format!("/__api__/v1/content/{elsewhere}/bundles/{active}");
    assert_eq!(server.get(&server.owner, &wrong).await.refusal(), (404, 4));
    assert_eq!(server.get(&server.owner, &format!("{wrong}/download")).await.refusal(), (404, 4));
}
