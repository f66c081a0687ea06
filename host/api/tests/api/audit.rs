//! The audit log: what is written down, who may read it, and how it is paged.

use axum::body::Body;
use lectern_domain::access::Principal;
use lectern_metadata::audit::{self, Chain, Way};
use serde_json::{Value, json};

use crate::support::{Server, request};

const PATH: &str = "/__api__/v1/audit_logs";

async fn actions(server: &Server) -> Vec<(String, String, String)> {
    let entries = audit::list(&server.database.client().await.unwrap(), None, Way::Up, 500).await.unwrap();
    entries.into_iter().map(|entry| (entry.actor.description, entry.action, entry.text)).collect()
}

#[tokio::test]
async fn only_administrators_read_it() {
    let server = Server::new().await;
    assert_eq!(server.ask(None, "GET", PATH, Value::Null).await.refusal(), (401, 24));
    for who in [&server.viewer, &server.owner, &server.stranger] {
        assert_eq!(server.get(who, PATH).await.refusal(), (403, 22));
    }
    let empty = server.get(&server.admin, PATH).await.ok();
    assert_eq!(empty["results"], json!([]));
    assert_eq!(empty["paging"]["cursors"], json!({"previous": null, "next": null}));
    for bad in
        ["limit=0", "limit=-1", "limit=x", "next=x", "previous=-2", "next=1&previous=1", "ascOrder=yes", "asc_order=2"]
    {
        assert_eq!(server.get(&server.admin, &format!("{PATH}?{bad}")).await.refusal(), (400, 25), "{bad}");
    }
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        assert_eq!(server.ask(Some(&server.admin), method, PATH, json!({})).await.status, 404, "{method}");
    }
}

