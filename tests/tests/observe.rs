//! Visits from outside: opened pages are counted soon after, with what stock clients read of them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use http::Method;
use lectern_tests::client::{directory, guid_in, posit_sdk, rsconnect};
use lectern_tests::server::Server;
use lectern_tests::wait::until;
use serde_json::Value;

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
