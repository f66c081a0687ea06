//! Plugins that fail, guests that attack, a store that is gone, two servers and two operators at once.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use http::Method;
use lectern_tests::plugins::{Operator, Plugin};
use lectern_tests::postgres::Postgres;
use lectern_tests::scratch::Scratch;
use lectern_tests::server::{Server, tail};
use lectern_tests::wait::until;
use serde_json::{Value, json};

/// Longest wait for something that another task or server does.
const SOON: Duration = Duration::from_secs(60);

/// Bindings that no number of failures ends: each attack is to be seen by itself.
fn endless() -> Value {
    json!({"rollback_per_ten_thousand": 10_000, "open_per_ten_thousand": 10_000})
}

fn flaky_at(path: &str) -> Value {
    json!({"matcher": {"paths": [path]}})
}

#[test]
fn a_version_that_fails_is_taken_back_by_itself() {
    let server = Server::new();
    let operator = Operator::new(&server, "grace");
    operator.install(&Plugin::flaky("1.0.0", json!({"answer": "one"})));
    operator.install(&Plugin::flaky("2.0.0", json!({"answer": "two", "trap": "yes"})));
    let bind = json!({"plugin": "flaky", "release": {"version": "1.0.0"}, "settings": flaky_at("/flaky")});
    let good = operator.post("/bindings", &bind).expect(200).json()["binding"]["live"].clone();
    let ask = |flaky: bool| server.get("/flaky").header("x-flaky", if flaky { "yes" } else { "no" }).send();
    assert_eq!(ask(true).expect(200).text(), "one");
    let swap = json!({"release": {"version": "2.0.0", "config": {"answer": "two", "trap": "yes"}}, "reason": "newer"});
    let bad = operator.post("/bindings/flaky/swap", &swap).expect(200).json()["binding"]["live"].clone();
    assert_eq!(ask(false).expect(200).text(), "two");

    // One request in twenty makes it trap.
    let (mut asked, mut failed, mut last) = (0, Vec::new(), String::new());
    while last != "one" {
        asked += 1;
        assert!(asked < 2_000, "never taken back: {failed:?}");
        let reply = ask(asked % 20 == 0);
        if reply.status == 200 {
            last = reply.text();
        } else {
            failed.push((reply.status, reply.text().lines().next().unwrap_or_default().to_owned()));
        }
    }
    println!("requests until the version before answered: {asked}; failed: {} {:?}", failed.len(), failed.first());
    assert!((1..=10).contains(&failed.len()), "{failed:?}");
    for n in 0..200 {
        assert_eq!(ask(n % 20 == 0).expect(200).text(), "one", "no failure after the rollback");
    }

    let entry = until("the entry in the history", SOON, || {
        operator.history("flaky").into_iter().find(|entry| entry["actor"]["kind"] == "automatic")
    });
    println!("{}", serde_json::to_string_pretty(&entry).unwrap());
    assert_eq!((&entry["from_release"], &entry["to_release"]), (&bad, &good));
    assert_eq!(entry["details"]["failures"].as_u64(), Some(failed.len() as u64), "{entry}");
    let binding = until("the binding to show it", SOON, || {
        let binding = operator.binding("flaky");
        (binding["live"] == good).then_some(binding)
    });
    assert_eq!(binding["previous"]["given_up"], true, "{binding}");

    // Given up is given up: it does not come back, on failures or on a restart.
    assert!(server.stop().success());
    server.start();
    let ask = || server.get("/flaky").header("x-flaky", "yes").send();
    assert_eq!(ask().expect(200).text(), "one");
    let automatic = operator.history("flaky").iter().filter(|entry| entry["actor"]["kind"] == "automatic").count();
    assert_eq!(automatic, 1, "no flip-flop");
    assert_eq!(operator.get("/history/verify")["whole"], true);
}

