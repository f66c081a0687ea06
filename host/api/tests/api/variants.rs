//! `/applications/{app}/variants`, `/variants…` and rendering.

use lectern_domain::access::PermissionRole;
use serde_json::{Value, json};

use crate::support::Server;

/// The default variant of an item.
pub(crate) async fn default_variant(server: &Server, guid: &str) -> Value {
    let list = server.get(&server.admin, &format!("/__api__/applications/{guid}/variants")).await.ok();
    assert_eq!(list.as_array().unwrap().len(), 1);
    list[0].clone()
}

/// Makes an item the document that a later server may have deployed.
pub(crate) async fn document(server: &Server, name: &str) -> String {
    let guid = server.content(name).await;
    server.activate(&guid, &server.bundle(&guid).await).await;
    let sql = "UPDATE content SET app_mode = 'rmd-static' WHERE guid = $1::text::uuid";
    server.database.client().await.unwrap().execute(sql, &[&guid]).await.unwrap();
    guid
}

#[tokio::test]
async fn an_item_has_one_default_variant() {
    let server = Server::new().await;
    let (guid, other) = (server.content("varied").await, server.content("other").await);
    let path = format!("/__api__/applications/{guid}/variants");
    let list = server.get(&server.owner, &path).await.ok();
    let one = &list[0];
    assert_eq!(list.as_array().unwrap().len(), 1);
    let app = server.get(&server.owner, &format!("/__api__/applications/{guid}")).await.ok();
    for (field, expected) in [
        ("app_id", &app["id"]),
        ("is_default", &json!(true)),
        ("name", &json!("default")),
        ("bundle_id", &Value::Null),
        ("rendering_id", &Value::Null),
        ("render_time", &Value::Null),
        ("render_duration", &Value::Null),
        ("visibility", &json!("public")),
        ("owner_id", &json!(0)),
        ("email_collaborators", &json!(false)),
        ("email_viewers", &json!(false)),
        ("email_all", &json!(false)),
    ] {
        assert_eq!(&one[field], expected, "{field}");
    }
    let key = one["key"].as_str().unwrap();
    assert!(key.len() == 8 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    assert_ne!(one["id"], default_variant(&server, &other).await["id"]);
    assert_eq!(server.get(&server.owner, &format!("/__api__/applications/{}/variants", app["id"])).await.ok(), list);

    server.activate(&guid, &server.bundle(&guid).await).await;
    assert!(default_variant(&server, &guid).await["bundle_id"].is_i64());
    assert_eq!(server.get(&server.stranger, &path).await.refusal(), (403, 19));
    assert_eq!(server.get(&server.owner, "/__api__/applications/999/variants").await.refusal(), (404, 4));
    assert_eq!(server.ask(None, "GET", &path, Value::Null).await.refusal(), (401, 24));
    // It goes with the item.
    server.ask(Some(&server.owner), "DELETE", &format!("/__api__/v1/content/{guid}"), Value::Null).await;
    assert_eq!(server.get(&server.owner, &format!("/__api__/variants/{}", one["id"])).await.refusal(), (404, 4));
}

#[tokio::test]
async fn a_variant_is_read_and_changed() {
    let server = Server::new().await;
    let guid = server.content("varied").await;
    server.permit(&guid, &server.viewer, PermissionRole::Viewer).await;
    let one = default_variant(&server, &guid).await;
    let path = format!("/__api__/variants/{}", one["id"]);
    for who in [&server.owner, &server.viewer, &server.admin] {
        assert_eq!(server.get(who, &path).await.ok(), one);
    }
    assert_eq!(server.get(&server.stranger, &path).await.refusal(), (403, 19));
    let change = async |who, body| server.ask(Some(who), "POST", &path, body).await;
    assert_eq!(change(&server.owner, json!({})).await.ok(), one);
    // All that was read may be sent back; what cannot be changed stays.
    let mut whole = one.clone();
    whole["email_collaborators"] = json!(true);
    whole["is_default"] = json!(false);
    whole["id"] = json!(7);
    let changed = change(&server.owner, whole).await.ok();
    assert_eq!(changed["email_collaborators"], true);
    assert_eq!((&changed["is_default"], &changed["id"]), (&json!(true), &one["id"]));
    assert_eq!(change(&server.admin, json!({"name": " Weekly "})).await.ok()["name"], "Weekly");
    assert_eq!(change(&server.owner, json!({"name": " "})).await.refusal(), (400, 87));
    assert_eq!(change(&server.owner, json!({"name": "x".repeat(256)})).await.refusal(), (400, 87));
    assert_eq!(change(&server.owner, json!({"email_all": "yes"})).await.refusal(), (400, 121));
    assert_eq!(change(&server.viewer, json!({"name": "mine"})).await.refusal(), (403, 21));
    assert_eq!(change(&server.stranger, json!({"name": "mine"})).await.refusal(), (403, 19));
    for (bad, code) in [("x", (400, 3)), ("0", (400, 3)), ("-1", (400, 3)), ("999999", (404, 4))] {
        assert_eq!(server.get(&server.owner, &format!("/__api__/variants/{bad}")).await.refusal(), code, "{bad}");
    }
    let log = server.get(&server.admin, "/__api__/v1/audit_logs?ascOrder=false&limit=1").await.ok();
    let text = format!("changed settings of the variant \"Weekly\" of content varied ({guid})");
    assert_eq!(
        (&log["results"][0]["action"], &log["results"][0]["event_description"]),
        (&json!("edit_variant"), &json!(text))
    );
}

#[tokio::test]
async fn what_was_rendered_is_listed() {
    let server = Server::new().await;
    let guid = document(&server, "rendered").await;
    let id = default_variant(&server, &guid).await["id"].as_i64().unwrap();
    let path = format!("/__api__/variants/{id}/renderings");
    assert_eq!(server.get(&server.owner, &path).await.ok(), json!([]));
    let sql = "INSERT INTO renderings (variant_id, bundle_id, job_key, active, rendered_at, duration_ns)
        SELECT $1, c.active_bundle_id, 'job' || n, n = 2, '2026-01-02T03:04:05.678Z', 5695616577
        FROM content c, generate_series(1, 3) n WHERE c.guid = $2::text::uuid";
    server.database.client().await.unwrap().execute(sql, &[&id, &guid]).await.unwrap();
    let list = server.get(&server.owner, &path).await.ok();
    let keys: Vec<&Value> = list.as_array().unwrap().iter().map(|one| &one["job_key"]).collect();
    assert_eq!(keys, ["job3", "job2", "job1"], "newest first");
    let variant = default_variant(&server, &guid).await;
    let active = json!({
        "id": list[1]["id"], "app_id": variant["app_id"], "variant_id": id, "bundle_id": variant["bundle_id"],
        "job_key": "job2", "render_time": "2026-01-02T03:04:05Z", "render_duration": 5_695_616_577_i64, "active": true,
    });
    assert_eq!(list[1], active);
    assert_eq!((&variant["rendering_id"], &variant["render_time"]), (&active["id"], &active["render_time"]));
    assert_eq!(variant["render_duration"], active["render_duration"]);
    assert_eq!(server.get(&server.stranger, &path).await.refusal(), (403, 19));
}

#[tokio::test]
async fn rendering_says_that_it_does_not_happen() {
    let server = Server::new().await;
    let guid = document(&server, "report").await;
    let id = default_variant(&server, &guid).await["id"].clone();
    let ask = async |who, path: String, body| server.ask(Some(who), "POST", &format!("/__api__{path}"), body).await;
    for body in [Value::Null, json!({}), json!([])] {
        let task = ask(&server.owner, format!("/variants/{id}/render"), body).await.ok();
        assert_eq!(
            (&task["finished"], &task["code"], &task["user_id"]),
            (&json!(true), &json!(1), &json!(server.owner.user.0))
        );
        assert!(task["error"].as_str().unwrap().contains("does not render documents"), "{task}");
        // posit-sdk follows the same number by the versioned route.
        let followed =
            server.get(&server.owner, &format!("/__api__/v1/tasks/{}?wait=1", task["id"].as_str().unwrap())).await.ok();
        assert_eq!((&followed["output"], &followed["error"]), (&task["status"], &task["error"]));
    }
    let started = ask(&server.owner, format!("/v1/content/{guid}/render"), json!({})).await;
    assert_eq!(started.status, 202);
    let task = server
        .get(&server.owner, &format!("/__api__/v1/tasks/{}", started.ok()["task_id"].as_str().unwrap()))
        .await
        .ok();
    assert_eq!((&task["finished"], &task["code"]), (&json!(true), &json!(1)));
    let log = server.get(&server.admin, "/__api__/v1/audit_logs?ascOrder=false&limit=1").await.ok();
    assert_eq!(log["results"][0]["action"], "render_variant");

    server.permit(&guid, &server.viewer, PermissionRole::Viewer).await;
    for path in [format!("/variants/{id}/render"), format!("/v1/content/{guid}/render")] {
        assert_eq!(ask(&server.viewer, path.clone(), json!({})).await.refusal(), (403, 21));
        assert_eq!(ask(&server.stranger, path, json!({})).await.refusal(), (403, 19));
    }
    // What is not rendered.
    let page = server.content("page").await;
    assert_eq!(ask(&server.owner, format!("/v1/content/{page}/render"), json!({})).await.refusal(), (404, 28));
    server.activate(&page, &server.bundle(&page).await).await;
    assert_eq!(ask(&server.owner, format!("/v1/content/{page}/render"), json!({})).await.refusal(), (400, 25));
    let id = default_variant(&server, &page).await["id"].clone();
    assert_eq!(ask(&server.owner, format!("/variants/{id}/render"), json!({})).await.refusal(), (400, 25));
}

#[tokio::test]
async fn mail_is_not_sent() {
    let server = Server::new().await;
    let guid = document(&server, "mailed").await;
    let id = default_variant(&server, &guid).await["id"].clone();
    let send = async |who, query: &str| {
        let path = format!("/__api__/variants/{id}/sender{query}");
        let reply = server.ask(Some(who), "POST", &path, Value::Null).await;
        (reply.refusal(), reply.json()["error"].as_str().unwrap().to_owned())
    };
    for query in ["", "?email=me", "?email=collaborators&rendering_id=7", "?email=collaborators_viewers"] {
        let (refusal, text) = send(&server.owner, query).await;
        assert_eq!(refusal, (403, 22), "{query}");
        assert!(text.contains("sends no mail"), "{text}");
    }
    assert_eq!(send(&server.owner, "?email=everybody").await.0, (400, 25));
    assert_eq!(send(&server.owner, "?rendering_id=x").await.0, (400, 25));
    assert_eq!(send(&server.stranger, "?email=me").await.0, (403, 19));
}

#[tokio::test]
async fn subscribers() {
    let server = Server::new().await;
    let guid = document(&server, "wanted").await;
    server.permit(&guid, &server.viewer, PermissionRole::Viewer).await;
    let id = default_variant(&server, &guid).await["id"].clone();
    let path = format!("/__api__/variants/{id}/subscribers");
    let add = async |who, guids| server.ask(Some(who), "POST", &path, guids).await;
    let (owner, viewer, stranger) =
        (server.owner.guid.to_string(), server.viewer.guid.to_string(), server.stranger.guid.to_string());
    assert_eq!(server.get(&server.owner, &path).await.ok(), json!([]));
    assert_eq!(add(&server.viewer, json!([viewer])).await.ok()[0]["username"], "viewer");
    assert_eq!(add(&server.viewer, json!([viewer, owner])).await.refusal(), (403, 21));
    assert_eq!(add(&server.stranger, json!([stranger])).await.refusal(), (403, 19));
    // Twice is once.
    assert_eq!(add(&server.owner, json!([owner, viewer, owner])).await.ok().as_array().unwrap().len(), 3);
    let listed = server.get(&server.owner, &path).await.ok();
    let names: Vec<&Value> = listed.as_array().unwrap().iter().map(|one| &one["username"]).collect();
    assert_eq!(names, ["viewer", "owner"]);
    assert_eq!(server.get(&server.viewer, &path).await.refusal(), (403, 21));
    assert_eq!(add(&server.owner, json!(["x"])).await.refusal(), (400, 3));
    assert_eq!(add(&server.owner, json!([uuid::Uuid::nil()])).await.refusal(), (404, 9));
    assert_eq!(add(&server.owner, json!({"guid": owner})).await.refusal(), (400, 121));
    assert_eq!(add(&server.owner, json!(vec![owner.clone(); 1001])).await.refusal(), (400, 87));

    let remove = async |who, guid: &str| server.ask(Some(who), "DELETE", &format!("{path}/{guid}"), Value::Null).await;
    assert_eq!(remove(&server.viewer, &owner).await.refusal(), (403, 21));
    assert_eq!(remove(&server.viewer, &viewer).await.status, 204);
    assert_eq!(remove(&server.owner, &viewer).await.refusal(), (404, 17));
    assert_eq!(remove(&server.owner, "x").await.refusal(), (400, 3));
    assert_eq!(server.get(&server.owner, &path).await.ok().as_array().unwrap().len(), 1);
}
