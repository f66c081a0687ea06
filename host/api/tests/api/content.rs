//! `/v1/content`.

use lectern_api::Part;
use lectern_domain::access::PermissionRole;
use serde_json::{Value, json};

use crate::support::{Server, Told, archive, manifest};

const PATH: &str = "/__api__/v1/content";

#[tokio::test]
async fn one_object_from_create_list_get_and_patch() {
    let server = Server::new().await;
    let owner = &server.owner;
    let created = server.ask(Some(owner), "POST", PATH, json!({"name": "my-app", "title": "My app"})).await.ok();
    let guid = created["guid"].as_str().unwrap();
    let at = format!("{PATH}/{guid}");
    assert_eq!(server.get(owner, PATH).await.ok(), json!([created]));
    assert_eq!(server.get(owner, &at).await.ok(), created);
    assert_eq!(server.ask(Some(owner), "PATCH", &at, json!({})).await.ok(), created);
    assert_eq!(server.ask(Some(owner), "PATCH", &at, Value::Null).await.ok(), created);
    assert_eq!(server.ask(Some(owner), "PATCH", &at, json!([])).await.ok(), created);

    assert_eq!(created["content_url"], format!("https://lectern.example/pub/content/{guid}/"));
    assert_eq!(created["dashboard_url"], format!("https://lectern.example/pub/connect/#/apps/{guid}"));
    assert!(created["id"].is_string());
    assert_eq!((&created["app_role"], &created["app_mode"]), (&json!("owner"), &json!("unknown")));
    for unset in ["bundle_id", "max_processes", "py_version", "run_as", "memory_limit", "cluster_name"] {
        assert!(created.get(unset).unwrap().is_null(), "{unset}");
    }
    for absent in ["owner", "tags", "vanity_url"] {
        assert!(created.get(absent).is_none(), "{absent}");
    }
    let created_time = created["created_time"].as_str().unwrap();
    assert!(created_time.len() == 20 && created_time.ends_with('Z'), "{created_time}");
}

#[tokio::test]
async fn names_are_made_checked_and_unique_per_owner() {
    let server = Server::new().await;
    let post = async |who, body: Value| server.ask(Some(who), "POST", PATH, body).await;
    for unnamed in [Value::Null, json!({}), json!({"name": ""}), json!({"name": null})] {
        let made = post(&server.owner, unnamed).await.ok();
        assert!(made["name"].as_str().unwrap().len() >= 3);
    }
    let first = post(&server.owner, json!({"name": "Mixed-Case"})).await.ok();
    assert_eq!(post(&server.owner, json!({"name": "mixed-case"})).await.refusal(), (409, 26));
    assert_eq!(post(&server.stranger, json!({"name": "mixed-case"})).await.status, 200, "another owner");
    assert_eq!(post(&server.owner, json!({"name": "a b"})).await.refusal(), (400, 5));
    let found = server.get(&server.owner, &format!("{PATH}?name=MIXED-case")).await.ok();
    assert_eq!(found, json!([first]));
    assert_eq!(server.get(&server.owner, &format!("{PATH}?name=none")).await.ok(), json!([]));
}

#[tokio::test]
async fn lists_show_what_one_may_see() {
    let server = Server::new().await;
    let private = server.content("private").await;
    let shared = server.content("shared").await;
    server.permit(&shared, &server.viewer, PermissionRole::Viewer).await;
    let public = server.content("public").await;
    let open = json!({"access_type": "all"});
    server.ask(Some(&server.owner), "PATCH", &format!("{PATH}/{public}"), open).await.ok();
    let seen = async |who| -> Vec<(String, String)> {
        let list = server.get(who, PATH).await.ok();
        let pair = |item: &Value| (item["guid"].as_str().unwrap().into(), item["app_role"].as_str().unwrap().into());
        list.as_array().unwrap().iter().map(pair).collect()
    };
    let pairs = |of: &[(&String, &str)]| -> Vec<(String, String)> {
        of.iter().map(|(guid, role)| ((*guid).clone(), (*role).to_owned())).collect()
    };
    assert_eq!(seen(&server.owner).await, pairs(&[(&private, "owner"), (&shared, "owner"), (&public, "owner")]));
    assert_eq!(seen(&server.admin).await, pairs(&[(&private, "none"), (&shared, "none"), (&public, "viewer")]));
    assert_eq!(seen(&server.viewer).await, pairs(&[(&shared, "viewer"), (&public, "viewer")]));
    assert_eq!(seen(&server.stranger).await, pairs(&[(&public, "viewer")]));
    let by_owner = server.get(&server.admin, &format!("{PATH}?owner_guid={}", server.stranger.guid)).await.ok();
    assert_eq!(by_owner, json!([]));
    assert_eq!(server.get(&server.admin, &format!("{PATH}?owner_guid=x")).await.refusal(), (400, 3));
}

