//! `/v1/system/caches/runtime` and `/v1/timezones`.

use lectern_api::RuntimeCache;
use serde_json::{Value, json};

use crate::support::Server;

const PATH: &str = "/__api__/v1/system/caches/runtime";

#[tokio::test]
async fn caches_are_listed_and_removed_by_version() {
    let server = Server::new().await;
    assert_eq!(server.get(&server.admin, PATH).await.ok(), json!({"caches": []}));
    let cache = |version: &str| RuntimeCache { language: "Python".into(), version: version.into() };
    *server.backstage.caches.lock().unwrap() = vec![cache("3.11.2"), cache("3.12.1")];
    let shown = |version: &str| json!({"language": "Python", "version": version, "image_name": "Local"});
    let both = json!({"caches": [shown("3.11.2"), shown("3.12.1")]});
    assert_eq!(server.get(&server.admin, PATH).await.ok(), both);
    let delete = async |who, body: Value| server.ask(Some(who), "DELETE", PATH, body).await;
    let choice =
        |dry_run: bool| json!({"language": "Python", "version": "3.11.2", "image_name": "Local", "dry_run": dry_run});
    let dry = delete(&server.admin, choice(true)).await.ok();
    let expected = json!({"language": "Python", "version": "3.11.2", "image_name": "Local", "task_id": null});
    assert_eq!(dry, expected);
    assert_eq!(server.get(&server.admin, PATH).await.ok(), both, "a dry run deletes nothing");
    let gone = delete(&server.admin, choice(false)).await.ok();
    assert_eq!(server.get(&server.admin, PATH).await.ok(), json!({"caches": [shown("3.12.1")]}));
    let task = format!("/__api__/v1/tasks/{}", gone["task_id"].as_str().unwrap());
    let done = server.get(&server.admin, &format!("{task}?first=0&wait=1")).await.ok();
    assert_eq!((&done["finished"], &done["code"], &done["last"]), (&json!(true), &json!(0), &json!(1)));
    assert_eq!(done["output"].as_array().unwrap().len(), 1);
    assert_eq!(server.get(&server.admin, &format!("{task}?first=1")).await.ok()["output"], json!([]));
    assert_eq!(server.get(&server.owner, &task).await.refusal(), (404, 141), "others' tasks are none of theirs");
    assert_eq!(delete(&server.admin, choice(false)).await.refusal(), (404, 4));
    for (body, refusal) in [
        (json!({}), (400, 12)),
        (json!({"language": "Python", "version": "3.12.1"}), (400, 12)),
        (json!({"language": "R", "version": "3.12.1", "image_name": "Local"}), (404, 4)),
        (json!({"language": "Python", "version": "3.12.1", "image_name": "other"}), (404, 4)),
        (json!({"language": "Python", "version": "../..", "image_name": "Local"}), (404, 4)),
        (json!({"dry_run": "yes"}), (400, 121)),
    ] {
        assert_eq!(delete(&server.admin, body.clone()).await.refusal(), refusal, "{body}");
    }
    for who in [&server.owner, &server.viewer] {
        assert_eq!(server.get(who, PATH).await.refusal(), (403, 22));
        assert_eq!(delete(who, choice(true)).await.refusal(), (403, 22));
    }
}

#[tokio::test]
async fn time_zones_have_offsets() {
    let server = Server::new().await;
    let zones = server.get(&server.viewer, "/__api__/v1/timezones").await.ok();
    assert_eq!(server.get(&server.viewer, "/__api__/timezones/").await.ok(), zones);
    let zones = zones.as_array().unwrap();
    let at = |name: &str| zones.iter().find(|zone| zone["timezone"] == name).unwrap()["offset"].clone();
    assert_eq!(
        (at("UTC"), at("Asia/Tokyo"), at("Asia/Kathmandu")),
        (json!("+00:00"), json!("+09:00"), json!("+05:45"))
    );
    assert!(zones.len() > 300 && zones.iter().all(|zone| !zone["timezone"].as_str().unwrap().starts_with("posix/")));
    assert_eq!(server.ask(None, "GET", "/__api__/v1/timezones", Value::Null).await.refusal(), (401, 24));
}
