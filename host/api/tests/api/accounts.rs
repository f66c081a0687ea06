//! Accounts changed: profile, role, lock, confirmation, passwords, sessions, and content given away.

use lectern_api::{Part, set_password_by_link};
use lectern_domain::access::Principal;
use lectern_domain::user::UserRole;
use lectern_metadata::{sessions, users};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::support::{Server, Told, account};

fn at(who: &Principal) -> String {
    format!("/__api__/v1/users/{}", who.guid)
}

#[tokio::test]
async fn profiles_are_changed_by_their_user_and_roles_by_administrators() {
    let server = Server::new().await;
    let owner = at(&server.owner);
    let put = async |who: &Principal, body: Value| server.ask(Some(who), "PUT", &owner, body).await;
    server.backstage.take();
    let changed =
        put(&server.owner, json!({"email": "new@example.org", "first_name": "New", "last_name": null})).await.ok();
    assert_eq!(server.backstage.take(), [Told::Refresh(Part::Users)]);
    assert_eq!(
        (&changed["email"], &changed["first_name"], &changed["last_name"]),
        (&json!("new@example.org"), &json!("New"), &json!("Example"))
    );
    assert_eq!(server.get(&server.viewer, &owner).await.ok(), changed);
    assert_eq!(put(&server.owner, json!({})).await.ok(), changed, "nothing is no change");
    // Clients that send everything back change nothing.
    let mut whole = changed.clone();
    whole["created_time"] = json!("1999-01-01T00:00:00Z");
    whole["guid"] = json!(uuid::Uuid::new_v4());
    whole["locked"] = json!(true);
    whole["confirmed"] = json!(false);
    assert_eq!(put(&server.owner, whole).await.ok()["locked"], false);
    for body in [json!({"user_role": "administrator"}), json!({"username": "other"})] {
        assert_eq!(put(&server.owner, body.clone()).await.refusal(), (403, 22), "{body}");
        assert_eq!(put(&server.stranger, body).await.refusal(), (403, 21));
    }
    let promoted = put(&server.admin, json!({"user_role": "administrator", "username": "boss"})).await.ok();
    assert_eq!((&promoted["user_role"], &promoted["username"]), (&json!("administrator"), &json!("boss")));
    for (body, refusal) in [
        (json!({"username": "VIEWER"}), (409, 8)),
        (json!({"username": "a b"}), (400, 87)),
        (json!({"user_role": "god"}), (400, 87)),
        (json!({"email": "x".repeat(256)}), (400, 87)),
        (json!({"email": 7}), (400, 121)),
    ] {
        assert_eq!(put(&server.admin, body.clone()).await.refusal(), refusal, "{body}");
    }
    let nobody = format!("/__api__/v1/users/{}", uuid::Uuid::new_v4());
    assert_eq!(server.ask(Some(&server.admin), "PUT", &nobody, json!({})).await.refusal(), (404, 9));
    assert_eq!(server.ask(Some(&server.admin), "PUT", "/__api__/v1/users/x", json!({})).await.refusal(), (400, 3));
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let server = Server::new().await;
    let demote = json!({"user_role": "publisher"});
    let put = async |who: &Principal| server.ask(Some(&server.admin), "PUT", &at(who), demote.clone()).await;
    assert_eq!(put(&server.admin).await.refusal(), (403, 22));
    let second = account(&server.database, "second", UserRole::Administrator).await;
    // Two who demote each other at the same time: one remains.
    let (there, here) = (at(&second), at(&server.admin));
    let (one, other) = tokio::join!(
        server.ask(Some(&server.admin), "PUT", &there, demote.clone()),
        server.ask(Some(&second), "PUT", &here, demote.clone())
    );
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
}

