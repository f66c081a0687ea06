//! `/v1/content/{guid}/vanity` and `/v1/vanities`.

use serde_json::{Value, json};

use crate::support::Server;

#[tokio::test]
async fn a_path_is_given_moved_and_taken_away() {
    let server = Server::new().await;
    let one = server.content("one").await;
    let other = server.content("other").await;
    let at = |guid: &str| format!("/__api__/v1/content/{guid}/vanity");
    let put = async |guid: &str, body| server.ask(Some(&server.owner), "PUT", &at(guid), body).await;
    assert_eq!(server.get(&server.owner, &at(&one)).await.refusal(), (404, 4));
    let set = put(&one, json!({"path": "example"})).await.ok();
    assert_eq!((&set["path"], &set["content_guid"]), (&json!("/example/"), &json!(one)));
    assert_eq!(server.get(&server.owner, &at(&one)).await.ok(), set);
    assert_eq!(server.get(&server.owner, "/__api__/v1/vanities").await.ok(), json!([set]));
    assert_eq!(server.get(&server.stranger, "/__api__/v1/vanities").await.ok(), json!([]), "not theirs to see");
    assert_eq!(put(&other, json!({"path": "/example/"})).await.refusal(), (409, 51));
    assert_eq!(put(&other, json!({"path": "/example/", "force": true})).await.ok()["content_guid"], other);
    assert_eq!(server.get(&server.owner, &at(&one)).await.refusal(), (404, 4));
    assert_eq!(put(&other, json!({"path": "a/b"})).await.ok()["path"], "/a/b/");
    for (body, refusal) in [(json!({}), (400, 12)), (json!({"path": "/__api__/"}), (400, 52))] {
        assert_eq!(put(&one, body).await.refusal(), refusal);
    }
    assert_eq!(server.ask(Some(&server.owner), "DELETE", &at(&other), Value::Null).await.status, 204);
    assert_eq!(server.ask(Some(&server.owner), "DELETE", &at(&other), Value::Null).await.refusal(), (404, 17));
}

#[tokio::test]
async fn force_takes_only_what_one_may_change() {
    let server = Server::new().await;
    let mine = server.content("mine").await;
    let at = format!("/__api__/v1/content/{mine}/vanity");
    server.ask(Some(&server.owner), "PUT", &at, json!({"path": "wanted"})).await.ok();
    let body = json!({"name": "theirs"});
    let theirs = server.ask(Some(&server.stranger), "POST", "/__api__/v1/content", body).await.ok();
    let theirs = format!("/__api__/v1/content/{}/vanity", theirs["guid"].as_str().unwrap());
    let force = json!({"path": "wanted", "force": true});
    assert_eq!(server.ask(Some(&server.stranger), "PUT", &theirs, force.clone()).await.refusal(), (403, 19));
    assert_eq!(server.get(&server.owner, &at).await.status, 200);
    assert_eq!(server.ask(Some(&server.admin), "PUT", &theirs, force).await.status, 200);
    assert_eq!(server.get(&server.owner, &at).await.refusal(), (404, 4));
}
