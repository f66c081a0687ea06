//! A bad release never replaces a good one.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;
use std::time::Duration;

use lectern_tests::apps;
use lectern_tests::client::{directory, guid_in, rsconnect};
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, Server};
use lectern_tests::wait::until;
use serde_json::json;

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

/// The version that the content answers with.
fn version(guid: &str) -> String {
    ada().open(guid, "").expect(200).json()["version"].as_str().unwrap().to_owned()
}

#[test]
fn a_broken_redeploy_leaves_the_good_version_serving() {
    let path = directory(&SERVER, "app", &[("app.py", apps::PROBE), ("requirements.txt", apps::PROBE_REQUIREMENTS)]);
    let source = |text: String| std::fs::write(format!("{path}/app.py"), text).unwrap();
    let publish = || rsconnect(&SERVER, &ADA, "deploy fastapi", &[&path]);

    let first = rsconnect(&SERVER, &ADA, "deploy fastapi", &["--new", "--title", "Versions", &path]).expect_success();
    let guid = guid_in(&first.printed);
    assert_eq!(version(&guid), "1");

    source(apps::PROBE.replace("VERSION = \"1\"", "VERSION = \"2\""));
    publish().expect_success();
    assert_eq!(version(&guid), "2");
    let good = ada().content(&guid)["bundle_id"].clone();

    source(format!("{}\nraise RuntimeError('the third version is broken')\n", apps::PROBE));
    let broken = publish().expect_failure();
    assert!(broken.printed.contains("RuntimeError: the third version is broken"), "{}", broken.printed);
    assert_eq!(ada().content(&guid)["bundle_id"], good);
    assert_eq!(version(&guid), "2");

    source(apps::PROBE.replace("VERSION = \"1\"", "VERSION = \"4\""));
    publish().expect_success();
    assert_eq!(version(&guid), "4");
}

#[test]
fn a_broken_draft_answers_with_an_error_beside_the_good_version() {
    let guid = ada().publish("beside", &apps::probe_version("1"));
    let id = ada().upload(&guid, &apps::asgi("raise RuntimeError('not today')\n"));
    ada().wait(&ada().start_draft(&guid, &id));
    let preview = ada().open(&guid, &format!("_bundle{id}/"));
    assert!(preview.status >= 500, "the client's verification reads this: {} {}", preview.status, preview.text());
    assert_eq!(version(&guid), "1");
}

#[test]
fn an_app_that_never_listens_is_given_up() {
    let guid = ada().publish("mute", &apps::probe_version("1"));
    ada().change(&guid, &json!({"init_timeout": 3})).expect(200);
    let id = ada().upload(&guid, &apps::asgi("import time\ntime.sleep(100000)\n"));
    let done = ada().wait(&ada().start_draft(&guid, &id));
    let preview = ada().open(&guid, &format!("_bundle{id}/"));
    assert!(done.code != 0 || preview.status >= 500, "{done:?} {}", preview.status);
    assert_eq!(version(&guid), "1");
    let active = ada().content(&guid)["bundle_id"].clone();
    assert_ne!(active, json!(id));
}

#[test]
fn requests_in_flight_finish_on_the_version_they_began_with() {
    let guid = ada().publish("swap", &apps::probe_version("1"));
    assert_eq!(version(&guid), "1");
    let slow = std::thread::spawn({
        let guid = guid.clone();
        move || ada().open(&guid, "slow")
    });
    let begun = || SERVER.job_logs().contains("slow begun");
    until("the request in the app", Duration::from_secs(20), || begun().then_some(()));
    let next = ada().upload(&guid, &apps::probe_version("2"));
    ada().deploy(&guid, &next).expect_success();
    assert_eq!(slow.join().unwrap().expect(200).json()["slow"], true);
    assert_eq!(version(&guid), "2");
}

#[test]
fn the_kind_of_content_is_fixed() {
    let guid = ada().publish("fixed", &apps::page("Page"));
    let upload = ada().try_upload(&guid, &apps::probe());
    let refused = match upload.status {
        200..300 => ada().deploy(&guid, upload.json()["id"].as_str().unwrap()).expect_failure().error,
        _ => upload.text(),
    };
    assert!(!refused.is_empty());
    assert!(ada().open(&guid, "").expect(200).text().contains("Page"));
    assert_eq!(ada().content(&guid)["app_mode"], "static");
}
