//! Fields of JSON bodies, one hostile value at a time among good ones.

use axum::body::Body;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::objects::Objects;
use super::operations::{Findings, Operation, operations};
use crate::support::{Server, request};

/// Something that the route may well take, so that what comes after the first check is reached.
fn plausible(server: &Server, objects: &Objects, operation: &Operation, name: &str, schema: &Value) -> Value {
    let unique = Uuid::new_v4().simple().to_string();
    match name {
        "name" if operation.path.ends_with("/environment") => format!("V{unique}").into(),
        "name" | "username" | "title" => format!("n{unique}").into(),
        "email" => format!("{unique}@example.org").into(),
        "password" => "long enough".into(),
        "access_type" => "acl".into(),
        "user_role" => "viewer".into(),
        "role" => "viewer".into(),
        "principal_type" => "user".into(),
        "cluster_name" => "Kubernetes".into(),
        "language" => "Python".into(),
        "path" => format!("/{unique}/").into(),
        "user_guid" | "principal_guid" | "owner_guid" => server.stranger.guid.to_string().into(),
        "tag_id" => objects.fill("tags/{id}").trim_start_matches("tags/").into(),
        "parent_id" | "bundle_id" | "temp_ticket" => Value::Null,
        _ => match schema["type"].as_str() {
            Some("string") => unique.into(),
            Some("boolean") => true.into(),
            Some("integer" | "number") => 1.into(),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => Value::Null,
        },
    }
}

fn hostile() -> Vec<Value> {
    let mut values = vec![Value::Null, true.into(), json!([]), json!({}), json!([[]]), json!({"a": {"b": []}})];
    let numbers = [
        "0",
        "-1",
        "-0.0",
        "1.5",
        "1e308",
        "-1e308",
        "2147483648",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "1e-320",
    ];
    values.extend(numbers.iter().map(|number| serde_json::from_str::<Value>(number).unwrap()));
    let texts = [
        "",
        " ",
        "\0",
        "a\0b",
        "\u{7f}",
        "\r\nSet-Cookie: a=b",
        "\u{202e}evil",
        "\u{feff}x",
        "\u{fffe}",
        "\u{10ffff}",
        "../../etc/passwd",
        "..\\..\\x",
        "/%2e%2e/",
        "//evil.example/",
        "/connect/",
        "/__api__/",
        "<script>alert(1)</script>",
        "'; DROP TABLE users; --",
        "${jndi:ldap://x}",
        "{{7*7}}",
        "$(id)",
        "%s%n",
        "1",
        "true",
        "null",
        "00000000-0000-0000-0000-000000000000",
        "00000000000000000000000000000000",
        "9223372036854775807",
        "99999999999999999999",
        "javascript:alert(1)",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "\u{e0041}\u{e0042}",
        "Ａｄｍｉｎ",
        "ﷺ",
        "e\u{301}\u{301}\u{301}",
        "2024-02-30T25:61:61Z",
    ];
    values.extend(texts.into_iter().map(Value::from));
    values.extend(["x".repeat(256), "x".repeat(5000), "é".repeat(70_000), "x".repeat(700_000)].map(Value::from));
    values.push(Value::from(vec![1; 10_000]));
    values
}

#[tokio::test]
async fn no_value_of_a_field_makes_a_route_fail() {
    let server = Server::new().await;
    let objects = Objects::new(&server).await;
    let operations = operations();
    let mut findings = Findings::default();
    for operation in operations.iter().filter(|operation| operation.body.is_some()) {
        let fields = operation.fields();
        for (attacked, _) in &fields {
            for value in hostile() {
                let mut body: Map<String, Value> = Map::new();
                for (name, schema) in &fields {
                    let good = plausible(&server, &objects, operation, name, schema);
                    body.insert(name.clone(), if name == attacked { value.clone() } else { good });
                }
                let body = Value::from(body);
                let body = if operation.takes_list() { json!([body]) } else { body };
                let path = objects.fill(&operation.path);
                let request = request(&operation.method, &path).body(Body::from(body.to_string())).unwrap();
                let reply = server.send(Some(&server.admin), request).await;
                let shown: String = value.to_string().chars().take(80).collect();
                findings.sound(operation, &reply, &format!("{attacked} = {shown}"));
                let text = value.as_str().unwrap_or_default();
                let kept = String::from_utf8_lossy(&reply.bytes).contains("\\u0000");
                let clean = !(text.contains('\0') && reply.status.is_success() && kept);
                findings.expect(clean, operation, &reply, attacked);
            }
        }
    }
    // What was taken can be shown.
    for operation in operations.iter().filter(|operation| operation.method == "GET") {
        let reply = server.get(&server.admin, &objects.fill(&operation.path)).await;
        findings.sound(operation, &reply, "afterwards");
    }
    findings.are_none(2000);
}
