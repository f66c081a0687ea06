//! `/v1/content/{guid}/jobs`.

use http::header;
use lectern_domain::JobKey;
use lectern_domain::access::PermissionRole;
use lectern_metadata::content;
use lectern_metadata::jobs::{self, JobEnd, NewJob};
use lectern_metadata::tasks;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

use crate::support::{Reply, Server, Told, request};

const FIELDS: &str = "id ppid pid key remote_id app_id content_id content_guid variant_id bundle_id start_time end_time \
                      last_heartbeat_time queued_time queue_name tag exit_code status hostname cluster image run_as lectern";

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
        task: None,
    };
    let first = jobs::create(&client, &job(1)).await.unwrap();
    let second = jobs::create(&client, &job(2)).await.unwrap();
    jobs::set_pid(&client, &first.key, 42).await.unwrap();
    let end = JobEnd {
        exit_code: Some(1),
        reason: Some("it exited with status 1 while it was serving".into()),
        cpu_seconds: Some(2.5),
        peak_memory_bytes: Some(1 << 33),
        at: None,
    };
    jobs::finish(&client, &first.key, &end).await.unwrap();

    let list = server.get(&server.owner, &path).await.ok();
    assert_eq!((&list[0]["key"], &list[1]["key"]), (&json!(second.key.as_str()), &json!(first.key.as_str())));
    let ended = server.get(&server.owner, &format!("{path}/{}", first.key)).await.ok();
    assert_eq!(ended, list[1]);
    assert_eq!((&ended["status"], &ended["exit_code"], &ended["pid"]), (&json!(2), &json!(1), &json!("42")));
    let fields = ended.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ");
    assert_eq!(fields, FIELDS, "the protocol's, and one of ours");
    let more = json!({
        "ready_time": null, "cpu_seconds": 2.5, "peak_memory_bytes": 1_u64 << 33,
        "reason": "it exited with status 1 while it was serving", "stopped_by": null, "task_id": null,
    });
    assert_eq!(ended["lectern"], more);
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

    let tail = server.get(&server.owner, &format!("{path}/{}/tail?maxLogLines=1", first.key)).await.ok();
    assert_eq!(tail, last);
    let why = server.get(&server.owner, &format!("{path}/{}/error", first.key)).await.ok();
    assert_eq!((&why["exit_code"], &why["error"]), (&json!(1), &more["reason"]));
    assert_eq!(why["entries"], json!([lines[1]]));
    let file = server.get(&server.owner, &format!("{path}/{}/download", first.key)).await;
    assert_eq!(
        (file.status.as_u16(), file.headers["content-type"].to_str().unwrap()),
        (200, "text/plain; charset=utf-8")
    );
    assert!(file.headers["content-disposition"].to_str().unwrap().contains(first.key.as_str()));
    assert!(file.bytes.starts_with(b"1970-01-01T00:00:00Z stdout 1\n"), "{file:?}");

    assert_eq!(server.get(&server.owner, &format!("{path}/short")).await.refusal(), (400, 3));
    let absent = JobKey::from_random([9; 16]);
    assert_eq!(server.get(&server.owner, &format!("{path}/{absent}")).await.refusal(), (404, 4));
    let other = server.content("elsewhere").await;
    let wrong = format!("/__api__/v1/content/{other}/jobs/{}/log", first.key);
    assert_eq!(server.get(&server.owner, &wrong).await.refusal(), (404, 4), "another item's job");
}

/// Asks for a stream.
async fn stream(server: &Server, path: &str, last: Option<&str>) -> Reply {
    let mut asked = request("GET", path).header(header::ACCEPT, "text/event-stream");
    if let Some(last) = last {
        asked = asked.header("last-event-id", last);
    }
    server.send(Some(&server.owner), asked.body(axum::body::Body::empty()).unwrap()).await
}

/// The ids of events, and whether the last one says that this is all.
fn ids(reply: &Reply) -> (Vec<String>, bool) {
    let text = std::str::from_utf8(&reply.bytes).unwrap();
    assert_eq!(reply.headers["content-type"], "text/event-stream", "{text}");
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect();
    (ids, text.trim_end().ends_with("event: end\ndata: {}"))
}

