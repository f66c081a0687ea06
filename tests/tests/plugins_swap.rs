//! Swaps under load: no request fails, every answer is the right one, and nothing is left behind.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use lectern_tests::apps;
use lectern_tests::http::{RUNTIME, pool};
use lectern_tests::plugins::Operator;
use lectern_tests::publisher::Publisher;
use lectern_tests::server::Server;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// Connections that ask all the time, and how often each asks at most: 640 requests a second together.
const CONNECTIONS: usize = 8;
const PACE: Duration = Duration::from_micros(12_500);
/// After so many swaps, all that is kept from one to the next is there.
const SETTLED: usize = 50;
/// What the server may grow by afterwards, in KiB: allocators keep pages, releases that leaked would be more.
const GROWTH_KIB: u64 = 48 << 10;

/// Resident memory of a process, in KiB.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Median and 99th percentile.
fn percentiles(mut micros: Vec<u64>) -> (u64, u64) {
    micros.sort_unstable();
    let at = |share: usize| micros.get((micros.len() * share / 100).min(micros.len().saturating_sub(1))).copied();
    (at(50).unwrap_or(0), at(99).unwrap_or(0))
}

#[test]
fn swaps_under_load_fail_no_request() {
    let swaps: usize = std::env::var("LECTERN_TEST_SWAPS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let server = Server::new();
    let operator = Operator::new(&server, "grace");
    let guid = Publisher::new(&server, &operator.account).publish("steady", &apps::page("Steady"));
    let shows = |host: &str| {
        let reply = server.get("/").header("host", host).key(&operator.account.key).send();
        reply.text().contains("<title>Steady</title>")
    };
    assert!(!shows("other.example"));

    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..CONNECTIONS {
        // A pool of its own is a connection of its own.
        let (client, stop) = (pool(), Arc::clone(&stop));
        let (url, key) = (format!("{}/content/{guid}/", server.url()), operator.account.key.clone());
        load.spawn_on(
            async move {
                let (mut asked, mut wrong, mut slowest) = (0_u64, Vec::new(), Duration::ZERO);
                let mut pace = interval(PACE);
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                while !stop.load(Ordering::Relaxed) {
                    pace.tick().await;
                    asked += 1;
                    let began = Instant::now();
                    let request = Request::get(&url).header("authorization", format!("Key {key}"));
                    let reply = client.request(request.body(Full::new(Bytes::new())).unwrap()).await;
                    match reply {
                        Err(error) => wrong.push(error.to_string()),
                        Ok(reply) => {
                            let status = reply.status();
                            match reply.into_body().collect().await {
                                Err(error) => wrong.push(error.to_string()),
                                Ok(body) => {
                                    let body = body.to_bytes();
                                    if status != 200 || !body.windows(6).any(|part| part == b"Steady") {
                                        wrong.push(format!("{status}: {}", String::from_utf8_lossy(&body)));
                                    }
                                }
                            }
                        }
                    }
                    slowest = slowest.max(began.elapsed());
                }
                (asked, wrong, slowest)
            },
            RUNTIME.handle(),
        );
    }

    let began = Instant::now();
    let before = resident(server.pid());
    let (mut settled, mut live_micros) = (before, Vec::new());
    let mut generation = operator.get("/plugins")["generation"].as_i64().unwrap();
    for n in 1..=swaps {
        let hosts = if n % 2 == 1 { json!({"other.example": guid}) } else { json!({}) };
        let command = json!({"release": {"config": {"hosts": hosts}}, "reason": format!("swap {n}")});
        let sent = Instant::now();
        let done = operator.post("/bindings/content-router/swap", &command).expect(200).json();
        live_micros.push(u64::try_from(sent.elapsed().as_micros()).unwrap());
        let now = done["shown"]["generation"].as_i64().unwrap();
        assert!(now > generation, "swap {n}: {now} after {generation}");
        generation = now;
        assert_eq!(shows("other.example"), n % 2 == 1, "swap {n} is live when it is answered");
        if n == SETTLED.min(swaps) {
            settled = resident(server.pid());
        }
    }
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let asked = RUNTIME.block_on(load.join_all());
    let after = resident(server.pid());

    let requests: u64 = asked.iter().map(|(asked, ..)| asked).sum();
    let wrong: Vec<&String> = asked.iter().flat_map(|(_, wrong, _)| wrong).collect();
    let slowest = asked.iter().map(|(.., slowest)| *slowest).max().unwrap();
    let log = server.log();
    let drained: Vec<u64> = log
        .lines()
        .filter_map(|line| {
            line.split_once("drained_micros")?
                .1
                .split(|c: char| !c.is_ascii_digit())
                .find(|n| !n.is_empty())?
                .parse()
                .ok()
        })
        .collect();
    let (live_p50, live_p99) = percentiles(live_micros);
    let (drained_p50, drained_p99) = percentiles(drained.clone());
    println!("swaps                 {swaps} in {:.1} s", took.as_secs_f64());
    println!(
        "requests              {requests}, {:.0} a second on {CONNECTIONS} connections",
        requests as f64 / took.as_secs_f64()
    );
    println!("failures              {}", wrong.len());
    println!("slowest request       {slowest:?}");
    println!("command to live       p50 {live_p50} µs, p99 {live_p99} µs");
    println!("drain of old chains   p50 {drained_p50} µs, p99 {drained_p99} µs, of {}", drained.len());
    println!(
        "resident memory       {before} KiB before, {settled} KiB after {}, {after} KiB after {swaps}",
        SETTLED.min(swaps)
    );
    assert!(wrong.is_empty(), "{:?}", &wrong[..wrong.len().min(5)]);
    assert!(drained.len() >= swaps, "every old chain ends: {} of {swaps}", drained.len());
    assert!(after <= settled + GROWTH_KIB, "{after} KiB after {settled} KiB");

    let chain = operator.get("/history/verify");
    assert_eq!(chain["whole"], true, "{chain}");
    let entries = operator.history("content-router");
    let seen = entries.iter().filter(|entry| entry["reason"].as_str().unwrap().starts_with("swap ")).count();
    assert!(seen == swaps || entries.len() == 1_000, "{seen} of {swaps} swaps in {} entries", entries.len());
}
