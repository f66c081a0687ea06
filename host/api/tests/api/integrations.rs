//! Integrations: who may make, see and use them, and what content gets for its visitors' tokens.

use axum::body::Body;
use lectern_domain::access::{PermissionRole, Principal, PrincipalVia};
use lectern_domain::ids::{ContentGuid, KeyId, OAuthSessionGuid, UserGuid};
use lectern_domain::integrations::visitor::{self, Visit};
use lectern_domain::user::UserRole;
use lectern_metadata::integrations::sessions;
use lectern_metadata::{integrations, users};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::support::{Reply, Server, Told, VISITOR_KEY, request};
use lectern_api::Part;

const ROOT: &str = "/__api__/v1/oauth/integrations";

fn custom() -> Value {
    json!({
        "name": "warehouse", "description": "tables", "template": "custom",
        "config": {
            "auth_mode": "Confidential", "authorization_uri": "https://p.example/authorize", "client_id": "id",
            "client_secret": "hunter2", "scopes": "a b c", "token_endpoint_auth_method": "client_secret_post",
            "token_uri": "https://p.example/token",
        },
    })
}

fn connect(role: &str) -> Value {
    json!({"name": "this server", "template": "connect", "config": {"max_role": role}})
}

async fn make(server: &Server, body: Value) -> String {
    let made = server.ask(Some(&server.admin), "POST", ROOT, body).await.ok();
    made["guid"].as_str().unwrap().to_owned()
}

async fn use_them(server: &Server, content: &str, integrations: &[&str]) -> Reply {
    let body: Vec<Value> = integrations.iter().map(|guid| json!({"oauth_integration_guid": guid})).collect();
    server.ask(Some(&server.owner), "PUT", &associations_of(content), json!(body)).await
}

fn associations_of(content: &str) -> String {
    format!("/__api__/v1/content/{content}/oauth/integrations/associations")
}

fn now() -> u64 {
    OffsetDateTime::now_utc().unix_timestamp() as u64
}

/// The token that content is sent with a request of a visitor's.
fn token(content: &str, visitor: &Principal, at: u64) -> String {
    let visit = Visit { content: content.parse().unwrap(), user: visitor.guid, role: visitor.role };
    visitor::token(&visit, &VISITOR_KEY, at)
}

/// Exchanges a token, as anybody may ask.
async fn exchange(server: &Server, token: &str, more: &[(&str, &str)]) -> Reply {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
    form.append_pair("subject_token_type", "urn:posit:connect:user-session-token");
    form.append_pair("subject_token", token);
    more.iter().for_each(|(name, value)| {
        form.append_pair(name, value);
    });
    post(server, None, form.finish()).await
}

