//! Python apps published with the real `rsconnect`: what publishers do all day.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;

use http::Method;
use lectern_tests::client::{directory, example, guid_in, rsconnect};
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, Server};
use lectern_tests::{apps, bundle, is_root};
use serde_json::{Value, json};

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

/// What the probe's `path` answers.
fn asked(guid: &str, path: &str) -> Value {
    ada().open(guid, path).expect(200).json()
}

#[test]
fn fastapi_with_rsconnect() {
    let path = example(&SERVER, "fastapi");
    let run = rsconnect(&SERVER, &ADA, "deploy fastapi", &["--new", "--title", "Forecast", &path]).expect_success();
    let guid = guid_in(&run.printed);

    let forecast = asked(&guid, "forecast?values=10,12,14,16&steps=2");
    assert_eq!(forecast["forecast"], json!([18.0, 20.0]));
    let posted = SERVER.post(&format!("/content/{guid}/forecast")).key(&ADA.key);
    let posted = posted.json(&json!({"values": [1, 2, 4], "steps": 1})).send().expect(200).json();
    assert_eq!(posted["forecast"], json!([4.96]));
    assert_eq!(asked(&guid, "whoami")["user"], "ada", "the app learns who asks");
    let document = asked(&guid, "openapi.json");
    assert_eq!(document["servers"][0]["url"], format!("/content/{guid}"), "the app knows where it is mounted");
    assert!(ada().open(&guid, "docs").expect(200).text().contains(&format!("/content/{guid}/openapi.json")));

    let seen = ada().content(&guid);
    assert_eq!(seen["title"], "Forecast");
    assert_eq!(seen["app_mode"], "python-fastapi");
    assert_eq!(seen["access_type"], "acl", "new content is private");
    assert!(seen["py_version"].as_str().unwrap().starts_with("3."), "{seen}");

    let described = rsconnect(&SERVER, &ADA, "content describe", &["--guid", &guid]).expect_success();
    assert!(described.stdout.contains(&guid), "{}", described.printed);

    // The same directory again: the client's own note makes it the same item's next version.
    let before = seen["bundle_id"].clone();
    let again = rsconnect(&SERVER, &ADA, "deploy fastapi", &[&path]).expect_success();
    assert_eq!(guid_in(&again.printed), guid);
    assert_ne!(ada().content(&guid)["bundle_id"], before);
}

#[test]
fn flask_with_rsconnect() {
    let path = example(&SERVER, "flask");
    let run = rsconnect(&SERVER, &ADA, "deploy flask", &["--new", "--title", "Statistics", &path]).expect_success();
    let guid = guid_in(&run.printed);
    let counted = SERVER.post(&format!("/content/{guid}/statistics")).key(&ADA.key);
    let counted = counted.body("To be, or not to be.").send().expect(200).json();
    assert_eq!((&counted["words"], &counted["sentences"]), (&json!(6), &json!(1)));
    ada().open(&guid, "statistics").expect(400);
    assert_eq!(ada().content(&guid)["app_mode"], "python-api");
}

#[test]
fn other_verbs_of_rsconnect() {
    rsconnect(&SERVER, &ADA, "add", &["--name", "here"]).expect_success();
    let details = rsconnect(&SERVER, &ADA, "details", &[]).expect_success();
    assert!(details.printed.contains("2026.01.0"), "{}", details.printed);
    assert!(details.printed.contains(&bundle::python_version()), "{}", details.printed);
    let searched = rsconnect(&SERVER, &ADA, "content search", &[]).expect_success();
    assert!(searched.stdout.trim_start().starts_with('['), "{}", searched.printed);
}

#[test]
fn environment_variables_reach_the_process_and_nobody_else() {
    let path =
        directory(&SERVER, "variables", &[("app.py", apps::PROBE), ("requirements.txt", apps::PROBE_REQUIREMENTS)]);
    let words = ["--new", "--title", "Variables", "-E", "GREETING=grüß dich", "-E", "EMPTY=", &path];
    let guid = guid_in(&rsconnect(&SERVER, &ADA, "deploy fastapi", &words).expect_success().printed);

    let variables = &asked(&guid, "environment")["variables"];
    assert_eq!(variables["GREETING"], "grüß dich");
    assert_eq!(variables["CONNECT_CONTENT_GUID"], guid.as_str());
    assert_eq!(variables["POSIT_PRODUCT"], "CONNECT");
    let foreign: Vec<_> =
        variables.as_object().unwrap().keys().filter(|name| name.contains("LECTERN_DATABASE")).collect();
    assert!(foreign.is_empty(), "the server's own variables stay its own: {foreign:?}");

    // The protocol shows names only, sorted.
    let listed = ada().api(Method::GET, &format!("/v1/content/{guid}/environment")).send().expect(200);
    assert!(listed.json().as_array().unwrap().contains(&json!("GREETING")), "{}", listed.text());
    assert!(!listed.text().contains("grüß"));

    // A change restarts the process; null removes.
    let change = json!([{"name": "GREETING", "value": null}, {"name": "OTHER", "value": "1"}]);
    ada().api(Method::PATCH, &format!("/v1/content/{guid}/environment")).json(&change).send().expect(200);
    let variables = &asked(&guid, "environment")["variables"];
    assert_eq!((&variables["GREETING"], &variables["OTHER"]), (&Value::Null, &json!("1")));
    // It holds from the answer on: no request that comes after it meets a process of before.
    for turn in 0..8 {
        let change = json!([{"name": "TURN", "value": turn.to_string()}]);
        ada().api(Method::PATCH, &format!("/v1/content/{guid}/environment")).json(&change).send().expect(200);
        assert_eq!(asked(&guid, "environment")["variables"]["TURN"], turn.to_string());
    }
}

#[test]
fn a_process_is_on_its_own() {
    let (first, second) = (ada().publish("alone-1", &apps::probe()), ada().publish("alone-2", &apps::probe()));
    let status = asked(&first, "status");
    assert_eq!(status["NoNewPrivs"], "1");
    let written = asked(&first, "write");
    if is_root() {
        // As one account nothing but the mode of the files holds a program back from its own account's files.
        assert_eq!(
            (&written["cwd"], &written["environment"]),
            (&json!(false), &json!(false)),
            "bundle and packages are read-only"
        );
        let uids = [asked(&first, "environment")["uid"].clone(), asked(&second, "environment")["uid"].clone()];
        assert_ne!(uids[0], uids[1], "each content item has an account of its own");
        assert!(uids.iter().all(|uid| uid.as_u64() >= Some(1000)), "{uids:?}");
        assert_eq!(status["CapEff"].as_str().unwrap().trim_start_matches('0'), "", "no capabilities");
        let groups = status["Groups"].as_str().unwrap();
        assert!(!groups.split_whitespace().any(|group| group == "0"), "not in root's group: {groups}");
    }
    assert_eq!(written["home"], true);
}

#[test]
fn the_same_requirements_are_restored_once() {
    let output = |name: &str| {
        let guid = ada().create(name);
        let id = ada().upload(&guid, &apps::asgi(&format!("{}\n# {name}\n", apps::PROBE)));
        ada().deploy(&guid, &id).expect_success().output
    };
    let environments = || std::fs::read_dir(SERVER.data().join("environments")).unwrap().count();
    output("first-use");
    let before = environments();
    output("second-use");
    assert_eq!(environments(), before, "two bundles with the same lock share one environment");
}
