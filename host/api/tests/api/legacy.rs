//! `/applications…` and `/tasks/{id}`.

use axum::body::Body;
use lectern_domain::JobKey;
use lectern_metadata::content;
use lectern_metadata::jobs::{self, NewJob};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Server, Told, page_bundle, request};

#[tokio::test]
async fn an_old_client_publishes() {
    let server = Server::new().await;
    let owner = Some(&server.owner);
    let ask = async |method: &str, path: &str, body| server.ask(owner, method, &format!("/__api__{path}"), body).await;
    let me = ask("GET", "/users/current", Value::Null).await.ok();
    let query = format!("filter=account_id:{}&filter=name:old&count=100&offset=0", me["id"]);
    let none = ask("GET", &format!("/applications?{query}"), Value::Null).await.ok();
    assert_eq!(none, json!({"applications": [], "count": 0, "total": 0, "continuation": ""}));

    let made = ask("POST", "/applications", json!({"name": "old", "title": "Old app"})).await.ok();
    let id = made["id"].as_i64().unwrap();
    let guid = made["guid"].as_str().unwrap();
    assert_eq!(made["url"], format!("https://lectern.example/pub/content/{guid}/"));
    assert_eq!((&made["app_mode"], &made["owner_username"]), (&json!(0), &json!("owner")));
    assert_eq!(ask("GET", &format!("/applications/{id}"), Value::Null).await.ok(), made);
    assert_eq!(ask("GET", &format!("/applications/{guid}"), Value::Null).await.ok(), made);
    let found = ask("GET", &format!("/applications?{query}"), Value::Null).await.ok();
    assert_eq!((&found["applications"], &found["total"]), (&json!([made]), &json!(1)));

    let upload =
        request("POST", &format!("/__api__/applications/{id}/upload")).header("content-type", "application/x-gzip");
    let bundle = server.send(owner, upload.body(Body::from(page_bundle("old"))).unwrap()).await.ok();
    let bundle = bundle["id"].as_i64().unwrap();
    let task = ask("POST", &format!("/applications/{id}/deploy"), json!({"bundle": bundle})).await.ok();
    let polled = ask("GET", &format!("/tasks/{}?first_status=0", task["id"].as_str().unwrap()), Value::Null).await.ok();
    assert_eq!(polled, task);
    assert_eq!((&polled["id"], &polled["task_id"]), (&task["id"], &task["id"]));
    assert_eq!((&polled["status"], &polled["last_status"]), (&json!([]), &json!(0)));
    assert_eq!((&polled["finished"], &polled["code"], &polled["error"]), (&json!(false), &json!(0), &json!("")));
    let config = ask("GET", &format!("/applications/{id}/config"), Value::Null).await.ok();
    assert_eq!(config["config_url"], format!("https://lectern.example/pub/connect/#/apps/{guid}"));
}

#[tokio::test]
async fn numbers_that_name_nothing() {
    let server = Server::new().await;
    let get = async |path: &str| server.get(&server.owner, &format!("/__api__{path}")).await.refusal();
    assert_eq!(get("/applications/999999").await, (404, 4));
    assert_eq!(get("/applications/x").await, (400, 3));
    assert_eq!(get("/applications/-1").await, (400, 3));
    assert_eq!(get("/tasks/unknown").await, (404, 141));
    assert_eq!(get("/applications?filter=owner:1").await, (400, 25));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let server = Server::new().await;
    for number in 0..5 {
        server.content(&format!("app-{number}")).await;
    }
    let get = async |query: &str| server.get(&server.owner, &format!("/__api__/applications?{query}")).await.ok();
    let names = |page: &Value| -> Vec<String> {
        page["applications"].as_array().unwrap().iter().map(|app| app["name"].as_str().unwrap().to_owned()).collect()
    };
    let first = get("count=2&start=0&cont=").await;
    assert_eq!(
        (names(&first), &first["count"], &first["total"]),
        (vec!["app-0".into(), "app-1".into()], &json!(2), &json!(5))
    );
    assert_eq!(first["continuation"], "2");
    let last = get("count=2&start=4&cont=4").await;
    assert_eq!((names(&last), &last["continuation"]), (vec!["app-4".into()], &json!("")));
    assert_eq!(names(&get("search=APP-3").await), ["app-3"]);
    assert_eq!(get("filter=content_type:pin&count=1000").await["total"], 0);
    assert_eq!(get(&format!("filter=account_id:{}", server.stranger.user)).await["total"], 0);
}

