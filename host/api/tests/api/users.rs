//! Accounts and their keys.

use lectern_api::Part;
use lectern_domain::user::UserRole;
use lectern_metadata::snapshots::load_snapshot;
use serde_json::{Value, json};

use crate::support::{Server, Told};

#[tokio::test]
async fn the_caller_is_shown_to_themselves() {
    let server = Server::new().await;
    let user = server.get(&server.owner, "/__api__/v1/user").await.ok();
    assert_eq!((&user["username"], &user["user_role"]), (&json!("owner"), &json!("publisher")));
    assert_eq!(
        (&user["confirmed"], &user["locked"], &user["active_time"]),
        (&json!(true), &json!(false), &Value::Null)
    );
    for path in ["/__api__/users/current", "/__api__/me"] {
        let mut numbered = server.get(&server.owner, path).await.ok();
        let id = numbered.as_object_mut().unwrap().shift_remove("id").unwrap();
        assert_eq!(id, server.owner.user.0, "{path}");
        assert_eq!(numbered, user, "{path}");
    }
    let by_guid = format!("/__api__/v1/users/{}", server.owner.guid);
    assert_eq!(server.get(&server.viewer, &by_guid).await.ok(), user);
    assert_eq!(server.get(&server.viewer, "/__api__/v1/users/x").await.refusal(), (400, 3));
    let absent = format!("/__api__/v1/users/{}", uuid::Uuid::new_v4());
    assert_eq!(server.get(&server.viewer, &absent).await.refusal(), (404, 9));
}

#[tokio::test]
async fn administrators_make_accounts() {
    let server = Server::new().await;
    let path = "/__api__/v1/users";
    let post = async |body| server.ask(Some(&server.admin), "POST", path, body).await;
    server.backstage.take();
    let made = post(json!({
        "username": "grace", "email": "g@example.org", "first_name": "Grace", "last_name": "H", "password": "long enough",
        "user_role": "publisher", "user_must_set_password": false, "unique_id": "x", "__confirmed": true,
    }));
    let made = made.await.ok();
    assert_eq!(server.backstage.take(), [Told::Refresh(Part::Users)]);
    let at = format!("{path}/{}", made["guid"].as_str().unwrap());
    assert_eq!(server.get(&server.admin, &at).await.ok(), made);
    assert_eq!(server.get(&server.admin, &format!("{path}?prefix=gra")).await.ok()["results"], json!([made]));
    let client = server.database.client().await.unwrap();
    let stored = lectern_metadata::users::password_hash_of(&client, "grace").await.unwrap().unwrap();
    assert_eq!(stored.1.unwrap().0, "hash of long enough");
    assert_eq!(post(json!({"username": "plain"})).await.ok()["user_role"], "viewer");
    for (body, refusal) in [
        (json!({}), (400, 12)),
        (json!({"username": "GRACE"}), (409, 8)),
        (json!({"username": "a b"}), (400, 87)),
        (json!({"username": "x".repeat(65)}), (400, 87)),
        (json!({"username": "valid", "user_role": "god"}), (400, 87)),
        (json!({"username": "valid", "password": "short"}), (400, 87)),
        (json!({"username": "valid", "email": "x".repeat(300)}), (400, 87)),
    ] {
        assert_eq!(post(body.clone()).await.refusal(), refusal, "{body}");
    }
}

#[tokio::test]
async fn accounts_are_listed_in_pages() {
    let server = Server::new().await;
    let get = async |query: &str| server.get(&server.viewer, &format!("/__api__/v1/users{query}")).await;
    let all = get("").await.ok();
    assert_eq!(all.as_object().unwrap().keys().collect::<Vec<_>>(), ["results", "current_page", "total"]);
    let names = |page: &Value| -> Vec<String> {
        page["results"].as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&all), ["admin", "owner", "stranger", "viewer"]);
    let second = get("?page_number=2&page_size=3").await.ok();
    assert_eq!(
        (names(&second), &second["current_page"], &second["total"]),
        (vec!["viewer".into()], &json!(2), &json!(4))
    );
    assert_eq!(names(&get("?page_size=1000000").await.ok()).len(), 4);
    assert_eq!(names(&get("?user_role=viewer|administrator").await.ok()), ["admin", "viewer"]);
    assert_eq!(get("?account_status=locked").await.ok()["total"], 0);
    assert_eq!(get("?account_status=licensed").await.ok()["total"], 4);
    assert_eq!(get("?account_status=locked|licensed&prefix=&page_size=1").await.ok()["total"], 4);
    assert_eq!(get("?account_status=inactive").await.ok()["total"], 0);
    for bad in ["?user_role=god", "?account_status=asleep", "?page_number=x"] {
        assert_eq!(get(bad).await.refusal(), (400, 25), "{bad}");
    }
}

