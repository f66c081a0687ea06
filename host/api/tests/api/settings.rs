//! `/server_settings…`.

use serde_json::{Value, json};

use crate::support::Server;

#[tokio::test]
async fn anybody_learns_the_version() {
    let server = Server::new().await;
    let anonymous = server.ask(None, "GET", "/__api__/server_settings", Value::Null).await.ok();
    assert_eq!(anonymous["version"], "2026.01.0");
    assert_eq!(anonymous["hostname"], "");
    assert_eq!(anonymous["license"]["allow-apis"], "1");
    assert_eq!(anonymous["logout_url"], "https://lectern.example/pub/sign-out");
    let known = server.get(&server.viewer, "/__api__/server_settings").await.ok();
    assert_eq!(known["hostname"], "test-host");
    assert_eq!(known["runtimes"], json!(["Python", "R"]));
}

#[tokio::test]
async fn accounts_learn_the_rest() {
    let server = Server::new().await;
    let get = async |path: &str| server.get(&server.viewer, &format!("/__api__/{path}")).await.ok();
    assert_eq!(get("server_settings/applications").await["access_types"], json!(["acl", "logged_in", "all"]));
    let scheduler = get("server_settings/scheduler").await;
    assert_eq!((&scheduler["max_processes"], &scheduler["load_factor"]), (&json!(3), &json!(0.5)));
    assert_eq!(get("server_settings/scheduler/python-fastapi").await, scheduler);
    let python = json!({
        "installations": [{"version": "3.11.2", "cluster_name": "Local", "image_name": "Local"}],
        "api_enabled": true,
    });
    assert_eq!(get("v1/server_settings/python").await, python);
    assert_eq!(get("v1/server_settings/r").await["installations"][0]["version"], "4.2.2");
    assert_eq!(get("v1/server_settings/quarto").await, json!({"installations": []}));
    assert_eq!(get("v1/server_settings/nodejs").await, json!({"installations": [], "enabled": false}));
    assert_eq!(get("v1/server_settings/tensorflow").await, json!({"installations": []}));
    let unknown = server.get(&server.viewer, "/__api__/server_settings/scheduler/cobol").await;
    assert_eq!(unknown.refusal(), (404, 4));
}
