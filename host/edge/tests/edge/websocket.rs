//! WebSockets: bytes pass both ways as they are, until either side ends.

use std::sync::Arc;
use std::time::Duration;

use lectern_edge::Worker;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::harness::{LISTED, PUBLIC, SOON, Setup, World, mount, snapshot, until};

const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A worker that accepts, greets in the same packet, and then sends back what it gets.
pub(crate) fn echo(world: &World) -> Arc<Worker> {
    let worker = world.raw_worker(1, |mut stream: UnixStream| async move {
        let mut buffer = vec![0; 64 * 1024];
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        let head = String::from_utf8_lossy(&buffer[..read]).to_ascii_lowercase();
        if !head.contains("upgrade: websocket") || !head.contains("connection: upgrade") {
            let _ = stream.write_all(b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n").await;
            return;
        }
        stream.write_all(format!("{ACCEPT}greeting;").as_bytes()).await.unwrap();
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    });
    world.stage.offer(1, &worker);
    worker
}

pub(crate) fn handshake(target: &str, more: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// Reads until `end` has come.
pub(crate) async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut text = Vec::new();
    let read = async {
        while !text.ends_with(end.as_bytes()) {
            let mut byte = [0];
            if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                break;
            }
            text.push(byte[0]);
        }
    };
    tokio::time::timeout(SOON, read).await.expect("an answer");
    String::from_utf8_lossy(&text).into_owned()
}

