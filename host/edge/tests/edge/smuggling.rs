//! Requests that two readers could take for two different things: refused, or ended with their connection.

use std::sync::Arc;

use http::Response;
use parking_lot::Mutex;

use crate::harness::{Body, PUBLIC, World, mount, ok};

/// Sends `request`, followed on the same connection by a request that must never be taken for one, and returns the first status
/// line and the targets that workers saw.
async fn attack(world: &World, seen: &Mutex<Vec<String>>, request: &str) -> (String, Vec<String>) {
    seen.lock().clear();
    let target = mount(PUBLIC);
    let request = request.replace("{}", &target);
    let answer = world.raw(request.as_bytes()).await;
    (answer.lines().next().unwrap_or_default().to_owned(), seen.lock().clone())
}

fn recording(
    seen: &Arc<Mutex<Vec<String>>>,
) -> impl Fn(http::Request<hyper::body::Incoming>) -> std::future::Ready<Response<Body>> + Clone + Send + 'static {
    let seen = seen.clone();
    move |request| {
        seen.lock().push(request.uri().path().to_owned());
        std::future::ready(ok("fine"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unclear_requests_are_refused() {
    let world = World::start().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    world.worker(recording(&seen));
    let tail = "GET {}/smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let head = "POST {}/ HTTP/1.1\r\nhost: x\r\n";
    let refused = [
        format!("{head}content-length: 5\r\ncontent-length: 6\r\n\r\nhello{tail}"),
        format!("{head}content-length: 5, 6\r\n\r\nhello{tail}"),
        format!("{head}content-length: +5\r\n\r\nhello{tail}"),
        format!("{head}content-length: 0x5\r\n\r\nhello{tail}"),
        format!("{head}content-length: -1\r\n\r\n{tail}"),
        format!("{head}transfer-encoding: gzip\r\n\r\n0\r\n\r\n{tail}"),
        format!("{head}transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n{tail}"),
        format!("{head}transfer-encoding: gzip, chunked\r\nconnection: close\r\n\r\n0\r\n\r\n"),
        format!("{head}transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n{tail}"),
        format!("{head}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{tail}"),
        // A space before the colon, a folded line, a bare carriage return, NUL.
        format!("{head}transfer-encoding : chunked\r\n\r\n0\r\n\r\n{tail}"),
        format!("{head}x: a\r\n folded\r\n\r\n{tail}"),
        format!("{head}x: a\rb\r\n\r\n{tail}"),
        format!("{head}x: a\0b\r\n\r\n{tail}"),
        format!("{head} x: a\r\n\r\n{tail}"),
        // HTTP/1.0 knows no chunks.
        format!("POST {{}}/ HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{tail}"),
        // Two hosts, none, and one that is none.
        "GET {}/ HTTP/1.1\r\nhost: x\r\nhost: y\r\nconnection: close\r\n\r\n".into(),
        "GET {}/ HTTP/1.1\r\nconnection: close\r\n\r\n".into(),
        "GET {}/ HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n".into(),
        "GET {}/ HTTP/1.1\r\nhost: user@x\r\nconnection: close\r\n\r\n".into(),
        "GET http://user@x{}/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
        // No paths.
        "GET {}/a%0d%0ab HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
        "GET {}/..%2f..%2fx HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
        "GET {}/%zz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
        "OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
        "CONNECT x:80 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
        "TRACE {}/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
        "GET {}/ HTTP/1.1\r\nhost: x\r\nexpect: 200-maybe\r\nconnection: close\r\n\r\n".into(),
        "hello\r\n\r\n".into(),
    ];
    for request in refused {
        let (status, seen) = attack(&world, &seen, &request).await;
        let code: u16 = status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        assert!((400..=599).contains(&code), "{request:?} was answered {status:?}");
        assert_eq!(seen, Vec::<String>::new(), "{request:?} reached the worker");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_an_ambiguous_body_is_never_a_request() {
    let world = World::start().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    world.worker(recording(&seen));
    let tail = "GET {}/smuggled HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let head = "POST {}/ HTTP/1.1\r\nhost: x\r\n";
    let ambiguous = [
        // The two lengths disagree: chunks count (RFC 9112 §6.1), and the connection ends.
        format!("{head}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{tail}"),
        format!("{head}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{tail}"),
        format!("{head}content-length: 6\r\ntransfer-encoding: CHUNKED\r\n\r\n0\r\n\r\nX{tail}"),
        // Broken chunks.
        format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n{tail}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n{tail}"),
        format!("{head}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{tail}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n-1\r\n{tail}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n{tail}"),
    ];
    for request in ambiguous {
        let (_, seen) = attack(&world, &seen, &request).await;
        assert!(seen.iter().all(|path| path == "/") && seen.len() <= 1, "{request:?} became {seen:?}");
    }
    // Two clear requests on one connection are two requests.
    let (status, seen) = attack(&world, &seen, &format!("{head}content-length: 5\r\n\r\nhello{tail}")).await;
    assert_eq!((status.as_str(), seen), ("HTTP/1.1 200 OK", vec!["/".to_owned(), "/smuggled".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_s_host_wins_over_the_field() {
    let world = World::start().await;
    world.worker(crate::harness::mirror);
    let request =
        format!("GET http://other.example:81{}/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", mount(PUBLIC));
    let answer = world.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#"["host","other.example:81"]"#), "{answer}");
    assert!(answer.contains(r#"["x-forwarded-port","81"]"#), "{answer}");
}
