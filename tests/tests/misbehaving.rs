//! Apps that do what they must not be able to do to others, and what their publishers read of it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;
use std::time::Duration;

use lectern_tests::apps;
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, Server, command};
use lectern_tests::wait::until;
use serde_json::json;

const LONG: Duration = Duration::from_secs(60);

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    Server::setup().env("LECTERN_SANDBOX__PRIVATE_BYTES", "16 MiB").env("LECTERN_SANDBOX__TASKS", "64").start()
});
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));
/// Somebody else's app, which goes on.
static OTHER: LazyLock<String> = LazyLock::new(|| ada().publish("other", &apps::probe()));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

fn publish(name: &str) -> String {
    let guid = ada().publish(name, &apps::misbehaves());
    ada().change(&guid, &json!({"max_processes": 1})).expect(200);
    ada().open(&OTHER, "").expect(200);
    guid
}

fn job(guid: &str) -> String {
    ada().open(guid, "").expect(200).json()["job"].as_str().unwrap().to_owned()
}

#[test]
fn one_that_forks_10000_times_is_refused_them() {
    let guid = publish("forks");
    let seen = ada().open(&guid, "fork").expect(200).json();
    assert_eq!(seen["why"], "Resource temporarily unavailable", "{seen}");
    assert!(seen["forked"].as_u64().unwrap() < 64, "{seen}");
    ada().open(&OTHER, "").expect(200);
    // It serves on, as far as it can itself.
    assert_eq!(job(&guid), seen["job"].as_str().unwrap());
}

#[test]
fn one_that_fills_its_disk_fills_only_its_own() {
    let guid = publish("fills");
    let seen = ada().open(&guid, "fill").expect(200).json();
    assert_eq!(seen["why"], "No space left on device", "{seen}");
    assert!(seen["written"].as_u64().unwrap() <= 16 << 20, "{seen}");
    ada().open(&OTHER, "").expect(200);
    assert_eq!(job(&guid), seen["job"].as_str().unwrap());
}

#[test]
fn one_that_closes_its_listener_is_replaced() {
    let guid = publish("deaf");
    let before = job(&guid);
    ada().open(&guid, "deaf").expect(200);
    // A connection from before may still be answered; the first that cannot be made gives the process up, and finds another.
    until("another process", LONG, || {
        let reply = ada().open(&guid, "");
        assert!([200, 502, 503].contains(&reply.status), "{reply:?}");
        (reply.status == 200 && reply.json()["job"] != before.as_str()).then_some(())
    });
    until("the log to say so", LONG, || SERVER.log().contains("no longer accepts connections").then_some(()));
    until("its end", LONG, || {
        (SERVER.workers().iter().filter(|one| one.command.contains(&before)).count() == 0).then_some(())
    });
}

#[test]
fn half_an_answer_and_nonsense_are_never_taken_for_answers() {
    let guid = publish("half");
    let before = job(&guid);
    let half = SERVER.get(&format!("/content/{guid}/half")).key(&ADA.key).try_send();
    assert!(half.is_none(), "{half:?}");
    until("another process", LONG, || {
        let reply = ada().open(&guid, "");
        (reply.status == 200 && reply.json()["job"] != before.as_str()).then_some(())
    });
    let nonsense = ada().open(&guid, "nonsense").expect(502);
    assert!(!nonsense.text().contains("220 this"), "{nonsense:?}");
    // That connection is not used again.
    job(&guid);
    ada().open(&OTHER, "").expect(200);
}

#[test]
fn bytes_that_are_no_text_do_not_hinder_the_log() {
    let guid = publish("binary");
    ada().open(&guid, "binary").expect(200);
    until("the line", LONG, || SERVER.job_logs().contains("not text").then_some(()));
    for line in SERVER.job_logs().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[test]
fn one_that_exits_at_once_is_told_so() {
    let guid = ada().create("exits");
    let bundle = apps::asgi("import sys\nprint('nothing to do', file=sys.stderr)\nsys.exit(0)\n");
    let id = ada().upload(&guid, &bundle);
    let said = ada().deploy(&guid, &id).output;
    assert!(said.contains("ended the process (status 0) while it was being loaded"), "{said}");
    assert!(said.contains("nothing to do"), "{said}");
}

#[test]
fn a_host_without_bubblewrap_is_said_and_refused_where_walls_are_required() {
    let scratch = lectern_tests::scratch::Scratch::new();
    let bin = scratch.join("bin");
    std::fs::create_dir(&bin).unwrap();
    // In the place of the one that there may be: on a host without, none is found.
    std::fs::write(bin.join("bwrap"), "#!/bin/sh\nexit 127\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bin.join("bwrap"), mode).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let doctor = command(&[]).env("PATH", &path).args(["doctor"]).output().unwrap();
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let line = said.lines().find(|line| line.contains("mount-namespace")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("LACK") && said.contains("bubblewrap"), "{said}");
}
