//! A PostgreSQL server of the operator's: verified TLS, or none of it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::{Output, Stdio};

use lectern_tests::apps;
use lectern_tests::postgres::Postgres;
use lectern_tests::publisher::Publisher;
use lectern_tests::scratch::Scratch;
use lectern_tests::server::{Server, command};

/// `lectern migrate` with this environment: the shortest way to the database.
fn migrate(env: &[(&str, &str)]) -> Output {
    let scratch = Scratch::new();
    let env: Vec<(String, String)> = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    command(&env).args(["migrate", "--data-dir"]).arg(scratch.join("data")).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_server_with_verified_tls_works_like_the_private_one() {
    let postgres = Postgres::start();
    let server = Server::setup()
        .env("LECTERN_DATABASE__URL", postgres.url())
        .env("LECTERN_DATABASE__TLS_CA_FILE", postgres.authority.to_str().unwrap())
        .start();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.publish("remote", &apps::page("Remote"));
    assert!(publisher.open(&guid, "").expect(200).text().contains("Remote"));
    assert!(!server.data().join("postgres").exists(), "no private cluster beside it");
    assert!(server.stop().success());
    server.start();
    assert!(publisher.open(&guid, "").expect(200).text().contains("Remote"));
}

#[test]
fn what_cannot_be_verified_is_refused() {
    let postgres = Postgres::start();
    let url = postgres.url();
    let authority = postgres.authority.to_str().unwrap();

    let unknown = migrate(&[("LECTERN_DATABASE__URL", &url)]);
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(!unknown.status.success(), "an unknown authority: {said}");
    assert!(!said.contains("s3cret"), "{said}");

    let plain = migrate(&[("LECTERN_DATABASE__URL", &format!("{url}?sslmode=disable"))]);
    assert!(!plain.status.success(), "no TLS at all: {}", String::from_utf8_lossy(&plain.stderr));

    let verified = migrate(&[("LECTERN_DATABASE__URL", &url), ("LECTERN_DATABASE__TLS_CA_FILE", authority)]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));

    let wrong = url.replace("s3cret", "guess");
    let wrong = migrate(&[("LECTERN_DATABASE__URL", &wrong), ("LECTERN_DATABASE__TLS_CA_FILE", authority)]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && !said.contains("guess"), "{said}");
}