#[tokio::test]
async fn locking_ends_sessions_and_is_for_others() {
    let server = Server::new().await;
    let client = server.database.client().await.unwrap();
    let later = OffsetDateTime::now_utc() + Duration::HOUR;
    sessions::create(&client, &[3; 32], server.viewer.user, later, &[], None).await.unwrap();
    let before = server.get(&server.admin, &at(&server.viewer)).await.ok();
    let path = format!("{}/lock", at(&server.viewer));
    let lock = async |who: &Principal, body: Value| server.ask(Some(who), "POST", &path, body).await;
    assert_eq!(lock(&server.owner, json!({"locked": true})).await.refusal(), (403, 22));
    assert_eq!(lock(&server.admin, json!({})).await.refusal(), (400, 12));
    server.backstage.take();
    assert_eq!(lock(&server.admin, json!({"locked": true})).await.ok()["locked"], true);
    assert_eq!(server.backstage.take(), [Told::Refresh(Part::Users), Told::Refresh(Part::Sessions)]);
    assert!(sessions::list(&client, server.viewer.user, 9).await.unwrap().is_empty());
    let locked = server.get(&server.admin, "/__api__/v1/users?account_status=locked").await.ok();
    assert_eq!((&locked["total"], &locked["results"][0]["username"]), (&json!(1), &json!("viewer")));
    // Clients compare accounts whole, before and after.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(lock(&server.admin, json!({"locked": false})).await.ok(), before);
    let own = format!("{}/lock", at(&server.admin));
    assert_eq!(server.ask(Some(&server.admin), "POST", &own, json!({"locked": true})).await.refusal(), (403, 22));
    let nobody = format!("/__api__/v1/users/{}/lock", uuid::Uuid::new_v4());
    assert_eq!(server.ask(Some(&server.admin), "POST", &nobody, json!({"locked": true})).await.refusal(), (404, 9));
}

#[tokio::test]
async fn content_is_not_given_to_who_cannot_use_it() {
    let server = Server::new().await;
    let guid = server.content("given").await;
    let path = format!("/__api__/v1/content/{guid}");
    let give = async |to: &Principal| {
        server.ask(Some(&server.admin), "PATCH", &path, json!({"owner_guid": to.guid.to_string()})).await
    };
    assert_eq!(give(&server.viewer).await.refusal(), (403, 156));
    let client = server.database.client().await.unwrap();
    users::set_locked(&client, server.stranger.user, true).await.unwrap();
    assert_eq!(give(&server.stranger).await.refusal(), (403, 50));
    let new = json!({"username": "unready", "user_role": "publisher", "user_must_set_password": true});
    let made = server.ask(Some(&server.admin), "POST", "/__api__/v1/users", new).await.ok();
    assert_eq!(made["confirmed"], false);
    let body = json!({"owner_guid": made["guid"]});
    assert_eq!(server.ask(Some(&server.admin), "PATCH", &path, body.clone()).await.refusal(), (400, 40));
    let confirm = format!("/__api__/v1/users/{}/confirm", made["guid"].as_str().unwrap());
    assert_eq!(server.ask(Some(&server.owner), "POST", &confirm, Value::Null).await.refusal(), (403, 22));
    assert_eq!(server.ask(Some(&server.admin), "POST", &confirm, Value::Null).await.ok()["confirmed"], true);
    assert_eq!(server.ask(Some(&server.admin), "PATCH", &path, body).await.ok()["owner_guid"], made["guid"]);
    assert_eq!(give(&server.admin).await.ok()["owner_guid"], server.admin.guid.to_string());
    let listed = server.get(&server.admin, &format!("{path}/permissions")).await.ok();
    assert_eq!(listed, json!([]), "nobody keeps an entry");
    assert_eq!(give(&server.owner).await.ok()["owner_guid"], server.owner.guid.to_string());
}

