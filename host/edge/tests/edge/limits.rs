//! Limits of size and time, each with the answer or the end that it leads to.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{PUBLIC, SOON, Setup, World, boxed, mirror, mount, ok, request, snapshot, until};

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_bounded() {
    let world = World::start().await;
    world.worker(mirror);
    let target = mount(PUBLIC);
    let with = |fields: String| format!("GET {target}/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}\r\n");
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let few: String = (0..80).map(|n| format!("x-{n}: 1\r\n")).collect();
    let cases = [
        (with(format!("x: {}\r\n", "a".repeat(40 * 1024))), "HTTP/1.1 431"),
        (with(many), "HTTP/1.1 431"),
        (with(few), "HTTP/1.1 200"),
        (with(format!("x: {}\r\n", "a".repeat(20 * 1024))), "HTTP/1.1 200"),
        (
            format!("GET {target}/{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "a".repeat(10_000)),
            "HTTP/1.1 414",
        ),
    ];
    for (bytes, status) in cases {
        let answer = world.raw(bytes.as_bytes()).await;
        assert!(answer.starts_with(status), "{} bytes were answered {:?}", bytes.len(), answer.lines().next());
    }
}

fn quick() -> Setup {
    let mut setup = Setup::default();
    setup.config.limits.header_timeout = Duration::from_millis(400);
    setup.config.limits.idle_timeout = Duration::from_millis(800);
    setup
}

/// How long the edge keeps a connection whose client sends a byte of `bytes` each 50 ms and then nothing.
async fn kept(world: &World, bytes: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let began = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let trickle = async {
        for byte in bytes {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut rest = Vec::new();
    tokio::select! {
        () = trickle => {}
        ended = tokio::time::timeout(SOON, reader.read_to_end(&mut rest)) => { let _ = ended.expect("the edge closes"); }
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_are_cut() {
    let world = World::with(quick()).await;
    // Nothing at all, one byte at a time, and the beginning of HTTP/2 that never ends.
    for bytes in [&b""[..], b"GET / HTTP/1.1\r\nx: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", b"PRI * HT"] {
        let kept = kept(&world, bytes).await;
        assert!((Duration::from_millis(300)..Duration::from_secs(10)).contains(&kept), "{bytes:?}: {kept:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_later_than_slow_heads() {
    let world = World::with(quick()).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let mut answer = Vec::new();
    stream.write_all(b"GET /__ping__ HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let began = Instant::now();
    tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the edge closes").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"{}"));
    assert!(began.elapsed() >= Duration::from_millis(700), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_a_408() {
    let mut setup = quick();
    setup.snapshot = snapshot(|content| content.processes.read_timeout = Some(1));
    let world = World::with(setup).await;
    let worker = world.worker(mirror);
    let head = format!("POST {}/ HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf", mount(PUBLIC));
    let answer = world.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    until("the worker is free", || worker.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_never_answers_is_a_504() {
    let mut setup = quick();
    setup.snapshot = snapshot(|content| content.processes.connection_timeout = Some(1));
    let world = World::with(setup).await;
    let worker = world.worker(|_| async {
        std::future::pending::<()>().await;
        ok("")
    });
    let answer = world.get(&format!("{}/", mount(PUBLIC))).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(answer.text().contains(answer.field("x-request-id").unwrap()));
    until("the worker is free", || worker.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_stalls_is_cut_and_zero_is_never() {
    let mut setup = quick();
    setup.snapshot = snapshot(|content| content.processes.connection_timeout = Some(1));
    let world = World::with(setup).await;
    let stalls = |_| async {
        let (feed, body) = crate::harness::fed();
        feed.send(Ok("half".into())).await.unwrap();
        // Kept open, and never fed again.
        tokio::spawn(async move { feed.closed().await });
        http::Response::new(body)
    };
    world.worker(stalls);
    let answer = world.get(&format!("{}/", mount(PUBLIC))).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.is_err());

    let mut setup = quick();
    setup.snapshot = snapshot(|content| {
        content.processes.connection_timeout = Some(0);
        content.processes.read_timeout = Some(0);
    });
    let world = World::with(setup).await;
    world.worker(|_| async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        ok("late")
    });
    assert_eq!(world.get(&format!("{}/", mount(PUBLIC))).await.text(), "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_and_idle_ones_make_room() {
    let mut setup = Setup::default();
    setup.config.limits.connections_per_thread = 4;
    setup.config.limits.pressed_idle = Duration::from_millis(200);
    let world = World::with(setup).await;
    world.worker(|_| async { ok("fine") });
    let target = format!("{}/", mount(PUBLIC));
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut client = world.connect().await;
        assert_eq!(client.send(request(Method::GET, &target, &[], boxed(""))).await.text(), "fine");
        held.push(client);
    }
    // The fifth gets its turn when one of those that do nothing was closed.
    assert_eq!(world.get(&target).await.text(), "fine");
}
