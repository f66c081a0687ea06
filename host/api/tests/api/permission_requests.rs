//! `/v1/content/{guid}/permission_requests`.

use lectern_api::Part;
use lectern_domain::access::PermissionRole;
use serde_json::{Value, json};

use crate::support::{Server, Told};

#[tokio::test]
async fn access_is_asked_for_and_granted() {
    let server = Server::new().await;
    let guid = server.content("wanted").await;
    let item = format!("/__api__/v1/content/{guid}");
    let at = format!("{item}/permission_requests");
    let ask = async |who, method: &str, path: &str, body| server.ask(Some(who), method, path, body).await;
    let reason = json!({"reason": "for the <b>report</b>"});
    let asked = ask(&server.viewer, "POST", &at, reason).await.ok();
    assert_eq!((&asked["role"], &asked["username"]), (&json!("viewer"), &json!("viewer")));
    assert_eq!(asked["user_guid"], server.viewer.guid.to_string());
    let again = ask(&server.viewer, "POST", &at, json!({"reason": "please"})).await.ok();
    assert_eq!((&again["id"], &again["reason"]), (&asked["id"], &json!("please")));
    let other = ask(&server.stranger, "POST", &at, json!({"role": "owner"})).await.ok();
    assert_eq!(ask(&server.owner, "GET", &at, Value::Null).await.ok(), json!([again, other]));
    assert_eq!(server.get(&server.viewer, &item).await.refusal(), (403, 19), "asking gives nothing");

    server.backstage.take();
    let first = format!("{at}/{}", asked["id"].as_str().unwrap());
    assert_eq!(ask(&server.owner, "PUT", &first, json!({})).await.status, 204);
    assert_eq!(server.backstage.take(), [Told::Refresh(Part::Content(guid.parse().unwrap()))]);
    assert_eq!(server.get(&server.viewer, &item).await.ok()["app_role"], "viewer");
    assert_eq!(ask(&server.owner, "PUT", &first, json!({})).await.refusal(), (404, 17), "once");
    // Less than was asked for.
    let second = format!("{at}/{}", other["id"].as_str().unwrap());
    assert_eq!(ask(&server.admin, "PUT", &second, json!({"role": "viewer"})).await.status, 204);
    assert_eq!(server.get(&server.stranger, &item).await.ok()["app_role"], "viewer");
    // And more, for one who is listed already.
    let more = ask(&server.stranger, "POST", &at, json!({"role": "owner"})).await.ok();
    let more = format!("{at}/{}", more["id"].as_str().unwrap());
    assert_eq!(ask(&server.owner, "PUT", &more, Value::Null).await.status, 204);
    assert_eq!(server.get(&server.stranger, &item).await.ok()["app_role"], "editor");
    let listed = server.get(&server.owner, &format!("{item}/permissions")).await.ok();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(ask(&server.owner, "GET", &at, Value::Null).await.ok(), json!([]));
}

#[tokio::test]
async fn requests_are_refused_withdrawn_and_bounded() {
    let server = Server::new().await;
    let guid = server.content("guarded").await;
    let at = format!("/__api__/v1/content/{guid}/permission_requests");
    let ask = async |who, method: &str, path: &str, body| server.ask(Some(who), method, path, body).await;
    let refused = [
        (&server.viewer, json!({"role": "owner"}), (403, 33)),
        (&server.viewer, json!({"role": "boss"}), (400, 87)),
        (&server.viewer, json!({"reason": "x".repeat(1001)}), (400, 87)),
        (&server.viewer, json!({"reason": 7}), (400, 121)),
        (&server.owner, json!({}), (409, 154)),
    ];
    for (who, body, refusal) in refused {
        assert_eq!(ask(who, "POST", &at, body.clone()).await.refusal(), refusal, "{body}");
    }
    assert_eq!(server.ask(None, "POST", &at, json!({})).await.refusal(), (401, 24));
    let nowhere = format!("/__api__/v1/content/{}/permission_requests", uuid::Uuid::new_v4());
    assert_eq!(ask(&server.viewer, "POST", &nowhere, json!({})).await.refusal(), (404, 4));
    assert_eq!(
        ask(&server.viewer, "POST", "/__api__/v1/content/x/permission_requests", json!({})).await.refusal(),
        (400, 3)
    );

    let asked = ask(&server.viewer, "POST", &at, json!({})).await.ok();
    let one = format!("{at}/{}", asked["id"].as_str().unwrap());
    // Only who may change the item decides, and not by way of another item.
    for (method, path) in [("GET", &at), ("PUT", &one), ("DELETE", &one)] {
        assert_eq!(ask(&server.viewer, method, path, Value::Null).await.refusal(), (403, 19), "{method}");
        assert_eq!(ask(&server.stranger, method, path, Value::Null).await.refusal(), (403, 19), "{method}");
    }
    let theirs = ask(&server.stranger, "POST", "/__api__/v1/content", json!({"name": "theirs"})).await.ok();
    let around = format!(
        "/__api__/v1/content/{}/permission_requests/{}",
        theirs["guid"].as_str().unwrap(),
        asked["id"].as_str().unwrap()
    );
    assert_eq!(ask(&server.stranger, "PUT", &around, json!({})).await.refusal(), (404, 17));
    server.permit(&guid, &server.viewer, PermissionRole::Viewer).await;
    assert_eq!(ask(&server.viewer, "PUT", &one, json!({})).await.refusal(), (403, 21));
    for bad in ["0", "x", "-7"] {
        assert_eq!(ask(&server.owner, "PUT", &format!("{at}/{bad}"), json!({})).await.refusal(), (400, 3), "{bad}");
    }
    assert_eq!(ask(&server.owner, "DELETE", &one, Value::Null).await.status, 204);
    assert_eq!(ask(&server.owner, "DELETE", &one, Value::Null).await.refusal(), (404, 17));

    let other = server.content("other").await;
    let other = format!("/__api__/v1/content/{other}/permission_requests");
    ask(&server.viewer, "POST", &other, json!({})).await.ok();
    assert_eq!(ask(&server.viewer, "DELETE", &other, Value::Null).await.status, 204);
    assert_eq!(ask(&server.viewer, "DELETE", &other, Value::Null).await.refusal(), (404, 17));

    let sql = "WITH c AS (INSERT INTO content (guid, name, owner_id) \
               SELECT gen_random_uuid(), 'n' || n, $1 FROM generate_series(1, 100) n RETURNING id) \
               INSERT INTO permission_requests (content_id, user_id, role, reason) SELECT id, $2, 'viewer', '' FROM c";
    let client = server.database.client().await.unwrap();
    client.execute(sql, &[&server.owner.user.0, &server.viewer.user.0]).await.unwrap();
    assert_eq!(ask(&server.viewer, "POST", &other, json!({})).await.refusal(), (403, 22), "enough is enough");
}
