//! Integrations: posit-sdk and `rsconnect` over them, and an app that acts in its visitors' names.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;

use http::Method;
use lectern_tests::client::{posit_sdk, rsconnect};
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server};
use lectern_tests::visitor::Visitor;
use lectern_tests::{bundle, http::Reply};
use serde_json::{Value, json};

/// Content may reach this host's loopback, where the server is.
static SERVER: LazyLock<Server> = LazyLock::new(|| Server::setup().env("LECTERN_SANDBOX__NETWORK", "host").start());
static ADMIN: LazyLock<Account> = LazyLock::new(|| SERVER.account("root", "administrator"));
static OWNER: LazyLock<Account> = LazyLock::new(|| SERVER.account("owner", "publisher"));

const APP: &str = include_str!("../apps/visitor_client.py");
const REQUIREMENTS: &str = "fastapi\nuvicorn\nposit-sdk==0.17.0\n";

fn owner() -> Publisher<'static> {
    Publisher::new(&SERVER, &OWNER)
}

/// Makes an integration with this server itself; answers its GUID.
fn connect(role: &str) -> String {
    let body = json!({"template": "connect", "name": format!("up to {role}"), "config": {"max_role": role}});
    let made = Publisher::new(&SERVER, &ADMIN).api(Method::POST, "/v1/oauth/integrations").json(&body).send();
    text(&made.expect(200).json()["guid"])
}

fn use_them(guid: &str, integrations: &[&str]) {
    use_them_as(owner(), guid, integrations);
}

fn use_them_as(owner: Publisher<'_>, guid: &str, integrations: &[&str]) {
    let body: Vec<Value> = integrations.iter().map(|one| json!({"oauth_integration_guid": one})).collect();
    let path = format!("/v1/content/{guid}/oauth/integrations/associations");
    owner.api(Method::PUT, &path).json(&json!(body)).send().expect(200);
}

/// Publishes the app, open to everybody.
fn publish(name: &str) -> String {
    publish_as(owner(), name)
}

fn publish_as(owner: Publisher<'_>, name: &str) -> String {
    let guid = owner.create(name);
    let (url, key) = (owner.server.url(), &owner.account.key);
    let variables = json!([{"name": "HOME_SERVER", "value": url}, {"name": "HOME_KEY", "value": key}]);
    owner.api(Method::PATCH, &format!("/v1/content/{guid}/environment")).json(&variables).send().expect(200);
    owner.change(&guid, &json!({"access_type": "all"})).expect(200);
    let files = [("app.py", APP), ("requirements.txt", REQUIREMENTS)];
    owner.redeploy(&guid, &bundle::app("python-fastapi", "app:app", &files));
    guid
}

/// What the app says to somebody.
fn visit(guid: &str, who: Option<&Account>) -> Value {
    let ask = SERVER.get(&format!("/content/{guid}/"));
    match who {
        Some(account) => ask.key(&account.key).send().expect(200).json(),
        None => ask.send().expect(200).json(),
    }
}

/// Exchanges a token, as whoever got hold of it would.
fn exchange(token: &str) -> Reply {
    exchange_at(&SERVER, token)
}

fn exchange_at(server: &Server, token: &str) -> Reply {
    let form = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={token}\
         &subject_token_type=urn:posit:connect:user-session-token&requested_token_type=urn:posit:connect:api-key"
    );
    server
        .post("/__api__/v1/oauth/integrations/credentials")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.into_bytes())
        .send()
}

#[test]
fn posit_sdk_makes_changes_and_uses_integrations() {
    let script = r#"
import os
from posit import connect
client = connect.Client(os.environ["TEST_SERVER"], os.environ["TEST_KEY"])
config = {
    "auth_mode": "Confidential", "authorization_uri": "https://example.com/__tenand_id__/oauth2/v2.0/authorize",
    "client_id": "client_id", "client_secret": "client_secret", "scopes": "a b c",
    "token_endpoint_auth_method": "client_secret_post", "token_uri": "https://example.com/__tenant_id__/oauth2/v2.0/token",
}
def make(name):
    return client.oauth.integrations.create(name=name, description="d", template="custom", config=config)
one, other = make("sdk example integration"), make("sdk another example integration")
assert client.oauth.integrations.get(one["guid"]) == one
own = [i for i in client.oauth.integrations.find() if i["name"].startswith("sdk ")]
assert own == [one, other], own
assert "client_secret" not in one["config"] and one["config"]["scopes"] == "a b c"
assert client.oauth.integrations.find_by(name="^sdk another", config={"client_id": "client_id"})["guid"] == other["guid"]
one.update(name="sdk updated", description="new")
assert (one["name"], client.oauth.integrations.get(one["guid"])["description"]) == ("sdk updated", "new")
content = client.content.create(name="sdk-associations")
assert content.oauth.associations.find() == []
content.oauth.associations.update([one["guid"]])
found = content.oauth.associations.find()
assert [(a["app_guid"], a["oauth_integration_guid"]) for a in found] == [(content["guid"], one["guid"])]
assert [a["content_guid"] for a in one.associations.find()] == [content["guid"]] and other.associations.find() == []
content.oauth.associations.update([one["guid"], other["guid"]])
assert len(content.oauth.associations.find()) == 2
assert content.oauth.associations.find_by(name=".*another.*")["oauth_integration_guid"] == other["guid"]
assert content.oauth.associations.find_by(integration_type="connect") is None
content.oauth.associations.update(other["guid"])
assert [a["oauth_integration_guid"] for a in content.oauth.associations.find()] == [other["guid"]]
content.oauth.associations.delete()
assert content.oauth.associations.find() == []
assert client.oauth.sessions.find(all=True) == []
for integration in own:
    integration.delete()
assert [i for i in client.oauth.integrations.find() if i["name"].startswith("sdk ")] == []
"#;
    posit_sdk(&SERVER, &ADMIN, script).expect_success();
}

