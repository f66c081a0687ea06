//! The audit log from outside: what operators, publishers and a deployment leave in it, and a change that is found.
#![allow(clippy::unwrap_used, clippy::panic)]

use http::Method;
use lectern_tests::client::{directory, rsconnect};
use lectern_tests::postgres::Postgres;
use lectern_tests::server::Server;
use serde_json::{Value, json};

#[test]
fn what_was_done_is_in_one_chain() {
    let server = Server::new();
    let boss = server.account("boss", "administrator");
    let ada = server.account("ada", "publisher");
    let page = directory(&server, "page", &[("index.html", "<!doctype html><title>Page</title>")]);
    rsconnect(&server, &ada, "deploy html", &[&page]).expect_success();
    let locked = server.lectern(&["user", "lock", "ada"], "");
    assert!(locked.status.success(), "{locked:?}");

    let list = |query: &str| {
        let path = format!("/__api__/v1/audit_logs?{query}");
        server.ask(Method::GET, &path).key(&boss.key).send().json()
    };
    let page = list("limit=500");
    let entries = page["results"].as_array().unwrap();
    let by = |who: &str| -> Vec<&str> {
        let theirs = entries.iter().filter(|entry| entry["user_description"] == who);
        theirs.map(|entry| entry["action"].as_str().unwrap()).filter(|action| *action != "edit_gate").collect()
    };
    let operator = ["add_user", "add_api_key", "add_user", "add_api_key", "lock_user"];
    assert_eq!(by("the admin socket"), operator, "{page:#}");
    let publisher = by("ada");
    for action in ["add_application", "deploy_application", "activate_bundle"] {
        assert!(publisher.contains(&action), "{action}: {publisher:?}");
    }
    // What the server brought with it is there too.
    assert!(by("the server").is_empty() && entries.iter().any(|entry| entry["action"] == "edit_gate"), "{page:#}");
    let second = list(&format!("limit=2&next={}", list("limit=2")["paging"]["cursors"]["next"].as_str().unwrap()));
    assert_eq!(second["results"], json!([entries[2], entries[3]]));
    assert!(!page.to_string().contains(&ada.key), "a key is in the log");
    assert_eq!(server.ask(Method::GET, "/__api__/v1/audit_logs").send().status, 401);

    let whole = server.lectern_json(&["audit", "verify"], "");
    assert_eq!((&whole["whole"], whole["entries"].as_u64()), (&json!(true), Some(entries.len() as u64)));
    assert_eq!(whole["hash"].as_str().unwrap().len(), 64);
}

/// Whoever reaches the database can change an entry, and hides it from nobody who asks.
#[test]
fn a_changed_entry_is_found() {
    let database = Postgres::start();
    let server = Server::setup()
        .env("LECTERN_DATABASE__URL", database.url())
        .env("LECTERN_DATABASE__TLS_CA_FILE", database.authority.to_str().unwrap())
        .start();
    server.account("boss", "administrator");
    let verify = || server.lectern(&["audit", "verify", "--json"], "");
    let whole = verify();
    assert!(whole.status.success(), "{whole:?}");
    let entries = serde_json::from_slice::<Value>(&whole.stdout).unwrap()["entries"].as_u64().unwrap();
    for (change, broken_at) in [
        ("UPDATE audit_log SET description = 'made nobody' WHERE seq = 2", 2),
        ("DELETE FROM audit_log WHERE seq = 2", 2),
    ] {
        let past =
            format!("ALTER TABLE audit_log DISABLE TRIGGER USER; {change}; ALTER TABLE audit_log ENABLE TRIGGER USER");
        database.sql(&past);
        let broken = verify();
        assert_eq!(broken.status.code(), Some(1), "{change}: {broken:?}");
        let told: Value = serde_json::from_slice(&broken.stdout).unwrap();
        assert_eq!((&told["whole"], &told["broken_at"]), (&json!(false), &json!(broken_at)), "{change}: {told}");
        let said = String::from_utf8_lossy(&broken.stderr).into_owned();
        assert!(said.contains(&format!("entry {broken_at} of the audit log")), "{said}");
    }
    assert!(entries > 2, "there was something to change");
}