async fn open(world: &World) -> TcpStream {
    let mut client = TcpStream::connect(world.address).await.unwrap();
    client.write_all(handshake(&format!("{}/ws", mount(PUBLIC)), "").as_bytes()).await.unwrap();
    let head = read_until(&mut client, "\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    for field in ["upgrade: websocket", "connection: upgrade", "sec-websocket-accept: ", "x-request-id: "] {
        assert!(head.contains(field), "{field} in {head}");
    }
    assert_eq!(read_until(&mut client, ";").await, "greeting;");
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_both_ways_until_the_client_ends() {
    let world = World::start().await;
    let worker = echo(&world);
    let mut client = open(&world).await;
    for n in 0..100 {
        client.write_all(format!("message {n};").as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut client, ";").await, format!("message {n};"));
    }
    // Much at once, both ways at a time.
    let large = vec![b'x'; 3 << 20];
    let (mut reader, mut writer) = client.split();
    let mut back = vec![0; large.len()];
    let (sent, received) = tokio::join!(writer.write_all(&large), reader.read_exact(&mut back));
    assert!(sent.is_ok() && received.is_ok() && back == large);
    assert_eq!(worker.in_flight(), 1, "a tunnel keeps its worker busy");
    drop(client);
    until("the tunnel ended", || worker.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_ends_the_tunnel() {
    let world = World::start().await;
    let worker = world.raw_worker(1, |mut stream: UnixStream| async move {
        let mut buffer = vec![0; 4096];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(ACCEPT.as_bytes()).await;
    });
    world.stage.offer(1, &worker);
    let mut client = TcpStream::connect(world.address).await.unwrap();
    client.write_all(handshake(&format!("{}/ws", mount(PUBLIC)), "").as_bytes()).await.unwrap();
    assert!(read_until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 101"));
    assert_eq!(read_until(&mut client, "never").await, "", "the end of the stream");
    drop(client);
    until("the tunnel ended", || worker.in_flight() == 0).await;
}

/// A worker that accepts, sends these bytes as messages, and says nothing more.
fn speaker(world: &World, bytes: &'static [u8]) -> Arc<Worker> {
    let worker = world.raw_worker(1, move |mut stream: UnixStream| async move {
        let mut buffer = vec![0; 4096];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(&[ACCEPT.as_bytes(), bytes].concat()).await;
        while let Ok(1..) = stream.read(&mut buffer).await {}
    });
    world.stage.offer(1, &worker);
    worker
}

/// What a client has got when the server has ended: before its grace is over, after it was handed over or stopped.
async fn at_the_end(sends: &'static [u8], handed_over: bool) -> Vec<u8> {
    let mut setup = Setup { grace: Duration::from_millis(200), ..Setup::default() };
    setup.config.handed_over_grace = Duration::from_millis(200);
    let mut world = World::with(setup).await;
    let worker = speaker(&world, sends);
    let mut client = TcpStream::connect(world.address).await.unwrap();
    client.write_all(handshake(&format!("{}/ws", mount(PUBLIC)), "").as_bytes()).await.unwrap();
    assert!(read_until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 101"));
    let mut got = vec![0; sends.len()];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(worker.in_flight(), 1);
    if handed_over {
        world.handed_over.cancel()
    } else {
        world.stop.cancel()
    }
    got.clear();
    let _ = tokio::time::timeout(SOON, client.read_to_end(&mut got)).await.expect("an end");
    let stopped = tokio::time::timeout(SOON, &mut world.running).await.expect("it stops").unwrap().unwrap();
    assert_eq!(stopped.cut, 1);
    got
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_says_so_between_two_messages() {
    // "Service restart", after which frameworks come again.
    let close = [0x88, 2, 0x03, 0xf4];
    assert_eq!(at_the_end(b"\x81\x05hello\x82\x00", false).await, close);
    assert_eq!(at_the_end(b"\x81\x05hello\x82\x00", true).await, close);
    assert_eq!(at_the_end(b"", false).await, close);
    // In the midst of one it would be taken for a part of it.
    assert_eq!(at_the_end(b"\x81\x05hel", false).await, [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_may_decline() {
    let world = World::start().await;
    world.worker(crate::harness::mirror);
    let answer = world.raw(handshake(&format!("{}/ws", mount(PUBLIC)), "connection: close\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#"["sec-websocket-version","13"]"#), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_websockets_pass_and_only_for_those_who_may() {
    let world = World::start().await;
    echo(&world);
    let target = format!("{}/ws", mount(PUBLIC));
    let h2c = format!(
        "GET {target} HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n\r\n"
    );
    assert!(world.raw(h2c.as_bytes()).await.starts_with("HTTP/1.1 426"), "the worker saw no upgrade");
    let listed = format!("{}/ws", mount(LISTED));
    let answer = world.raw(handshake(&listed, "connection: close\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let mut client = TcpStream::connect(world.address).await.unwrap();
    client.write_all(handshake(&listed, "authorization: Key key-viewer\r\n").as_bytes()).await.unwrap();
    assert!(read_until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 101"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_tunnel_is_closed_after_its_time() {
    let mut setup = Setup::default();
    setup.config.limits.header_timeout = Duration::from_millis(500);
    setup.snapshot = snapshot(|content| content.processes.read_timeout = Some(1));
    let world = World::with(setup).await;
    let worker = echo(&world);
    let mut client = open(&world).await;
    assert_eq!(read_until(&mut client, "never").await, "");
    until("the tunnel ended", || worker.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_get_the_grace_and_no_more() {
    let setup = Setup { grace: Duration::from_millis(300), ..Setup::default() };
    let mut world = World::with(setup).await;
    let worker = echo(&world);
    let mut client = open(&world).await;
    world.stop.cancel();
    client.write_all(b"still here;").await.unwrap();
    assert_eq!(read_until(&mut client, ";").await, "still here;");
    let stopped = tokio::time::timeout(SOON, &mut world.running).await.expect("it stops").unwrap().unwrap();
    assert_eq!(stopped.cut, 1);
    assert_eq!(read_until(&mut client, "never").await, "");
    assert_eq!(worker.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_of_shiny_lasts_as_long_as_its_websocket() {
    let world = World::start().await;
    echo(&world);
    // No use of Shiny.
    drop(open(&world).await);
    assert!(world.visits.1.lock().is_empty());
    let mut client = TcpStream::connect(world.address).await.unwrap();
    client.write_all(handshake(&format!("{}/websocket/", mount(crate::harness::SHINY)), "").as_bytes()).await.unwrap();
    assert!(read_until(&mut client, "greeting;").await.starts_with("HTTP/1.1 101"));
    let app = lectern_domain::ContentId(crate::harness::SHINY as i64);
    assert_eq!(*world.visits.1.lock(), [(app, true)]);
    drop(client);
    crate::harness::until("the use ends", || *world.visits.1.lock() == [(app, true), (app, false)]).await;
}