#[tokio::test]
async fn a_log_is_streamed_from_where_the_client_was() {
    let server = Server::new().await;
    let guid = server.content("streamed").await;
    let job = process(&server, &guid).await;
    let path = format!("/__api__/v1/content/{guid}/jobs/{job}/tail");
    let all = stream(&server, &format!("{path}?after=0"), None).await;
    assert_eq!(ids(&all), (vec!["1".into(), "2".into(), "3".into()], true));
    let text = std::str::from_utf8(&all.bytes).unwrap();
    assert!(
        text.contains(r#""data":"1\nof "#) && text.contains("retry: 1000"),
        "a line's own line ends are kept: {text}"
    );
    assert_eq!(ids(&stream(&server, &path, Some("2")).await).0, ["3"]);
    assert_eq!(ids(&stream(&server, &format!("{path}?after=0"), Some("3")).await), (vec![], true));
    assert_eq!(
        ids(&stream(&server, &path, Some("nonsense")).await).0.len(),
        3,
        "the end of the log, two lines before it"
    );
    let log = format!("/__api__/v1/content/{guid}/jobs/{job}");
    for who in [&server.stranger, &server.viewer] {
        for part in ["", "/log", "/tail", "/error", "/download"] {
            assert_eq!(server.get(who, &format!("{log}{part}")).await.refusal(), (403, 19), "{part}");
        }
        assert_eq!(server.ask(Some(who), "DELETE", &log, Value::Null).await.refusal(), (403, 19));
    }
}

#[tokio::test]
async fn a_process_is_stopped_once() {
    let server = Server::new().await;
    let guid = server.content("stopped").await;
    let job = process(&server, &guid).await;
    let path = format!("/__api__/v1/content/{guid}/jobs/{job}");
    let id = server.get(&server.owner, &path).await.ok()["id"].as_str().unwrap().parse::<i64>().unwrap();
    let delete = async |who| server.ask(Some(who), "DELETE", &path, Value::Null).await;
    server.permit(&guid, &server.viewer, PermissionRole::Viewer).await;
    assert_eq!(delete(&server.viewer).await.refusal(), (403, 21), "those who may open an app may not end it");
    server.backstage.take();

    let app: i64 = server.get(&server.owner, &path).await.ok()["app_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(delete(&server.owner).await.refusal(), (409, 163), "it is about to end");
    server.backstage.running.lock().unwrap().insert(job.clone());
    server.permit(&guid, &server.stranger, PermissionRole::Owner).await;
    for who in [&server.owner, &server.stranger, &server.admin] {
        let order = delete(who).await.ok();
        let expected = json!({
            "guid": order["guid"], "app_id": app, "app_guid": guid, "job_id": id, "job_key": job.as_str(),
            "result": "Order to kill job registered",
        });
        assert_eq!(order, expected);
        assert!(order["guid"].as_str().unwrap().parse::<Uuid>().is_ok());
        assert!(server.backstage.take().contains(&Told::JobEnded(job.clone(), who.username.clone())));
    }
    let client = server.database.client().await.unwrap();
    jobs::finish(&client, &job, &JobEnd::default()).await.unwrap();
    assert_eq!(delete(&server.owner).await.refusal(), (409, 163));
    assert!(server.backstage.take().is_empty(), "nobody is asked to end what has ended");
    let absent = format!("/__api__/v1/content/{guid}/jobs/{}", JobKey::from_random([9; 16]));
    assert_eq!(server.ask(Some(&server.owner), "DELETE", &absent, Value::Null).await.refusal(), (404, 4));
}

#[tokio::test]
async fn a_deployment_is_a_job_with_a_log() {
    let server = Server::new().await;
    let guid = server.content("deployed").await;
    server.bundle(&guid).await;
    let deploy = async || {
        let path = format!("/__api__/v1/content/{guid}/deploy");
        server.ask(Some(&server.owner), "POST", &path, json!({})).await.ok()["task_id"].as_str().unwrap().to_owned()
    };
    let task = deploy().await;
    let jobs_path = format!("/__api__/v1/content/{guid}/jobs");
    let listed = server.get(&server.owner, &jobs_path).await.ok();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["lectern"]["task_id"]), (1, &json!(task)));
    assert_eq!((&listed[0]["status"], &listed[0]["tag"]), (&json!(0), &json!("unknown")));
    let path = format!("{jobs_path}/{}", listed[0]["key"].as_str().unwrap());

    let client = server.database.client().await.unwrap();
    let claimed = tasks::claim_next(&client, Uuid::new_v4(), Duration::from_secs(60)).await.unwrap().unwrap();
    let lines: Vec<String> = (1..=700).map(|n| format!("line {n}")).collect();
    tasks::append_output(&client, &claimed.lease, &lines).await.unwrap();
    let log = server.get(&server.owner, &format!("{path}/log?maxLogLines=2")).await.ok();
    let said: Vec<&Value> = log["entries"].as_array().unwrap().iter().map(|entry| &entry["data"]).collect();
    assert_eq!(said, ["line 699", "line 700"]);
    let finished = tasks::finish(&client, &claimed.lease, 1, "no such package", None);
    let tail = format!("{path}/tail?after=0");
    // The stream waits for the task's end.
    let (reply, ()) = tokio::join!(stream(&server, &tail, None), async {
        server.backstage.waiting.notified().await;
        finished.await.unwrap();
        server.backstage.news.notify_one();
    });
    let (seen, end) = ids(&reply);
    assert!(seen.len() == 700 && seen[699] == "700" && end);
    let why = server.get(&server.owner, &format!("{path}/error")).await.ok();
    assert_eq!((&why["exit_code"], &why["error"]), (&json!(1), &json!("no such package")));
    assert_eq!(server.get(&server.owner, &format!("{path}/download")).await.bytes.split(|b| *b == b'\n').count(), 701);

    let task = deploy().await;
    let newest = server.get(&server.owner, &jobs_path).await.ok()[0]["key"].as_str().unwrap().to_owned();
    server.ask(Some(&server.owner), "DELETE", &format!("{jobs_path}/{newest}"), Value::Null).await.ok();
    let task = server.get(&server.owner, &format!("/__api__/v1/tasks/{task}")).await.ok();
    assert_eq!(
        (&task["finished"], &task["code"], &task["error"]),
        (&json!(true), &json!(1), &json!("stopped by owner"))
    );
    let job = server.get(&server.owner, &format!("{jobs_path}/{newest}")).await.ok();
    assert_eq!((&job["status"], &job["lectern"]["stopped_by"]), (&json!(2), &json!("owner")));
    assert_eq!(
        server.ask(Some(&server.owner), "DELETE", &format!("{jobs_path}/{newest}"), Value::Null).await.refusal(),
        (409, 163)
    );
}