#[test]
fn with_nothing_to_go_back_to_it_is_left_alone_for_a_while() {
    let server = Server::new();
    let operator = Operator::new(&server, "grace");
    operator.install(&Plugin::flaky("1.0.0", json!({"answer": "one", "trap": "yes"})));
    operator.post("/bindings", &json!({"plugin": "flaky", "settings": flaky_at("/flaky")})).expect(200);
    let ask = |flaky: &str| server.get("/flaky").header("x-flaky", flaky).send();
    let breaker = || operator.binding("flaky")["shown"][0]["breaker"].as_str().unwrap().to_owned();
    let mut crashes = 0;
    while breaker() == "closed" {
        crashes += 1;
        assert!(crashes <= 20, "it is never left alone");
        assert_eq!(ask("yes").status, 503);
    }
    let began = Instant::now();
    let refused = ask("no");
    println!(
        "after {crashes} crashes: {} retry-after {:?}, breaker {}",
        refused.status,
        refused.header("retry-after"),
        breaker()
    );
    println!("  {}", refused.text().lines().next().unwrap_or_default());
    assert_eq!((refused.status, breaker().as_str()), (503, "open"), "{}", refused.text());
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|after| after >= 1), "{:?}", refused.headers);
    assert_eq!(server.get("/__ping__").send().status, 200, "other addresses go on");
    // A probe that fails makes the pause longer, one that is answered ends it.
    let failures = || operator.binding("flaky")["shown"][0]["failures"].as_u64().unwrap();
    let counted = failures();
    until("a probe that fails", SOON, || {
        ask("yes");
        (failures() > counted).then_some(())
    });
    assert_eq!(ask("no").status, 503, "one probe at a time, and a longer pause");
    until("a probe that is answered", SOON, || (ask("no").status == 200).then_some(()));
    println!("  recovered after {:.1} s; counters {:?}", began.elapsed().as_secs_f64(), operator.counters("flaky"));
    assert_eq!(breaker(), "closed");
    for _ in 0..10 {
        ask("no").expect(200);
    }
}

/// Sends bytes as they are; answers the first line of the reply.
fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    // The server may refuse before it has read everything.
    stream.write_all(bytes).ok();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).ok();
    String::from_utf8_lossy(&reply).lines().next().unwrap_or("closed").to_owned()
}