#[test]
fn rsconnect_administers_integrations() {
    let run = |verb: &str, words: &[&str]| {
        let printed = rsconnect(&SERVER, &ADMIN, verb, words).expect_success();
        serde_json::from_str::<Value>(&printed.stdout).unwrap_or(Value::Null)
    };
    let words = [
        "--template",
        "custom",
        "--integration-name",
        "cli",
        "-C",
        "client_id=id",
        "-C",
        "client_secret=hunter2",
        "-C",
        "authorization_uri=https://p.example/a",
        "-C",
        "token_uri=https://p.example/t",
        "--allow-user",
        &OWNER.guid,
    ];
    let made = run("integration add", &words);
    let guid = text(&made["guid"]);
    assert!(!made.to_string().contains("hunter2"), "{made}");
    assert_eq!(made["permissions"][0]["user_guid"], json!(OWNER.guid));
    assert_eq!(run("integration show", &[&guid]), made);
    let edited = run("integration edit", &["-C", "scopes=a", &guid]);
    assert_eq!((&edited["config"]["scopes"], &edited["config"]["client_id"]), (&json!("a"), &json!("id")));
    let templates = rsconnect(&SERVER, &ADMIN, "integration templates list", &[]).expect_success();
    assert!(templates.stdout.contains("connect  Connect API\ncustom  Custom\n"), "{}", templates.stdout);
    assert_eq!(run("integration templates show", &["custom"])["id"], "custom");
    run("integration remove", &[&guid]);
    let refused = rsconnect(&SERVER, &ADMIN, "integration add", &["--template", "nimbus"]);
    assert!(refused.printed.contains("custom is for any OAuth 2.0 provider"), "{refused:?}");
}

#[test]
fn an_app_acts_in_its_visitors_names() {
    let viewer = SERVER.account("ada", "viewer");
    let guid = publish("acting");
    assert_eq!(visit(&guid, Some(&viewer)), json!({"visitor": null}), "without an integration nobody is told");
    let (publisher, administrator) = (connect("Publisher"), connect("Administrator"));
    use_them(&guid, &[&publisher]);
    assert_eq!(visit(&guid, None), json!({"visitor": null}), "nobody in particular");
    let seen = visit(&guid, Some(&viewer));
    assert_eq!((&seen["visitor"], &seen["role"]), (&json!("ada"), &json!("viewer")), "{seen}");
    assert_eq!(visit(&guid, Some(&viewer)), seen, "the same token, and the same key");
    let owners = visit(&guid, Some(&OWNER));
    assert_eq!((&owners["visitor"], &owners["role"]), (&json!("owner"), &json!("publisher")));
    // What a visitor sends under the name is not believed.
    let forged = SERVER.get(&format!("/content/{guid}/")).key(&viewer.key);
    let forged = forged.header("posit-connect-user-session-token", &text(&owners["token"])).send().expect(200).json();
    assert_eq!(forged["visitor"], "ada");
    // An administrator's visit gives no more than was said.
    let reached = |key: &Value| SERVER.get("/__api__/v1/audit_logs").key(&text(key)).send().status;
    let admins = visit(&guid, Some(&ADMIN));
    assert_eq!((&admins["visitor"], reached(&admins["key"])), (&json!("root"), 403));
    use_them(&guid, &[&administrator]);
    assert_eq!(reached(&admins["key"]), 401, "the key ended with the association");
    assert_eq!(reached(&visit(&guid, Some(&ADMIN))["key"]), 200);
    // Of two that fit, posit-sdk cannot choose.
    use_them(&guid, &[&publisher, &administrator]);
    let several = visit(&guid, Some(&viewer));
    assert!(several["error"].as_str().is_some_and(|text| text.contains("audience")), "{several}");
    // The key is for this server's API and for content, and makes no other.
    use_them(&guid, &[&administrator]);
    let own = Account { key: text(&visit(&guid, Some(&viewer))["key"]), ..viewer.clone() };
    let keys = format!("/__api__/v1/users/{}/keys", viewer.guid);
    SERVER.post(&keys).key(&own.key).json(&json!({"name": "for good"})).send().expect_error(403, 22);
    assert_eq!(SERVER.get(&keys).key(&viewer.key).send().expect(200).json().as_array().map(Vec::len), Some(1));
}

