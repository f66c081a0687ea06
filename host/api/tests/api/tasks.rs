//! `/v1/tasks/{id}`: output in pieces, and waiting.

use std::sync::Arc;
use std::time::Duration;

use lectern_domain::access::PermissionRole;
use lectern_metadata::tasks::{self, Lease};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::Server;

struct Running {
    server: Arc<Server>,
    guid: String,
    path: String,
    lease: Lease,
}

/// A task that somebody works on, without output.
async fn running() -> Running {
    let server = Server::new().await;
    let guid = server.content("task").await;
    server.bundle(&guid).await;
    let started =
        server.ask(Some(&server.owner), "POST", &format!("/__api__/v1/content/{guid}/deploy"), json!({})).await;
    let path = format!("/__api__/v1/tasks/{}", started.ok()["task_id"].as_str().unwrap());
    let client = server.database.client().await.unwrap();
    let claimed = tasks::claim_next(&client, Uuid::new_v4(), Duration::from_secs(60)).await.unwrap().unwrap();
    Running { server: Arc::new(server), guid, path, lease: claimed.lease }
}

impl Running {
    async fn write(&self, lines: &[&str]) {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let client = self.server.database.client().await.unwrap();
        tasks::append_output(&client, &self.lease, &lines).await.unwrap();
    }

    async fn finish(&self, code: i32, error: &str, result: Option<Value>) {
        let client = self.server.database.client().await.unwrap();
        tasks::finish(&client, &self.lease, code, error, result.as_ref()).await.unwrap();
    }

    async fn poll(&self, query: &str) -> Value {
        self.server.get(&self.server.owner, &format!("{}{query}", self.path)).await.ok()
    }
}

#[tokio::test]
async fn output_comes_in_pieces() {
    let task = running().await;
    let fresh = task.poll("").await;
    assert_eq!(fresh["output"], json!([]));
    assert_eq!((&fresh["finished"], &fresh["code"], &fresh["last"]), (&json!(false), &json!(0), &json!(0)));
    assert_eq!((&fresh["error"], &fresh["result"]), (&json!(""), &Value::Null));
    task.write(&["one", "two"]).await;
    assert_eq!(task.poll("").await["output"], json!(["one", "two"]));
    let two = task.poll("?first=1").await;
    assert_eq!((&two["output"], &two["last"]), (&json!(["two"]), &json!(2)));
    assert_eq!(task.poll("?first=2").await["output"], json!([]));
    assert_eq!(task.poll("?first=99").await["output"], json!([]));
    assert_eq!(task.poll("?first=-5").await["output"], json!(["one", "two"]));
    task.finish(1, "it broke", Some(json!({"type": "x", "data": [1]}))).await;
    let done = task.poll("?first=1&wait=10").await;
    assert_eq!((&done["finished"], &done["code"], &done["error"]), (&json!(true), &json!(1), &json!("it broke")));
    assert_eq!(done["result"], json!({"type": "x", "data": [1]}));
    assert!(task.server.backstage.waits.lock().unwrap().is_empty(), "what is finished is never waited for");
}

#[tokio::test]
async fn a_poll_that_has_seen_all_is_held_until_there_is_news() {
    let task = running().await;
    task.write(&["one"]).await;
    // `first` says what was seen; without it, everything up to now was.
    for query in ["?first=1&wait=20", "?wait=20"] {
        let poll = {
            let (server, path) = (Arc::clone(&task.server), format!("{}{query}", task.path));
            tokio::spawn(async move { server.get(&server.owner, &path).await.ok() })
        };
        task.server.backstage.waiting.notified().await;
        assert!(!poll.is_finished());
        task.write(&["more"]).await;
        task.server.backstage.news.notify_one();
        let reply = poll.await.unwrap();
        assert!(reply["output"].as_array().unwrap().contains(&json!("more")), "{query}: {reply}");
    }
    assert_eq!(*task.server.backstage.waits.lock().unwrap(), [Duration::from_secs(20); 2]);
    // Unseen lines, or no wish to wait: at once.
    task.poll("?first=0&wait=20").await;
    task.poll("?first=3").await;
    assert_eq!(task.server.backstage.waits.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn waits_are_bounded() {
    let task = running().await;
    let poll = {
        let (server, path) = (Arc::clone(&task.server), format!("{}?wait=86400", task.path));
        tokio::spawn(async move { server.get(&server.owner, &path).await.ok() })
    };
    task.server.backstage.waiting.notified().await;
    // Woken for nothing it goes on waiting, for what is left.
    task.server.backstage.news.notify_one();
    task.server.backstage.waiting.notified().await;
    task.write(&["one"]).await;
    task.server.backstage.news.notify_one();
    assert_eq!(poll.await.unwrap()["output"], json!(["one"]));
    let waits = std::mem::take(&mut *task.server.backstage.waits.lock().unwrap());
    assert!(waits.len() == 2 && waits[0] == Duration::from_secs(30) && waits[1] < waits[0], "{waits:?}");
    assert_eq!(task.poll("?wait=0.05").await["finished"], false);
    assert_eq!(task.server.backstage.waits.lock().unwrap().drain(..).next(), Some(Duration::from_millis(50)));
    for none in ["-1", "NaN", "0"] {
        task.poll(&format!("?wait={none}")).await;
        assert!(task.server.backstage.waits.lock().unwrap().is_empty(), "{none}");
    }
    let bad = task.server.get(&task.server.owner, &format!("{}?wait=soon", task.path)).await;
    assert_eq!(bad.refusal(), (400, 25));
}

#[tokio::test]
async fn tasks_are_for_those_who_may_change_the_content() {
    let task = running().await;
    let server = &task.server;
    assert_eq!(server.ask(None, "GET", &task.path, Value::Null).await.refusal(), (401, 24));
    assert_eq!(server.get(&server.stranger, &task.path).await.refusal(), (403, 19));
    server.permit(&task.guid, &server.viewer, PermissionRole::Viewer).await;
    assert_eq!(server.get(&server.viewer, &task.path).await.refusal(), (403, 21));
    assert_eq!(server.get(&server.admin, &task.path).await.status, 200);
    server.permit(&task.guid, &server.stranger, PermissionRole::Owner).await;
    assert_eq!(server.get(&server.stranger, &task.path).await.status, 200);
    for absent in ["x", "0123456789abcdef0123456789abcdef"] {
        let reply = server.get(&server.owner, &format!("/__api__/v1/tasks/{absent}")).await;
        assert_eq!(reply.refusal(), (404, 141), "{absent}");
    }
}