#[test]
fn every_attack_ends_with_its_request() {
    let server = Server::new();
    let operator = Operator::new(&server, "grace");
    operator.install(&Plugin::hostile());
    let bind = json!({"plugin": "hostile", "settings": {"phases": ["route"], "budget": endless()}});
    operator.post("/bindings", &bind).expect(200);
    let attacks = [
        ("endless loop", "/loop", "over_cpu"),
        ("endless recursion", "/recurse", "traps"),
        ("allocates without end", "/allocate", "over_memory"),
        ("sleeps for 30 s", "/sleep", "over_wall"),
        ("body of 100 MiB", "/huge", "over_memory"),
        ("body of 20 MiB", "/giant", "over_hostcall"),
        ("100,000 header fields", "/fields", "over_hostcall"),
        ("log line of 10 MiB", "/huge-log", "over_hostcall"),
        ("1 MiB of random bytes", "/random", "traps"),
        ("CR/LF in a field's value", "/crlf", "invalid_answers"),
        ("status 99", "/status", "invalid_answers"),
        ("sets transfer-encoding", "/framing", "invalid_answers"),
        ("redirect to another origin", "/away", "invalid_answers"),
        ("forwards to an address of its own", "/target", "invalid_answers"),
        ("sets a field that says who asks", "/identity", "invalid_answers"),
        ("panics", "/panic", "traps"),
        ("exits", "/exit", "traps"),
        ("says that it fails", "/failure", "refusals"),
        ("logs 1,000 lines", "/logs", "log_dropped"),
    ];
    println!("| what the guest does | client got | ms | operator saw | next request |");
    println!("|---|---|---|---|---|");
    let count = || server.get("/count").send();
    // What every request counts.
    let usual = |name: &str| ["routes", "fresh_instances"].contains(&name) || name.starts_with("learned_");
    for (what, path, counter) in attacks {
        let before = operator.counters("hostile");
        let began = Instant::now();
        let reply = server.get(path).send();
        let took = began.elapsed();
        let next = count();
        let after = operator.counters("hostile");
        let seen: Vec<String> = after
            .iter()
            .filter(|(name, value)| before.get(*name) != Some(value) && !usual(name))
            .map(|(name, value)| format!("{name} +{}", value - before.get(name).unwrap_or(&0)))
            .collect();
        println!(
            "| {what} | {} | {} | {} | {} {} |",
            reply.status,
            took.as_millis(),
            seen.join(", "),
            next.status,
            next.text()
        );
        assert!(seen.iter().any(|one| one.starts_with(counter)), "{what}: {seen:?}, not {counter}");
        assert_eq!((next.status, next.text().as_str()), (200, "0"), "the request after: {what}");
        assert!(took < Duration::from_secs(10), "{what} took {took:?}");
        assert!(!reply.headers.contains_key("set-cookie") && reply.header("location").is_empty(), "{what}: {reply:?}");
        if path != "/logs" {
            assert!(reply.status >= 500, "{what}: {}", reply.status);
            assert!(!reply.text().contains("hostile"), "visitors are not told of plugins: {}", reply.text());
        }
    }
    let many: String = (0..5_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long =
        format!("GET /count HTTP/1.1\r\nhost: h\r\nx-long: {}\r\nconnection: close\r\n\r\n", "x".repeat(1 << 20));
    let requests: [(&str, Vec<u8>); 5] = [
        (
            "request with 5,000 fields",
            format!("GET /count HTTP/1.1\r\nhost: h\r\n{many}connection: close\r\n\r\n").into(),
        ),
        ("request with a field of 1 MiB", long.into()),
        ("path that is not UTF-8, encoded", b"GET /%ff%fe HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n".to_vec()),
        ("path that is not UTF-8, raw", b"GET /\xff\xfe HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n".to_vec()),
        ("zero byte in the path", b"GET /a%00b HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n".to_vec()),
    ];
    for (what, bytes) in requests {
        let line = raw(&server, &bytes);
        let next = count();
        println!("| {what} | {line} | | | {} {} |", next.status, next.text());
        assert!(line == "closed" || line.contains(" 4"), "{what}: {line}");
        assert_eq!(next.expect(200).text(), "0", "the request after: {what}");
    }
    println!(
        "{}",
        tail(&server.log().lines().filter(|line| line.contains("hostile")).collect::<Vec<_>>().join("\n"), 24)
    );
}

#[test]
fn the_gate_goes_on_without_its_store() {
    let server = Server::new();
    let operator = Operator::new(&server, "grace");
    operator.install(&Plugin::flaky("1.0.0", json!({"answer": "one"})));
    operator.post("/bindings", &json!({"plugin": "flaky", "settings": flaky_at("/flaky")})).expect(200);
    let store = server.data().join("shared/plugins");
    let away = server.data().join("shared/away");
    std::fs::rename(&store, &away).unwrap();
    std::fs::write(&store, "in the way").unwrap();

    let next = Plugin::flaky("2.0.0", json!({"answer": "two"})).pack();
    let refused = operator.try_install(&next);
    println!("install without the store: {} {}", refused.status, refused.text());
    assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("unavailable")));
    let swapped = operator.post("/bindings/flaky/swap", &json!({"release": {"config": {"answer": "new"}}}));
    println!("swap without the store:    {} {}", swapped.status, swapped.text());
    assert_eq!(swapped.status, 503, "{}", swapped.text());
    assert_eq!(server.get("/flaky").send().expect(200).text(), "one", "the running gate goes on");
    assert_eq!(operator.binding("flaky")["shown"][0]["place"], "live");

    // Without the package of a live binding, what it guards is closed, and only that.
    assert!(server.stop().success());
    server.launch();
    assert!(!server.wait_stopped().success(), "it must not start without a store");
    println!("start without the store:\n{}", tail(&server.log(), 1));
    std::fs::remove_file(&store).unwrap();
    std::fs::create_dir(&store).unwrap();
    server.start();
    let closed = server.get("/flaky").send();
    println!("with an empty store: /flaky {}, / {}", closed.status, server.get("/").send().status);
    assert_eq!(closed.status, 503, "fails closed: {}", closed.text());
    assert!(server.get("/").send().status < 500, "others go on");
    let log = server.log();
    let told = log.lines().find(|line| line.contains("a binding cannot be loaded")).expect("a line that says which");
    println!("{told}");
    assert!(told.contains("flaky") && told.contains("not in the store"), "{told}");
    assert!(server.stop().success());

    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&away, &store).unwrap();
    server.start();
    assert_eq!(server.get("/flaky").send().expect(200).text(), "one");
    operator.try_install(&next).expect(200);
}

