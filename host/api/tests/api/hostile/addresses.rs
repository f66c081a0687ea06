//! Names in addresses.

use axum::body::Body;

use super::objects::Objects;
use super::operations::{Findings, operations};
use crate::support::{Server, request};

fn hostile() -> Vec<String> {
    let names = [
        "..",
        ".",
        "%2e%2e",
        "%2e",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2f",
        "%252e%252e%252f",
        "..%5c",
        "%5c..%5c",
        "%00",
        "a%00",
        "%ff",
        "%c0%ae%c0%ae",
        "%ed%a0%80",
        "%E2%80%AE",
        "%EF%BC%8E%EF%BC%8E",
        "%20",
        "%09",
        "%0a",
        "%0d%0ax:y",
        ";",
        "1;2",
        "1,2",
        "-1",
        "+1",
        "00",
        "01",
        "1.0",
        "1e3",
        "0x1",
        "9223372036854775808",
        "99999999999999999999999",
        "%31%00",
        "null",
        "undefined",
        "[object%20Object]",
        "{guid}",
        "%7Bguid%7D",
        "*",
        "%25",
        "'",
        "%22",
        "$1",
        "~",
        "00000000000000000000000000000000",
        "%7B00000000-0000-0000-0000-000000000000%7D",
        "urn:uuid:00000000-0000-0000-0000-000000000000",
        "00000000-0000-0000-0000-00000000000g",
        "00000000-0000-0000-0000-0000000000000",
        "%F0%9F%98%80",
        "a%2fb",
        "..;",
        "%3f",
        "%23",
    ];
    names.into_iter().map(str::to_owned).chain(["a".repeat(4000), "%41".repeat(2000), "1".repeat(4000)]).collect()
}

#[tokio::test]
async fn names_that_name_nothing_are_refused_everywhere() {
    let server = Server::new().await;
    let objects = Objects::new(&server).await;
    let mut findings = Findings::default();
    for operation in operations() {
        let names: Vec<&str> = operation.path.split('/').filter(|part| part.starts_with('{')).collect();
        for name in names {
            for value in hostile() {
                let path = objects.fill_but(&operation.path, name, &value);
                let reply =
                    server.send(Some(&server.admin), request(&operation.method, &path).body(Body::empty()).unwrap());
                findings.refused(&operation, &reply.await, &value);
            }
        }
    }
    findings.are_none(2000);
}