#[tokio::test]
async fn processes_are_shown_to_administrators() {
    let server = Server::new().await;
    let path = "/__api__/metrics/procs";
    let shown = server.get(&server.admin, path).await.ok();
    let expected = json!({"4242": {
        "appId": 7, "appGuid": Uuid::nil(), "appName": "busy",
        "appUrl": format!("https://lectern.example/pub/content/{}/", Uuid::nil()), "appRunAs": "lectern",
        "type": "run_api", "cpuCurrent": 1.5, "cpuTotal": 2, "ram": 1_u64 << 33,
        "jobKey": JobKey::from_random([1; 16]).as_str(),
    }});
    assert_eq!(shown, expected);
    assert_eq!(server.get(&server.owner, path).await.refusal(), (403, 22));
    assert_eq!(server.ask(None, "GET", path, Value::Null).await.refusal(), (401, 24));
}

/// Records a process of the item.
async fn process(server: &Server, guid: &str) -> JobKey {
    let client = server.database.client().await.unwrap();
    let row = content::get_by_guid(&client, guid.parse().unwrap()).await.unwrap().unwrap();
    let job = NewJob {
        key: JobKey::from_random(*Uuid::new_v4().as_bytes()),
        content: row.id,
        bundle: None,
        tag: "run_api".into(),
        server: Uuid::nil(),
        hostname: "host".into(),
        run_as: None,
        log_path: None,
        task: None,
    };
    jobs::create(&client, &job).await.unwrap().key
}