#[tokio::test]
async fn more_is_included_on_request() {
    let server = Server::new().await;
    let guid = server.content("detailed").await;
    let at = format!("{PATH}/{guid}");
    let mut plain = server.get(&server.owner, &at).await.ok();
    let all = server.get(&server.owner, &format!("{at}?include=owner,tags,vanity_url")).await.ok();
    let owner = json!({
        "guid": server.owner.guid.to_string(), "username": "owner", "first_name": "OWNER", "last_name": "Example",
    });
    plain["owner"] = owner;
    assert_eq!(all, plain, "nothing but the owner is added to an item without tags and vanity path");
    let path = format!("{at}/vanity");
    server.ask(Some(&server.owner), "PUT", &path, json!({"path": "example"})).await.ok();
    let list = server.get(&server.owner, &format!("{PATH}?include=vanity_url")).await.ok();
    assert_eq!(list[0]["vanity_url"], "https://lectern.example/pub/example/");
    assert_eq!(server.get(&server.owner, &format!("{at}?include=secrets")).await.refusal(), (400, 161));
}

#[tokio::test]
async fn settings_change_and_say_so() {
    let server = Server::new().await;
    let guid = server.content("tuned").await;
    let at = format!("{PATH}/{guid}");
    server.backstage.take();
    let settings = json!({
        "title": "Tuned", "description": "d", "access_type": "logged_in", "locked": true, "locked_message": "# soon",
        "max_processes": 5, "min_processes": 1, "load_factor": 0.25, "idle_timeout": 0, "memory_limit": 1024,
        "default_image_name": "x/y", "default_py_environment_management": false,
    });
    let changed = server.ask(Some(&server.owner), "PATCH", &at, settings.clone()).await.ok();
    for (key, value) in settings.as_object().unwrap() {
        assert_eq!(&changed[key], value, "{key}");
    }
    assert_eq!(server.backstage.take(), [Told::Refresh(Part::Content(guid.parse().unwrap()))]);
    let cleared = json!({"title": null, "max_processes": null, "min_processes": null, "memory_limit": null,
        "locked": false, "locked_message": "", "name": ""});
    let cleared = server.ask(Some(&server.owner), "PATCH", &at, cleared).await.ok();
    assert_eq!((&cleared["title"], &cleared["max_processes"]), (&Value::Null, &Value::Null));
    assert_eq!((&cleared["name"], &cleared["locked_message"]), (&json!("tuned"), &json!("")));
    assert_eq!(cleared["last_deployed_time"], changed["last_deployed_time"]);
}

#[tokio::test]
async fn bad_settings_change_nothing() {
    let server = Server::new().await;
    let guid = server.content("strict").await;
    server.content("taken").await;
    let at = format!("{PATH}/{guid}");
    let before = server.get(&server.owner, &at).await.ok();
    let cases = [
        (json!({"idle_timeout": -1}), (400, 151)),
        (json!({"load_factor": 2}), (400, 150)),
        (json!({"name": "a b"}), (400, 5)),
        (json!({"name": "ab"}), (400, 5)),
        (json!({"name": "x".repeat(65)}), (400, 5)),
        (json!({"name": "../x"}), (400, 5)),
        (json!({"title": "ab"}), (400, 87)),
        (json!({"title": "x".repeat(1025)}), (400, 87)),
        (json!({"description": "x".repeat(4097)}), (400, 87)),
        (json!({"init_timeout": 2_592_001}), (400, 151)),
        (json!({"connection_timeout": -1}), (400, 151)),
        (json!({"read_timeout": 2_592_001}), (400, 151)),
        (json!({"load_factor": -0.1}), (400, 150)),
        (json!({"max_processes": 0}), (400, 45)),
        (json!({"min_processes": -1}), (400, 45)),
        (json!({"max_conns_per_process": 0}), (400, 45)),
        (json!({"max_processes": 2, "min_processes": 3}), (400, 114)),
        (json!({"memory_limit": -1}), (400, 87)),
        (json!({"cpu_request": "much"}), (400, 87)),
        (json!({"max_processes": 21}), (400, 113)),
        (json!({"min_processes": 21}), (400, 191)),
        (json!({"max_conns_per_process": 10_001}), (400, 192)),
        (json!({"max_processes": "three"}), (400, 121)),
        (json!({"locked": "yes"}), (400, 121)),
        (json!({"min_processes": 4}), (400, 114)),
        (json!({"access_type": "everyone"}), (400, 87)),
        (json!({"title": "ok title", "name": "taken"}), (409, 26)),
        (json!({"title": "nul \u{0} inside"}), (400, 87)),
        (json!({"run_as": "root"}), (403, 22)),
        (json!({"run_as_current_user": true}), (403, 22)),
        (json!({"owner_guid": "x"}), (400, 3)),
        (json!({"owner_guid": uuid::Uuid::new_v4()}), (404, 9)),
        (json!({"owner_guid": server.viewer.guid}), (403, 156)),
    ];
    for (body, refusal) in cases {
        let reply = server.ask(Some(&server.owner), "PATCH", &at, body.clone()).await;
        assert_eq!(reply.refusal(), refusal, "{body}");
    }
    assert_eq!(server.get(&server.owner, &at).await.ok(), before);
    let by_admin = server.ask(Some(&server.admin), "PATCH", &at, json!({"run_as": "someone"})).await.ok();
    assert_eq!(by_admin["run_as"], "someone");
}

