//! Fields that a body cannot set: what the server decides, and what only others may decide.

use axum::body::Body;
use lectern_domain::UserRole;
use lectern_domain::access::Principal;
use serde_json::{Value, json};

use super::objects::Objects;
use super::operations::{Findings, operations};
use crate::support::{Server, request};

/// Values that nothing else has.
const GUID: &str = "5e11f1e5-0000-4000-8000-00005e11f1e5";
const NUMBER: i64 = 515_151_515_151;
const TEXT: &str = "self-assigned-5e11f1e5";
const TIME: &str = "1999-12-31T23:59:59Z";

/// What responses are made of and requests are not.
fn assigned() -> Vec<(&'static str, Value)> {
    let guids = ["guid", "owner_guid", "user_guid", "content_guid", "created_by", "principal_guid", "environment_guid"];
    let numbers =
        ["id", "owner_id", "app_id", "user_id", "bundle_id", "size", "content_id", "account_id", "hash", "key"];
    let times =
        ["created_time", "last_deployed_time", "updated_time", "active_time", "created_at", "expires_at", "last_used"];
    let texts = [
        "app_role",
        "app_mode",
        "user_role",
        "role",
        "run_as",
        "content_category",
        "content_url",
        "dashboard_url",
        "username",
        "password_hash",
        "unique_id",
        "r_version",
        "py_version",
        "cluster_name",
        "image_name",
        "permissions",
        "privileges",
    ];
    let flags = ["locked", "confirmed", "active", "is_admin", "parameterized", "__proto__", "constructor"];
    let mut all: Vec<(&str, Value)> = Vec::new();
    all.extend(guids.map(|name| (name, json!(GUID))));
    all.extend(numbers.map(|name| (name, json!(NUMBER))));
    all.extend(times.map(|name| (name, json!(TIME))));
    all.extend(texts.map(|name| (name, json!(TEXT))));
    all.extend(flags.map(|name| (name, json!({TEXT: true}))));
    all
}

fn shows(text: &str) -> bool {
    [GUID, TEXT, TIME, &NUMBER.to_string()].iter().any(|value| text.contains(value))
}

#[tokio::test]
async fn fields_that_no_route_takes_change_nothing() {
    let server = Server::new().await;
    let objects = Objects::new(&server).await;
    let operations = operations();
    let mut findings = Findings::default();
    let mut taken = 0;
    for operation in operations.iter().filter(|operation| operation.body.is_some()) {
        // The owner's rights, and an administrator's.
        for caller in [&server.owner, &server.admin] {
            let own: Vec<String> = operation.fields().into_iter().map(|(name, _)| name).collect();
            let mut body: serde_json::Map<String, Value> = assigned()
                .into_iter()
                .filter(|(name, _)| !own.iter().any(|own| own == name))
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            if own.iter().any(|name| name == "name") {
                body.insert("name".into(), format!("plain_{}", uuid::Uuid::new_v4().simple()).into());
            }
            let body = Value::from(body);
            let body = if operation.takes_list() { json!([body]) } else { body };
            let path = objects.fill(&operation.path);
            let request = request(&operation.method, &path).body(Body::from(body.to_string())).unwrap();
            let reply = server.send(Some(caller), request).await;
            findings.sound(operation, &reply, "self-assigned");
            let text = String::from_utf8_lossy(&reply.bytes).into_owned();
            let kept = reply.status.is_success() && shows(&text);
            findings.expect(!kept, operation, &reply, "it shows what it was told");
            taken += usize::from(reply.status.is_success());
        }
    }
    assert!(taken > 10, "some were taken: {taken}");
    for operation in operations.iter().filter(|operation| operation.method == "GET") {
        let reply = server.get(&server.admin, &objects.fill(&operation.path)).await;
        let text = String::from_utf8_lossy(&reply.bytes).into_owned();
        findings.expect(!shows(&text), operation, &reply, "it shows what another was told");
    }
    findings.are_none(60);
}

/// Fields that a route does take, from callers who may not set them.
#[tokio::test]
async fn rights_are_not_taken_by_naming_them() {
    let server = Server::new().await;
    let guid = server.content("kept").await;
    server.permit(&guid, &server.stranger, lectern_domain::access::PermissionRole::Owner).await;
    let item = format!("/__api__/v1/content/{guid}");
    let ask = async |who: &Principal, method: &str, path: &str, body: Value| {
        server.ask(Some(who), method, path, body).await.refusal()
    };
    let me = |who: &Principal| format!("/__api__/v1/users/{}", who.guid);
    let stranger = server.stranger.guid.to_string();
    // An editor does not become the owner, nor chooses the account that content runs as; nor does the owner.
    assert_eq!(ask(&server.stranger, "PATCH", &item, json!({"owner_guid": stranger})).await, (403, 21));
    for who in [&server.owner, &server.stranger] {
        for body in [json!({"run_as": "root"}), json!({"run_as_current_user": true})] {
            assert_eq!(ask(who, "PATCH", &item, body.clone()).await, (403, 22), "{body}");
            assert_eq!(ask(who, "POST", "/__api__/v1/content", body.clone()).await, (403, 22), "{body}");
        }
    }
    // Nobody gives themselves a role, another name, or an account of another directory.
    for who in [&server.owner, &server.viewer] {
        for body in [json!({"user_role": "administrator"}), json!({"username": "other"})] {
            assert_eq!(ask(who, "PUT", &me(who), body.clone()).await.0, 403, "{} {body}", who.username);
        }
        let key = format!("{}/keys", me(who));
        assert_eq!(ask(who, "POST", &key, json!({"name": "more", "role": "administrator"})).await.0, 403);
        assert_eq!(ask(who, "POST", &format!("{}/lock", me(who)), json!({"locked": false})).await, (403, 22));
    }
    // A lesser key gives no greater one, and no rights of the account.
    let lesser = Principal { role: UserRole::Viewer, ..server.admin.clone() };
    let key = format!("{}/keys", me(&lesser));
    assert_eq!(ask(&lesser, "POST", &key, json!({"name": "more", "role": "administrator"})).await.0, 403);
    assert_eq!(ask(&lesser, "PUT", &me(&server.owner), json!({"user_role": "viewer"})).await.0, 403);
    let group = json!({"name": "directory", "unique_id": "x"});
    assert_eq!(ask(&server.owner, "POST", "/__api__/v1/groups", group).await, (403, 22));
    // What was refused was refused whole.
    let both = json!({"title": "changed", "run_as": "root"});
    assert_eq!(ask(&server.owner, "PATCH", &item, both).await, (403, 22));
    let now = server.get(&server.owner, &item).await.ok();
    assert_eq!(
        (&now["title"], &now["run_as"], &now["owner_guid"]),
        (&Value::Null, &Value::Null, &json!(server.owner.guid.to_string()))
    );
}