#[tokio::test]
async fn what_runs_is_ended() {
    let server = Server::new().await;
    let guid = server.content("running").await;
    server.bundle(&guid).await;
    let ask = async |who, path: &str| server.ask(Some(who), "POST", &format!("/__api__{path}"), Value::Null).await;
    let app = server.get(&server.owner, &format!("/__api__/applications/{guid}")).await.ok()["id"].clone();

    // R sends the empty list.
    let path = format!("/__api__/applications/{app}/terminate");
    let nothing = server.ask(Some(&server.owner), "POST", &path, json!([])).await.ok();
    assert_eq!((&nothing["status"], &nothing["finished"]), (&json!(["Nothing runs."]), &json!(true)));
    let job = running(&server, &guid).await;
    server.backstage.running.lock().unwrap().insert(job.clone());
    server.backstage.take();
    let ended = ask(&server.owner, &format!("/applications/{app}/terminate")).await.ok();
    assert_eq!(ended["status"], json!([format!("Asked job {job} to end.")]));
    assert_eq!(server.backstage.take(), [Told::JobEnded(job, "owner".into())]);
    let path = format!("/__api__/tasks/{}?first_status=0", ended["task_id"].as_str().unwrap());
    let followed = server.get(&server.owner, &path).await.ok();
    assert_eq!((&followed["status"], &followed["code"], &followed["id"]), (&ended["status"], &json!(0), &ended["id"]));
    assert_eq!(ask(&server.stranger, &format!("/applications/{app}/terminate")).await.refusal(), (403, 19));
    assert_eq!(ask(&server.owner, "/applications/999999/terminate").await.refusal(), (404, 4));

    // A deployment that nobody works on.
    let path = format!("/__api__/applications/{app}/deploy");
    let task = server.ask(Some(&server.owner), "POST", &path, json!({})).await.ok();
    let kill = format!("/tasks/{}/kill", task["id"].as_str().unwrap());
    assert_eq!(ask(&server.stranger, &kill).await.refusal(), (403, 19));
    let killed = ask(&server.owner, &kill).await.ok();
    assert_eq!((&killed["finished"], &killed["code"]), (&json!(true), &json!(1)));
    assert_eq!(killed["error"], "stopped by owner");
    assert_eq!(ask(&server.owner, &kill).await.refusal(), (409, 163));
    assert_eq!(
        ask(&server.owner, &format!("/tasks/{}/kill", ended["task_id"].as_str().unwrap())).await.refusal(),
        (409, 163)
    );
    assert_eq!(ask(&server.owner, "/tasks/unknown/kill").await.refusal(), (404, 141));
    let log = server.get(&server.admin, "/__api__/v1/audit_logs?ascOrder=false&limit=2").await.ok();
    let actions: Vec<&Value> = log["results"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["stop_job", "deploy_application"]);
}

#[tokio::test]
async fn accounts_by_number() {
    let server = Server::new().await;
    let fields = json!({"email": "bob@example.org", "username": "bob", "first_name": "Bob", "last_name": "B",
        "password": "long enough"});
    let add = async |who| server.ask(Some(who), "POST", "/__api__/users/", fields.clone()).await;
    assert_eq!(add(&server.owner).await.refusal(), (403, 22));
    let made = add(&server.admin).await.ok();
    assert_eq!((&made["username"], &made["user_role"]), (&json!("bob"), &json!("viewer")));
    assert_eq!(add(&server.admin).await.refusal(), (409, 8));
    let get = async |id: &str| server.get(&server.viewer, &format!("/__api__/users/{id}")).await;
    assert_eq!(get(&made["id"].to_string()).await.ok(), made);
    assert_eq!(get("999999").await.refusal(), (404, 9));
    assert_eq!(get("x").await.refusal(), (400, 3));
}

