//! Parameters in the query.

use axum::body::Body;

use super::objects::Objects;
use super::operations::{Findings, operations};
use crate::support::{Server, request};

fn hostile() -> Vec<String> {
    let long = "9".repeat(4000);
    let texts = [
        "",
        "0",
        "-1",
        "1e9",
        "0x10",
        "1.5",
        "NaN",
        "inf",
        "-0",
        "+1",
        "%2B1",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "1e400",
        "true",
        "null",
        "[]",
        "abc",
        "%00",
        "a%00b",
        "%ff",
        "%c0%ae",
        "%ed%a0%80",
        "%zz",
        "%",
        "%2",
        "%u0041",
        "'%20OR%20'1'='1",
        "%25",
        "%5C",
        "_%25",
        "$(x)",
        "{}",
        "%F0%9F%98%80",
        "%0d%0aset-cookie:%20a=b",
        "..%2f..%2f",
        "00000000-0000-0000-0000-000000000000",
        "2024-02-30",
        "-0001-01-01",
        "+12024-01-01T00:00:00Z",
        "9999-12-31T23:59:60Z",
        "end",
        "|",
        "a|b",
        ",",
        "owner,owner",
    ];
    texts.into_iter().map(str::to_owned).chain([long, "a".repeat(4000)]).collect()
}

#[tokio::test]
async fn parameters_never_make_a_route_fail() {
    let server = Server::new().await;
    let objects = Objects::new(&server).await;
    let mut findings = Findings::default();
    for operation in operations().iter().filter(|operation| operation.method == "GET") {
        let path = objects.fill(&operation.path);
        let mut queries = vec!["%".to_owned(), "%00=%00".to_owned(), "&&=&".to_owned(), "a[b]=c".to_owned()];
        for name in &operation.query {
            queries.extend(hostile().into_iter().map(|value| format!("{name}={value}")));
            queries.push(format!("{name}=1&{name}=1"));
            queries.push(format!("{name}[]=1&{name}[x]=2"));
            queries.push(format!("%{:02x}{}=%00", name.as_bytes()[0], &name[1..]));
        }
        for query in queries {
            // Nobody waits here for news.
            if operation.path.contains("/tasks/") && (query.contains("wait=9") || query.contains("wait=1")) {
                continue;
            }
            let request = request("GET", &format!("{path}?{query}")).body(Body::empty()).unwrap();
            let reply = server.send(Some(&server.admin), request).await;
            findings.sound(operation, &reply, &query);
            for (name, value) in &reply.headers {
                findings.expect(name != "set-cookie", operation, &reply, &format!("{query}: a cookie {value:?}"));
            }
        }
    }
    findings.are_none(1000);
}

/// Where a parameter is given twice it is not for us to choose.
#[tokio::test]
async fn a_parameter_is_given_once() {
    let server = Server::new().await;
    let objects = Objects::new(&server).await;
    let mut findings = Findings::default();
    for operation in operations().iter().filter(|operation| operation.method == "GET") {
        for name in &operation.query {
            let path = format!("{}?{name}=1&{name}=1", objects.fill(&operation.path));
            let reply = server.send(Some(&server.admin), request("GET", &path).body(Body::empty()).unwrap()).await;
            findings.sound(operation, &reply, name);
            // The one that clients do repeat.
            findings.expect(name == "filter" || reply.status == 400, operation, &reply, &format!("{name} twice"));
        }
    }
    findings.are_none(50);
}
