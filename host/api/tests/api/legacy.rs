//! `/applications…` and `/tasks/{id}`.

use axum::body::Body;
use serde_json::{Value, json};

use crate::support::{Server, page_bundle, request};

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
async fn an_item_has_one_variant() {
    let server = Server::new().await;
    let guid = server.content("varied").await;
    let path = format!("/__api__/applications/{guid}/variants");
    let list = server.get(&server.owner, &path).await.ok();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!((&list[0]["is_default"], &list[0]["bundle_id"]), (&json!(true), &Value::Null));
    let app = server.get(&server.owner, &format!("/__api__/applications/{guid}")).await.ok();
    assert_eq!((&list[0]["app_id"], &list[0]["owner_id"]), (&app["id"], &json!(server.owner.user.0)));
    assert_eq!(server.get(&server.stranger, &path).await.refusal(), (403, 19));
    assert_eq!(server.get(&server.owner, "/__api__/applications/999/variants").await.refusal(), (404, 4));
}