#[tokio::test]
async fn old_addresses_name_the_new_ones() {
    let server = Server::new().await;
    let guid = server.content("old").await;
    let told = async |method: &str, path: &str| {
        let reply = server.ask(Some(&server.owner), method, &format!("/__api__{path}"), Value::Null).await;
        reply.headers.get("x-deprecated-endpoint").map(|value| value.to_str().unwrap().to_owned())
    };
    let cases = [
        ("GET", "/applications".to_owned(), Some("/v1/content")),
        ("GET", "/applications/?filter=content_type:pin".to_owned(), Some("/v1/content")),
        ("GET", format!("/applications/{guid}"), Some("/v1/content/{guid}")),
        ("GET", "/applications/999".to_owned(), Some("/v1/content/{guid}")),
        ("GET", format!("/applications/{guid}/image"), Some("/v1/content/{guid}/thumbnail")),
        ("GET", "/tasks/unknown".to_owned(), Some("/v1/tasks/{id}")),
        ("GET", "/users/current/".to_owned(), Some("/v1/user")),
        // What current clients use by themselves, and what has no other address.
        ("GET", format!("/applications/{guid}/variants"), None),
        ("POST", format!("/applications/{guid}/terminate"), None),
        ("GET", "/timezones".to_owned(), None),
        ("GET", "/me".to_owned(), None),
        ("GET", "/server_settings".to_owned(), None),
        ("GET", "/v1/content".to_owned(), None),
        ("GET", "/unknown".to_owned(), None),
    ];
    for (method, path, expected) in cases {
        assert_eq!(told(method, &path).await.as_deref(), expected, "{method} {path}");
    }
}

#[tokio::test]
async fn an_application_has_all_its_fields() {
    let server = Server::new().await;
    let guid = server.content("whole").await;
    let vanity = format!("/__api__/v1/content/{guid}/vanity");
    server.ask(Some(&server.admin), "PUT", &vanity, json!({"path": "/whole/"})).await.ok();
    let app = server.get(&server.owner, &format!("/__api__/applications/{guid}")).await.ok();
    for field in APPLICATION.split_whitespace() {
        assert!(app.get(field).is_some(), "{field}: {app}");
    }
    assert_eq!((&app["vanity_url"], &app["is_scheduled"]), (&json!(true), &json!(false)));
    assert_eq!(app["vanities"], json!([{"app_id": app["id"], "app_guid": guid, "path_prefix": "/whole/"}]));
}

/// The application object of the protocol.
const APPLICATION: &str = "id guid name title url vanity_url access_type connection_timeout read_timeout init_timeout \
    idle_timeout max_processes min_processes max_conns_per_process load_factor app_mode bundle_id content_category \
    has_parameters created_time last_deployed_time build_status cluster_name image_name r_version py_version quarto_version \
    node_version run_as run_as_current_user description app_role owner_guid owner_username owner_first_name owner_last_name \
    owner_email owner_locked is_scheduled git users groups vanities EnvironmentJson";

/// A process of an item that runs, as far as its record says.
async fn running(server: &Server, guid: &str) -> JobKey {
    let client = server.database.client().await.unwrap();
    let row = content::get_by_guid(&client, guid.parse().unwrap()).await.unwrap().unwrap();
    let job = NewJob {
        key: JobKey::from_random([9; 16]),
        content: row.id,
        bundle: None,
        tag: "run_api".into(),
        server: Uuid::new_v4(),
        hostname: "host".into(),
        run_as: None,
        log_path: None,
        task: None,
    };
    jobs::create(&client, &job).await.unwrap().key
}
