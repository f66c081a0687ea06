//! Start, stop, and the verbs of the command line that go with them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::TcpStream;
use std::time::Duration;

use lectern_tests::apps;
use lectern_tests::http::Ask;
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Server, command};
use lectern_tests::wait::until;
use nix::sys::signal::Signal;

#[test]
fn a_stop_finishes_what_was_begun() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.publish("slow", &apps::probe());
    publisher.open(&guid, "").expect(200);

    let address = server.address();
    let (path, key) = (format!("/content/{guid}/slow"), ada.key.clone());
    let begun = std::thread::spawn(move || Ask::new(address, http::Method::GET, &path).key(&key).send());
    // The app says when the request has reached it.
    until("the request under way", Duration::from_secs(20), || server.job_logs().contains("slow begun").then_some(()));
    server.signal(Signal::SIGTERM);
    until("the listener closed", Duration::from_secs(20), || TcpStream::connect(address).is_err().then_some(()));
    assert_eq!(begun.join().unwrap().expect(200).json()["slow"], true);
    assert!(server.wait_stopped().success(), "{}", server.log());
    assert_eq!(server.processes(), [], "workers, supervisor and database have ended");
}

#[test]
fn what_was_published_is_there_after_a_restart() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.publish("kept", &apps::probe());
    let id = publisher.upload(&guid, &apps::probe_version("2"));
    let task = publisher.start_deploy(&guid, &id);
    let output = publisher.wait(&task).expect_success().output;
    assert!(server.stop().success());
    server.start();
    assert_eq!(publisher.open(&guid, "").expect(200).json()["version"], "2");
    let again = publisher.wait(&task).expect_success();
    assert_eq!(again.output, output, "a task's output survives a restart");
}

#[test]
fn two_servers_do_not_share_a_data_directory() {
    let server = Server::new();
    let output = command(&[])
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(server.data())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(server.data().to_str().unwrap()), "{said}");
    server.get("/__ping__").send().expect(200);
}

#[test]
fn verbs_print_for_people_and_for_programs() {
    let server = Server::new();
    server.account("ada", "publisher");
    let listed = server.lectern_json(&["user", "list"], "");
    assert_eq!((&listed[0]["username"], &listed[0]["role"]), (&"ada".into(), &"publisher".into()));
    let table = server.lectern(&["user", "list"], "");
    assert!(String::from_utf8_lossy(&table.stdout).contains("ada"));

    let again = server.lectern(&["user", "add", "ada"], "");
    assert_eq!(again.status.code(), Some(1));
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("name"), "{said}");
    assert_eq!(server.lectern(&["user", "add", "eve", "--role", "king"], "").status.code(), Some(2));

    assert!(server.lectern(&["check"], "").status.success());
    let doctor = server.lectern(&["doctor"], "");
    let said = String::from_utf8_lossy(&doctor.stdout).to_lowercase();
    for word in ["python", "postgresql", "uv", "r "] {
        assert!(said.contains(word), "{word} in\n{said}");
    }
    assert!(server.stop().success());
    let away = server.lectern(&["user", "list"], "");
    assert_eq!(away.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&away.stderr).contains("lectern serve"), "it says what to do");
}
