//! `/v1/environments`.

use serde_json::{Value, json};

use crate::support::Server;

const PATH: &str = "/__api__/v1/environments";

#[tokio::test]
async fn environments_are_described_changed_and_deleted() {
    let server = Server::new().await;
    let ask = async |method: &str, path: &str, body| server.ask(Some(&server.admin), method, path, body).await;
    let python = json!({"installations": [{"version": "3.11.7", "path": "/opt/python/bin/python"}]});
    let body = json!({"title": "Old", "name": "images/x:1", "cluster_name": "Kubernetes", "python": python});
    let made = ask("POST", PATH, body.clone()).await.ok();
    assert_eq!(
        (&made["title"], &made["cluster_name"], &made["matching"]),
        (&json!("Old"), &json!("Kubernetes"), &json!("any"))
    );
    assert_eq!((&made["python"], &made["r"], &made["volume_mounts"]), (&python, &Value::Null, &json!([])));
    assert!(made["id"].is_string());
    let at = format!("{PATH}/{}", made["guid"].as_str().unwrap());
    assert_eq!(ask("GET", &at, Value::Null).await.ok(), made);
    assert_eq!(server.get(&server.owner, PATH).await.ok(), json!([made]));
    assert_eq!(ask("POST", PATH, body).await.refusal(), (409, 26));
    let changed = ask("PUT", &at, json!({"title": "New", "matching": "exact", "python": null})).await.ok();
    assert_eq!(
        (&changed["title"], &changed["matching"], &changed["python"]),
        (&json!("New"), &json!("exact"), &Value::Null)
    );
    assert_eq!(changed["name"], made["name"]);
    let many = vec![json!({"version": "1", "path": "/"}); 101];
    for (body, refusal) in [
        (json!({"matching": "sometimes"}), (400, 87)),
        (json!({"title": "x".repeat(1025)}), (400, 87)),
        (json!({"volume_mounts": [7]}), (400, 87)),
        (json!({"r": {"installations": many}}), (400, 87)),
        (json!({"r": {"installations": 7}}), (400, 121)),
        (json!({"title": "nul \u{0}"}), (400, 87)),
    ] {
        assert_eq!(ask("PUT", &at, body.clone()).await.refusal(), refusal, "{body}");
    }
    for body in [json!({}), json!({"name": "x"}), json!({"cluster_name": "Kubernetes", "name": ""})] {
        assert_eq!(ask("POST", PATH, body.clone()).await.refusal(), (400, 12), "{body}");
    }

    // Who may use it.
    let list = format!("{at}/permissions");
    let listed = ask("POST", &list, json!({"user_guid": server.viewer.guid})).await.ok();
    assert_eq!(listed["environment_guid"], made["guid"]);
    assert_eq!(ask("GET", &list, Value::Null).await.ok(), json!([listed]));
    let one = format!("{list}/{}", listed["guid"].as_str().unwrap());
    assert_eq!(ask("GET", &one, Value::Null).await.ok(), listed);
    let group = server.ask(Some(&server.owner), "POST", "/__api__/v1/groups", json!({"name": "team"})).await.ok();
    let team = ask("POST", &list, json!({"group_guid": group["guid"]})).await.ok();
    assert_eq!((&team["group_guid"], &team["user_guid"]), (&group["guid"], &Value::Null));
    assert_eq!(ask("GET", &list, Value::Null).await.ok(), json!([listed, team]));
    for (body, refusal) in [
        (json!({"user_guid": server.viewer.guid}), (409, 154)),
        (json!({"group_guid": group["guid"]}), (409, 155)),
        (json!({"user_guid": server.viewer.guid, "group_guid": group["guid"]}), (400, 12)),
        (json!({"user_guid": uuid::Uuid::new_v4()}), (404, 9)),
        (json!({"group_guid": uuid::Uuid::new_v4()}), (404, 153)),
        (json!({}), (400, 12)),
        (json!({"user_guid": "x"}), (400, 3)),
    ] {
        assert_eq!(ask("POST", &list, body.clone()).await.refusal(), refusal, "{body}");
    }
    assert_eq!(ask("DELETE", &one, Value::Null).await.status, 204);
    assert_eq!(ask("DELETE", &one, Value::Null).await.refusal(), (404, 17));
    assert_eq!(ask("GET", &one, Value::Null).await.refusal(), (404, 4));
    // A group that is gone is listed no more.
    let gone = format!("/__api__/v1/groups/{}", group["guid"].as_str().unwrap());
    assert_eq!(server.ask(Some(&server.owner), "DELETE", &gone, Value::Null).await.status, 204);
    assert_eq!(ask("GET", &list, Value::Null).await.ok(), json!([]));

    for who in [&server.owner, &server.viewer] {
        for (method, path) in [("POST", PATH), ("PUT", &at), ("DELETE", &at), ("GET", &list), ("POST", &list)] {
            assert_eq!(server.ask(Some(who), method, path, json!({})).await.refusal(), (403, 22), "{method} {path}");
        }
    }
    assert_eq!(server.get(&server.viewer, PATH).await.refusal(), (403, 22));
    assert_eq!(ask("GET", &format!("{PATH}/x"), Value::Null).await.refusal(), (400, 3));
    assert_eq!(ask("DELETE", &at, Value::Null).await.status, 204);
    assert_eq!(ask("DELETE", &at, Value::Null).await.refusal(), (404, 4));
    assert_eq!(ask("GET", PATH, Value::Null).await.ok(), json!([]));
}
