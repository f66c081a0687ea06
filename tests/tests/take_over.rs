//! An upgrade while visitors come: `lectern serve --take-over` refuses no connection, ends no app, and changes nothing when it fails.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use lectern_tests::apps;
use lectern_tests::http::{RUNTIME, pool};
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Server, command};
use lectern_tests::wait::until;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// Visitors, half of whom make a connection for each request, and how often each asks at most: 240 requests a second.
const VISITORS: usize = 6;
const PACE: Duration = Duration::from_millis(25);
/// The old server ends after the last request, and keeps silent connections for five seconds.
const ENDED: Duration = Duration::from_secs(60);

fn ended_well(mut before: Child) {
    let status = until("the end of the server before", ENDED, || before.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[test]
fn an_upgrade_under_load_fails_no_request_and_ends_no_app() {
    let server = Server::new();
    let account = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &account);
    let app = publisher.publish("probe", &apps::probe());
    let page = publisher.publish("page", &apps::page("Steady"));
    // One process, so that it can be told whether it is the same.
    publisher.change(&app, &json!({"max_processes": 1})).expect(200);
    let worker = || publisher.open(&app, "").json()["pid"].clone();
    let first = worker();

    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut visitors = JoinSet::new();
    for number in 0..VISITORS {
        let (stop, asked, key) = (stop.clone(), asked.clone(), account.key.clone());
        let url = format!("{}/content/{}/", server.url(), if number % 3 == 0 { &page } else { &app });
        visitors.spawn_on(
            async move {
                let (mut wrong, mut client, mut pace) = (Vec::new(), pool(), interval(PACE));
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                while !stop.load(Ordering::Relaxed) {
                    pace.tick().await;
                    let request = Request::get(&url).header("authorization", format!("Key {key}"));
                    let reply = client.request(request.body(Full::new(Bytes::new())).unwrap()).await;
                    match reply {
                        Err(error) => wrong.push(format!("{error:?}")),
                        Ok(reply) if reply.status() != 200 => wrong.push(reply.status().to_string()),
                        Ok(reply) => {
                            wrong.extend(reply.into_body().collect().await.err().map(|error| format!("{error:?}")));
                        }
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                    if number % 2 == 0 {
                        // A pool of its own is a connection of its own.
                        client = pool();
                    }
                }
                wrong
            },
            RUNTIME.handle(),
        );
    }
    let some_more = || {
        let before = asked.load(Ordering::Relaxed);
        until("more requests", ENDED, || (asked.load(Ordering::Relaxed) > before + 50).then_some(()));
    };
    some_more();
    for round in 1..=2 {
        // A request that is with the app when the server changes.
        let slow = server.get(&format!("/content/{app}/slow")).key(&account.key);
        let slow = std::thread::spawn(move || slow.send().status);
        until("the slow request", ENDED, || (server.job_logs().matches("slow begun").count() >= round).then_some(()));
        let before = server.pid();
        let old = server.take_over();
        assert_ne!(server.pid(), before);
        some_more();
        assert_eq!(slow.join().unwrap(), 200);
        ended_well(old);
        some_more();
        assert_eq!(worker(), first, "the app is the same process");
        // The API, the command line and new content work as before.
        let again = Publisher::new(&server, &account);
        again.publish(&format!("after-{round}"), &apps::page("After"));
        server.account(&format!("grace-{round}"), "viewer");
    }
    stop.store(true, Ordering::Relaxed);
    let wrong: Vec<String> = RUNTIME.block_on(visitors.join_all()).into_iter().flatten().collect();
    println!("{} requests over two changes of servers, {} failed", asked.load(Ordering::Relaxed), wrong.len());
    assert!(wrong.is_empty(), "{:?}", &wrong[..wrong.len().min(5)]);
    assert!(server.stop().success());
    until("no process is left", ENDED, || server.processes().is_empty().then_some(()));
}

#[test]
fn one_that_cannot_start_changes_nothing() {
    let server = Server::new();
    let account = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &account);
    let app = publisher.publish("probe", &apps::probe());
    let first = publisher.open(&app, "").json()["pid"].clone();
    // The key of the server is not where this one looks for it, which shows after it was lent everything.
    let broken = [("LECTERN_DATA__KEY_FILE".to_owned(), "/proc/version".to_owned())];
    let output = command(&broken)
        .args(["serve", "--take-over", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(server.data())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    until("the running server's word", ENDED, || server.log().contains("and did not; this one goes on").then_some(()));
    assert_eq!(publisher.open(&app, "").json()["pid"], first);
    publisher.publish("still", &apps::page("Still"));
    // Nobody took the lock along: a third one is refused.
    let third =
        command(&[]).args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(server.data()).output().unwrap();
    assert!(String::from_utf8_lossy(&third.stderr).contains("another lectern serves the data directory"));
    // Whoever takes over afterwards can.
    ended_well(server.take_over());
    assert_eq!(publisher.open(&app, "").json()["pid"], first);
    assert!(server.stop().success());
    // With nobody to take over from, it starts as usual.
    server.start();
    assert_eq!(publisher.open(&app, "").status, 200);
}
