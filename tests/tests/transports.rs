//! All that a browser can speak reaches real apps: WebSocket, events, long polls, bodies of a gibibyte.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use lectern_tests::node::Script;
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, Server};
use lectern_tests::wait::until;
use lectern_tests::{apps, bundle, processes};
use serde_json::{Value, json};

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "administrator"));
/// Twins of each other, in one process each and open to anybody.
static APPS: LazyLock<[(&str, String); 2]> = LazyLock::new(|| [("Python", python()), ("Node.js", node())]);

/// What a state takes to show on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// A gibibyte each way, twice, by an unoptimised build on a busy machine.
const LONG: Duration = Duration::from_secs(300);
const GIB_BLOCKS: u64 = 1024;
/// What the server may grow by while a gibibyte passes: buffers of connections, and what the allocator keeps.
const MOST_GROWTH: u64 = 48 << 20;

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

fn opened(name: &str, bundle: &[u8]) -> String {
    let guid = ada().publish(name, bundle);
    let open = json!({"access_type": "all", "max_processes": 1, "max_conns_per_process": 200});
    ada().change(&guid, &open).expect(200);
    guid
}

fn python() -> String {
    let files = [
        ("app.py", include_str!("../apps/transports.py")),
        ("requirements.txt", "uvicorn>=0.29,<1\nwebsockets>=12,<16\n"),
    ];
    opened("transports-python", &bundle::app("python-fastapi", "app:app", &files))
}

fn node() -> String {
    // The example's packages: an environment of their own would only take longer.
    let files = [
        ("transports.mjs", include_str!("../apps/transports.mjs")),
        ("package.json", include_str!("../../examples/node/package.json")),
        ("package-lock.json", include_str!("../../examples/node/package-lock.json")),
    ];
    opened("transports-node", &bundle::app("nodejs", "transports.mjs", &files))
}

fn state(guid: &str) -> Value {
    SERVER.get(&format!("/content/{guid}/state")).send().expect(200).json()
}

/// Runs the script; answers what it printed.
fn talked(verb: &str, address: &str, number: u64, limit: Duration) -> Value {
    let files = [("client.mjs", include_str!("../apps/transports_client.mjs"))];
    let mut running = Script::start(&files, &[verb, address, &number.to_string()]);
    let status = running.wait(limit);
    assert!(status.success(), "{verb} {address}, {status}:\n{}", running.log());
    serde_json::from_str(&running.printed()).unwrap()
}