async fn post(server: &Server, who: Option<&Principal>, form: String) -> Reply {
    let request = request("POST", &format!("{ROOT}/credentials"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap();
    server.send(who, request).await
}

/// The user, role and number of the key that was got.
async fn key(server: &Server, reply: &Reply) -> (i64, String, i64) {
    let text = reply.ok()["access_token"].as_str().unwrap().to_owned();
    let hash = blake3::hash(text.as_bytes());
    let sql = "SELECT user_id, role, id FROM api_keys WHERE hash = $1 AND revoked_at IS NULL AND expires_at > now()";
    let row = server.database.client().await.unwrap().query_one(sql, &[&hash.as_bytes().as_slice()]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

async fn count(server: &Server, sql: &str) -> i64 {
    server.database.client().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn what_is_made_is_listed_without_its_secret() {
    let server = Server::new().await;
    let made = server.ask(Some(&server.admin), "POST", ROOT, custom()).await.ok();
    assert!(!made.to_string().contains("hunter2"), "{made}");
    let mut config = custom()["config"].clone();
    config.as_object_mut().unwrap().remove("client_secret");
    assert_eq!(made["config"], config);
    assert_eq!((&made["auth_type"], &made["template"]), (&json!("Viewer"), &json!("custom")));
    assert_eq!((&made["permissions"], &made["environment_variables"]), (&json!([]), &json!([])));
    let other = server.ask(Some(&server.admin), "POST", ROOT, connect("Admin")).await.ok();
    assert_eq!(
        (&other["auth_type"], &other["config"]["max_role"]),
        (&json!("Visitor API Key"), &json!("Administrator"))
    );
    for who in [&server.admin, &server.owner] {
        assert_eq!(server.get(who, ROOT).await.ok(), json!([made, other]), "{}", who.username);
        let path = format!("{ROOT}/{}", made["guid"].as_str().unwrap());
        assert_eq!(server.get(who, &path).await.ok(), made);
    }
    let stored = "SELECT count(*) FROM oauth_integrations WHERE config::text LIKE '%hunter2%'";
    assert_eq!(count(&server, stored).await, 0);
    let path = format!("{ROOT}/{}", made["guid"].as_str().unwrap());
    assert_eq!(server.ask(Some(&server.admin), "DELETE", &path, Value::Null).await.status, 204);
    assert_eq!(server.get(&server.admin, ROOT).await.ok(), json!([other]));
    assert_eq!(server.get(&server.admin, &path).await.refusal(), (404, 4));
    assert_eq!(server.ask(Some(&server.admin), "DELETE", &path, Value::Null).await.refusal(), (404, 4));
}

#[tokio::test]
async fn only_administrators_change_anything() {
    let server = Server::new().await;
    let guid = make(&server, custom()).await;
    let one = format!("{ROOT}/{guid}");
    let changes = [
        ("POST", ROOT.to_owned(), custom()),
        ("PATCH", one.clone(), json!({"name": "mine"})),
        ("DELETE", one.clone(), Value::Null),
        ("GET", format!("{one}/associations"), Value::Null),
    ];
    for (method, path, body) in &changes {
        for who in [&server.owner, &server.viewer] {
            assert_eq!(server.ask(Some(who), method, path, body.clone()).await.refusal(), (403, 22), "{method} {path}");
        }
        assert_eq!(server.ask(None, method, path, body.clone()).await.refusal(), (401, 24), "{method} {path}");
    }
    for path in [ROOT, &one, "/__api__/v1/oauth/templates", "/__api__/v1/oauth/templates/custom"] {
        assert_eq!(server.get(&server.viewer, path).await.refusal(), (403, 22), "{path}");
        assert_eq!(server.ask(None, "GET", path, Value::Null).await.refusal(), (401, 24), "{path}");
    }
    assert_eq!(server.get(&server.admin, &format!("{ROOT}/x")).await.refusal(), (400, 3));
}

#[tokio::test]
async fn bad_configurations_are_refused_with_what_to_do() {
    let server = Server::new().await;
    let with = |change: Value| {
        let mut body = custom();
        body["config"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    let long = "x".repeat(300);
    let cases = [
        (json!({"config": {}}), (400, 12), "template"),
        (json!({"template": "nimbus"}), (400, 87), "custom is for any OAuth 2.0 provider"),
        (json!({"template": "custom", "config": []}), (400, 121), ""),
        (with(json!({"client_secret": null})), (400, 87), "config.client_secret is missing"),
        (with(json!({"token_uri": "p.example"})), (400, 87), "config.token_uri must be an address"),
        (with(json!({"auth_mode": "Secret"})), (400, 87), "Confidential, Public"),
        (with(json!({"tenant": "x"})), (400, 87), "no field \"tenant\""),
        (with(json!({"client_id": {"a": 1}})), (400, 87), "config.client_id must be text"),
        (json!({"template": "connect", "name": long}), (400, 87), "at most 255"),
        (json!({"template": "connect", "permissions": [{}]}), (400, 87), "user_guid or a group_guid"),
        (json!({"template": "connect", "permissions": [{"user_guid": "x"}]}), (400, 3), ""),
        (json!({"template": "connect", "permissions": [{"user_guid": Uuid::new_v4()}]}), (404, 4), "user"),
        (json!({"template": "connect", "permissions": [{"group_guid": Uuid::new_v4()}]}), (404, 4), "group"),
    ];
    for (body, refusal, text) in cases {
        let reply = server.ask(Some(&server.admin), "POST", ROOT, body.clone()).await;
        assert_eq!(reply.refusal(), refusal, "{body}");
        assert!(reply.json()["error"].as_str().unwrap().contains(text), "{reply:?}");
        assert!(!String::from_utf8_lossy(&reply.bytes).contains("hunter2"));
    }
    assert_eq!(count(&server, "SELECT count(*) FROM oauth_integrations").await, 0);
}

#[tokio::test]
async fn a_change_keeps_secrets_and_ends_sessions_where_it_must() {
    let server = Server::new().await;
    let guid = make(&server, custom()).await;
    let path = format!("{ROOT}/{guid}");
    let client = server.database.client().await.unwrap();
    let row = integrations::get(&client, guid.parse().unwrap()).await.unwrap().unwrap();
    let session = OAuthSessionGuid(Uuid::new_v4());
    sessions::put(&client, session, server.viewer.user, row.id, b"sealed", true, None).await.unwrap();
    let patch = async |body: Value| server.ask(Some(&server.admin), "PATCH", &path, body).await;
    // As `rsconnect integration edit` does it: what is shown goes back with a change.
    let mut config = server.get(&server.admin, &path).await.ok()["config"].clone();
    assert_eq!(
        patch(json!({})).await.ok()["updated_time"],
        server.get(&server.admin, &path).await.ok()["updated_time"]
    );
    let same = patch(json!({"name": "other", "config": config})).await.ok();
    assert_eq!((&same["name"], &same["description"], &same["config"]), (&json!("other"), &json!("tables"), &config));
    let opened = async || {
        let row = integrations::get(&client, guid.parse().unwrap()).await.unwrap().unwrap();
        let sealed = row.fields.sealed.unwrap();
        String::from_utf8(sealed.iter().map(|byte| byte ^ 0x55).collect::<Vec<u8>>()[54..].to_vec())
    };
    assert!(opened().await.is_ok_and(|text| text.contains("hunter2")));
    assert_eq!(sessions::list(&client, None).await.unwrap().len(), 1, "nothing changed for those who signed in");
    config["client_secret"] = json!("hunter3");
    patch(json!({"config": config})).await.ok();
    assert_eq!(sessions::list(&client, None).await.unwrap().len(), 1, "a new secret of the same client");
    config["scopes"] = json!("d");
    config.as_object_mut().unwrap().remove("client_secret");
    let changed = patch(json!({"config": config, "description": null})).await.ok();
    assert_eq!((&changed["config"]["scopes"], &changed["description"]), (&json!("d"), &Value::Null));
    assert_eq!(sessions::list(&client, None).await.unwrap(), [], "they allowed something else");
    assert_eq!(patch(json!({"config": {"client_id": "x"}})).await.refusal(), (400, 87), "replaced, not merged");
    assert_eq!(
        server.ask(Some(&server.admin), "PATCH", &format!("{ROOT}/{}", Uuid::new_v4()), json!({})).await.refusal(),
        (404, 4)
    );
}

#[tokio::test]
async fn a_list_says_who_may_use_it() {
    let server = Server::new().await;
    let group = server.ask(Some(&server.admin), "POST", "/__api__/v1/groups", json!({"name": "analysts"})).await.ok();
    let group = group["guid"].as_str().unwrap().to_owned();
    let mut body = custom();
    body["permissions"] =
        json!([{"user_guid": server.stranger.guid, "group_guid": null}, {"user_guid": null, "group_guid": group}]);
    let made = server.ask(Some(&server.admin), "POST", ROOT, body).await.ok();
    let guid = made["guid"].as_str().unwrap();
    assert_eq!(made["permissions"][0]["user_guid"], json!(server.stranger.guid));
    assert_eq!(
        (&made["permissions"][1]["group_guid"], &made["permissions"][1]["integration_guid"]),
        (&json!(group), &made["guid"])
    );
    let path = format!("{ROOT}/{guid}");
    let content = server.content("app").await;
    assert_eq!(server.get(&server.owner, ROOT).await.ok(), json!([]));
    assert_eq!(server.get(&server.owner, &path).await.refusal(), (404, 4));
    assert_eq!(use_them(&server, &content, &[guid]).await.refusal(), (404, 4), "not the owner's to use");
    assert_eq!(server.get(&server.stranger, ROOT).await.ok().as_array().unwrap().len(), 1);
    let member = json!({"user_guid": server.owner.guid});
    server.ask(Some(&server.admin), "POST", &format!("/__api__/v1/groups/{group}/members"), member).await;
    assert_eq!(server.get(&server.owner, &path).await.ok()["guid"], json!(guid));
    use_them(&server, &content, &[guid]).await.ok();
    // What content uses already, it goes on using.
    let only = json!({"permissions": [{"user_guid": server.stranger.guid}]});
    server.ask(Some(&server.admin), "PATCH", &path, only).await.ok();
    assert_eq!(server.get(&server.owner, ROOT).await.ok(), json!([]));
    assert_eq!(use_them(&server, &content, &[guid]).await.ok().as_array().unwrap().len(), 1);
    let everybody = server.ask(Some(&server.admin), "PATCH", &path, json!({"permissions": []})).await.ok();
    assert_eq!(everybody["permissions"], json!([]));
    assert_eq!(server.get(&server.owner, ROOT).await.ok().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn content_says_which_it_uses() {
    let server = Server::new().await;
    let (one, other) = (make(&server, custom()).await, make(&server, custom()).await);
    let content = server.content("app").await;
    let path = associations_of(&content);
    let guids = |list: Value| -> Vec<String> {
        let list = list.as_array().unwrap().clone();
        list.iter().map(|entry| entry["oauth_integration_guid"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(server.get(&server.owner, &path).await.ok(), json!([]));
    let set = use_them(&server, &content, &[&other, &one]).await.ok();
    assert_eq!(guids(set.clone()), [other.as_str(), one.as_str()], "in the order they were chosen");
    assert_eq!(server.get(&server.owner, &path).await.ok(), set);
    let entry = &set[0];
    let expected = json!({
        "app_guid": content, "content_guid": content, "oauth_integration_guid": other,
        "oauth_integration_name": "warehouse", "oauth_integration_description": "tables",
        "oauth_integration_template": "custom", "oauth_integration_auth_type": "Viewer",
        "created_time": entry["created_time"],
    });
    assert_eq!(*entry, expected);
    assert!(server.backstage.take().contains(&Told::Refresh(Part::Content(content.parse().unwrap()))));
    let of_one = format!("{ROOT}/{one}/associations");
    assert_eq!(guids(server.get(&server.admin, &of_one).await.ok()), [one.as_str()]);
    assert_eq!(guids(use_them(&server, &content, &[&other]).await.ok()), [other.as_str()]);
    assert_eq!(server.get(&server.admin, &of_one).await.ok(), json!([]));
    assert_eq!(use_them(&server, &content, &[]).await.ok(), json!([]));
    let missing = Uuid::new_v4().to_string();
    assert_eq!(use_them(&server, &content, &[&missing]).await.refusal(), (404, 4));
    assert_eq!(use_them(&server, &content, &[&one, &one]).await.refusal(), (400, 87));
    assert_eq!(use_them(&server, &content, &["x"]).await.refusal(), (400, 3));
    let many: Vec<String> = (0..51).map(|_| Uuid::new_v4().to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(use_them(&server, &content, &many).await.refusal(), (400, 87));
    for body in [json!({}), json!([{}]), json!("x"), Value::Null] {
        let reply = server.ask(Some(&server.owner), "PUT", &path, body.clone()).await;
        assert_eq!(reply.refusal(), (400, 121), "{body}");
    }
    // A failed change leaves what was.
    use_them(&server, &content, &[&one]).await.ok();
    assert_eq!(use_them(&server, &content, &[&missing]).await.refusal(), (404, 4));
    assert_eq!(guids(server.get(&server.owner, &path).await.ok()), [one.as_str()]);
    server.permit(&content, &server.viewer, PermissionRole::Viewer).await;
    for (who, refusal) in [(&server.viewer, (403, 21)), (&server.stranger, (403, 19))] {
        assert_eq!(server.get(who, &path).await.refusal(), refusal);
        assert_eq!(server.ask(Some(who), "PUT", &path, json!([])).await.refusal(), refusal);
    }
    server.ask(Some(&server.admin), "DELETE", &format!("{ROOT}/{one}"), Value::Null).await;
    assert_eq!(server.get(&server.owner, &path).await.ok(), json!([]));
}

#[tokio::test]
async fn templates_say_what_is_asked_for() {
    let server = Server::new().await;
    let all = server.get(&server.owner, "/__api__/v1/oauth/templates").await.ok();
    let ids: Vec<&str> = all.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["connect", "custom"]);
    for template in all.as_array().unwrap() {
        let path = format!("/__api__/v1/oauth/templates/{}", template["id"].as_str().unwrap());
        assert_eq!(server.get(&server.owner, &path).await.ok(), *template);
    }
    let secret = |field: &&Value| field["secret"] == true;
    let secrets: Vec<&Value> = all[1]["fields"].as_array().unwrap().iter().filter(secret).collect();
    assert_eq!(
        (secrets.len(), &secrets[0]["name"], &secrets[0]["required"]),
        (1, &json!("client_secret"), &json!(true))
    );
    assert_eq!(all[0]["options"][0]["values"], json!(["Viewer", "Publisher", "Administrator"]));
    assert_eq!(server.get(&server.owner, "/__api__/v1/oauth/templates/nimbus").await.refusal(), (404, 4));
}

#[tokio::test]
async fn users_see_and_end_their_own_sessions() {
    let server = Server::new().await;
    let guid = make(&server, custom()).await;
    let client = server.database.client().await.unwrap();
    let row = integrations::get(&client, guid.parse().unwrap()).await.unwrap().unwrap();
    for who in [&server.viewer, &server.owner] {
        let session = OAuthSessionGuid(Uuid::new_v4());
        sessions::put(&client, session, who.user, row.id, b"hunter2", who.role == UserRole::Viewer, None)
            .await
            .unwrap();
    }
    let root = "/__api__/v1/oauth/sessions";
    let own = server.get(&server.viewer, root).await.ok();
    assert_eq!((own.as_array().unwrap().len(), &own[0]["user_guid"]), (1, &json!(server.viewer.guid)));
    assert_eq!((&own[0]["oauth_integration_guid"], &own[0]["has_refresh_token"]), (&json!(guid), &json!(true)));
    assert!(!own.to_string().contains("hunter2"));
    assert_eq!(server.get(&server.admin, root).await.ok(), json!([]));
    for yes in ["true", "True", "1"] {
        let all = server.get(&server.admin, &format!("{root}?all={yes}")).await.ok();
        assert_eq!(all.as_array().unwrap().len(), 2, "posit-sdk writes True");
    }
    assert_eq!(server.get(&server.viewer, &format!("{root}?all=true")).await.refusal(), (403, 22));
    assert_eq!(server.get(&server.viewer, &format!("{root}?all=maybe")).await.refusal(), (400, 25));
    let path = format!("{root}/{}", own[0]["guid"].as_str().unwrap());
    assert_eq!(server.get(&server.viewer, &path).await.ok(), own[0]);
    assert_eq!(server.get(&server.admin, &path).await.ok(), own[0]);
    for who in [&server.owner, &server.stranger] {
        assert_eq!(server.get(who, &path).await.refusal(), (404, 4));
        assert_eq!(server.ask(Some(who), "DELETE", &path, Value::Null).await.refusal(), (404, 4));
    }
    assert_eq!(server.ask(None, "DELETE", &path, Value::Null).await.refusal(), (401, 24));
    assert_eq!(server.ask(Some(&server.viewer), "DELETE", &path, Value::Null).await.status, 204);
    assert_eq!(server.ask(Some(&server.viewer), "DELETE", &path, Value::Null).await.refusal(), (404, 4));
    assert_eq!(server.get(&server.viewer, root).await.ok(), json!([]));
}

#[tokio::test]
async fn a_visitors_token_gives_a_key_of_the_lesser_role() {
    let server = Server::new().await;
    let content = server.content("app").await;
    server.permit(&content, &server.viewer, PermissionRole::Viewer).await;
    server.permit(&content, &server.admin, PermissionRole::Viewer).await;
    let cases = [
        ("Viewer", &server.owner, UserRole::Publisher, "viewer"),
        ("Publisher", &server.owner, UserRole::Publisher, "publisher"),
        ("Publisher", &server.viewer, UserRole::Viewer, "viewer"),
        ("Publisher", &server.admin, UserRole::Administrator, "publisher"),
        ("Administrator", &server.admin, UserRole::Administrator, "administrator"),
        // Who comes with a key that gives less gives content no more.
        ("Administrator", &server.admin, UserRole::Viewer, "viewer"),
    ];
    for (most, visitor, came_with, expected) in cases {
        let guid = make(&server, connect(most)).await;
        use_them(&server, &content, &[&guid]).await.ok();
        let token = token(&content, &Principal { role: came_with, ..visitor.clone() }, now());
        let reply = exchange(&server, &token, &[("requested_token_type", "urn:posit:connect:api-key")]).await;
        let (user, role, _) = key(&server, &reply).await;
        assert_eq!((user, role.as_str()), (visitor.user.0, expected), "{most} {}", visitor.username);
        let body = reply.ok();
        assert_eq!(
            (&body["token_type"], &body["issued_token_type"]),
            (&json!("Key"), &json!("urn:posit:connect:api-key"))
        );
        assert!(body["expires_in"].as_i64().is_some_and(|seconds| (3500..=3600).contains(&seconds)));
        assert_eq!(reply.headers["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn asking_again_gives_the_same_key() {
    let server = Server::new().await;
    let (content, guid) = (server.content("app").await, make(&server, connect("Viewer")).await);
    use_them(&server, &content, &[&guid]).await.ok();
    let asked = token(&content, &server.owner, now());
    // At once, and one after another.
    let replies = futures_util::future::join_all((0..8).map(|_| exchange(&server, &asked, &[]))).await;
    let texts: std::collections::HashSet<String> =
        replies.iter().map(|reply| reply.ok()["access_token"].to_string()).collect();
    assert_eq!(texts.len(), 1);
    let all = "SELECT count(*) FROM api_keys";
    assert_eq!(count(&server, all).await, 1);
    // Near its end another one is made; the one before goes on until then, and is not listed among people's keys.
    let sooner = "UPDATE api_keys SET expires_at = now() + interval '20 minutes'";
    server.database.client().await.unwrap().execute(sooner, &[]).await.unwrap();
    let next = exchange(&server, &asked, &[]).await.ok();
    assert!(!texts.contains(&next["access_token"].to_string()));
    assert_eq!(count(&server, all).await, 2);
    let keys = server.get(&server.owner, &format!("/__api__/v1/users/{}/keys", server.owner.guid)).await.ok();
    assert_eq!(keys, json!([]));
    // What was made with a secret that is no more is left alone.
    let client = server.database.client().await.unwrap();
    client.execute("UPDATE api_keys SET hash = decode(repeat('ab', 32), 'hex') WHERE expires_at > now() + interval '50 minutes'", &[]).await.unwrap();
    key(&server, &exchange(&server, &asked, &[]).await).await;
    assert_eq!(count(&server, all).await, 3);
    client
        .execute("UPDATE api_keys SET expires_at = now() - interval '1 minute' WHERE role = 'viewer'", &[])
        .await
        .unwrap();
    key(&server, &exchange(&server, &asked, &[]).await).await;
    assert_eq!(count(&server, all).await, 1, "those that have ended are removed");
}

#[tokio::test]
async fn keys_end_with_what_they_came_of() {
    let server = Server::new().await;
    let content = server.content("app").await;
    let (one, other) = (make(&server, connect("Publisher")).await, make(&server, custom()).await);
    use_them(&server, &content, &[&one, &other]).await.ok();
    let asked = token(&content, &server.owner, now());
    let all = "SELECT count(*) FROM api_keys";
    let ask = async || key(&server, &exchange(&server, &asked, &[("audience", &one)]).await).await.2;
    let first = ask().await;
    use_them(&server, &content, &[&other, &one]).await.ok();
    assert_eq!(ask().await, first, "an association that stays is the same one");
    use_them(&server, &content, &[&other]).await.ok();
    assert_eq!(count(&server, all).await, 0, "ended with the association");
    assert!(server.backstage.take().ends_with(&[Told::Refresh(Part::Keys)]));
    use_them(&server, &content, &[&one]).await.ok();
    ask().await;
    let path = format!("{ROOT}/{one}");
    server.ask(Some(&server.admin), "PATCH", &path, json!({"name": "x"})).await.ok();
    assert_eq!(count(&server, all).await, 1, "a name is no matter");
    server.ask(Some(&server.admin), "PATCH", &path, json!({"config": {"max_role": "Viewer"}})).await.ok();
    assert_eq!(count(&server, all).await, 0, "they gave more than they may now");
    ask().await;
    server.ask(Some(&server.admin), "DELETE", &path, Value::Null).await;
    assert_eq!(count(&server, all).await, 0);
}

#[tokio::test]
async fn tokens_that_prove_nothing_give_nothing() {
    let server = Server::new().await;
    let (content, foreign) = (server.content("app").await, server.content("other").await);
    let guid = make(&server, connect("Publisher")).await;
    use_them(&server, &content, &[&guid]).await.ok();
    let good = token(&content, &server.owner, now());
    key(&server, &exchange(&server, &good, &[]).await).await;
    let cut = &good[..good.len() - 1];
    let visit = Visit { content: content.parse().unwrap(), user: server.owner.guid, role: UserRole::Publisher };
    let elsewhere = visitor::token(&visit, &[1; 32], now());
    let ended = token(&content, &server.owner, now() - visitor::LASTS_SECONDS - visitor::SAME_SECONDS);
    let nobody = Principal { guid: UserGuid(Uuid::new_v4()), ..server.owner.clone() };
    let gone = ContentGuid(Uuid::new_v4()).to_string();
    let cases = [
        ("forged", "forged".to_owned(), (401, 30)),
        ("cut", cut.to_owned(), (401, 30)),
        ("another server's", elsewhere, (401, 30)),
        ("ended", ended, (401, 30)),
        ("of nobody", token(&content, &nobody, now()), (401, 30)),
        ("of content that is gone", token(&gone, &server.owner, now()), (401, 30)),
        ("of content without the integration", token(&foreign, &server.owner, now()), (400, 212)),
        ("of somebody who may not open it", token(&content, &server.stranger, now()), (403, 19)),
    ];
    for (what, token, refusal) in &cases {
        for more in [&[][..], &[("audience", guid.as_str())]] {
            let reply = exchange(&server, token, more).await;
            assert_eq!(reply.refusal(), *refusal, "{what}");
            assert!(!String::from_utf8_lossy(&reply.bytes).contains(token.as_str()), "tokens are not repeated");
        }
    }
    // Of a user who is locked meanwhile; and after the association was removed.
    let client = server.database.client().await.unwrap();
    users::set_locked(&client, server.owner.user, true).await.unwrap();
    assert_eq!(exchange(&server, &good, &[]).await.refusal(), (403, 50));
    users::set_locked(&client, server.owner.user, false).await.unwrap();
    key(&server, &exchange(&server, &good, &[]).await).await;
    use_them(&server, &content, &[]).await.ok();
    assert_eq!(exchange(&server, &good, &[]).await.refusal(), (400, 212));
}

#[tokio::test]
async fn bad_requests_for_credentials_say_what_is_wrong() {
    let server = Server::new().await;
    let content = server.content("app").await;
    let (one, other) = (make(&server, connect("Viewer")).await, make(&server, connect("Publisher")).await);
    let (viewer, unused) = (make(&server, custom()).await, make(&server, custom()).await);
    use_them(&server, &content, &[&one, &other, &viewer]).await.ok();
    let good = token(&content, &server.owner, now());
    let api_key = ("requested_token_type", "urn:posit:connect:api-key");
    let access = ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token");
    let cases = [
        (vec![], (400, 25), "several"),
        (vec![api_key], (400, 25), "audience"),
        (vec![api_key, ("audience", &viewer)], (400, 25), "no such credentials"),
        (vec![access, ("audience", &one)], (400, 25), "no such credentials"),
        (vec![("audience", &unused)], (400, 212), "does not use"),
        (vec![("audience", "x")], (400, 3), ""),
        (vec![("requested_token_type", "urn:ietf:params:aws:token-type:credentials")], (400, 25), "api-key"),
        (vec![("subject_token", "x")], (400, 25), "more than once"),
        (vec![access], (401, 24), &format!("/__oauth__/integrations/{viewer}/login")),
    ];
    for (more, refusal, text) in &cases {
        let reply = exchange(&server, &good, more).await;
        assert_eq!(reply.refusal(), *refusal, "{more:?}");
        assert!(reply.json()["error"].as_str().unwrap().contains(text), "{more:?}: {reply:?}");
    }
    key(&server, &exchange(&server, &good, &[("audience", &other)]).await).await;
    let grant = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange";
    let forms = [
        (String::new(), (400, 12)),
        ("grant_type=password".into(), (400, 25)),
        (grant.to_owned(), (400, 12)),
        (format!("{grant}&subject_token_type=urn:posit:connect:user-session-token"), (400, 12)),
        (format!("{grant}&subject_token_type=urn:x&subject_token={good}"), (400, 25)),
        ("{}".into(), (400, 12)),
        (format!("{grant}&subject_token={}", "x".repeat(2 << 20)), (413, 121)),
    ];
    for (form, refusal) in forms {
        let shown = form.chars().take(90).collect::<String>();
        assert_eq!(post(&server, None, form).await.refusal(), refusal, "{shown}");
    }
    // A page that somebody looks at cannot ask with their session.
    let session = Principal { via: PrincipalVia::Session, ..server.owner.clone() };
    assert_eq!(post(&server, Some(&session), grant.into()).await.refusal(), (403, 92));
}

#[tokio::test]
async fn a_visitors_key_makes_nothing_that_outlives_it() {
    let server = Server::new().await;
    let (content, guid) = (server.content("app").await, make(&server, connect("Administrator")).await);
    use_them(&server, &content, &[&guid]).await.ok();
    let own = format!("/__api__/v1/users/{}", server.owner.guid);
    let made = server.ask(Some(&server.owner), "POST", &format!("{own}/keys"), json!({"name": "mine"})).await.ok();
    let (_, _, id) = key(&server, &exchange(&server, &token(&content, &server.owner, now()), &[]).await).await;
    let by_key = Principal { via: PrincipalVia::Key(KeyId(id)), ..server.owner.clone() };
    assert_eq!(server.get(&by_key, "/__api__/v1/user").await.ok()["username"], "owner");
    for (method, path, body) in [
        ("POST", format!("{own}/keys"), json!({"name": "for good"})),
        ("PUT", own.clone(), json!({"email": "x@example.org"})),
        ("DELETE", format!("{own}/sessions"), Value::Null),
    ] {
        assert_eq!(server.ask(Some(&by_key), method, &path, body).await.refusal(), (403, 22), "{method} {path}");
    }
    // A key that its user made does.
    let own_key = PrincipalVia::Key(made["id"].as_str().unwrap().parse().unwrap());
    let by_own = Principal { via: own_key, ..server.owner.clone() };
    server.ask(Some(&by_own), "POST", &format!("{own}/keys"), json!({"name": "more"})).await.ok();
}

#[tokio::test]
async fn each_change_is_in_the_audit_log() {
    let server = Server::new().await;
    let guid = make(&server, custom()).await;
    let content = server.content("app").await;
    let path = format!("{ROOT}/{guid}");
    server.ask(Some(&server.admin), "PATCH", &path, json!({"name": "lake"})).await.ok();
    use_them(&server, &content, &[&guid]).await.ok();
    use_them(&server, &content, &[]).await.ok();
    let client = server.database.client().await.unwrap();
    let row = integrations::get(&client, guid.parse().unwrap()).await.unwrap().unwrap();
    let session = OAuthSessionGuid(Uuid::new_v4());
    sessions::put(&client, session, server.viewer.user, row.id, b"x", false, None).await.unwrap();
    server.ask(Some(&server.viewer), "DELETE", &format!("/__api__/v1/oauth/sessions/{session}"), Value::Null).await;
    server.ask(Some(&server.admin), "DELETE", &path, Value::Null).await;
    let log = server.get(&server.admin, "/__api__/v1/audit_logs").await.ok();
    let entries = log["results"].as_array().unwrap();
    let made = |entry: &&Value| entry["action"].as_str().unwrap().contains("oauth");
    let entries: Vec<(&str, &str, &str)> = entries
        .iter()
        .filter(made)
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap();
            (text("user_description"), text("action"), text("event_description"))
        })
        .collect();
    let (lake, warehouse) = (format!("lake ({guid}, template custom)"), format!("warehouse ({guid}, template custom)"));
    let item = format!("content app ({content})");
    let expected = [
        ("admin", "add_oauth_integration", format!("made the integration {warehouse}")),
        ("admin", "edit_oauth_integration", format!("changed the integration {lake}")),
        ("owner", "edit_application_oauth_integrations", format!("set the integrations of {item} to lake")),
        ("owner", "edit_application_oauth_integrations", format!("took all integrations from {item}")),
        ("viewer", "remove_oauth_session", format!("ended what viewer got by signing in to the integration {guid}")),
        ("admin", "remove_oauth_integration", format!("deleted the integration {lake}")),
    ];
    assert_eq!(entries.len(), expected.len(), "{entries:?}");
    for (entry, (who, action, text)) in entries.iter().zip(&expected) {
        assert_eq!((entry.0, entry.1, entry.2), (*who, *action, text.as_str()));
    }
    assert!(!log.to_string().contains("hunter2"));
}
