//! What outlives the server: open sessions, the processes of apps, and clients who come while no server runs.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use lectern_tests::apps;
use lectern_tests::http::Ask;
use lectern_tests::node::Script;
use lectern_tests::processes::Process;
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, LECTERN, Server};
use lectern_tests::wait::until;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(90);

/// The server's program as another file: for Lectern, another program.
fn another_program(server: &Server) -> PathBuf {
    let path = server.scratch().join("lectern-next");
    std::fs::copy(&*LECTERN, &path).unwrap();
    path
}

fn workers(server: &Server) -> BTreeSet<i32> {
    server.workers().iter().map(|process: &Process| process.pid).collect()
}

fn supervisor(server: &Server) -> Value {
    server.lectern_json(&["supervisor", "status"], "")
}

/// An app of one process, and a WebSocket to it in Node.js.
fn session(server: &Server, account: &Account, guid: &str) -> Script {
    let url = format!("ws://{}/content/{guid}/ws", server.address());
    Script::start(&[("session.mjs", include_str!("../apps/session.mjs"))], &[&url, &account.key])
}

fn publish(publisher: &Publisher<'_>) -> String {
    let guid = publisher.publish("outlives", &apps::misbehaves());
    publisher.change(&guid, &json!({"max_processes": 1})).expect(200);
    guid
}

/// Waits for these words in the order of the script's lines, from line `from` on; the number of the line after.
#[track_caller]
fn hears(script: &Script, from: usize, wanted: &str) -> usize {
    until(&format!("{wanted:?} of a session"), LONG, || {
        let printed = script.printed();
        printed.lines().enumerate().skip(from).find(|(_, line)| line.contains(wanted)).map(|(at, _)| at + 1)
    })
}

#[test]
fn an_open_session_over_an_upgrade_of_server_and_supervisor() {
    let server = Server::setup().env("LECTERN_SERVER__TAKE_OVER_GRACE_SECONDS", "3").start();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let guid = publish(&publisher);
    let job = publisher.open(&guid, "").expect(200).json()["job"].as_str().unwrap().to_owned();
    let script = session(&server, &ada, &guid);
    let at = hears(&script, hears(&script, 0, "open"), &job);
    let (before, supervised) = (workers(&server), supervisor(&server));
    assert_eq!(supervised["same_program"], true);

    let mut old = server.take_over_by(&another_program(&server));
    // The session stays with the old server until its time is over, is told, and comes again.
    let at = hears(&script, at, "closed 1012");
    let at = hears(&script, hears(&script, at, "open"), &job);
    assert!(until("the end of the old server", LONG, || old.try_wait().unwrap()).success());
    until("the supervisor to be the new program", LONG, || {
        (supervisor(&server)["program"] != supervised["program"]).then_some(())
    });
    assert_eq!(supervisor(&server)["pid"], supervised["pid"]);
    assert_eq!(workers(&server), before, "the app is the same process");
    assert_eq!(publisher.open(&guid, "").expect(200).json()["job"], job);
    assert_eq!(script.printed().lines().skip(at).find(|line| line.starts_with("closed")), None);
    // By hand, and back to the program of before.
    let program = LECTERN.to_str().unwrap();
    let now = server.lectern_json(&["supervisor", "upgrade", "--program", program], "");
    assert_eq!((&now["pid"], &now["program"]), (&supervised["pid"], &supervised["program"]));
    let refused = server.lectern(&["supervisor", "upgrade", "--program", "/bin/true"], "");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("/bin/true") && said.contains("does not know how to take"), "{said}");
    assert_eq!(publisher.open(&guid, "").expect(200).json()["job"], job);
    assert!(server.stop().success());
    assert_eq!(server.processes(), []);
}

#[test]
fn clients_and_sessions_over_kill_9() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let guid = publish(&publisher);
    let job = publisher.open(&guid, "").expect(200).json()["job"].as_str().unwrap().to_owned();
    let script = session(&server, &ada, &guid);
    let at = hears(&script, hears(&script, 0, "open"), &job);
    let (before, address) = (workers(&server), server.address());
    server.kill();
    let at = hears(&script, at, "closed 1006");
    // Nobody is refused: who comes now waits for the next server.
    let (path, key) = (format!("/content/{guid}/"), ada.key.clone());
    let waits = std::thread::spawn(move || Ask::new(address, http::Method::GET, &path).key(&key).send());
    TcpStream::connect(address).unwrap();
    server.start();
    assert_eq!(server.address(), address);
    assert_eq!(waits.join().unwrap().expect(200).json()["job"], job);
    hears(&script, hears(&script, at, "open"), &job);
    assert_eq!(workers(&server), before);
    // One that stops in order keeps nobody waiting.
    assert!(server.stop().success());
    assert!(TcpStream::connect(address).is_err());
    assert_eq!(server.processes(), []);
}
