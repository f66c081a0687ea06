//! Content through the API and at its addresses: locks, versions by address, vanity paths, thumbnails, retention, and the key
//! that seals variables.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use lectern_tests::apps;
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server};
use lectern_tests::wait::until;
use serde_json::{Value, json};

/// Longest wait for something that the server does by itself.
const SOON: Duration = Duration::from_secs(60);

static SERVER: LazyLock<Server> = LazyLock::new(|| Server::setup().env("LECTERN_CONTENT__MAX_BUNDLES", "2").start());
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

#[test]
fn a_locked_item_shows_its_message_until_its_owner_unlocks_it() {
    let guid = ada().publish("locked", &apps::page("Behind the lock"));
    ada()
        .change(&guid, &json!({"access_type": "all", "locked": true, "locked_message": "Back on <Monday>"}))
        .expect(200);
    let path = format!("/content/{guid}/");
    let page = SERVER.get(&path).header("accept", "text/html").send().expect(423);
    assert!(page.text().contains("Back on &lt;Monday&gt;"), "{}", page.text());
    let program = SERVER.get(&path).key(&ADA.key).send().expect(423);
    assert!(program.text().contains("Back on <Monday>") && program.header("content-type").starts_with("text/plain"));
    let unlocked = ada().change(&guid, &json!({"locked": false, "locked_message": ""})).expect(200).json();
    assert_eq!((&unlocked["locked"], &unlocked["locked_message"]), (&json!(false), &json!("")));
    assert!(SERVER.get(&path).send().expect(200).text().contains("Behind the lock"));
}

#[test]
fn versions_have_addresses_and_the_oldest_go() {
    let guid = ada().publish("versions", &apps::page("First"));
    let first = text(&ada().content(&guid)["bundle_id"]);
    let deployed = ada().content(&guid)["last_deployed_time"].clone();
    ada().change(&guid, &json!({"title": "Another title"})).expect(200);
    assert_eq!(ada().content(&guid)["last_deployed_time"], deployed, "a change of settings is no deployment");
    let second = ada().redeploy(&guid, &apps::page("Second"));
    for kind in ["_bundle", "_rev"] {
        assert!(ada().open(&guid, &format!("{kind}{first}/")).expect(200).text().contains("First"));
        assert!(ada().open(&guid, &format!("{kind}{second}/index.html")).expect(200).text().contains("Second"));
        // Readers are sent to the directory.
        let bare = ada().open(&guid, &format!("{kind}{first}")).expect(307);
        assert!(bare.header("location").ends_with(&format!("/content/{guid}/{kind}{first}/")));
        // What only looks like a version of this item is none, and nothing climbs out of one.
        let other = ada().publish(&format!("other{kind}"), &apps::page("Other"));
        let foreign = text(&ada().content(&other)["bundle_id"]);
        for path in [
            format!("{kind}{foreign}/"),
            format!("{kind}0/"),
            format!("{kind}0{first}/"),
            format!("{kind}-1/"),
            format!("{kind}99999999999999999999/"),
            format!("{kind}{first}/manifest.json"),
            format!("{kind}{first}/../../{other}/manifest.json"),
            format!("{kind}{first}/%2e%2e/%2e%2e/{foreign}/x"),
            format!("{kind}{first}/..%2f..%2fetc/passwd"),
            format!("{kind}{first}//etc/passwd"),
            format!("{kind}%31%2f/"),
        ] {
            let reply = ada().open(&guid, &path);
            assert!([400, 404].contains(&reply.status), "{path}: {} {}", reply.status, reply.text());
        }
    }
    let third = ada().redeploy(&guid, &apps::page("Third"));
    let list = ada().api(Method::GET, &format!("/v1/content/{guid}/bundles")).send().expect(200).json();
    let left: Vec<String> = list.as_array().unwrap().iter().map(|bundle| text(&bundle["id"])).collect();
    assert_eq!(left, [third.clone(), second.clone()], "two are kept");
    ada().open(&guid, &format!("_rev{first}/")).expect(404);
    let delete = |bundle: &str| ada().api(Method::DELETE, &format!("/v1/content/{guid}/bundles/{bundle}")).send();
    delete(&third).expect_error(400, 75);
    delete(&second).expect(204);
}

#[test]
fn vanity_paths_have_one_spelling() {
    let guid = ada().publish("vanity", &apps::page("Sales plan"));
    ada().change(&guid, &json!({"access_type": "all"})).expect(200);
    let at = format!("/v1/content/{guid}/vanity");
    let none = ada().api(Method::GET, &at).send();
    none.expect_error(404, 4);
    assert!(none.header("content-type").starts_with("application/json"));
    ada().api(Method::PUT, &at).json(&json!({"path": "/sales/plan/"})).send().expect(200);
    assert!(SERVER.get("/sales/plan/").send().expect(200).text().contains("Sales plan"));
    assert!(SERVER.get("/sales/plan/index.html").send().expect(200).text().contains("Sales plan"));
    assert!(SERVER.get("/sales/plan?x=1").send().expect(307).header("location").ends_with("/sales/plan/?x=1"));
    // Another spelling of the same characters is the same path; everything else is not.
    assert!(SERVER.get("/s%61les/plan/").send().expect(200).text().contains("Sales plan"));
    for path in [
        "/SALES/plan/",
        "/sales/",
        "//sales/plan/",
        "/sales//plan/",
        "/sales%2fplan/",
        "/sales/plan%00/",
        "/s\u{e4}les/",
    ] {
        let path: String = path.chars().map(|c| if c.is_ascii() { c.to_string() } else { "%C3%A4".into() }).collect();
        let reply = SERVER.get(&path).send();
        assert!([400, 404].contains(&reply.status), "{path}: {}", reply.status);
    }
    // A path that leads back to the server's own is the server's own.
    SERVER.get("/sales/plan/../../__api__/v1/content").send().expect(401);
    ada().api(Method::DELETE, &at).send().expect(204);
    SERVER.get("/sales/plan/").send().expect(404);
}

