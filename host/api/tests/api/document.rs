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