#[tokio::test]
async fn content_changes_hands_without_a_trace() {
    let server = Server::new().await;
    let guid = server.content("given").await;
    let at = format!("{PATH}/{guid}");
    let give = async |who, to| server.ask(Some(who), "PATCH", &at, json!({"owner_guid": to})).await;
    server.permit(&guid, &server.stranger, PermissionRole::Owner).await;
    assert_eq!(give(&server.stranger, server.stranger.guid).await.refusal(), (403, 21), "a collaborator takes nothing");
    let given = give(&server.owner, server.stranger.guid).await.ok();
    assert_eq!(given["owner_guid"], server.stranger.guid.to_string());
    assert_eq!(given["app_role"], "none", "the giver keeps nothing");
    assert_eq!(server.get(&server.owner, &at).await.refusal(), (403, 19));
    let entries = server.get(&server.stranger, &format!("{at}/permissions")).await.ok();
    assert_eq!(entries, json!([]), "owners are not listed");
    let back = give(&server.admin, server.owner.guid).await.ok();
    assert_eq!(back["owner_guid"], server.owner.guid.to_string());
}

#[tokio::test]
async fn deleted_content_is_gone_and_others_are_told() {
    let server = Server::new().await;
    let guid = server.content("doomed").await;
    let bundle = server.bundle(&guid).await;
    server.activate(&guid, &bundle).await;
    server.backstage.take();
    let gone = server.ask(Some(&server.owner), "DELETE", &format!("{PATH}/{guid}"), Value::Null).await;
    assert_eq!((gone.status.as_u16(), gone.bytes.len()), (204, 0));
    let told = server.backstage.take();
    let content = guid.parse().unwrap();
    assert_eq!(told[0], Told::Refresh(Part::Content(content)));
    assert!(matches!(&told[1], Told::ContentDeleted(which, hashes) if *which == content && hashes.len() == 1));
    assert_eq!(server.get(&server.admin, PATH).await.ok(), json!([]));
    assert_eq!(server.get(&server.owner, &format!("{PATH}/{guid}")).await.refusal(), (404, 4));
}

#[tokio::test]
async fn what_the_first_deployment_fixed_stays() {
    let server = Server::new().await;
    let guid = server.content("fixed").await;
    let first = server.bundle(&guid).await;
    let at = format!("{PATH}/{guid}");
    let made = server.get(&server.owner, &at).await.ok();
    server.activate(&guid, &first).await;
    let deployed = server.get(&server.owner, &at).await.ok();
    assert_eq!((&deployed["bundle_id"], &deployed["app_mode"]), (&json!(first), &json!("static")));
    assert!(deployed["last_deployed_time"].as_str() >= made["last_deployed_time"].as_str());
    let other_kind = archive(&[("manifest.json", &manifest("python-fastapi")), ("app.py", "")]);
    assert_eq!(server.upload(&guid, other_kind).await.refusal(), (403, 48));
    let metadata = json!({"appmode": "static", "primary_html": "index.html", "content_category": "site"});
    let manifest = json!({"version": 1, "metadata": metadata, "files": {}}).to_string();
    let other_category = archive(&[("manifest.json", &manifest), ("index.html", "")]);
    assert_eq!(server.upload(&guid, other_category).await.refusal(), (403, 110));
    let metadata = json!({"appmode": "static", "primary_html": "index.html", "has_parameters": true});
    let manifest = json!({"version": 1, "metadata": metadata, "files": {}}).to_string();
    let parameters = archive(&[("manifest.json", &manifest), ("index.html", "")]);
    assert_eq!(server.upload(&guid, parameters).await.refusal(), (403, 111));
    // What is computed at deployment cannot be set by hand; it is passed over like any field that is not a setting.
    let forced = json!({"app_mode": "python-api", "content_category": "pin", "bundle_id": "1", "py_version": "2.7",
        "guid": uuid::Uuid::new_v4(), "id": "7", "created_time": "2020-01-01T00:00:00Z", "app_role": "owner",
        "last_deployed_time": "2020-01-01T00:00:00Z", "content_url": "https://elsewhere.example/"});
    assert_eq!(server.ask(Some(&server.owner), "PATCH", &at, forced).await.ok(), deployed);
}

#[tokio::test]
async fn a_new_owner_with_an_item_of_the_name_is_refused() {
    let server = Server::new().await;
    let guid = server.content("twice").await;
    server.ask(Some(&server.stranger), "POST", PATH, json!({"name": "Twice"})).await.ok();
    let give = json!({"owner_guid": server.stranger.guid});
    let refused = server.ask(Some(&server.owner), "PATCH", &format!("{PATH}/{guid}"), give).await;
    assert_eq!(refused.refusal(), (409, 26));
}