#[tokio::test]
async fn passwords_change_by_the_old_one_or_by_a_link() {
    let server = Server::new().await;
    let made = json!({"username": "grace", "password": "first password"});
    let made = server.ask(Some(&server.admin), "POST", "/__api__/v1/users", made).await.ok();
    let client = server.database.client().await.unwrap();
    let row = users::get_by_username(&client, "grace").await.unwrap().unwrap();
    let grace = Principal { user: row.id, guid: row.guid, username: row.username, ..server.viewer.clone() };
    let path = format!("{}/password", at(&grace));
    let change = async |who: &Principal, old: &str, new: &str| {
        server.ask(Some(who), "POST", &path, json!({"current_password": old, "password": new})).await
    };
    assert_eq!(change(&server.admin, "first password", "second password").await.refusal(), (403, 21));
    assert_eq!(change(&grace, "wrong", "second password").await.refusal(), (400, 87));
    assert_eq!(change(&grace, "", "second password").await.refusal(), (400, 12));
    assert_eq!(change(&grace, "first password", "short").await.refusal(), (400, 87));
    let later = OffsetDateTime::now_utc() + Duration::HOUR;
    sessions::create(&client, &[3; 32], grace.user, later, &[], None).await.unwrap();
    server.backstage.take();
    assert_eq!(change(&grace, "first password", "second password").await.status, 204);
    assert_eq!(server.backstage.take(), [Told::Refresh(Part::Sessions)]);
    assert!(sessions::list(&client, grace.user, 9).await.unwrap().is_empty(), "old sessions end");
    assert_eq!(change(&grace, "first password", "third password").await.refusal(), (400, 87));

    let link = format!("{}/password_link", at(&grace));
    assert_eq!(server.ask(Some(&grace), "POST", &link, Value::Null).await.refusal(), (403, 22));
    let first = server.ask(Some(&server.admin), "POST", &link, Value::Null).await.ok();
    let second = server.ask(Some(&server.admin), "POST", &link, Value::Null).await.ok();
    let url = second["url"].as_str().unwrap();
    let secret = url.strip_prefix("https://lectern.example/pub/connect/password?link=").unwrap();
    assert!(secret.len() >= 40, "{url}");
    let stored: Vec<u8> = client.query_one("SELECT hash FROM password_links", &[]).await.unwrap().get(0);
    assert_eq!(stored, blake3::hash(secret.as_bytes()).as_bytes(), "kept as a hash");
    let choose = async |secret: &str, password: &str| {
        let password = Zeroizing::new(password.to_owned());
        set_password_by_link(&server.database, &*server.backstage, secret, password).await
    };
    let old = first["url"].as_str().unwrap().rsplit('=').next().unwrap();
    assert!(choose(old, "by old link").await.unwrap().is_none());
    assert_eq!(choose(secret, "short").await.unwrap_err().code(), 87, "the link still works then");
    assert_eq!(choose(secret, "by the link").await.unwrap().map(|user| user.id), Some(grace.user));
    assert!(choose(secret, "once more!").await.unwrap().is_none(), "once");
    assert_eq!(change(&grace, "by the link", "fourth password").await.status, 204);
    users::set_locked(&client, grace.user, true).await.unwrap();
    assert_eq!(server.ask(Some(&server.admin), "POST", &link, Value::Null).await.refusal(), (403, 50));
    assert_eq!(made["confirmed"], true);
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let server = Server::new().await;
    let client = server.database.client().await.unwrap();
    let later = OffsetDateTime::now_utc() + Duration::HOUR;
    let login = "password-login".parse().unwrap();
    for byte in 1..=3 {
        sessions::create(&client, &[byte; 32], server.owner.user, later, &[], Some(&login)).await.unwrap();
    }
    let path = format!("{}/sessions", at(&server.owner));
    let listed = server.get(&server.owner, &path).await.ok();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["source"]), (3, &json!("password-login")));
    assert_eq!(server.get(&server.admin, &path).await.ok(), listed);
    assert_eq!(server.get(&server.stranger, &path).await.refusal(), (403, 19));
    let one = format!("{path}/{}", listed[0]["id"].as_str().unwrap());
    let del = async |who: &Principal, path: &str| server.ask(Some(who), "DELETE", path, Value::Null).await;
    assert_eq!(del(&server.stranger, &one).await.refusal(), (403, 20));
    // By way of one's own account, another's session is not there.
    let detour = format!("{}/sessions/{}", at(&server.stranger), listed[0]["id"].as_str().unwrap());
    assert_eq!(del(&server.stranger, &detour).await.refusal(), (404, 17));
    server.backstage.take();
    assert_eq!(del(&server.owner, &one).await.status, 204);
    assert_eq!(server.backstage.take(), [Told::Refresh(Part::Sessions)]);
    assert_eq!(del(&server.owner, &one).await.refusal(), (404, 17));
    assert_eq!(del(&server.owner, &format!("{path}/x")).await.refusal(), (400, 3));
    assert_eq!(del(&server.admin, &path).await.status, 204);
    assert_eq!(server.get(&server.owner, &path).await.ok(), json!([]));
}

#[tokio::test]
async fn no_other_directory_is_searched() {
    let server = Server::new().await;
    for (path, missing) in [("/__api__/v1/users", 9), ("/__api__/v1/groups", 153)] {
        let put = async |who: &Principal, body: Value| server.ask(Some(who), "PUT", path, body).await;
        assert_eq!(put(&server.admin, json!({"temp_ticket": "abc"})).await.refusal(), (404, missing));
        assert_eq!(put(&server.admin, json!({})).await.refusal(), (400, 12));
        assert_eq!(put(&server.owner, json!({"temp_ticket": "abc"})).await.refusal(), (403, 22));
        let found = server.get(&server.owner, &format!("{path}/remote?prefix=a")).await.ok();
        assert_eq!(found, json!({"results": [], "current_page": 1, "total": 0}));
    }
}
