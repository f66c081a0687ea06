//! Groups, their members, and what they give.

use lectern_api::Part;
use lectern_domain::access::Principal;
use lectern_metadata::groups;
use serde_json::{Value, json};

use crate::support::{Server, Told};

const PATH: &str = "/__api__/v1/groups";

#[tokio::test]
async fn groups_are_made_found_and_deleted() {
    let server = Server::new().await;
    let post = async |who: &Principal, body: Value| server.ask(Some(who), "POST", PATH, body).await;
    assert_eq!(post(&server.viewer, json!({"name": "x"})).await.refusal(), (403, 22));
    let made = post(&server.owner, json!({"name": "Staff"})).await.ok();
    assert_eq!(made["owner_guid"], server.owner.guid.to_string());
    let found = server.get(&server.viewer, &format!("{PATH}?prefix=sta")).await.ok();
    assert_eq!(found, json!({"results": [made], "current_page": 1, "total": 1}));
    let at = format!("{PATH}/{}", made["guid"].as_str().unwrap());
    assert_eq!(server.get(&server.viewer, &at).await.ok(), made);
    for (body, refusal) in [
        (json!({"name": "STAFF"}), (409, 15)),
        (json!({}), (400, 12)),
        (json!({"name": "  "}), (400, 12)),
        (json!({"name": "x".repeat(256)}), (400, 87)),
        (json!({"name": "a\nb"}), (400, 87)),
        (json!({"name": "idp", "unique_id": "ou=x"}), (403, 22)),
        (json!({"name": 7}), (400, 121)),
    ] {
        assert_eq!(post(&server.owner, body.clone()).await.refusal(), refusal, "{body}");
    }
    let remote = post(&server.admin, json!({"name": "idp", "unique_id": "ou=x"})).await.ok();
    assert_eq!(remote["owner_guid"], Value::Null);
    let second = server.get(&server.viewer, &format!("{PATH}?page_number=2&page_size=1")).await.ok();
    assert_eq!((&second["results"][0]["name"], &second["total"]), (&json!("Staff"), &json!(2)));
    let del = async |who: &Principal, path: &str| server.ask(Some(who), "DELETE", path, Value::Null).await;
    for other in [&server.stranger, &server.viewer] {
        assert_eq!(del(other, &at).await.refusal(), (403, 20));
    }
    server.backstage.take();
    assert_eq!(del(&server.owner, &at).await.status, 204);
    assert_eq!(server.backstage.take(), [Told::Refresh(Part::Groups)]);
    assert_eq!(del(&server.owner, &at).await.refusal(), (404, 153));
    assert_eq!(server.get(&server.viewer, &format!("{PATH}/x")).await.refusal(), (400, 3));
}

#[tokio::test]
async fn members_come_and_go() {
    let server = Server::new().await;
    let made = server.ask(Some(&server.owner), "POST", PATH, json!({"name": "staff"})).await.ok();
    let at = format!("{PATH}/{}/members", made["guid"].as_str().unwrap());
    let add = async |who: &Principal, body: Value| server.ask(Some(who), "POST", &at, body).await;
    let member = |who: &Principal| json!({"user_guid": who.guid.to_string()});
    for (who, refusal) in [(&server.stranger, (403, 21)), (&server.viewer, (403, 21))] {
        assert_eq!(add(who, member(who)).await.refusal(), refusal);
    }
    for who in [&server.viewer, &server.admin] {
        assert_eq!(add(&server.owner, member(who)).await.status, 204);
    }
    assert_eq!(add(&server.owner, member(&server.viewer)).await.refusal(), (409, 16));
    assert_eq!(add(&server.owner, json!({})).await.refusal(), (400, 12));
    assert_eq!(add(&server.owner, json!({"user_guid": "x"})).await.refusal(), (400, 3));
    assert_eq!(add(&server.owner, json!({"user_guid": uuid::Uuid::new_v4()})).await.refusal(), (404, 9));
    let members = server.get(&server.viewer, &at).await.ok();
    let names: Vec<&str> =
        members["results"].as_array().unwrap().iter().filter_map(|m| m["username"].as_str()).collect();
    assert_eq!((names, &members["total"]), (vec!["viewer", "admin"], &json!(2)), "in the order they were added");
    let keys: Vec<&String> = members.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["results", "current_page", "total"]);
    let second = server.get(&server.viewer, &format!("{at}?page_size=1&page_number=2")).await.ok();
    assert_eq!(second["results"][0]["username"], "admin");

    let remove = async |who: &Principal, user: &Principal| {
        server.ask(Some(who), "DELETE", &format!("{at}/{}", user.guid), Value::Null).await
    };
    assert_eq!(remove(&server.viewer, &server.viewer).await.refusal(), (403, 20));
    assert_eq!(remove(&server.owner, &server.viewer).await.status, 204);
    assert_eq!(remove(&server.owner, &server.viewer).await.refusal(), (404, 17));
    assert_eq!(remove(&server.owner, &server.stranger).await.refusal(), (404, 17));
    let gone = format!("{PATH}/{}/members", uuid::Uuid::new_v4());
    assert_eq!(server.get(&server.viewer, &gone).await.refusal(), (404, 153));
    // A key of a lesser role than its user's owns nothing.
    let mut lesser = server.owner.clone();
    lesser.role = lectern_domain::UserRole::Viewer;
    assert_eq!(add(&lesser, member(&server.viewer)).await.refusal(), (403, 21));

    // Another directory's group is not changed here, not even by administrators.
    let remote = server.ask(Some(&server.admin), "POST", PATH, json!({"name": "idp", "unique_id": "ou=x"})).await.ok();
    let at = format!("{PATH}/{}/members", remote["guid"].as_str().unwrap());
    assert_eq!(server.ask(Some(&server.admin), "POST", &at, member(&server.viewer)).await.refusal(), (403, 22));
}

