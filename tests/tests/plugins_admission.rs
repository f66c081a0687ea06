//! What is not admitted, and what the operator is told: every refusal is an answer that says what to change.
#![allow(clippy::unwrap_used, clippy::panic)]

use http::Method;
use lectern_packages::{PACKAGE_BYTES, Signature, SigningKey};
use lectern_tests::http::Reply;
use lectern_tests::plugins::{Operator, Plugin, guest, shipped};
use lectern_tests::server::Server;
use serde_json::{Value, json};

/// A schema with one setting.
const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": { "answer": { "type": "string", "maxLength": 10 }, "trap": { "enum": ["yes", "no"] } }
}"#;

/// Checks a refusal and shows it as a line of a table.
#[track_caller]
fn refused(what: &str, reply: &Reply, status: u16, words: &[&str]) {
    let text = reply.text();
    println!("| {what} | {} | {text} |", reply.status);
    assert_eq!(reply.status, status, "{what}: {text}");
    for word in words {
        assert!(text.contains(word), "{what}: no {word:?} in {text}");
    }
    let body = reply.json();
    assert!(body["code"].is_string() && body["error"].is_string(), "{what}: {text}");
}

fn flaky(version: &'static str) -> Plugin {
    Plugin { schema: Some(SCHEMA.into()), ..Plugin::flaky(version, json!({"answer": "one"})) }
}