fn begin(target: &str, more: &str) -> TcpStream {
    let mut stream = TcpStream::connect(SERVER.address()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nhost: x\r\n{more}\r\n").unwrap();
    stream
}

/// Reads until `end` has come.
fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(end) {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "ended after {:?}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    seen
}

#[test]
fn a_hundred_websockets_at_a_time() {
    for (kind, guid) in &*APPS {
        let seen = talked("sockets", &format!("{}/content/{guid}/ws", SERVER.url()), 100, LONG);
        assert_eq!(seen, json!({"sockets": 100, "code": 4321, "reason": "enough", "wasClean": true}), "{kind}");
        let closed = until("the app saw all of them close", SOON, || {
            let closed = state(guid)["closed"].as_array().unwrap().clone();
            // Python's framework does not report those that the app closed itself.
            (closed.len() >= 99).then_some(closed)
        });
        assert!(closed.contains(&json!(4001)), "{kind}: {closed:?}");
    }
}

#[test]
fn pings_pass_both_ways() {
    let upgrade = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (_, guid) in &*APPS {
        let mut socket = begin(&format!("/content/{guid}/ws"), upgrade);
        assert!(read_until(&mut socket, b"\r\n\r\n").starts_with(b"HTTP/1.1 101"));
        // RFC 6455 §5.5.2, with a mask of zeros: a ping, and the app's framework answers with a pong.
        socket.write_all(b"\x89\x84\0\0\0\0beat").unwrap();
        assert!(read_until(&mut socket, b"\x8a\x04beat").len() == 6);
    }
    // The app pings; the pong reaches it.
    let mut socket = begin(&format!("/content/{}/ws", APPS[1].1), upgrade);
    read_until(&mut socket, b"\r\n\r\n");
    socket.write_all(b"\x81\x87\0\0\0\0ping me").unwrap();
    read_until(&mut socket, b"\x89\x00");
    socket.write_all(b"\x8a\x80\0\0\0\0").unwrap();
    read_until(&mut socket, b"you answered");
}

#[test]
fn events_come_as_they_are_told_and_the_app_learns_that_a_client_left() {
    for (kind, guid) in &*APPS {
        let mut stream = begin(&format!("/content/{guid}/events"), "accept: text/event-stream\r\n");
        let head = String::from_utf8(read_until(&mut stream, b"\r\n\r\n")).unwrap().to_lowercase();
        assert!(head.contains("content-type: text/event-stream"), "{kind}: {head}");
        // Each is told only after the one before was seen: nothing is held back to be sent together.
        read_until(&mut stream, b"data: hello\n\n");
        for n in 0..3 {
            SERVER.get(&format!("/content/{guid}/tell?event-{n}")).send().expect(200);
            read_until(&mut stream, format!("data: event-{n}\n\n").as_bytes());
        }
        assert_eq!(state(guid)["watchers"], 1, "{kind}");
        drop(stream);
        until("the app knows that its client left", SOON, || (state(guid)["watchers"] == 0).then_some(()));
    }
}

#[test]
fn a_long_poll_is_answered_when_there_is_news() {
    for (_, guid) in &*APPS {
        std::thread::scope(|scope| {
            let polls: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| SERVER.get(&format!("/content/{guid}/poll")).send().expect(200).json()))
                .collect();
            until("three polls wait", SOON, || (state(guid)["waiting"] == 3).then_some(()));
            SERVER.get(&format!("/content/{guid}/tell?news")).send().expect(200);
            assert!(polls.into_iter().all(|poll| poll.join().unwrap() == "news"));
        });
    }
}

#[test]
fn a_gibibyte_each_way_and_the_server_stays_small() {
    for (kind, guid) in &*APPS {
        state(guid);
        for verb in ["upload", "download"] {
            let before = processes::resident_bytes(SERVER.pid());
            processes::forget_peak(SERVER.pid());
            let query = if verb == "download" { format!("?{GIB_BLOCKS}") } else { String::new() };
            let address = format!("{}/content/{guid}/{verb}{query}", SERVER.url());
            let seen = talked(verb, &address, GIB_BLOCKS, LONG);
            assert_eq!((&seen["status"], &seen["received"]), (&json!(200), &json!(GIB_BLOCKS << 20)), "{kind}");
            assert_eq!(seen["digest"], seen["expected"], "{kind}, {verb}");
            let peak = processes::peak_resident_bytes(SERVER.pid());
            println!("{kind}, {verb}: server {} MiB, at most {} MiB", before >> 20, peak >> 20);
            assert!(peak < before + MOST_GROWTH, "{kind}, {verb}: {} MiB, then {} MiB", before >> 20, peak >> 20);
        }
    }
}

#[test]
fn cookies_and_redirects_stay_below_a_vanity_path() {
    let guid = ada().publish("mounted", &apps::probe());
    let vanity = json!({"path": "/some/where/"});
    ada().api(Method::PUT, &format!("/v1/content/{guid}/vanity")).json(&vanity).send().expect(200);
    for mount in [format!("/content/{guid}"), "/some/where".to_owned()] {
        let reply = SERVER.get(&format!("{mount}/cookies")).key(&ADA.key).send().expect(200);
        let cookies = reply.header_values("set-cookie");
        for (name, path) in [("rooted", format!("{mount}/")), ("deep", format!("{mount}/inner"))] {
            let cookie = cookies.iter().find(|cookie| cookie.starts_with(name)).unwrap();
            let kept = cookie.to_lowercase().split(';').any(|part| part.trim() == format!("path={path}"));
            assert!(kept, "{name} at {path}: {cookie}");
        }
        let redirect = SERVER.get(&format!("{mount}/redirect")).key(&ADA.key).send().expect(302);
        assert_eq!(redirect.header("location"), format!("{mount}/"));
        let echo = SERVER.get(&format!("{mount}/echo")).key(&ADA.key).send().expect(200).json();
        assert_eq!(echo["root_path"], mount);
    }
}