#[test]
fn a_visitor_in_a_browser_is_told_of_too() {
    let viewer = SERVER.account("grace", "viewer");
    let guid = publish("browsed");
    owner().change(&guid, &json!({"access_type": "logged_in"})).expect(200);
    use_them(&guid, &[&connect("Viewer")]);
    let script = "return JSON.parse(await page.locator('body').innerText());";
    let seen = Visitor::new(&SERVER, &viewer).uses(&format!("/content/{guid}/"), script, &json!({}));
    assert_eq!((&seen["visitor"], &seen["role"]), (&json!("grace"), &json!("viewer")), "{seen}");
}

#[test]
fn tokens_are_worth_nothing_where_they_should_not_be() {
    let (viewer, locked) = (SERVER.account("eve", "viewer"), SERVER.account("mallory", "viewer"));
    let (guid, other) = (publish("attacked"), publish("other"));
    let integration = connect("Publisher");
    use_them(&guid, &[&integration]);
    let token = text(&visit(&guid, Some(&viewer))["token"]);
    let key = text(&exchange(&token).expect(200).json()["access_token"]);
    let who = |key: &str| SERVER.get("/__api__/v1/user").key(key).send();
    assert_eq!(who(&key).expect(200).json()["username"], "eve");
    for forged in ["forged", &token[1..], &format!("{token}A"), &token.to_uppercase()] {
        exchange(forged).expect_error(401, 30);
    }
    // A token is no credential by itself.
    assert_eq!(who(&token).status, 401);
    assert_eq!(SERVER.get("/__api__/v1/user").header("authorization", &format!("Bearer {token}")).send().status, 401);
    // Of another item: only that item's integrations count.
    use_them(&other, &[&integration]);
    let elsewhere = text(&visit(&other, Some(&viewer))["token"]);
    use_them(&other, &[]);
    exchange(&elsewhere).expect_error(400, 212);
    // Somebody who may not open it any more.
    owner().change(&guid, &json!({"access_type": "acl"})).expect(200);
    exchange(&token).expect_error(403, 19);
    owner().change(&guid, &json!({"access_type": "all"})).expect(200);
    exchange(&token).expect(200);
    // A locked account: tokens and keys are dead at once.
    let theirs = text(&visit(&guid, Some(&locked))["token"]);
    let their_key = text(&exchange(&theirs).expect(200).json()["access_token"]);
    who(&their_key).expect(200);
    let path = format!("/v1/users/{}/lock", locked.guid);
    Publisher::new(&SERVER, &ADMIN).api(Method::POST, &path).json(&json!({"locked": true})).send().expect(200);
    exchange(&theirs).expect_error(403, 50);
    who(&their_key).expect_error(401, 30);
    // Replayed after the association was removed.
    use_them(&guid, &[]);
    exchange(&token).expect_error(400, 212);
    who(&key).expect_error(401, 30);
    let seen = SERVER.log();
    for secret in [&token, &key, &theirs] {
        assert!(!seen.contains(secret.as_str()), "secrets are not in the log");
    }
}

#[test]
fn tokens_and_secrets_outlive_a_restart_and_another_sealing_key() {
    let server = Server::setup().env("LECTERN_SANDBOX__NETWORK", "host").start();
    let admin = server.account("root", "administrator");
    let publisher = Publisher::new(&server, &admin);
    let integration = |body: Value| {
        let made = publisher.api(Method::POST, "/v1/oauth/integrations").json(&body).send().expect(200);
        text(&made.json()["guid"])
    };
    let config = json!({
        "client_id": "id", "client_secret": "hunter2", "authorization_uri": "https://p.example/a",
        "token_uri": "https://p.example/t",
    });
    let custom = integration(json!({"template": "custom", "config": config}));
    let path = format!("/v1/oauth/integrations/{custom}");
    // To check a configuration without its secret, the one that is stored has to be opened.
    let change = |scopes: &str| {
        let config = json!({
            "client_id": "id", "authorization_uri": "https://p.example/a", "token_uri": "https://p.example/t", "scopes": scopes,
        });
        publisher.api(Method::PATCH, &path).json(&json!({"config": config})).send().expect(200)
    };
    change("before");
    let connect = integration(json!({"template": "connect"}));
    let guid = publish_as(publisher, "outliving");
    use_them_as(publisher, &guid, &[&connect]);
    let token = || text(&publisher.open(&guid, "token").expect(200).json()["token"]);
    let first = token();
    let key = || text(&exchange_at(&server, &first).expect(200).json()["access_token"]);
    let before = key();
    server.stop();
    server.start();
    assert_eq!(key(), before, "token and key outlive the server");
    let rotated = server.lectern_json(&["sealing-key", "rotate"], "");
    assert_eq!(
        (&rotated["resealed"], &rotated["unreadable"]),
        (&json!(3), &json!(0)),
        "two variables and a secret: {rotated}"
    );
    change("after");
    server.stop();
    server.start();
    change("restarted");
    // What tokens are signed with comes of the key that was replaced.
    exchange_at(&server, &first).expect_error(401, 30);
    exchange_at(&server, &token()).expect(200);
}