#[tokio::test]
async fn content_lists_groups_as_it_lists_users() {
    let server = Server::new().await;
    let (app, secret) = (server.content("app").await, server.content("secret").await);
    let made = server.ask(Some(&server.owner), "POST", PATH, json!({"name": "staff"})).await.ok();
    let group = made["guid"].as_str().unwrap().to_owned();
    let entry = |role: &str| json!({"principal_guid": group, "principal_type": "group", "role": role});
    let permissions = format!("/__api__/v1/content/{app}/permissions");
    let item = format!("/__api__/v1/content/{app}");
    assert_eq!(server.get(&server.stranger, &item).await.refusal(), (403, 19));
    let listed = server.ask(Some(&server.owner), "POST", &permissions, entry("viewer")).await.ok();
    assert_eq!((&listed["principal_guid"], &listed["principal_type"]), (&json!(group), &json!("group")));
    assert_eq!(server.ask(Some(&server.owner), "POST", &permissions, entry("owner")).await.refusal(), (409, 155));
    let nobody = json!({"principal_guid": uuid::Uuid::new_v4(), "principal_type": "group", "role": "viewer"});
    assert_eq!(server.ask(Some(&server.owner), "POST", &permissions, nobody).await.refusal(), (404, 153));
    let odd = json!({"principal_guid": group, "principal_type": "robot", "role": "viewer"});
    assert_eq!(server.ask(Some(&server.owner), "POST", &permissions, odd).await.refusal(), (400, 87));
    assert_eq!(server.get(&server.stranger, &item).await.refusal(), (403, 19), "not a member");

    let client = server.database.client().await.unwrap();
    let row = groups::get_by_guid(&client, group.parse().unwrap()).await.unwrap().unwrap();
    for who in [&server.stranger, &server.viewer] {
        groups::add_member(&client, row.id, who.user).await.unwrap();
    }
    let role = async |who: &Principal| server.get(who, &item).await.ok()["app_role"].clone();
    assert_eq!((role(&server.stranger).await, role(&server.viewer).await), (json!("viewer"), json!("viewer")));
    let names = server.get(&server.stranger, "/__api__/v1/content").await.ok();
    assert_eq!((names.as_array().unwrap().len(), &names[0]["name"]), (1, &json!("app")));
    let at = format!("{permissions}/{}", listed["id"].as_str().unwrap());
    assert_eq!(server.ask(Some(&server.owner), "PUT", &at, entry("owner")).await.ok()["role"], "owner");
    // A member whose account is a viewer's still only looks.
    assert_eq!((role(&server.stranger).await, role(&server.viewer).await), (json!("editor"), json!("viewer")));

    let where_listed = format!("/__api__/v1/experimental/groups/{group}/content");
    let hidden = format!("/__api__/v1/content/{secret}/permissions");
    server.ask(Some(&server.owner), "POST", &hidden, entry("viewer")).await.ok();
    let all = server.get(&server.owner, &where_listed).await.ok();
    assert_eq!(all.as_array().unwrap().len(), 2);
    assert_eq!(
        all[0],
        json!({"content_guid": app, "content_name": "app", "content_title": null, "access_type": "acl", "permissions": [
            {"principal_guid": group, "principal_name": "staff", "principal_role": "owner", "principal_type": "group"}
        ]})
    );
    groups::remove_member(&client, row.id, server.viewer.user).await.unwrap();
    assert_eq!(server.get(&server.viewer, &where_listed).await.ok(), json!([]), "what one may not see is not named");
    assert_eq!(server.get(&server.admin, &where_listed).await.ok(), all);
    assert_eq!(server.ask(Some(&server.owner), "DELETE", &at, Value::Null).await.status, 204);
    assert_eq!(server.ask(Some(&server.owner), "DELETE", &at, Value::Null).await.refusal(), (404, 17));
    assert_eq!(server.ask(Some(&server.owner), "PUT", &at, entry("viewer")).await.refusal(), (404, 18));
    assert_eq!(server.get(&server.owner, &at).await.refusal(), (404, 4));
    assert_eq!(server.get(&server.owner, &where_listed).await.ok().as_array().unwrap().len(), 1);
}