#[tokio::test]
async fn changes_are_written_down_with_who_made_them() {
    let server = Server::new().await;
    let (admin, owner) = (&server.admin, &server.owner);
    let ask = async |who: &Principal, method: &str, path: &str, body: Value| {
        let reply = server.ask(Some(who), method, &format!("/__api__/v1/{path}"), body).await;
        assert!(reply.status.is_success(), "{method} {path}: {reply:?}");
        if reply.bytes.is_empty() { Value::Null } else { reply.ok() }
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let user = ask(admin, "POST", "users", json!({"username": "grace", "password": "correct horse"})).await;
    let user = text(&user["guid"]);
    ask(admin, "PUT", &format!("users/{user}"), json!({"user_role": "publisher", "email": "g@example.org"})).await;
    ask(admin, "POST", &format!("users/{user}/password_link"), Value::Null).await;
    ask(admin, "POST", &format!("users/{user}/lock"), json!({"locked": true})).await;
    let keys = format!("users/{}/keys", owner.guid);
    let key = ask(owner, "POST", &keys, json!({"name": "ci"})).await;
    ask(owner, "DELETE", &format!("{keys}/{}", text(&key["id"])), Value::Null).await;
    ask(admin, "DELETE", &format!("users/{}/sessions", owner.guid), Value::Null).await;
    let group = ask(owner, "POST", "groups", json!({"name": "staff"})).await;
    let group = format!("groups/{}", text(&group["guid"]));
    ask(owner, "POST", &format!("{group}/members"), json!({"user_guid": server.viewer.guid.to_string()})).await;
    ask(owner, "DELETE", &format!("{group}/members/{}", server.viewer.guid), Value::Null).await;
    ask(owner, "DELETE", &group, Value::Null).await;
    let tag = text(&ask(admin, "POST", "tags", json!({"name": "Team"})).await["id"]);
    let below = text(&ask(admin, "POST", "tags", json!({"name": "Data", "parent_id": tag})).await["id"]);
    let item = text(&ask(owner, "POST", "content", json!({"name": "report", "access_type": "all"})).await["guid"]);
    let at = format!("content/{item}");
    ask(owner, "PATCH", &at, json!({})).await;
    ask(owner, "PATCH", &at, json!({"title": "Sales", "access_type": "acl"})).await;
    let entry = json!({"principal_guid": server.viewer.guid.to_string(), "role": "viewer"});
    let entry = text(&ask(owner, "POST", &format!("{at}/permissions"), entry).await["id"]);
    ask(owner, "DELETE", &format!("{at}/permissions/{entry}"), Value::Null).await;
    let variables = json!([{"name": "TOKEN", "value": "hunter2"}, {"name": "OLD", "value": null}]);
    ask(owner, "PATCH", &format!("{at}/environment"), variables).await;
    ask(owner, "PUT", &format!("{at}/vanity"), json!({"path": "/sales/"})).await;
    ask(owner, "DELETE", &format!("{at}/vanity"), Value::Null).await;
    ask(owner, "POST", &format!("{at}/tags"), json!({"tag_id": below})).await;
    ask(owner, "DELETE", &format!("{at}/tags/{below}"), Value::Null).await;
    ask(admin, "DELETE", &format!("tags/{tag}"), Value::Null).await;
    let bundle = server.bundle(&item).await;
    let thumbnail = format!("/__api__/v1/{at}/thumbnail");
    let picture = request("PUT", &thumbnail).body(Body::from(crate::thumbnails::png(0))).unwrap();
    assert_eq!(server.send(Some(owner), picture).await.status, 204);
    ask(owner, "DELETE", &format!("{at}/thumbnail"), Value::Null).await;
    let image = json!({"title": "Images", "name": "image", "cluster_name": "Kubernetes"});
    let image = format!("environments/{}", text(&ask(admin, "POST", "environments", image).await["guid"]));
    ask(admin, "PUT", &image, json!({"title": "Other"})).await;
    let to = json!({"user_guid": server.viewer.guid.to_string()});
    let to = text(&ask(admin, "POST", &format!("{image}/permissions"), to).await["guid"]);
    ask(admin, "DELETE", &format!("{image}/permissions/{to}"), Value::Null).await;
    ask(admin, "DELETE", &image, Value::Null).await;
    ask(admin, "PATCH", &at, json!({"owner_guid": server.stranger.guid.to_string()})).await;
    ask(admin, "DELETE", &at, Value::Null).await;

    let (a, o, v, s) = (&admin.username, &owner.username, &server.viewer.username, &server.stranger.username);
    let item = format!("content report ({item})");
    let expected = [
        (a, "add_user", "made the account grace with the role viewer".to_owned()),
        (a, "edit_user", "changed the profile of grace".into()),
        (a, "edit_user_role", "gave grace the role publisher".into()),
        (a, "add_password_link", "made a link by which grace chooses a password".into()),
        (a, "lock_user", "locked the account grace".into()),
        (o, "add_api_key", format!("made the API key \"ci\" of {o} with the role publisher")),
        (o, "remove_api_key", format!("revoked the API key \"ci\" of {o}")),
        (a, "end_sessions", format!("ended 0 browser sessions of {o}")),
        (o, "add_group", "made the group \"staff\"".into()),
        (o, "add_group_member", format!("added {v} to the group \"staff\"")),
        (o, "remove_group_member", format!("removed {v} from the group \"staff\"")),
        (o, "remove_group", "deleted the group \"staff\"".into()),
        (a, "add_tag", "made the tag \"Team\"".into()),
        (a, "add_tag", "made the tag \"Data\"".into()),
        (o, "add_application", format!("made {item}")),
        (o, "edit_application_access", format!("set access to {item} to all")),
        (o, "edit_application_access", format!("set access to {item} to acl")),
        (o, "edit_application", format!("changed settings of {item}")),
        (o, "add_permission", format!("listed {v} as viewer of {item}")),
        (o, "remove_permission", format!("no longer lists {v} for {item}")),
        (o, "edit_environment", format!("changed environment variables of {item}: set TOKEN, removed OLD")),
        (o, "edit_vanity", format!("gave {item} the path /sales/")),
        (o, "remove_vanity", format!("took the path of {item} away")),
        (o, "add_application_tag", format!("gave {item} the tag \"Data\"")),
        (o, "remove_application_tag", format!("took the tag \"Data\" from {item}")),
        (a, "remove_tag", "deleted the tag \"Team\" and all below it".into()),
        (o, "upload_bundle", format!("uploaded bundle {bundle} of {item}")),
        (o, "edit_thumbnail", format!("gave {item} a picture")),
        (o, "remove_thumbnail", format!("took the picture of {item} away")),
        (a, "add_execution_environment", "described the execution environment \"image\"".into()),
        (a, "edit_execution_environment", "changed the execution environment \"image\"".into()),
        (a, "add_execution_environment_permission", format!("listed {v} for the execution environment \"image\"")),
        (
            a,
            "remove_execution_environment_permission",
            format!("no longer lists {v} for the execution environment \"image\""),
        ),
        (a, "remove_execution_environment", "deleted the execution environment \"image\"".into()),
        (a, "edit_application_owner", format!("gave {item} to {s}")),
        (a, "remove_application", format!("deleted {item}")),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(who, action, text)| (who.clone(), action.to_owned(), text)).collect();
    let written = actions(&server).await;
    assert_eq!(written, expected, "{written:#?}");
    let all = format!("{written:?}");
    for secret in ["hunter2", "correct horse", key["key"].as_str().unwrap()] {
        assert!(!all.contains(secret), "a secret is in the log");
    }
    let chain = audit::verify(&server.database.client().await.unwrap()).await.unwrap();
    assert!(matches!(chain, Chain::Whole(head) if head.seq == 36), "{chain:?}");
}

#[tokio::test]
async fn what_is_refused_leaves_no_entry() {
    let server = Server::new().await;
    let refused = [
        (&server.owner, "POST", "groups", json!({"name": ""})),
        (&server.viewer, "POST", "content", json!({"name": "x"})),
        (&server.admin, "POST", "users", json!({"username": server.viewer.username})),
        (&server.admin, "DELETE", "tags/999", Value::Null),
    ];
    for (who, method, path, body) in refused {
        let reply = server.ask(Some(who), method, &format!("/__api__/v1/{path}"), body).await;
        assert!(reply.status.is_client_error(), "{method} {path}: {reply:?}");
    }
    assert_eq!(actions(&server).await, []);
}

#[tokio::test]
async fn pages_go_on_and_back() {
    let server = Server::new().await;
    for number in 1..=7 {
        server.ask(Some(&server.admin), "POST", "/__api__/v1/tags", json!({"name": format!("t{number}")})).await.ok();
    }
    let local = |url: &Value| {
        let url = url.as_str().unwrap();
        url[url.find("/__api__").unwrap()..].to_owned()
    };
    for (order, expected) in [("true", ["1,2,3", "4,5,6", "7"]), ("false", ["7,6,5", "4,3,2", "1"])] {
        let ids = |page: &Value| {
            let ids = page["results"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap());
            ids.collect::<Vec<_>>().join(",")
        };
        let get = async |path: &str| {
            let page = server.get(&server.admin, path).await.ok();
            assert_eq!(page.as_object().unwrap().keys().collect::<Vec<_>>(), ["paging", "results"]);
            page
        };
        let first = get(&format!("{PATH}?limit=3&ascOrder={order}")).await;
        assert_eq!((ids(&first).as_str(), &first["paging"]["previous"]), (expected[0], &Value::Null));
        // By address, and by cursor as other clients do.
        let second = get(&local(&first["paging"]["next"])).await;
        let cursor = first["paging"]["cursors"]["next"].as_str().unwrap();
        assert_eq!(get(&format!("{PATH}?limit=3&asc_order={order}&next={cursor}")).await, second);
        assert_eq!(ids(&second), expected[1]);
        let third = get(&local(&second["paging"]["next"])).await;
        assert_eq!((ids(&third).as_str(), &third["paging"]["next"]), (expected[2], &Value::Null));
        assert_eq!(third["paging"]["cursors"]["next"], Value::Null);
        assert_eq!(ids(&get(&local(&third["paging"]["previous"])).await), expected[1]);
        assert_eq!(get(&local(&second["paging"]["first"])).await, first);
        let last = get(&local(&first["paging"]["last"])).await;
        assert_eq!(last["paging"]["next"], Value::Null);
        assert_eq!(ids(&last).split(',').next_back(), expected[2].split(',').next_back());
        let back = get(&local(&second["paging"]["previous"])).await;
        assert_eq!((ids(&back).as_str(), &back["paging"]["previous"]), (expected[0], &Value::Null));
    }
    let entry = &server.get(&server.admin, &format!("{PATH}?limit=1")).await.ok()["results"][0];
    let keys: Vec<_> = entry.as_object().unwrap().keys().map(String::as_str).collect();
    let wanted = ["id", "time", "user_id", "user_guid", "user_description", "action", "event_description"];
    assert_eq!(keys, wanted);
    assert_eq!(entry["user_guid"], server.admin.guid.to_string());
}
