//! `/schedules…`: when documents are rendered again.

use lectern_domain::access::PermissionRole;
use serde_json::{Value, json};

use crate::support::Server;
use crate::variants::{default_variant, document};

/// What posit-sdk sends for a new schedule.
fn fields(variant: &Value) -> Value {
    json!({
        "app_id": variant["app_id"], "variant_id": variant["id"], "type": "day", "schedule": "{\"N\": 1}",
        "start_time": "2100-01-01T12:00:00Z", "timezone": "UTC", "email": false, "activate": true,
    })
}

fn with(mut base: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

#[tokio::test]
async fn a_document_gets_a_schedule() {
    let server = Server::new().await;
    let guid = document(&server, "report").await;
    let variant = default_variant(&server, &guid).await;
    let of_variant = format!("/__api__/variants/{}/schedules", variant["id"]);
    let set = async |who, body| server.ask(Some(who), "POST", "/__api__/schedules", body).await;
    assert_eq!(server.get(&server.owner, &of_variant).await.ok(), json!([]));
    let made = set(&server.owner, fields(&variant)).await.ok();
    let expected = json!({
        "id": made["id"], "app_id": variant["app_id"], "variant_id": variant["id"], "type": "day", "schedule": "{\"N\":1}",
        "start_time": "2100-01-01T12:00:00Z", "next_run": "2100-01-01T12:00:00Z", "timezone": "UTC", "activate": true,
        "email": false,
    });
    assert_eq!(made, expected);
    let path = format!("/__api__/schedules/{}", made["id"]);
    assert_eq!(server.get(&server.owner, &path).await.ok(), made);
    assert_eq!(server.get(&server.owner, &of_variant).await.ok(), json!([made]));
    assert_eq!(set(&server.owner, fields(&variant)).await.refusal(), (409, 26));
    let app = async || server.get(&server.owner, &format!("/__api__/applications/{guid}")).await.ok();
    assert_eq!(app().await["is_scheduled"], true);
    let listed = server.get(&server.owner, "/__api__/applications?filter=name:report").await.ok();
    assert_eq!(listed["applications"], json!([app().await]));

    // Clients send back all that they read, with changes; what is not sent is as in a new one.
    let change = json!({"type": "dayofweek", "schedule": "{\"Days\":1}", "timezone": "europe/berlin", "next_run": "1999-01-01T00:00:00Z"});
    let changed = server.ask(Some(&server.owner), "POST", &path, with(made.clone(), change)).await.ok();
    assert_eq!((&changed["type"], &changed["schedule"]), (&json!("dayofweek"), &json!("{\"Days\":[1]}")));
    // 1 January 2100 is a Friday.
    assert_eq!((&changed["timezone"], &changed["next_run"]), (&json!("Europe/Berlin"), &json!("2100-01-04T12:00:00Z")));
    let bare = json!({"type": "weekday", "schedule": {}});
    let changed = server.ask(Some(&server.admin), "POST", &path, bare).await.ok();
    assert_eq!(
        (&changed["schedule"], &changed["activate"], &changed["timezone"]),
        (&json!("{}"), &json!(false), &json!("UTC"))
    );
    assert!(changed["next_run"].is_string());

    let log = server.get(&server.admin, "/__api__/v1/audit_logs?ascOrder=false&limit=3").await.ok();
    let texts: Vec<&Value> =
        log["results"].as_array().unwrap().iter().map(|entry| &entry["event_description"]).collect();
    let text = |kind: &str| format!("set a schedule of type {kind} for content report ({guid})");
    assert_eq!(texts, [&json!(text("weekday")), &json!(text("dayofweek")), &json!(text("day"))]);
    let remove = async |who| server.ask(Some(who), "DELETE", &path, Value::Null).await;
    assert_eq!(remove(&server.stranger).await.refusal(), (403, 19));
    assert_eq!(remove(&server.owner).await.status, 204);
    assert_eq!(remove(&server.owner).await.refusal(), (404, 4));
    assert_eq!(server.get(&server.owner, &of_variant).await.ok(), json!([]));
    assert_eq!(app().await["is_scheduled"], false);
    set(&server.owner, fields(&variant)).await.ok();
}

#[tokio::test]
async fn what_is_no_schedule_is_refused() {
    let server = Server::new().await;
    let guid = document(&server, "report").await;
    let variant = default_variant(&server, &guid).await;
    let other = default_variant(&server, &document(&server, "other").await).await;
    let page = server.content("page").await;
    server.activate(&page, &server.bundle(&page).await).await;
    let page = default_variant(&server, &page).await;
    let unpublished = default_variant(&server, &server.content("unpublished").await).await;
    let good = fields(&variant);
    let cases = [
        (json!({}), (400, 12)),
        (with(good.clone(), json!({"variant_id": null})), (400, 12)),
        (with(good.clone(), json!({"app_id": null})), (400, 12)),
        (with(good.clone(), json!({"type": null})), (400, 12)),
        (with(good.clone(), json!({"schedule": null})), (400, 12)),
        (with(good.clone(), json!({"variant_id": 999_999})), (404, 4)),
        (with(good.clone(), json!({"variant_id": -1})), (400, 3)),
        (with(good.clone(), json!({"variant_id": "x"})), (400, 121)),
        (with(good.clone(), json!({"app_id": other["app_id"]})), (400, 87)),
        (with(good.clone(), json!({"type": "fortnight"})), (400, 87)),
        (with(good.clone(), json!({"schedule": "{}"})), (400, 87)),
        (with(good.clone(), json!({"schedule": "N"})), (400, 87)),
        (with(good.clone(), json!({"schedule": [1]})), (400, 87)),
        (with(good.clone(), json!({"schedule": "{\"N\":0}"})), (400, 87)),
        (with(good.clone(), json!({"timezone": "Mars/Olympus"})), (400, 87)),
        (with(good.clone(), json!({"start_time": "tomorrow"})), (400, 87)),
        (with(good.clone(), json!({"start_time": "1969-12-31T00:00:00Z"})), (400, 87)),
        (with(good.clone(), json!({"activate": "yes"})), (400, 121)),
        (fields(&page), (400, 25)),
        (fields(&unpublished), (400, 25)),
    ];
    for (body, expected) in cases {
        let reply = server.ask(Some(&server.owner), "POST", "/__api__/schedules", body.clone()).await;
        assert_eq!(reply.refusal(), expected, "{body}");
    }
    server.permit(&guid, &server.viewer, PermissionRole::Viewer).await;
    let ask = async |who, body| server.ask(Some(who), "POST", "/__api__/schedules", body).await.refusal();
    assert_eq!(ask(&server.viewer, good.clone()).await, (403, 21));
    assert_eq!(ask(&server.stranger, good.clone()).await, (403, 19));
    assert_eq!(server.ask(None, "POST", "/__api__/schedules", good.clone()).await.refusal(), (401, 24));

    let made = server.ask(Some(&server.owner), "POST", "/__api__/schedules", good).await.ok();
    let path = format!("/__api__/schedules/{}", made["id"]);
    let change = async |who, body| server.ask(Some(who), "POST", &path, with(made.clone(), body)).await.refusal();
    assert_eq!(change(&server.owner, json!({"variant_id": other["id"]})).await, (400, 87));
    assert_eq!(change(&server.owner, json!({"type": "year", "schedule": "{\"N\":101}"})).await, (400, 87));
    assert_eq!(change(&server.viewer, json!({})).await, (403, 21));
    assert_eq!(server.get(&server.viewer, &path).await.ok(), made);
    assert_eq!(server.get(&server.stranger, &path).await.refusal(), (403, 19));
    assert_eq!(server.get(&server.owner, "/__api__/schedules/x").await.refusal(), (400, 3));
}

#[tokio::test]
async fn every_kind_of_schedule_is_taken() {
    let server = Server::new().await;
    let variant = default_variant(&server, &document(&server, "report").await).await;
    let made = server.ask(Some(&server.owner), "POST", "/__api__/schedules", fields(&variant)).await.ok();
    let path = format!("/__api__/schedules/{}", made["id"]);
    // What the clients' own suites set.
    let kinds = [
        ("minute", "{\"N\":15}"),
        ("hour", "{\"N\":2}"),
        ("day", "{\"N\":3}"),
        ("weekday", "{}"),
        ("week", "{\"N\":2}"),
        ("dayofweek", "{\"Days\":[0,1,2,3,4,5,6]}"),
        ("semimonth", "{\"First\":true}"),
        ("semimonth", "{\"First\":false}"),
        ("dayofmonth", "{\"N\":3,\"Day\":4}"),
        ("dayweekofmonth", "{\"N\":3,\"Day\":1,\"Week\":4}"),
        ("year", "{\"N\":2}"),
    ];
    for (kind, schedule) in kinds {
        let body = with(made.clone(), json!({"type": kind, "schedule": schedule}));
        let set = server.ask(Some(&server.owner), "POST", &path, body).await.ok();
        assert_eq!((&set["type"], &set["schedule"]), (&json!(kind), &json!(schedule)));
        assert!(set["next_run"].as_str().unwrap() >= "2100", "{set}");
    }
}

#[tokio::test]
async fn every_time_zone_that_is_listed_can_be_used() {
    let server = Server::new().await;
    let zones = server.get(&server.viewer, "/__api__/v1/timezones").await.ok();
    let unknown: Vec<&str> = zones
        .as_array()
        .unwrap()
        .iter()
        .map(|zone| zone["timezone"].as_str().unwrap())
        .filter(|name| lectern_domain::schedule::Zone::parse(name).is_err())
        .collect();
    assert!(zones.as_array().unwrap().len() > 300);
    assert_eq!(unknown, [""; 0]);
}

#[tokio::test]
async fn what_is_to_come_is_listed() {
    let server = Server::new().await;
    let mut ids = Vec::new();
    for (name, start) in [("soon", "2100-01-01T00:00:00Z"), ("later", "2100-06-01T00:00:00Z")] {
        let variant = default_variant(&server, &document(&server, name).await).await;
        let body = with(fields(&variant), json!({"start_time": start}));
        ids.push(server.ask(Some(&server.owner), "POST", "/__api__/schedules", body).await.ok()["id"].clone());
    }
    let list = async |who, query: &str| {
        let path = format!("/__api__/v1/experimental/schedules?{query}");
        server.get(who, &path).await
    };
    let span = "start=2100-01-01T00:00:00Z&end=2100-01-03T23:59:59Z";
    let found = list(&server.admin, span).await.ok();
    let found = found["schedules"].as_array().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["id"], &found[0]["schedule"]), (&ids[0], &json!("{\"N\":1}")));
    assert!(found[0]["app_guid"].is_string() && found[0]["variant_key"].is_string());
    assert!(found[0].get("details").is_none());
    let detailed = list(&server.owner, &format!("{span}&detailed=true")).await.ok();
    let details = json!({
        "app_name": "soon", "app_title": null, "owner_username": "owner",
        "runs": ["2100-01-01T00:00:00Z", "2100-01-02T00:00:00Z", "2100-01-03T00:00:00Z"],
    });
    assert_eq!(detailed["schedules"][0]["details"], details);
    let both = list(&server.owner, "start=2100-06-01&end=2100-06-30&detailed=false").await.ok();
    assert_eq!(both["schedules"].as_array().unwrap().len(), 2);
    assert_eq!(list(&server.owner, "").await.ok(), json!({"schedules": []}), "the next week");
    assert_eq!(list(&server.stranger, span).await.ok(), json!({"schedules": []}));
    assert_eq!(list(&server.viewer, span).await.refusal(), (403, 22));
    for bad in [
        "start=x",
        "end=x",
        "detailed=maybe",
        "start=2100-01-02&end=2100-01-01",
        "start=2100-01-01&end=2102-01-01",
        "start=9999-12-31T00:00:00Z",
    ] {
        assert_eq!(list(&server.owner, bad).await.refusal(), (400, 25), "{bad}");
    }
}