#[test]
fn packages_that_are_not_admitted() {
    let server = Server::new();
    let operator = Operator::new(&server, "grace");
    let before = (operator.get("/packages"), operator.get("/plugins")["generation"].clone());
    let good = flaky("1.0.0").pack();
    println!("| package | status | answer |\n|---|---|---|");

    let bare = guest("flaky");
    let with = |component: &[u8]| Plugin { component: component.to_vec(), ..flaky("1.0.0") }.pack();
    let (module, empty_component) = (b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0");
    let mut damaged = bare.clone();
    damaged.truncate(bare.len() / 2);
    let hostile = Plugin::hostile();
    let cases: Vec<(&str, Vec<u8>, u16, &[&str])> = vec![
        ("not a package", b"hello".to_vec(), 422, &["lectern plugin build"]),
        ("nothing", Vec::new(), 422, &["lectern plugin build"]),
        ("a bare component", bare.clone(), 422, &["bare component", "lectern plugin build"]),
        ("a core module", module.to_vec(), 422, &["core WebAssembly module", "wasm32-wasip2"]),
        ("a package of a core module", with(module), 422, &["wasm32-wasip2"]),
        ("a package of text", with(b"not wasm"), 422, &["plugin.wasm"]),
        ("cut off", good[..good.len() - 2_000].to_vec(), 422, &["copy it again"]),
        ("its component cut off", with(&damaged), 422, &["cannot be compiled"]),
        ("compressed", lectern_tests::bundle::gzip(&good), 422, &["gzip"]),
        ("a component without exports", with(empty_component), 422, &["exports"]),
        (
            "a hook that it does not export",
            Plugin { hooks: vec!["route", "authenticate"], ..flaky("1.0.0") }.pack(),
            422,
            &["authenticate", "does not export"],
        ),
        (
            "files and sockets",
            Plugin { name: "escaping", ..Plugin::router("escaping", "1.0.0", guest("escaping")) }.pack(),
            422,
            &["wasi:", "not given"],
        ),
        (
            "a router that asks about accounts",
            Plugin { grants: vec!["directory"], ..Plugin::router("curious", "1.0.0", guest("curious")) }.pack(),
            422,
            &["directory", "auth"],
        ),
        (
            "imports more than it asks for",
            Plugin { grants: vec!["clock", "content", "directory"], ..hostile.clone() }.pack(),
            422,
            &["random", "not granted"],
        ),
        (
            "a newer contract",
            Plugin { contract: "0.2", ..flaky("1.0.0") }.pack(),
            422,
            &["built for lectern:plugin 0.2", "speaks 0.1", "rebuild"],
        ),
        (
            "defaults that break its own schema",
            Plugin { config: json!({"answer": "far too long for this"}), ..flaky("1.0.0") }.pack(),
            422,
            &["answer"],
        ),
        ("a version that is none", Plugin { version: "one", ..flaky("1.0.0") }.pack(), 422, &["version"]),
        (
            "a grant that does not exist",
            Plugin { grants: vec!["filesystem"], ..flaky("1.0.0") }.pack(),
            422,
            &["filesystem"],
        ),
    ];
    for (what, bytes, status, words) in &cases {
        refused(what, &operator.try_install(bytes), *status, words);
    }
    let large = operator.ask(Method::POST, "/packages").body(vec![0; PACKAGE_BYTES + 1]).send();
    refused("65 MiB", &large, 413, &["67108864"]);

    let send = |signature: Option<&str>| {
        let ask = operator.ask(Method::POST, "/packages").body(good.clone());
        if let Some(text) = signature { ask.header("lectern-signature", text) } else { ask }.send()
    };
    let stranger = Signature::of(&good, &SigningKey::generate().unwrap()).to_string();
    refused("no signature", &send(None), 403, &["not signed", "lectern plugin sign"]);
    refused("signature of other bytes", &send(Some(&operator.sign(b"other"))), 403, &["not one of this package"]);
    refused("signature by an unknown key", &send(Some(stranger.trim_end())), 403, &["trusted"]);
    refused("a signature that is none", &send(Some("yes")), 403, &["cannot be read"]);
    let after = (operator.get("/packages"), operator.get("/plugins")["generation"].clone());
    assert_eq!(before, after, "a refusal changes nothing");

    operator.try_install(&good).expect(200);
    let again = operator.try_install(&good).expect(200).json();
    println!("| installed already, the same bytes | 200 | already: {} |", again["already"]);
    assert_eq!(again["already"], true);
    let other = Plugin { config: json!({"answer": "two"}), ..flaky("1.0.0") }.pack();
    refused(
        "the same version with other bytes",
        &operator.try_install(&other),
        409,
        &["version 1.0.0", "another version"],
    );
    let taken =
        Plugin { grants: vec!["content"], ..Plugin::router("content-router", "0.1.0", shipped("content-router")) };
    let reply = operator.try_install(&taken.pack());
    refused("a shipped version with other bytes", &reply, 409, &["version 0.1.0 of content-router"]);
}

#[test]
fn bindings_that_are_not_made() {
    let server = Server::new();
    let operator = Operator::new(&server, "grace");
    let digest = operator.install(&flaky("1.0.0"))["package"]["digest"].as_str().unwrap().to_owned();
    let binding = |more: Value| {
        let mut binding = json!({"plugin": "flaky", "settings": {"matcher": {"paths": ["/flaky"]}}});
        binding.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        binding
    };
    let made = operator.post("/bindings", &binding(json!({}))).expect(200).json();
    let generation = made["shown"]["generation"].clone();
    println!("| command | status | answer |\n|---|---|---|");
    let bind = |more: Value| operator.post("/bindings", &binding(more));
    let swap = |body: Value| operator.post("/bindings/flaky/swap", &body);
    let other = |more: Value| {
        let mut more = more;
        more["name"] = json!("other");
        bind(more)
    };
    let config = |config: Value| json!({"release": {"config": config}});
    refused(
        "bind an unknown plugin",
        &operator.post("/bindings", &json!({"plugin": "unheard-of"})),
        404,
        &["unheard-of", "not installed"],
    );
    refused("bind a name that is taken", &bind(json!({})), 409, &["binding of this name"]);
    refused(
        "bind in a wrong phase",
        &other(json!({"settings": {"phases": ["authenticate"]}})),
        400,
        &["authenticate", "route"],
    );
    refused("a setting that the schema does not know", &other(config(json!({"colour": "red"}))), 422, &["colour"]);
    refused("a setting of another type", &other(config(json!({"answer": 1}))), 422, &["answer"]);
    refused("a setting that is too long", &swap(config(json!({"answer": "x".repeat(11)}))), 422, &["answer", "10"]);
    refused("a grant that it does not ask for", &other(json!({"release": {"grants": ["clock"]}})), 400, &["clock"]);
    refused(
        "a matcher that cannot be meant",
        &other(json!({"settings": {"matcher": {"paths": ["no-slash"]}}})),
        400,
        &["no-slash"],
    );
    refused(
        "swap to a version that is not installed",
        &swap(json!({"release": {"version": "9.9.9"}})),
        404,
        &["9.9.9", "1.0.0"],
    );
    refused(
        "swap to a release that is none",
        &swap(json!({"release": {"release": "0".repeat(64)}})),
        404,
        &["no release"],
    );
    refused("swap to nothing", &swap(json!({})), 400, &["to what"]);
    refused("swap what is not bound", &operator.post("/bindings/nothing/swap", &config(json!({}))), 404, &["nothing"]);
    refused(
        "swap from an old revision",
        &swap(json!({"release": {"config": {"answer": "two"}}, "expect": {"revision": 0}})),
        409,
        &["grace"],
    );
    refused("roll back with nothing before", &operator.post("/bindings/flaky/rollback", &json!({})), 400, &[]);
    refused("promote without a candidate", &operator.post("/bindings/flaky/promote", &json!({})), 400, &[]);
    refused("a word that is not known", &swap(json!({"versoin": "2"})), 400, &["versoin"]);
    refused(
        "remove a package in use",
        &operator.ask(Method::DELETE, &format!("/packages/{digest}")).send(),
        409,
        &["flaky"],
    );
    refused(
        "remove a package that is none",
        &operator.ask(Method::DELETE, &format!("/packages/{}", "0".repeat(64))).send(),
        404,
        &[],
    );
    refused("a name that cannot be", &operator.ask(Method::GET, "/bindings/NOT-A-NAME").send(), 400, &["NOT-A-NAME"]);
    refused("a method that is not there", &operator.ask(Method::PUT, "/bindings").send(), 405, &["method"]);
    refused("a query that is not known", &operator.ask(Method::GET, "/history?colour=red").send(), 400, &["colour"]);
    let large = operator.ask(Method::POST, "/bindings").body(vec![b' '; (1 << 20) + 1]).send();
    refused("a command of more than 1 MiB", &large, 413, &["1048576"]);
    refused("unknown address", &operator.ask(Method::GET, "/unknown").send(), 404, &["/__lectern__/v1"]);

    let (publisher, viewer) = (server.account("ada", "publisher"), server.account("bob", "viewer"));
    let as_other = |key: &str| server.get("/__lectern__/v1/plugins").key(key).send();
    refused("as a publisher", &as_other(&publisher.key), 403, &["administrators"]);
    refused("as a viewer", &as_other(&viewer.key), 403, &["administrators"]);
    refused("as nobody", &server.get("/__lectern__/v1/plugins").send(), 401, &["API key"]);
    assert_eq!(operator.get("/plugins")["generation"], generation, "a refusal changes nothing");
    assert_eq!(server.get("/flaky").send().expect(200).text(), "one");
}