#[test]
fn thumbnails_are_served_at_the_content() {
    let guid = ada().publish("pictured", &apps::page("Pictured"));
    let at = format!("/content/{guid}/__thumbnail__");
    assert_eq!(SERVER.get(&at).key(&ADA.key).send().expect(204).body.len(), 0);
    let gif =
        b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
    let put =
        |bytes: &[u8]| ada().api(Method::PUT, &format!("/v1/content/{guid}/thumbnail")).body(bytes.to_vec()).send();
    put(b"<script>alert(1)</script>").expect_error(400, 87);
    put(gif).expect(204);
    let shown = SERVER.get(&at).key(&ADA.key).send().expect(200);
    assert_eq!((&shown.body[..], shown.header("content-type")), (&gif[..], "image/gif"));
    let tag = shown.header("etag").to_owned();
    SERVER.get(&at).key(&ADA.key).header("if-none-match", &tag).send().expect(304);
    SERVER.get(&at).send().expect(401);
    ada().api(Method::DELETE, &format!("/v1/content/{guid}/thumbnail")).send().expect(204);
    SERVER.get(&at).key(&ADA.key).send().expect(204);
}

/// The variables that the probe sees whose names begin with `MINE_`.
fn seen(server: &Server, account: &Account, guid: &str) -> Vec<(String, String)> {
    let environment = Publisher::new(server, account).open(guid, "environment").expect(200).json();
    let all = environment["variables"].as_object().unwrap().clone();
    all.into_iter().filter(|(name, _)| name.starts_with("MINE_")).map(|(name, value)| (name, text(&value))).collect()
}

#[test]
fn a_rotation_of_the_key_survives_a_kill_in_its_middle() {
    let server = Server::new();
    let account = server.account("ada", "publisher");
    let ada = Publisher::new(&server, &account);
    let guid = ada.publish("sealed", &apps::probe());
    let set = |guid: &str, value: &Value| {
        ada.api(Method::PATCH, &format!("/v1/content/{guid}/environment")).json(value).send().expect(200)
    };
    set(&guid, &json!([{"name": "MINE_SECRET", "value": "before"}]));
    // Enough that sealing it all anew takes many transactions.
    let many: Vec<Value> = (0..1000).map(|n| json!({"name": format!("V{n}"), "value": "x".repeat(200)})).collect();
    for item in 0..8 {
        let other = ada.create(&format!("bulk-{item}"));
        set(&other, &Value::Array(many.clone()));
    }
    let key = server.data().join("secret.key");
    let old = server.data().join("secret.key.old");
    let first = std::fs::read(&key).unwrap();
    let begun = server.lectern(&["sealing-key", "rotate", "--no-wait"], "");
    assert!(begun.status.success(), "{}", String::from_utf8_lossy(&begun.stderr));
    until("the old key to be kept", SOON, || old.exists().then_some(()));
    server.kill();
    assert!(old.exists(), "it was killed in the middle: what is sealed with the old key is not lost");
    server.start();
    until("the rotation to be finished by the next start", SOON, || (!old.exists()).then_some(()));
    assert_ne!(std::fs::read(&key).unwrap(), first);
    assert!(!server.data().join("secret.key.next").exists());
    assert_eq!(seen(&server, &account, &guid), [("MINE_SECRET".to_owned(), "before".to_owned())]);

    // A whole one, while a publisher goes on; the server needs no restart for it.
    let second = std::fs::read(&key).unwrap();
    let done = std::thread::scope(|scope| {
        let rotation = scope.spawn(|| server.lectern_json(&["sealing-key", "rotate"], ""));
        for n in 0..20 {
            set(&guid, &json!([{"name": "MINE_COUNT", "value": n.to_string()}]));
        }
        rotation.join().unwrap()
    });
    assert_eq!((&done["running"], &done["unreadable"], &done["problem"]), (&json!(false), &json!(0), &json!("")));
    assert!(done["resealed"].as_u64().unwrap() >= 8000, "{done}");
    assert_ne!(std::fs::read(&key).unwrap(), second);
    set(&guid, &json!([{"name": "MINE_COUNT", "value": "last"}]));
    let expected = [("MINE_COUNT", "last"), ("MINE_SECRET", "before")];
    let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut values = seen(&server, &account, &guid);
    values.sort();
    assert_eq!(values, expected);
    // And after a restart, with nothing in memory.
    let _ = server.stop();
    server.start();
    let mut values = seen(&server, &account, &guid);
    values.sort();
    assert_eq!(values, expected);
    assert_eq!(server.lectern_json(&["sealing-key", "status"], "")["running"], false);
}
