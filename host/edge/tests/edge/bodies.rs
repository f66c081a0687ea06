//! Bodies pass as they come: never whole, never faster than they are read, and never cut without either side knowing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Method, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, UnixStream};

use crate::harness::{Body, PUBLIC, SOON, World, boxed, fed, mount, ok, request, until};

const CHUNK: usize = 64 * 1024;

/// What may be under way between a stopped reader and an eager writer: the buffers of two kernels' sockets (loopback TCP grows to
/// some 10 MiB) and of two hyper connections. Far below what is offered.
const UNDER_WAY: usize = 24 << 20;
const OFFERED: usize = 256 << 20;

/// Waits until a count stays the same for a while, and returns it.
async fn settled(count: &AtomicUsize) -> usize {
    let mut last = (count.load(Ordering::SeqCst), 0);
    let settle = async {
        while last.1 < 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = count.load(Ordering::SeqCst);
            last = if now == last.0 && now > 0 { (now, last.1 + 1) } else { (now, 0) };
        }
        last.0
    };
    tokio::time::timeout(SOON, settle).await.expect("the flow stops")
}

/// Says when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A body of `chunks` chunks that counts what was taken of it.
fn counted(chunks: usize, taken: Arc<AtomicUsize>, dropped: Arc<AtomicBool>) -> Body {
    let dropped = Dropped(dropped);
    let stream = futures_util::stream::iter(0..chunks).map(move |_| {
        let _ = &dropped;
        taken.fetch_add(CHUNK, Ordering::SeqCst);
        Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[7; CHUNK])))
    });
    StreamBody::new(stream).map_err(Into::into).boxed_unsync()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_arrive_unchanged_both_ways() {
    let world = World::start().await;
    world.worker(|request| async move {
        let (parts, body) = request.into_parts();
        let mut response = Response::new(body.map_err(Into::into).boxed_unsync());
        if let Some(length) = parts.headers.get("content-length") {
            response.headers_mut().insert("content-length", length.clone());
        }
        response
    });
    let sent: Vec<u8> = (0..8_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent = Bytes::from(sent);
    let target = format!("{}/echo", mount(PUBLIC));
    let mut client = world.connect().await;
    for _ in 0..2 {
        let answer = client.send(request(Method::POST, &target, &[], boxed(sent.clone()))).await;
        assert_eq!(answer.field("content-length"), Some("8000000"));
        assert!(answer.body.as_ref() == Ok(&sent));
    }
    // The same of unknown length, in pieces of odd sizes.
    let (feed, body) = fed();
    let pieces = sent.clone();
    tokio::spawn(async move {
        for piece in pieces.chunks(77_777) {
            feed.send(Ok(Bytes::copy_from_slice(piece))).await.unwrap();
        }
    });
    let answer = client.send(request(Method::POST, &target, &[], body)).await;
    assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
    assert!(answer.body.as_ref() == Ok(&sent));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_at_once() {
    let world = World::start().await;
    world.worker(|request| async move { Response::new(request.into_body().map_err(Into::into).boxed_unsync()) });
    let (feed, body) = fed();
    let mut client = world.connect().await;
    feed.send(Ok(Bytes::from_static(b"0"))).await.unwrap();
    let response = client.begin(request(Method::POST, &format!("{}/", mount(PUBLIC)), &[], body)).await.unwrap();
    let mut answer = response.into_body();
    // Each piece is answered before the next is sent: nothing waits for the end of the request.
    for n in 0..50 {
        let frame = tokio::time::timeout(SOON, answer.frame()).await.expect("the echo of each piece").unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), n.to_string());
        feed.send(Ok(Bytes::from((n + 1).to_string()))).await.unwrap();
    }
    drop(feed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_the_worker() {
    let world = World::start().await;
    let (taken, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, flag) = (taken.clone(), dropped.clone());
    let worker = world.worker(move |_| {
        let body = counted(OFFERED / CHUNK, count.clone(), flag.clone());
        async move { Response::new(body) }
    });
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut client = socket.connect(world.address).await.unwrap();
    let head = format!("GET {}/ HTTP/1.1\r\nhost: x\r\n\r\n", mount(PUBLIC));
    client.write_all(head.as_bytes()).await.unwrap();
    let under_way = settled(&taken).await;
    assert!(under_way < UNDER_WAY, "{under_way} bytes were taken from the worker for a reader that reads nothing");
    assert_eq!(worker.in_flight(), 1);
    // And goes on when it reads again.
    let mut some = vec![0; 4 << 20];
    client.read_exact(&mut some).await.unwrap();
    until("more is taken", || taken.load(Ordering::SeqCst) > under_way).await;
    assert!(!dropped.load(Ordering::SeqCst));
    drop(client);
    until("the worker learns that the client left", || dropped.load(Ordering::SeqCst)).await;
    until("and counts as free", || worker.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_worker_slows_the_client() {
    let world = World::start().await;
    let release = Arc::new(tokio::sync::Notify::new());
    let gate = release.clone();
    world.worker(move |request| {
        let gate = gate.clone();
        async move {
            gate.notified().await;
            let mut bytes = 0;
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.into_data().map_or(0, |data| data.len());
            }
            ok(bytes.to_string())
        }
    });
    let (taken, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let total = 64 << 20;
    let body = counted(total / CHUNK, taken.clone(), dropped);
    let mut client = world.connect().await;
    let sending =
        tokio::spawn(async move { client.send(request(Method::PUT, &format!("{}/", mount(PUBLIC)), &[], body)).await });
    let under_way = settled(&taken).await;
    assert!(under_way < UNDER_WAY, "{under_way} bytes were taken from the client for a worker that reads nothing");
    release.notify_one();
    assert_eq!(sending.await.unwrap().text(), total.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_in_the_middle_never_looks_complete() {
    let world = World::start().await;
    let heads = [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ];
    for (bundle, text) in heads.into_iter().enumerate() {
        let worker = world.raw_worker(bundle as i64, move |mut stream: UnixStream| async move {
            let mut buffer = vec![0; 1024];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(text.as_bytes()).await;
        });
        world.stage.offer(1, &worker);
        let mut client = world.connect().await;
        let get = request(Method::GET, &format!("{}/", mount(PUBLIC)), &[], boxed(""));
        // The end may come before the head was on its way: then there is no answer at all.
        if let Ok(response) = client.begin(get).await {
            assert_eq!(response.status(), StatusCode::OK);
            let body = response.into_body().collect().await;
            assert!(body.is_err(), "{text:?} looked complete: {:?}", body.map(|body| body.to_bytes()));
        }
        until("the worker counts as free", || worker.in_flight() == 0).await;
    }
    // A worker that ends its answer by closing has ended it, and the client sees a proper end.
    let worker = world.raw_worker(9, |mut stream: UnixStream| async move {
        let mut buffer = vec![0; 1024];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nall of it").await;
    });
    world.stage.offer(1, &worker);
    assert_eq!(world.get(&format!("{}/", mount(PUBLIC))).await.text(), "all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_cut_in_the_middle_reaches_the_worker_as_cut() {
    let world = World::start().await;
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    world.worker(move |request| {
        let tell = tell.clone();
        async move {
            tell.send(request.into_body().collect().await.map(|body| body.to_bytes()).is_ok()).await.unwrap();
            ok("")
        }
    });
    let target = mount(PUBLIC);
    for framing in ["content-length: 100\r\n\r\nhalf", "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let mut client = tokio::net::TcpStream::connect(world.address).await.unwrap();
        client.write_all(format!("POST {target}/ HTTP/1.1\r\nhost: x\r\n{framing}").as_bytes()).await.unwrap();
        client.flush().await.unwrap();
        drop(client);
        let whole = tokio::time::timeout(SOON, told.recv()).await.expect("the worker learns it");
        assert_eq!(whole, Some(false), "{framing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_request_along() {
    let world = World::start().await;
    let (begun, dropped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (begin, drop_flag) = (begun.clone(), dropped.clone());
    let worker = world.worker(move |_| {
        let (begin, guard) = (begin.clone(), Dropped(drop_flag.clone()));
        async move {
            begin.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await;
            drop(guard);
            ok("")
        }
    });
    let mut client = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let head = format!("GET {}/ HTTP/1.1\r\nhost: x\r\n\r\n", mount(PUBLIC));
    client.write_all(head.as_bytes()).await.unwrap();
    until("the worker has it", || begun.load(Ordering::SeqCst)).await;
    drop(client);
    until("the worker is told", || dropped.load(Ordering::SeqCst) && worker.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_a_client_that_sends_all_before_it_reads() {
    let world = World::start().await;
    let target = mount(PUBLIC);
    let length = 24 << 20;
    for (target, fields, status) in [
        ("/nothing/here".to_owned(), "", "HTTP/1.1 404"),
        (format!("{target}/"), "authorization: Key wrong\r\n", "HTTP/1.1 401"),
        ("/__plugin__/password-login/".to_owned(), "", "HTTP/1.1 413"),
    ] {
        for round in 0..5 {
            let mut client = tokio::net::TcpStream::connect(world.address).await.unwrap();
            let head = format!(
                "POST {target} HTTP/1.1\r\nhost: x\r\n{fields}connection: close\r\ncontent-length: {length}\r\n\r\n"
            );
            client.write_all(head.as_bytes()).await.unwrap();
            let sent = client.write_all(&vec![0; length]).await;
            assert!(sent.is_ok(), "{status} in round {round}: {sent:?}");
            let mut answer = String::new();
            let read = client.read_to_string(&mut answer).await;
            assert!(read.is_ok() && answer.starts_with(status), "{status} in round {round}: {read:?} {answer}");
        }
    }
    // A client that asks first is told at once, and sends nothing.
    let mut client = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let head = b"POST /nothing HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    client.write_all(head).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(SOON, client.read_to_string(&mut answer)).await.expect("an answer").unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_announced_and_awaited() {
    let world = World::start().await;
    world.worker(crate::harness::mirror);
    let mut client = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST {}/ HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\nconnection: close\r\n\r\n",
        mount(PUBLIC)
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut interim = vec![0; 25];
    tokio::time::timeout(SOON, client.read_exact(&mut interim)).await.expect("an interim answer").unwrap();
    assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hello").await.unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("\"body\":\"hello\"") && !rest.contains("[\"expect\""), "{rest}");
}
