//! Visits and uses from outside: opened pages and sessions of Shiny are counted soon after, with what stock clients read of them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use http::Method;
use lectern_tests::bundle;
use lectern_tests::client::{directory, guid_in, posit_sdk, rsconnect};
use lectern_tests::publisher::Publisher;
use lectern_tests::server::Server;
use lectern_tests::visitor::Visitor;
use lectern_tests::wait::until;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A visit is written down within ten seconds.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn visits_are_counted() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let files = [("index.html", "<!doctype html><title>Page</title>"), ("style.css", "p {}")];
    let page = directory(&server, "page", &files);
    let deployed = rsconnect(&server, &ada, "deploy html", &["--title", "Page", &page]).expect_success();
    let guid = guid_in(&deployed.printed);
    let at = format!("/content/{guid}/");
    let open = |path: &str| server.get(&format!("{at}{path}")).key(&ada.key);
    let list = || -> Vec<Value> {
        let path = format!("/__api__/v1/instrumentation/content/hits?content_guid={guid}");
        server.ask(Method::GET, &path).key(&ada.key).send().expect(200).json().as_array().unwrap().clone()
    };
    // The client has looked at the page when it had deployed it.
    let before = list().len();
    open("").header("user-agent", "test/1").send().expect(200);
    open("style.css").send().expect(200);
    let seen = |wanted: &str| list().into_iter().find(|hit| hit["data"]["user_agent"] == wanted);
    let hit = until("the visit is written down", SOON, || seen("test/1"));
    assert_eq!((&hit["data"]["path"], &hit["user_guid"]), (&Value::from("/"), &Value::from(ada.guid.clone())));
    // Written in order: had the style sheet counted, it would be there once the next visit is.
    open("?secret=1").header("user-agent", "test/2").send().expect(200);
    until("the next visit is written down", SOON, || seen("test/2"));
    let hits = list();
    assert!(hits.iter().all(|hit| hit["data"]["path"] == "/"), "{hits:?}");
    assert!(hits.len() >= before + 2);

    let code = format!(
        "import os
from posit.connect import Client
from posit.connect.metrics.visits import Visits
client = Client(os.environ['TEST_SERVER'], os.environ['TEST_KEY'])
visits = Visits(client._ctx)
found = visits.find(content_guid='{guid}')
assert len(found) == {count}, found
assert found[-1].path == '/' and found[-1].user_guid == '{user}', found[-1]
assert found[-1].rendering_id is None and found[-1].data_version == 3, found[-1]
assert visits.find_one(content_guid='{guid}').content_guid == '{guid}'
assert len(list(client.metrics.hits.fetch())) == {count}
# Visits and uses of Shiny together.
assert len(client.metrics.usage.find(content_guid='{guid}')) == {count}
",
        count = hits.len(),
        user = ada.guid,
    );
    posit_sdk(&server, &ada, &code).expect_success();
}

/// A session of a real Shiny application in a browser is one use: by whom, since when, and until the page was closed.
#[test]
fn uses_of_shiny_are_counted() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let app = bundle::app("shiny", "app.R", &[("app.R", include_str!("../../examples/shiny/app.R"))]);
    let guid = Publisher::new(&server, &ada).publish("samples", &app);
    let list = || -> Vec<Value> {
        let path = format!("/__api__/v1/instrumentation/shiny/usage?content_guid={guid}");
        let page = server.ask(Method::GET, &path).key(&ada.key).send().expect(200).json();
        page["results"].as_array().unwrap().clone()
    };
    assert_eq!(list(), [Value::Null; 0], "publishing opens no session");
    let script = "
        await page.locator('#answer strong').filter({ hasText: '64' }).waitFor();
        return await page.evaluate(() => Date.now());
    ";
    let seen = Visitor::new(&server, &ada).uses(&format!("/content/{guid}/"), script, &Value::Null);
    let ended = until("the use has ended", SOON, || {
        let uses = list();
        uses.iter().all(|one| !one["ended"].is_null()).then_some(uses).filter(|uses| !uses.is_empty())
    });
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!((&ended[0]["user_guid"], &ended[0]["content_guid"]), (&json!(ada.guid), &json!(guid)));
    let at = |field: &str| OffsetDateTime::parse(ended[0][field].as_str().unwrap(), &Rfc3339).unwrap().unix_timestamp();
    // Times are shown by the second.
    let seen = seen.as_i64().unwrap() / 1000;
    assert!(at("started") <= seen && seen <= at("ended") + 1, "{ended:?}, seen at {seen}");

    let code = format!(
        "import os
from posit.connect import Client
client = Client(os.environ['TEST_SERVER'], os.environ['TEST_KEY'])
found = client.metrics.usage.find(content_guid='{guid}')
# Visits are in it, too.
uses = [one for one in found if one['path'] is None]
assert [one.user_guid for one in uses] == ['{user}'], found
",
        user = ada.guid,
    );
    posit_sdk(&server, &ada, &code).expect_success();
}
