//! `/v1/content/{guid}/permissions`.

use lectern_api::Part;
use serde_json::{Value, json};

use crate::support::{Server, Told};

#[tokio::test]
async fn entries_are_made_changed_and_removed() {
    let server = Server::new().await;
    let guid = server.content("shared").await;
    let path = format!("/__api__/v1/content/{guid}/permissions");
    let ask = async |method: &str, path: &str, body| server.ask(Some(&server.owner), method, path, body).await;
    assert_eq!(ask("GET", &path, Value::Null).await.ok(), json!([]));
    let entry = |who: &lectern_domain::Principal, role: &str| json!({"principal_guid": who.guid, "principal_type": "user", "role": role});
    server.backstage.take();
    let first = ask("POST", &path, entry(&server.viewer, "viewer")).await.ok();
    assert_eq!(server.backstage.take(), [Told::Refresh(Part::Content(guid.parse().unwrap()))]);
    let expected = json!({
        "id": first["id"], "content_guid": guid, "principal_guid": server.viewer.guid, "principal_type": "user",
        "role": "viewer",
    });
    assert_eq!(first, expected);
    assert!(first["id"].is_string());
    let second = ask("POST", &path, entry(&server.stranger, "owner")).await.ok();
    assert_eq!(ask("GET", &path, Value::Null).await.ok(), json!([first, second]));
    let at = format!("{path}/{}", second["id"].as_str().unwrap());
    assert_eq!(ask("GET", &at, Value::Null).await.ok(), second);
    let content = format!("/__api__/v1/content/{guid}");
    assert_eq!(server.get(&server.stranger, &content).await.ok()["app_role"], "editor");
    assert_eq!(ask("PUT", &at, entry(&server.stranger, "viewer")).await.ok()["role"], "viewer");
    assert_eq!(server.get(&server.stranger, &content).await.ok()["app_role"], "viewer");
    assert_eq!(ask("DELETE", &at, Value::Null).await.status, 204);
    assert_eq!(ask("DELETE", &at, Value::Null).await.refusal(), (404, 17));
    assert_eq!(server.get(&server.stranger, &content).await.refusal(), (403, 19));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let server = Server::new().await;
    let guid = server.content("strict").await;
    let path = format!("/__api__/v1/content/{guid}/permissions");
    let post = async |body| server.ask(Some(&server.owner), "POST", &path, body).await.refusal();
    let viewer = server.viewer.guid;
    assert_eq!(post(json!({})).await, (400, 12));
    assert_eq!(post(json!({"role": "viewer"})).await, (400, 12));
    assert_eq!(post(json!({"principal_guid": viewer, "role": "boss"})).await, (400, 87));
    assert_eq!(post(json!({"principal_guid": "x", "role": "viewer"})).await, (400, 3));
    assert_eq!(post(json!({"principal_guid": uuid::Uuid::new_v4(), "role": "viewer"})).await, (404, 9));
    let group = json!({"principal_guid": uuid::Uuid::new_v4(), "principal_type": "group", "role": "viewer"});
    assert_eq!(post(group).await, (404, 153));
    assert_eq!(post(json!({"principal_guid": viewer, "principal_type": "robot", "role": "viewer"})).await, (400, 87));
    assert_eq!(post(json!({"principal_guid": server.owner.guid, "role": "owner"})).await, (400, 34));
    assert_eq!(post(json!({"principal_guid": viewer, "role": "owner"})).await, (403, 33));
    let made =
        server.ask(Some(&server.owner), "POST", &path, json!({"principal_guid": viewer, "role": "viewer"})).await;
    assert_eq!(post(json!({"principal_guid": viewer, "role": "viewer"})).await, (409, 154));
    let at = format!("{path}/{}", made.ok()["id"].as_str().unwrap());
    let put = async |body| server.ask(Some(&server.owner), "PUT", &at, body).await.refusal();
    assert_eq!(put(json!({"role": "owner"})).await, (403, 33));
    assert_eq!(put(json!({"principal_guid": server.stranger.guid, "role": "viewer"})).await, (400, 87));
    assert_eq!(put(json!({"principal_type": "group", "role": "viewer"})).await, (400, 87), "it is a user's");
    assert_eq!(put(json!({"principal_type": "robot", "role": "viewer"})).await, (400, 87));
    for (id, refusal) in [("x", (400, 3)), ("0", (400, 3)), ("999999", (404, 4))] {
        assert_eq!(server.get(&server.owner, &format!("{path}/{id}")).await.refusal(), refusal, "{id}");
    }
}
