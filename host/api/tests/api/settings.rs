//! `/server_settings…`.

use axum::body::Body;
use lectern_domain::AppMode;
use serde_json::{Value, json};

use crate::support::{Server, request};

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
        "installations": [{"version": "3.11.2", "cluster_name": "Local", "image_name": "Local", "publishable": true}],
        "api_enabled": true,
    });
    assert_eq!(get("v1/server_settings/python").await, python);
    assert_eq!(get("v1/server_settings/r").await["installations"][0]["version"], "4.2.2");
    assert_eq!(get("v1/server_settings/quarto").await, json!({"installations": []}));
    let status = json!({"enabled": true, "licensed": true, "configured": false, "available": false, "usable": false});
    let nodejs = json!({"installations": [], "enabled": false, "status": status});
    assert_eq!(get("v1/server_settings/nodejs").await, nodejs);
    assert_eq!(get("v1/server_settings/tensorflow").await, json!({"installations": []}));
    let unknown = server.get(&server.viewer, "/__api__/server_settings/scheduler/cobol").await;
    assert_eq!(unknown.refusal(), (404, 4));
}

#[tokio::test]
async fn the_settings_have_every_key_of_the_protocol() {
    let server = Server::new().await;
    let anonymous = server.ask(None, "GET", "/__api__/server_settings/", Value::Null).await.ok();
    let keys = "version hostname authentication license runtimes git_enabled git_available execution_type \
        enable_runtime_constraints enable_image_management default_image_selection_enabled \
        default_environment_management_selection default_r_environment_management default_py_environment_management \
        oauth_integrations_enabled build about mail_all mail_configured public_warning logged_in_warning logout_url \
        metrics_rrd_enabled metrics_instrumentation self_registration prohibited_usernames username_validator \
        viewers_can_only_see_themselves http_warning queue_ui default_content_list_view maximum_app_image_size \
        dashboard_path system_display_name permission_request enable_runtime_cache_management";
    for key in keys.split_whitespace() {
        assert!(anonymous.get(key).is_some(), "{key}");
    }
    let authentication = "name handles_credentials handles_login groups_enabled external_user_search unique_usernames \
        name_editable_by";
    for key in authentication.split_whitespace() {
        assert!(anonymous["authentication"].get(key).is_some(), "{key}");
    }
    for key in ["allow-apis", "current-user-execution", "enable-launcher", "oauth-integrations"] {
        assert!(anonymous["license"][key].is_string(), "{key}");
    }
    assert_eq!(anonymous["authentication"]["name"], "Password");
    // What is true of this server.
    assert_eq!((&anonymous["metrics_instrumentation"], &anonymous["mail_configured"]), (&json!(true), &json!(false)));
    assert_eq!(anonymous["execution_type"], "native");
    // A credential that is wrong is refused, and nothing else is for the anonymous.
    let bad = request("GET", "/__api__/server_settings").header("authorization", "Key nonsense");
    assert_eq!(server.send(None, bad.body(Body::empty()).unwrap()).await.refusal(), (401, 30));
    for path in [
        "server_settings/applications",
        "server_settings/scheduler",
        "server_settings/scheduler/shiny",
        "v1/server_settings/python",
        "v1/server_settings/r",
        "v1/server_settings/quarto",
        "v1/server_settings/tensorflow",
        "v1/server_settings/nodejs",
    ] {
        assert_eq!(
            server.ask(None, "GET", &format!("/__api__/{path}"), Value::Null).await.refusal(),
            (401, 24),
            "{path}"
        );
    }
}

#[tokio::test]
async fn every_kind_of_content_has_scheduler_settings() {
    let server = Server::new().await;
    let keys = "min_processes max_processes max_conns_per_process load_factor init_timeout idle_timeout \
        min_processes_limit max_processes_limit connection_timeout read_timeout cpu_request max_cpu_request cpu_limit \
        max_cpu_limit memory_request max_memory_request memory_limit max_memory_limit amd_gpu_limit max_amd_gpu_limit \
        nvidia_gpu_limit max_nvidia_gpu_limit";
    let general = server.get(&server.viewer, "/__api__/server_settings/scheduler").await.ok();
    for key in keys.split_whitespace() {
        assert!(general[key].is_number(), "{key}");
    }
    for mode in AppMode::ALL.iter().map(|mode| mode.as_str()).chain(["nodejs-api"]) {
        let path = format!("/__api__/server_settings/scheduler/{mode}");
        assert_eq!(server.get(&server.viewer, &path).await.ok(), general, "{mode}");
    }
}