#[test]
fn a_server_that_missed_a_swap_catches_up() {
    let postgres = Postgres::start();
    let setup = || {
        Server::setup()
            .env("LECTERN_DATABASE__URL", postgres.url())
            .env("LECTERN_DATABASE__TLS_CA_FILE", postgres.authority.to_str().unwrap())
    };
    let first = setup().start();
    let shared = first.data().join("shared");
    // The second server reaches the store by a link of its own, so that it can be cut.
    let scratch = Scratch::new();
    let mount = scratch.join("shared");
    std::fs::create_dir(&mount).unwrap();
    for name in ["bundles", "plugins"] {
        std::os::unix::fs::symlink(shared.join(name), mount.join(name)).unwrap();
    }
    let second = setup().env("LECTERN_DATA__SHARED_DIR", mount.to_str().unwrap()).start_in(scratch);
    let operator = Operator::new(&first, "grace");
    operator.install(&Plugin::flaky("1.0.0", json!({"answer": "one"})));
    operator.post("/bindings", &json!({"plugin": "flaky", "settings": flaky_at("/flaky")})).expect(200);
    let shows = |server: &Server, answer: &str| (server.get("/flaky").send().text() == answer).then_some(());
    until("the binding at the second server", SOON, || shows(&second, "one"));
    // What each server says that it runs.
    let reported = || -> Vec<Value> {
        let nodes = operator.get("/nodes");
        nodes.as_array().unwrap().iter().map(|node| node["node"]["releases"]["flaky"].clone()).collect()
    };
    let old = operator.binding("flaky")["live"].clone();

    let link = mount.join("plugins");
    std::fs::remove_file(&link).unwrap();
    operator.install(&Plugin::flaky("2.0.0", json!({"answer": "two"})));
    let swap = json!({"release": {"version": "2.0.0", "config": {"answer": "two"}}});
    let new = operator.post("/bindings/flaky/swap", &swap).expect(200).json()["binding"]["live"].clone();
    until("that it notices", SOON, || second.log().contains("a binding stays as it is").then_some(()));
    assert_eq!((shows(&first, "two"), shows(&second, "one")), (Some(()), Some(())), "the running gate goes on");
    let seen = until("the report", SOON, || {
        let all = reported();
        (all.iter().any(|one| one["release"] == new) && all.iter().any(|one| one["release"] == old)).then_some(all)
    });
    println!("while the second server is without the store: {seen:?}");

    std::os::unix::fs::symlink(shared.join("plugins"), &link).unwrap();
    until("the swap at the second server", SOON, || shows(&second, "two"));
    until("its report", SOON, || {
        reported().iter().all(|one| one["release"] == new && one["state"] == "live").then_some(())
    });

    // A candidate that a server cannot load is missing there, and is tried again without a change of the binding.
    std::fs::remove_file(&link).unwrap();
    operator.install(&Plugin::flaky("3.0.0", json!({"answer": "three"})));
    let canary = json!({"release": {"version": "3.0.0", "config": {"answer": "three"}}, "per_ten_thousand": 10_000});
    operator.post("/bindings/flaky/canary", &canary).expect(200);
    until("that it notices", SOON, || second.log().contains("a release cannot be loaded").then_some(()));
    assert_eq!((shows(&first, "three"), shows(&second, "two")), (Some(()), Some(())), "the live release answers");
    std::os::unix::fs::symlink(shared.join("plugins"), &link).unwrap();
    until("the candidate at the second server", SOON, || shows(&second, "three"));
}

