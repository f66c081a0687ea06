//! Who may open what: every kind of visitor against every access type, through the whole gate.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;

use http::Method;
use lectern_tests::apps;
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server};
use serde_json::json;

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static OWNER: LazyLock<Account> = LazyLock::new(|| SERVER.account("owner", "publisher"));

fn owner() -> Publisher<'static> {
    Publisher::new(&SERVER, &OWNER)
}

/// Opens the content as a client that is no browser.
fn status(guid: &str, who: Option<&Account>) -> u16 {
    let ask = SERVER.get(&format!("/content/{guid}/"));
    match who {
        Some(account) => ask.key(&account.key).send().status,
        None => ask.send().status,
    }
}

#[test]
fn every_visitor_against_every_access_type() {
    let guid = owner().publish("table", &apps::page("Table"));
    let stranger = SERVER.account("stranger", "viewer");
    let listed = SERVER.account("listed", "viewer");
    let publisher = SERVER.account("publisher", "publisher");
    let collaborator = SERVER.account("collaborator", "publisher");
    let administrator = SERVER.account("administrator", "administrator");
    for (account, role) in [(&listed, "viewer"), (&collaborator, "owner")] {
        let entry = json!({"principal_guid": account.guid, "principal_type": "user", "role": role});
        let made = owner().api(Method::POST, &format!("/v1/content/{guid}/permissions")).json(&entry).send();
        assert!((200..300).contains(&made.status), "{}", made.text());
    }
    let visitors = [
        ("anonymous", None),
        ("viewer without permission", Some(&stranger)),
        ("viewer with permission", Some(&listed)),
        ("publisher", Some(&publisher)),
        ("collaborator", Some(&collaborator)),
        ("owner", Some(&*OWNER)),
        ("administrator", Some(&administrator)),
    ];
    // An administrator opens what the rules open; to see more there is the permission list, which leaves a trace.
    let expected = [
        ("all", [200, 200, 200, 200, 200, 200, 200]),
        ("logged_in", [401, 200, 200, 200, 200, 200, 200]),
        ("acl", [401, 403, 200, 403, 200, 200, 403]),
    ];
    println!("{:10} {}", "", visitors.map(|(name, _)| format!("{name:26}")).concat());
    for (access, statuses) in expected {
        owner().change(&guid, &json!({"access_type": access})).expect(200);
        let seen = visitors.map(|(_, account)| status(&guid, account));
        println!("{access:10} {}", seen.map(|status| format!("{status:<26}")).concat());
        assert_eq!(seen, statuses, "{access}");
    }
}

#[test]
fn a_browser_is_led_to_the_sign_in_page_and_back() {
    let guid = owner().publish("browser", &apps::page("For browsers"));
    let address = format!("/content/{guid}/?from=mail");
    let browser = || SERVER.get(&address).header("accept", "text/html,application/xhtml+xml");
    let challenge = browser().send();
    assert!((300..400).contains(&challenge.status), "{} {}", challenge.status, challenge.text());
    let sign_in = challenge.header("location").to_owned();
    let page = SERVER.get(&sign_in).header("accept", "text/html").send().expect(200);
    assert!(page.text().contains("type=\"password\""), "{}", page.text());
    assert!(page.header("content-security-policy").contains("frame-ancestors"), "{:?}", page.headers);
}

#[test]
fn a_key_works_until_it_is_revoked_and_a_wrong_one_never() {
    let guid = owner().publish("keys", &apps::page("Keys"));
    owner().change(&guid, &json!({"access_type": "all"})).expect(200);
    let somebody = SERVER.account("somebody", "viewer");
    assert_eq!(status(&guid, Some(&somebody)), 200);
    let wrong = Account { key: "wrong".into(), ..somebody.clone() };
    assert_eq!(status(&guid, Some(&wrong)), 401, "a wrong key is refused even where anybody may enter");

    let keys = SERVER.lectern_json(&["key", "list", "--user", "somebody"], "");
    let id = keys[0]["id"].to_string();
    let revoked = SERVER.lectern(&["key", "revoke", "--user", "somebody", &id], "");
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    assert_eq!(status(&guid, Some(&somebody)), 401);
    SERVER.get("/__api__/v1/user").key(&somebody.key).send().expect_error(401, 30);
}

#[test]
fn a_locked_account_is_out_at_once() {
    let guid = owner().publish("locked-out", &apps::page("Locked"));
    owner().change(&guid, &json!({"access_type": "logged_in"})).expect(200);
    let eve = SERVER.account("eve", "viewer");
    assert_eq!(status(&guid, Some(&eve)), 200);
    assert!(SERVER.lectern(&["user", "lock", "eve"], "").status.success());
    assert_eq!(status(&guid, Some(&eve)), 401);
    assert!(SERVER.lectern(&["user", "unlock", "eve"], "").status.success());
    assert_eq!(status(&guid, Some(&eve)), 200);
}

#[test]
fn the_api_shows_what_one_may_see() {
    let guid = owner().publish("seen", &apps::page("Seen"));
    let viewer = SERVER.account("onlooker", "viewer");
    let onlooker = Publisher::new(&SERVER, &viewer);
    let ask = |method, path: &str| onlooker.api(method, path);
    ask(Method::GET, &format!("/v1/content/{guid}")).send().expect_error(403, 19);
    let listed = ask(Method::GET, "/v1/content").send().expect(200).json();
    assert!(!listed.as_array().unwrap().iter().any(|item| item["guid"] == guid.as_str()));
    // A viewer's account publishes nothing.
    assert_eq!(ask(Method::POST, "/v1/content").json(&json!({"name": "mine"})).send().status, 403);
    // A publisher changes nothing that is not theirs.
    let other = SERVER.account("rival", "publisher");
    let rival = Publisher::new(&SERVER, &other);
    assert_eq!(rival.change(&guid, &json!({"title": "Mine now"})).status, 403);
    assert_eq!(rival.try_upload(&guid, &apps::page("Mine")).status, 403);
    assert_eq!(text(&owner().content(&guid)["name"]), "seen");
}
