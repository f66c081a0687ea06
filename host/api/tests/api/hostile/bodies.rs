//! Bodies that are not the JSON expected.

use axum::body::Body;
use serde_json::Value;

use super::objects::Objects;
use super::operations::{Findings, Operation, operations};
use crate::support::{Reply, Server, request};

/// The most that a JSON body may hold.
const MAX_JSON_BYTES: usize = 1 << 20;

async fn send(server: &Server, objects: &Objects, operation: &Operation, body: Vec<u8>) -> Reply {
    let filled = objects.fill(&operation.path);
    let request = request(&operation.method, &filled).header("content-type", "application/json");
    server.send(Some(&server.admin), request.body(Body::from(body)).unwrap()).await
}

/// What is no JSON, or JSON of which readers think differently.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let deep = |open: &str, inner: &str, close: &str| {
        [open.repeat(10_000).as_bytes(), inner.as_bytes(), close.repeat(10_000).as_bytes()].concat()
    };
    let utf16 = "{\"name\":\"x\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        ("cut", b"{\"name\":".to_vec()),
        ("trailing", b"{} {}".to_vec()),
        ("trailing list", b"[] ]".to_vec()),
        ("byte order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("UTF-16", utf16),
        ("no UTF-8", b"{\"name\":\"\xff\xfe\"}".to_vec()),
        ("overlong UTF-8", b"{\"name\":\"\xc0\xae\xc0\xae\"}".to_vec()),
        ("a field of no UTF-8", b"{\"\xff\":1}".to_vec()),
        ("lone surrogate", b"{\"name\":\"\\ud800\"}".to_vec()),
        ("surrogates in disorder", b"{\"name\":\"\\udc00\\ud800\"}".to_vec()),
        ("bare NUL", b"{\"name\":\"a\0b\"}".to_vec()),
        ("NUL alone", b"\0".to_vec()),
        ("deep lists", deep("[", "", "]")),
        ("deep objects", deep("{\"a\":", "1", "}")),
        ("deep and cut", deep("{\"a\":[", "", "")),
        ("number out of range", b"{\"name\":1e400}".to_vec()),
        ("no number", b"{\"name\":NaN}".to_vec()),
        ("comment", b"{} // {}".to_vec()),
        ("single quotes", b"{'name':'x'}".to_vec()),
        ("comma at the end", b"{\"name\":\"x\",}".to_vec()),
        ("given twice", b"{\"x\":1,\"x\":1}".to_vec()),
        ("given twice, escaped", b"{\"x\":{\"name\":1,\"n\\u0061me\":2}}".to_vec()),
        ("given twice in a list", b"[{\"name\":\"A\",\"value\":\"1\",\"name\":\"B\"}]".to_vec()),
        ("text", b"\"name\"".to_vec()),
        ("number", b"7".to_vec()),
        ("true", b"true".to_vec()),
        ("list of lists", b"[[\"NAME\",\"value\"]]".to_vec()),
        ("list of a number", b"[7]".to_vec()),
    ]
}

#[tokio::test]
async fn what_is_not_json_is_refused_everywhere() {
    let server = Server::new().await;
    let objects = Objects::new(&server).await;
    let mut findings = Findings::default();
    for operation in operations().iter().filter(|operation| operation.body.is_some()) {
        let other = if operation.takes_list() { b"{\"name\":\"X\"}".to_vec() } else { b"[{\"name\":\"x\"}]".to_vec() };
        for (what, body) in broken().into_iter().chain([("the other kind", other)]) {
            findings.refused(operation, &send(&server, &objects, operation, body).await, what);
        }
    }
    findings.are_none(500);
}

#[tokio::test]
async fn what_is_too_long_is_refused_everywhere() {
    let server = Server::new().await;
    let objects = Objects::new(&server).await;
    let mut findings = Findings::default();
    for operation in operations().iter().filter(|operation| operation.body.is_some()) {
        let long = [b"{\"name\":\"".to_vec(), vec![b'x'; MAX_JSON_BYTES], b"\"}".to_vec()].concat();
        let reply = send(&server, &objects, operation, long).await;
        findings.refused(operation, &reply, "too long");
        // Unless something else comes first: nothing is to be had, whatever is sent.
        let expected = reply.status == 413 || reply.status == 404;
        findings.expect(expected, operation, &reply, "neither too long nor missing");
    }
    findings.are_none(30);
}

/// Bundles, pictures and forms.
#[tokio::test]
async fn bodies_of_other_kinds_are_refused_in_form() {
    let server = Server::new().await;
    let objects = Objects::new(&server).await;
    let long = vec![b'a'; (1 << 20) + 4096];
    let mut findings = Findings::default();
    for operation in operations().iter().filter(|operation| operation.raw_body.is_some()) {
        let kind = operation.raw_body.clone().unwrap();
        for kind in [kind.as_str(), "multipart/form-data", "multipart/form-data; boundary=x", "text/\u{7f}", ""] {
            for (what, body) in broken().into_iter().chain([("too long", long.clone()), ("empty", Vec::new())]) {
                let filled = objects.fill(&operation.path);
                let mut request = request(&operation.method, &filled);
                if !kind.is_empty() && http::HeaderValue::from_str(kind).is_ok() {
                    request = request.header("content-type", kind);
                }
                let reply = server.send(Some(&server.admin), request.body(Body::from(body)).unwrap()).await;
                // Forms of nothing that is known may be fine: to revoke what is no token is done.
                findings.sound(operation, &reply, &format!("{what} as {kind:?}"));
                findings.expect(operation.oauth || reply.status.is_client_error(), operation, &reply, what);
            }
        }
    }
    findings.are_none(100);
    let (whole, begun) = server.stored();
    assert_eq!((whole, begun), (1, 0), "nothing of it stays in the store");
}

/// Properties of whatever JSON: no failure, refusals in form, and each answer is one that the document describes.
#[tokio::test]
async fn any_json_is_answered() {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z|]{0,12}".prop_map(Value::from),
        ".{0,300}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[a-z_]{1,12}", inner), 0..6).prop_map(|pairs| pairs.into_iter().collect()),
        ]
    });
    let server = Server::new().await;
    let objects = Objects::new(&server).await;
    let mut findings = Findings::default();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for operation in operations().iter().filter(|operation| operation.body.is_some()) {
        let names: Vec<String> = operation.fields().into_iter().map(|(name, _)| name).collect();
        let name = if names.is_empty() { "[a-z_]{1,12}".boxed() } else { prop::sample::select(names).boxed() };
        let object = prop::collection::vec((name, value.clone()), 0..6)
            .prop_map(|pairs| pairs.into_iter().collect::<serde_json::Map<_, _>>());
        for case in 0..24 {
            let fields = Value::from(object.new_tree(&mut runner).unwrap().current());
            let body = if operation.takes_list() { Value::from(vec![fields]) } else { fields };
            let reply = send(&server, &objects, operation, body.to_string().into_bytes()).await;
            findings.sound(operation, &reply, &format!("case {case}: {body}"));
        }
    }
    findings.are_none(500);
}