#[test]
fn two_servers_and_two_operators() {
    let postgres = Postgres::start();
    let setup = || {
        Server::setup()
            .env("LECTERN_DATABASE__URL", postgres.url())
            .env("LECTERN_DATABASE__TLS_CA_FILE", postgres.authority.to_str().unwrap())
    };
    let first = setup().start();
    let shared = first.data().join("shared");
    let second = setup().env("LECTERN_DATA__SHARED_DIR", shared.to_str().unwrap()).start();
    let (grace, linus) = (Operator::new(&first, "grace"), Operator::new(&first, "linus"));
    let linus = linus.at(&second);
    grace.install(&Plugin::flaky("1.0.0", json!({"answer": "one"})));
    grace.post("/bindings", &json!({"plugin": "flaky", "settings": flaky_at("/flaky")})).expect(200);
    let shows = |server: &Server, answer: &str| server.get("/flaky").send().text() == answer;
    until("the binding at the second server", SOON, || shows(&second, "one").then_some(()));

    let began = Instant::now();
    grace.post("/bindings/flaky/swap", &json!({"release": {"config": {"answer": "two"}}})).expect(200);
    assert!(shows(&first, "two"), "live here when it is answered");
    let here = began.elapsed();
    until("the swap at the second server", SOON, || shows(&second, "two").then_some(()));
    println!("a swap: live here after {here:?}, at the other server after {:?}", began.elapsed());
    let live = grace.binding("flaky")["live"].clone();
    let nodes = until("both servers' reports", SOON, || {
        let nodes = linus.get("/nodes");
        let all = nodes.as_array().unwrap().clone();
        let text = live.as_str().unwrap();
        (all.len() == 2 && all.iter().all(|node| node.to_string().contains(text))).then_some(nodes)
    });
    println!("{}", serde_json::to_string_pretty(&nodes).unwrap());

    for round in 0..5 {
        let revision = grace.binding("flaky")["revision"].clone();
        let swap = |operator: &Operator, answer: &str| {
            let release = json!({"config": {"answer": answer}});
            let body =
                json!({"release": release, "expect": {"revision": revision}, "reason": format!("round {round}")});
            operator.post("/bindings/flaky/swap", &body)
        };
        let (by_grace, by_linus) = std::thread::scope(|scope| {
            let one = scope.spawn(|| swap(&grace, &format!("grace {round}")));
            let other = scope.spawn(|| swap(&linus, &format!("linus {round}")));
            (one.join().unwrap(), other.join().unwrap())
        });
        let (winner, lost) = match (by_grace.status, by_linus.status) {
            (200, 409) => ("grace", by_linus),
            (409, 200) => ("linus", by_grace),
            other => panic!("{other:?}: {} {}", by_grace.text(), by_linus.text()),
        };
        println!("both at once: {winner} wins; the other is told: {}", lost.text());
        assert!(lost.text().contains(winner), "{}", lost.text());
        let answer = format!("{winner} {round}");
        for server in [&first, &second] {
            until("the winner's release", SOON, || shows(server, &answer).then_some(()));
        }
    }
    // A version that fails at one server is taken back at both.
    grace.post("/bindings/flaky/swap", &json!({"release": {"config": {"answer": "bad", "trap": "yes"}}})).expect(200);
    until("the bad version at the second server", SOON, || shows(&second, "bad").then_some(()));
    for _ in 0..10 {
        first.get("/flaky").header("x-flaky", "yes").send();
    }
    for server in [&first, &second] {
        until("the rollback", SOON, || (!shows(server, "bad")).then_some(()));
    }
    assert_eq!(grace.history("flaky").iter().filter(|entry| entry["actor"]["kind"] == "automatic").count(), 1);
    assert_eq!(linus.ask(Method::GET, "/history/verify").send().expect(200).json()["whole"], true);
}
