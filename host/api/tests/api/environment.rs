//! `/v1/content/{guid}/environment`.

use lectern_api::Part;
use lectern_metadata::{content, variables};
use serde_json::{Value, json};

use crate::support::{Server, Told};

#[tokio::test]
async fn variables_are_set_listed_and_removed() {
    let server = Server::new().await;
    let guid = server.content("env").await;
    let path = format!("/__api__/v1/content/{guid}/environment");
    let ask = async |method: &str, body: Value| server.ask(Some(&server.owner), method, &path, body).await.ok();
    assert_eq!(ask("GET", Value::Null).await, json!([]));
    let set = json!([{"name": "ZED", "value": "1"}, {"name": "alpha", "value": ""}, {"name": "BETA", "value": "3"}]);
    server.backstage.take();
    assert_eq!(ask("PATCH", set.clone()).await, json!(["BETA", "ZED", "alpha"]));
    let content = guid.parse().unwrap();
    let told = [Told::Refresh(Part::Content(content)), Told::VariablesChanged(content)];
    assert_eq!(server.backstage.take(), told);
    assert_eq!(ask("PATCH", set).await, json!(["BETA", "ZED", "alpha"]), "setting twice keeps one");
    assert_eq!(ask("GET", Value::Null).await, json!(["BETA", "ZED", "alpha"]));
    for _ in 0..2 {
        assert_eq!(ask("PATCH", json!([{"name": "ZED", "value": null}])).await, json!(["BETA", "alpha"]));
    }
    assert_eq!(ask("PUT", json!([{"name": "ONLY", "value": "x"}])).await, json!(["ONLY"]));
    server.backstage.take();
    assert_eq!(ask("PATCH", json!([])).await, json!(["ONLY"]), "nothing to change");
    assert_eq!(server.backstage.take(), []);
    assert_eq!(ask("PUT", json!([])).await, json!([]));
}

#[tokio::test]
async fn values_are_stored_sealed() {
    let server = Server::new().await;
    let guid = server.content("sealed").await;
    let path = format!("/__api__/v1/content/{guid}/environment");
    let reply = server.ask(Some(&server.owner), "PATCH", &path, json!([{"name": "TOKEN", "value": "hunter2"}])).await;
    assert!(!String::from_utf8_lossy(&reply.bytes).contains("hunter2"));
    let client = server.database.client().await.unwrap();
    let row = content::get_by_guid(&client, guid.parse().unwrap()).await.unwrap().unwrap();
    let stored = variables::all_sealed(&client, row.id).await.unwrap();
    let opened: String = stored[0].1.iter().map(|byte| char::from(byte ^ 0x55)).collect();
    assert_eq!(opened, "TOKEN:hunter2");
}

#[tokio::test]
async fn bad_variables_change_nothing() {
    let server = Server::new().await;
    let guid = server.content("strict").await;
    let path = format!("/__api__/v1/content/{guid}/environment");
    let many: Vec<Value> = (0..1001).map(|n| json!({"name": format!("V{n}"), "value": "x"})).collect();
    let cases = [
        (json!([{"name": "A", "value": "1"}, {"name": "A", "value": null}]), (409, 149)),
        (json!([{"name": "A", "value": "1"}, {"name": "", "value": "x"}]), (400, 87)),
        (json!([{"name": "A=B", "value": "x"}]), (400, 87)),
        (json!([{"name": "A\u{0}", "value": "x"}]), (400, 87)),
        (json!([{"name": "A", "value": "x\u{0}y"}]), (400, 87)),
        (json!([{"name": "A", "value": "x".repeat(200_000)}]), (400, 87)),
        (json!([{"name": "LECTERN_SOCKET", "value": "x"}]), (409, 108)),
        (json!(many), (409, 106)),
        (json!([{"value": "x"}]), (400, 121)),
        (json!([{"name": "A", "value": 1}]), (400, 121)),
        (json!({"name": "A", "value": "1"}), (400, 121)),
        (Value::Null, (400, 121)),
    ];
    server.backstage.take();
    for (body, refusal) in cases {
        for method in ["PATCH", "PUT"] {
            let reply = server.ask(Some(&server.owner), method, &path, body.clone()).await;
            assert_eq!(reply.refusal(), refusal, "{method} {}", body.to_string().get(..80).unwrap_or_default());
        }
    }
    assert_eq!(server.get(&server.owner, &path).await.ok(), json!([]));
    assert_eq!(server.backstage.take(), []);
}
