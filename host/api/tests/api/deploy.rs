//! `/v1/content/{guid}/deploy` and `/build`.

use lectern_metadata::tasks::{self, TaskKind, TaskState};
use serde_json::{Value, json};

use crate::support::{Server, Told};

async fn queued(server: &Server, guid: &str, verb: &str, body: Value) -> tasks::TaskRow {
    let reply =
        server.ask(Some(&server.owner), "POST", &format!("/__api__/v1/content/{guid}/{verb}"), body.clone()).await;
    assert_eq!(reply.status, 202, "{body}: {reply:?}");
    let id = reply.json()["task_id"].as_str().unwrap().parse().unwrap();
    tasks::get(&server.database.client().await.unwrap(), &id).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_deployment_is_a_task() {
    let server = Server::new().await;
    let guid = server.content("deployed").await;
    let bundle = server.bundle(&guid).await;
    server.backstage.take();
    let task = queued(&server, &guid, "deploy", json!({"bundle_id": bundle})).await;
    assert_eq!((task.kind, task.activate, task.state), (TaskKind::Deploy, true, TaskState::Queued));
    assert_eq!(task.bundle.unwrap().to_string(), bundle);
    assert_eq!(task.requested_by, Some(server.owner.user));
    assert_eq!(server.backstage.take(), [Told::TaskQueued]);

    let draft = queued(&server, &guid, "deploy", json!({"bundle_id": bundle, "activate": false})).await;
    assert!(!draft.activate);
    let as_number = queued(&server, &guid, "deploy", json!({"bundle_id": bundle.parse::<i64>().unwrap()})).await;
    assert_eq!(as_number.bundle, task.bundle);
    let build = queued(&server, &guid, "build", json!({"bundle_id": bundle})).await;
    assert_eq!((build.kind, build.activate), (TaskKind::Build, false));
}

#[tokio::test]
async fn without_a_number_the_active_or_newest_bundle_is_meant() {
    let server = Server::new().await;
    let guid = server.content("current").await;
    let deploy = format!("/__api__/v1/content/{guid}/deploy");
    let nothing = [Value::Null, json!({}), json!([]), json!({"bundle_id": null}), json!({"bundle_id": {}})];
    for body in &nothing {
        let none = server.ask(Some(&server.owner), "POST", &deploy, body.clone()).await;
        assert_eq!(none.refusal(), (404, 28), "{body}");
    }
    let first = server.bundle(&guid).await;
    let second = server.bundle(&guid).await;
    for body in &nothing {
        assert_eq!(queued(&server, &guid, "deploy", body.clone()).await.bundle.unwrap().to_string(), second, "{body}");
    }
    server.activate(&guid, &first).await;
    assert_eq!(queued(&server, &guid, "deploy", json!({})).await.bundle.unwrap().to_string(), first);
    assert_eq!(queued(&server, &guid, "build", Value::Null).await.bundle.unwrap().to_string(), first);
}

#[tokio::test]
async fn other_bundles_are_refused() {
    let server = Server::new().await;
    let guid = server.content("mine").await;
    let other = server.content("other").await;
    let foreign = server.bundle(&other).await;
    server.backstage.take();
    for verb in ["deploy", "build"] {
        let path = format!("/__api__/v1/content/{guid}/{verb}");
        let ask = async |id: Value| server.ask(Some(&server.owner), "POST", &path, json!({"bundle_id": id})).await;
        assert_eq!(ask(json!(foreign)).await.refusal(), (400, 82));
        assert_eq!(ask(json!("999999")).await.refusal(), (404, 28));
        assert_eq!(ask(json!("x")).await.refusal(), (400, 3));
        assert_eq!(ask(json!(true)).await.refusal(), (400, 3));
    }
    assert_eq!(server.backstage.take(), []);
}
