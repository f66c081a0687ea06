//! The OpenAPI document says what the router does.

use axum::body::Body;
use serde_json::Value;

use crate::support::{Server, request, send};

#[tokio::test]
async fn every_operation_described_is_there() {
    let server = Server::new().await;
    let served = server.ask(None, "GET", "/__api__/openapi.json", Value::Null).await.ok();
    assert_eq!(served, serde_json::to_value(lectern_api::openapi()).unwrap());
    assert_eq!(served["info"]["version"], "2026.01.0");
    let mut operations = 0;
    for (path, item) in served["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase();
            // Anonymous: nothing is changed, and the answer is never "no such route".
            let reply = send(&server.router, request(&method, &fill(path)).body(Body::empty()).unwrap()).await;
            let unknown = String::from_utf8_lossy(&reply.bytes).starts_with("no such route");
            assert!(!unknown, "{method} {path}: {reply:?}");
            let stated: Vec<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(stated, names(path), "{method} {path}");
            assert!(operation["responses"].as_object().is_some_and(|all| all.len() > 1), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
            operations += 1;
        }
    }
    assert!(operations >= 50, "{operations}");
}

/// The catalogue of the protocol: every route that a published client calls, with `{}` for what names an object.
const CATALOGUE: &str = "
GET /server_settings
GET /server_settings/applications
GET /server_settings/scheduler
GET /server_settings/scheduler/{}
GET /v1/server_settings/python
GET /v1/server_settings/r
GET /v1/server_settings/quarto
GET /v1/server_settings/tensorflow
GET /v1/server_settings/nodejs
GET /v1/timezones
GET /timezones
GET /v1/content/{}/repository
PUT /v1/content/{}/repository
PATCH /v1/content/{}/repository
DELETE /v1/content/{}/repository
POST /v1/content/{}/repository/bundle
GET /repo/account
GET /repo/branches
GET /repo/manifest-dirs
GET /v1/oauth/integrations
POST /v1/oauth/integrations
GET /v1/oauth/integrations/{}
PATCH /v1/oauth/integrations/{}
DELETE /v1/oauth/integrations/{}
GET /v1/oauth/integrations/{}/associations
POST /v1/oauth/integrations/credentials
GET /v1/oauth/templates
GET /v1/oauth/templates/{}
GET /v1/oauth/sessions
GET /v1/oauth/sessions/{}
DELETE /v1/oauth/sessions/{}
GET /v1/content/{}/oauth/integrations/associations
PUT /v1/content/{}/oauth/integrations/associations
POST /v1/experimental/bootstrap
POST /tokens
POST /__login__

GET /v1/content
POST /v1/content
GET /v1/content/{}
PATCH /v1/content/{}
DELETE /v1/content/{}
GET /v1/content/{}/environment
PATCH /v1/content/{}/environment
PUT /v1/content/{}/environment
GET /v1/content/{}/bundles
POST /v1/content/{}/bundles
GET /v1/content/{}/bundles/{}
DELETE /v1/content/{}/bundles/{}
GET /v1/content/{}/bundles/{}/download
POST /v1/content/{}/deploy
POST /v1/content/{}/build
POST /v1/content/{}/render
GET /v1/content/{}/lockfile
GET /v1/content/{}/packages
GET /v1/search/content
PUT /v1/content/{}/thumbnail
DELETE /v1/content/{}/thumbnail
GET /applications/{}/image
POST /applications/{}/image
DELETE /applications/{}/image

GET /v1/content/{}/permissions
POST /v1/content/{}/permissions
GET /v1/content/{}/permissions/{}
PUT /v1/content/{}/permissions/{}
DELETE /v1/content/{}/permissions/{}
GET /v1/tags
POST /v1/tags
GET /v1/tags/{}
PATCH /v1/tags/{}
DELETE /v1/tags/{}
GET /v1/tags/{}/content
GET /v1/content/{}/tags
POST /v1/content/{}/tags
DELETE /v1/content/{}/tags/{}
GET /v1/vanities
GET /v1/content/{}/vanity
PUT /v1/content/{}/vanity
DELETE /v1/content/{}/vanity

GET /v1/user
GET /users/current
GET /me
GET /v1/users
POST /v1/users
PUT /v1/users
GET /v1/users/remote
GET /v1/users/{}
PUT /v1/users/{}
POST /v1/users/{}/lock
GET /v1/users/{}/keys
POST /v1/users/{}/keys
GET /v1/groups
POST /v1/groups
PUT /v1/groups
GET /v1/groups/{}
DELETE /v1/groups/{}
GET /v1/groups/remote
GET /v1/groups/{}/members
POST /v1/groups/{}/members
DELETE /v1/groups/{}/members/{}
GET /v1/experimental/groups/{}/content
GET /v1/content/{}/jobs
GET /v1/content/{}/jobs/{}
DELETE /v1/content/{}/jobs/{}
GET /v1/content/{}/jobs/{}/log
GET /v1/content/{}/jobs/{}/tail
GET /v1/content/{}/jobs/{}/error
GET /v1/content/{}/jobs/{}/download
GET /applications/{}/variants
GET /variants/{}
POST /variants/{}
POST /variants/{}/render
POST /variants/{}/sender
GET /variants/{}/renderings
GET /variants/{}/schedules
GET /variants/{}/subscribers
POST /variants/{}/subscribers
DELETE /variants/{}/subscribers/{}
POST /schedules
GET /schedules/{}
POST /schedules/{}
DELETE /schedules/{}
GET /v1/experimental/schedules
GET /v1/system/caches/runtime
DELETE /v1/system/caches/runtime
GET /v1/packages
GET /v1/environments
POST /v1/environments
GET /v1/environments/{}
PUT /v1/environments/{}
DELETE /v1/environments/{}
GET /v1/environments/{}/permissions
POST /v1/environments/{}/permissions
GET /v1/environments/{}/permissions/{}
DELETE /v1/environments/{}/permissions/{}
GET /v1/instrumentation/content/visits
GET /v1/instrumentation/shiny/usage
GET /v1/instrumentation/content/hits
GET /v1/audit_logs
GET /metrics/procs
GET /applications
GET /applications/{}
GET /v1/tasks/{}