#[tokio::test]
async fn keys_are_their_owners_business() {
    let server = Server::new().await;
    let path = format!("/__api__/v1/users/{}/keys", server.owner.guid);
    let owner = Some(&server.owner);
    assert_eq!(server.get(&server.owner, &path).await.ok(), json!([]));
    server.backstage.take();
    let made = server.ask(owner, "POST", &path, json!({"name": "laptop"})).await.ok();
    assert_eq!(server.backstage.take(), [Told::Refresh(Part::Keys)]);
    let text = made["key"].as_str().unwrap().to_owned();
    let hash = *blake3::hash(text.as_bytes()).as_bytes();
    let found = load_snapshot(&server.database)
        .await
        .unwrap()
        .principal_of_key(&hash, time::OffsetDateTime::now_utc())
        .unwrap();
    assert_eq!((found.guid, found.role), (server.owner.guid, UserRole::Publisher));
    let list = server.get(&server.owner, &path).await;
    assert_eq!((&list.ok()[0]["name"], &list.ok()[0]["id"]), (&json!("laptop"), &made["id"]));
    assert!(!String::from_utf8_lossy(&list.bytes).contains(&text), "shown once");

    let at = format!("{path}/{}", made["id"].as_str().unwrap());
    for other in [&server.admin, &server.stranger] {
        assert_eq!(server.get(other, &path).await.refusal(), (403, 19));
        assert_eq!(server.ask(Some(other), "POST", &path, json!({"name": "theft"})).await.refusal(), (403, 19));
        assert_eq!(server.ask(Some(other), "DELETE", &at, Value::Null).await.refusal(), (403, 19));
    }
    assert_eq!(server.ask(owner, "POST", &path, json!({"name": "LAPTOP"})).await.refusal(), (409, 26));
    assert_eq!(server.ask(owner, "DELETE", &at, Value::Null).await.status, 204);
    assert_eq!(server.ask(owner, "DELETE", &at, Value::Null).await.refusal(), (404, 4));
    assert_eq!(
        load_snapshot(&server.database).await.unwrap().principal_of_key(&hash, time::OffsetDateTime::now_utc()),
        None
    );
    let nobody = format!("/__api__/v1/users/{}/keys", uuid::Uuid::new_v4());
    assert_eq!(server.get(&server.owner, &nobody).await.refusal(), (404, 9));
    assert_eq!(server.get(&server.owner, "/__api__/v1/users/x/keys").await.refusal(), (400, 3));
}

#[tokio::test]
async fn a_key_gives_no_more_than_what_made_it() {
    let server = Server::new().await;
    // The administrator's key of a lesser role.
    let mut lesser = server.admin.clone();
    lesser.role = UserRole::Viewer;
    let path = format!("/__api__/v1/users/{}/keys", lesser.guid);
    let post = async |body| server.ask(Some(&lesser), "POST", &path, body).await;
    assert_eq!(post(json!({"name": "more", "role": "administrator"})).await.refusal(), (403, 22));
    assert_eq!(post(json!({"name": "same"})).await.ok()["role"], "viewer");
    assert_eq!(post(json!({"name": " "})).await.refusal(), (400, 87));
    for end in ["yesterday", "2020-01-01T00:00:00Z"] {
        assert_eq!(post(json!({"name": "x", "expires_time": end})).await.refusal(), (400, 87), "{end}");
    }
    let ends = post(json!({"name": "ends", "expires_time": "2999-01-01T00:00:00Z"})).await.ok();
    assert_eq!((&ends["expires_time"], &ends["last_used_time"]), (&json!("2999-01-01T00:00:00Z"), &Value::Null));
    assert_eq!(post(json!({"name": "x", "role": "god"})).await.refusal(), (400, 87));
    let full = server.ask(Some(&server.admin), "POST", &path, json!({"name": "x", "role": "publisher"})).await;
    assert_eq!(full.ok()["role"], "publisher");
    // Nor does it revoke one that gives more.
    let at = format!("{path}/{}", full.ok()["id"].as_str().unwrap());
    assert_eq!(server.ask(Some(&lesser), "DELETE", &at, Value::Null).await.refusal(), (403, 20));
}
