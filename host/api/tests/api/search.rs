//! `/v1/search/content`.

use lectern_domain::access::PermissionRole;
use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

use crate::support::Server;

const PATH: &str = "/__api__/v1/search/content";

impl Server {
    async fn found(&self, who: &lectern_domain::Principal, q: &str) -> Vec<String> {
        let q: String = byte_serialize(q.as_bytes()).collect();
        let page = self.get(who, &format!("{PATH}?q={q}")).await.ok();
        let results = page["results"].as_array().unwrap();
        assert_eq!(page["total"], results.len());
        results.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    }

    async fn described(&self, who: &lectern_domain::Principal, fields: Value) -> String {
        self.ask(Some(who), "POST", "/__api__/v1/content", fields).await.ok()["guid"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn words_find_what_they_say() {
    let server = Server::new().await;
    let (owner, admin) = (&server.owner, &server.admin);
    let forecast = server
        .described(owner, json!({"name": "forecast", "title": "Sales Forecast", "description": "North & 100% west"}))
        .await;
    server.described(owner, json!({"name": "report_1", "title": "Quarterly: results", "locked": true})).await;
    server.described(&server.stranger, json!({"name": "reportx1", "access_type": "all"})).await;
    let bundle = server.bundle(&forecast).await;
    server.activate(&forecast, &bundle).await;
    let tag = |name: &'static str, parent: Value| {
        let server = &server;
        async move {
            server
                .ask(Some(&server.admin), "POST", "/__api__/v1/tags", json!({"name": name, "parent_id": parent}))
                .await
                .ok()["id"]
                .clone()
        }
    };
    let teams = tag("Teams", Value::Null).await;
    let big = tag("Big Sales", teams).await;
    server.ask(Some(owner), "POST", &format!("/__api__/v1/content/{forecast}/tags"), json!({"tag_id": big})).await.ok();
    let guid = format!("guid:{forecast}");
    let cases: &[(&str, &[&str])] = &[
        ("", &["forecast", "report_1", "reportx1"]),
        ("FORECAST", &["forecast"]),
        ("north sales", &["forecast"]),
        ("north quarterly", &[]),
        ("\"north & 100%\"", &["forecast"]),
        ("100%", &["forecast"]),
        ("%", &["forecast"]),
        ("report_1", &["report_1"]),
        ("_", &["report_1"]),
        ("\\", &[]),
        ("quarterly:", &["report_1"]),
        ("name:report", &["report_1", "reportx1"]),
        ("title:sales", &["forecast"]),
        ("owner:OWNER", &["forecast", "report_1"]),
        ("owner:own", &[]),
        ("owner:owner owner:stranger", &["forecast", "report_1", "reportx1"]),
        ("owner:@me", &[]),
        ("tag:\"big sales\"", &["forecast"]),
        ("tag:teams", &[]),
        ("type:static", &["forecast"]),
        ("type:document", &["forecast"]),
        ("type:api", &[]),
        ("type:unknown", &["report_1", "reportx1"]),
        ("access:all", &["reportx1"]),
        ("is:locked", &["report_1"]),
        ("is:published", &["forecast"]),
        ("is:unpublished is:unlocked", &["reportx1"]),
        ("is:locked is:unlocked", &[]),
        ("-is:locked", &["forecast", "reportx1"]),
        ("-report", &["forecast"]),
        ("report -owner:stranger", &["report_1"]),
        ("-type:static", &["report_1", "reportx1"]),
        ("-tag:\"big sales\" -name:x1", &["report_1"]),
        (&guid, &["forecast"]),
        ("'; DROP TABLE content; --", &[]),
    ];
    for (q, expected) in cases {
        assert_eq!(server.found(admin, q).await, *expected, "{q}");
    }
    assert_eq!(server.found(owner, "owner:@me").await, ["forecast", "report_1"]);
}

#[tokio::test]
async fn only_what_one_may_see_is_found() {
    let server = Server::new().await;
    let private = server.described(&server.owner, json!({"name": "private-thing"})).await;
    server.described(&server.owner, json!({"name": "inner-thing", "access_type": "logged_in"})).await;
    server.described(&server.owner, json!({"name": "open-thing", "access_type": "all"})).await;
    assert_eq!(server.found(&server.viewer, "thing").await, ["inner-thing", "open-thing"]);
    assert_eq!(server.found(&server.stranger, "thing").await, ["inner-thing", "open-thing"]);
    assert_eq!(server.found(&server.admin, "thing").await.len(), 3);
    assert_eq!(server.found(&server.owner, "thing").await.len(), 3);
    server.permit(&private, &server.viewer, PermissionRole::Viewer).await;
    assert_eq!(server.found(&server.viewer, "thing").await.len(), 3);
    assert_eq!(server.ask(None, "GET", PATH, Value::Null).await.refusal(), (401, 24));
}

#[tokio::test]
async fn results_come_in_pages_and_orders() {
    let server = Server::new().await;
    for name in ["bravo", "Alpha", "delta", "charlie"] {
        server.described(&server.owner, json!({"name": name, "title": format!("title {}", name.len())})).await;
    }
    let names = async |query: &str| -> (Vec<String>, Value) {
        let page = server.get(&server.admin, &format!("{PATH}?{query}")).await.ok();
        assert_eq!(page.as_object().unwrap().len(), 3, "exactly three fields");
        let names = page["results"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned());
        (names.collect(), page["total"].clone())
    };
    let names_of = async |query: &str| names(query).await.0;
    assert_eq!(names_of("").await, ["Alpha", "bravo", "charlie", "delta"]);
    assert_eq!(names_of("order=desc").await, ["delta", "charlie", "bravo", "Alpha"]);
    assert_eq!(names_of("sort=created_time").await, ["bravo", "Alpha", "delta", "charlie"]);
    assert_eq!(names_of("sort=title&order=desc").await, ["charlie", "delta", "Alpha", "bravo"]);
    assert_eq!(names_of("sort=owner").await.len(), 4);
    assert_eq!(names_of("sort=last_deployed_time").await.len(), 4);
    assert_eq!(names("page_size=3&page_number=2").await, (vec!["delta".to_owned()], json!(4)));
    assert_eq!(names("page_size=3&page_number=3").await, (vec![], json!(4)));
    let with_owner = server.get(&server.admin, &format!("{PATH}?q=alpha&include=owner,vanity_url,tags")).await.ok();
    assert_eq!(with_owner["results"][0]["owner"]["username"], "owner");
    let one = server.get(&server.admin, &format!("{PATH}?q=alpha")).await.ok();
    let guid = one["results"][0]["guid"].as_str().unwrap();
    assert_eq!(one["results"][0], server.get(&server.admin, &format!("/__api__/v1/content/{guid}")).await.ok());
    let bad = [
        ("q=is:broken", (400, 25)),
        ("q=type:spreadsheet", (400, 25)),
        ("q=%22open", (400, 25)),
        ("sort=size", (400, 25)),
        ("order=up", (400, 25)),
        ("page_size=x", (400, 25)),
        ("q=nul%00", (400, 87)),
        ("include=secrets", (400, 161)),
    ];
    for (query, refusal) in bad {
        assert_eq!(server.get(&server.admin, &format!("{PATH}?{query}")).await.refusal(), refusal, "{query}");
    }
    let long = format!("{PATH}?q={}", "x".repeat(2000));
    assert_eq!(server.get(&server.admin, &long).await.refusal(), (400, 25));
}