POST /applications
POST /applications/{}/upload
POST /applications/{}/deploy
GET /applications/{}/config
POST /applications/{}/terminate
GET /tasks/{}
POST /tasks/{}/kill
POST /users
GET /users/{}
";

#[test]
fn the_catalogue_of_the_protocol_is_whole() {
    let document = serde_json::to_value(lectern_api::openapi()).unwrap();
    let unnamed = |path: &str| {
        path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
    };
    let operations = document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        let path = unnamed(path);
        let methods = item.as_object().unwrap().keys().map(|method| method.to_uppercase());
        methods.map(move |method| format!("{method} {path}")).collect::<Vec<_>>()
    });
    let described: std::collections::HashSet<String> = operations.collect();
    let wanted = CATALOGUE.lines().filter(|line| !line.is_empty()).map(|line| line.replacen(" /", " /__api__/", 1));
    let missing: Vec<String> = wanted.filter(|line| !described.contains(line)).collect();
    assert!(missing.is_empty(), "not in the document: {missing:#?}");
}

/// The objects of the protocol, by the names that the document has for them, and the fields that clients know.
const OBJECTS: &str = "
ContentView guid id name title description access_type locked locked_message connection_timeout read_timeout init_timeout
ContentView idle_timeout max_processes min_processes max_conns_per_process load_factor memory_request memory_limit cpu_request
ContentView cpu_limit amd_gpu_limit nvidia_gpu_limit service_account_name default_image_name default_environment_guid
ContentView default_r_environment_management default_py_environment_management r_environment_management created_time
ContentView py_environment_management last_deployed_time bundle_id app_mode content_category parameterized cluster_name
ContentView image_name environment_guid r_version py_version quarto_version node_version run_as run_as_current_user owner_guid
ContentView content_url dashboard_url app_role extension draft_marker_enabled metrics_collection_enabled notify_on_share
ContentView otel_enabled public_content_status owner tags vanity_url
BundleView id content_guid created_time cluster_name image_name r_version r_environment_management py_version
BundleView py_environment_management quarto_version active size metadata created_by created_by_name created_by_user
BundleView environment_guid node_version
TaskView id output result finished code error last
LegacyTask id status last_status finished code error
RenderTask id user_id status last_status result finished code error
UserView guid email username first_name last_name user_role created_time updated_time active_time confirmed locked
NumberedUser id guid username
GroupView guid name owner_guid
PermissionView id content_guid principal_guid principal_type role
JobView id ppid pid key remote_id app_id content_id content_guid variant_id bundle_id start_time end_time last_heartbeat_time
JobView queued_time queue_name tag exit_code status hostname cluster image run_as
LogEntry source timestamp data
TagView id name parent_id created_time updated_time
VanityView content_guid path created_time
Variant id app_id bundle_id key is_default name email_collaborators email_viewers email_all created_time rendering_id
Variant render_time render_duration visibility owner_id
Rendering id app_id variant_id bundle_id job_key render_time render_duration active
ScheduleView id app_id variant_id type schedule start_time next_run timezone email activate
EnvironmentView id guid created_time updated_time title description cluster_name name environment_type matching supervisor
EnvironmentView managed_by python quarto r tensorflow volume_mounts
PackageView language name version hash
UsedPackageView language name version hash language_version bundle_id app_id app_guid
CacheView language version image_name
VisitView content_guid user_guid variant_key rendering_id bundle_id time data_version path
UsageView content_guid user_guid started ended data_version
HitView id content_guid user_guid timestamp data
HitData path user_agent
EntryView id time user_id user_guid user_description action event_description
ProcessView appId appGuid appName appUrl appRunAs type cpuCurrent cpuTotal ram
Stopped guid app_id app_guid job_id job_key result
ErrorBody code error payload
";

#[test]
fn the_objects_of_the_protocol_have_all_their_fields() {
    let document = serde_json::to_value(lectern_api::openapi()).unwrap();
    let schemas = &document["components"]["schemas"];
    let mut missing = Vec::new();
    for line in OBJECTS.lines().filter(|line| !line.is_empty()) {
        let (object, fields) = line.split_once(' ').unwrap();
        let known = properties(schemas, &schemas[object]);
        missing
            .extend(fields.split(' ').filter(|field| !known.contains(*field)).map(|field| format!("{object}.{field}")));
    }
    assert!(missing.is_empty(), "not in the document: {missing:#?}");
}

/// The fields of a schema, with those of what is flattened into it.
fn properties(schemas: &Value, schema: &Value) -> std::collections::HashSet<String> {
    let own = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
    let mut all: std::collections::HashSet<String> = own.collect();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let named = part["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
        all.extend(properties(schemas, named.map_or(part, |name| &schemas[name])));
    }
    all
}

#[tokio::test]
async fn every_reference_in_the_document_leads_somewhere() {
    let document = serde_json::to_value(lectern_api::openapi()).unwrap();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                references.push(reference.clone());
            }
            map.values().for_each(|value| collect(value, references));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

/// The names in braces, in order.
fn names(path: &str) -> Vec<&str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect()
}

fn fill(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "1" } else { part }).collect::<Vec<_>>().join("/")
}
