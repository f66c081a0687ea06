//! `/v1/content/{guid}/jobs`.

use lectern_domain::JobKey;
use lectern_metadata::content;
use lectern_metadata::jobs::{self, NewJob};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::Server;

#[tokio::test]
async fn jobs_and_their_logs_are_shown() {
    let server = Server::new().await;
    let guid = server.content("jobs").await;
    let path = format!("/__api__/v1/content/{guid}/jobs");
    assert_eq!(server.get(&server.owner, &path).await.ok(), json!([]));
    let client = server.database.client().await.unwrap();
    let row = content::get_by_guid(&client, guid.parse().unwrap()).await.unwrap().unwrap();
    let job = |number: u8| NewJob {
        key: JobKey::from_random([number; 16]),
        content: row.id,
        bundle: None,
        tag: "run_fastapi_app".into(),
        server: Uuid::new_v4(),
        hostname: "host".into(),
        run_as: Some("200001".into()),
        log_path: None,
    };
    let first = jobs::create(&client, &job(1)).await.unwrap();
    let second = jobs::create(&client, &job(2)).await.unwrap();
    jobs::set_pid(&client, &first.key, 42).await.unwrap();
    jobs::finish(&client, &first.key, Some(1)).await.unwrap();

    let list = server.get(&server.owner, &path).await.ok();
    assert_eq!((&list[0]["key"], &list[1]["key"]), (&json!(second.key.as_str()), &json!(first.key.as_str())));
    let ended = server.get(&server.owner, &format!("{path}/{}", first.key)).await.ok();
    assert_eq!(ended, list[1]);
    assert_eq!((&ended["status"], &ended["exit_code"], &ended["pid"]), (&json!(2), &json!(1), &json!("42")));
    assert!(ended["id"].is_string() && ended["end_time"].is_string() && ended["content_id"].is_string());
    assert_eq!((&list[0]["status"], &list[0]["end_time"]), (&json!(0), &Value::Null));

    let log = server.get(&server.owner, &format!("{path}/{}/log", first.key)).await.ok();
    let stamp = "1970-01-01T00:00:00Z";
    let lines = json!([
        {"source": "stdout", "timestamp": stamp, "data": "started"},
        {"source": "stderr", "timestamp": stamp, "data": first.key.as_str()},
    ]);
    assert_eq!(log, json!({"entries": lines}));
    let last = server.get(&server.owner, &format!("{path}/{}/log?maxLogLines=1", first.key)).await.ok();
    assert_eq!(last, json!({"entries": [lines[1]]}));

    assert_eq!(server.get(&server.owner, &format!("{path}/short")).await.refusal(), (400, 3));
    let absent = JobKey::from_random([9; 16]);
    assert_eq!(server.get(&server.owner, &format!("{path}/{absent}")).await.refusal(), (404, 4));
    let other = server.content("elsewhere").await;
    let wrong = format!("/__api__/v1/content/{other}/jobs/{}/log", first.key);
    assert_eq!(server.get(&server.owner, &wrong).await.refusal(), (404, 4), "another item's job");
}
