//! The first administrator, made with `rsconnect bootstrap`.
#![allow(clippy::unwrap_used, clippy::panic)]

use lectern_tests::client::{Run, rsconnect_raw};
use lectern_tests::server::Server;

/// 32 bytes in base64, as the client wants them.
const SECRET: &str = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=";
const OTHER: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";

fn bootstrap(server: &Server, secret: &str) -> Run {
    let url = server.url();
    rsconnect_raw(server, &["bootstrap", "--raw", "--server", &url], &[("CONNECT_BOOTSTRAP_SECRETKEY", secret)])
}

#[test]
fn the_first_administrator_is_made_once() {
    let server = Server::setup().env("CONNECT_BOOTSTRAP_SECRETKEY", SECRET).start();
    // With `--raw` the client prints the key or nothing, and succeeds either way.
    let key_of = |secret: &str| bootstrap(&server, secret).stdout.trim().to_owned();
    assert_eq!(key_of(OTHER), "");
    let key = key_of(SECRET);
    assert!(!key.is_empty());

    let me = server.get("/__api__/me").key(&key).send().expect(200).json();
    assert_eq!(me["user_role"], "administrator");
    assert!(!me["username"].as_str().unwrap().is_empty());

    assert_eq!(key_of(SECRET), "", "there are users now");
    // A bad token is told before the count of users is.
    let path = "/__api__/v1/experimental/bootstrap";
    for value in ["Connect-Bootstrap a.b.c".to_owned(), format!("Connect-Bootstrap {key}"), format!("Key {key}")] {
        let reply = server.post(path).header("authorization", &value).send();
        assert_eq!(reply.status, 401, "{value}: {}", reply.text());
        assert!(!reply.text().contains("api_key"));
    }
    assert_eq!(server.post(path).send().status, 401);
}

#[test]
fn without_a_secret_there_is_no_bootstrap() {
    let server = Server::new();
    let reply =
        server.post("/__api__/v1/experimental/bootstrap").header("authorization", "Connect-Bootstrap a.b.c").send();
    assert_eq!(reply.status, 404, "{}", reply.text());
}
