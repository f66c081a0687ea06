//! Real servers on loopback, which exceptions open, and names that resolve to what they should not.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;
use std::future::Future;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::{AUTHORIZATION, HeaderValue};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::*;

/// Long enough for anything that happens at all.
const PATIENCE: Duration = Duration::from_secs(20);
const PLAIN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-from: here\r\n\r\nhello";

/// What came to a server.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    heads: Mutex<Vec<String>>,
    ended: Notify,
}

impl Seen {
    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads the head of a request; `None`: the client is gone.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Answers each request on a connection with these bytes, which may be less than an answer.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: Arc<Seen>, bytes: Arc<Vec<u8>>) {
    while let Some(head) = head(&mut stream).await {
        seen.heads.lock().push(head);
        if stream.write_all(&bytes).await.is_err() {
            break;
        }
    }
    seen.ended.notify_one();
}

/// A server on this address that answers with these bytes.
async fn serve_on(address: &str, bytes: impl Into<Vec<u8>>, tls: Option<TlsAcceptor>) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let (address, seen, bytes) = (listener.local_addr().unwrap(), Arc::new(Seen::default()), Arc::new(bytes.into()));
    let shared = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            shared.connections.fetch_add(1, Ordering::SeqCst);
            let (seen, bytes, tls) = (Arc::clone(&shared), Arc::clone(&bytes), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => answer(stream, seen, bytes).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer(stream, seen, bytes).await;
                        }
                    }
                }
            });
        }
    });
    (address, seen)
}

async fn serve(bytes: impl Into<Vec<u8>>) -> (SocketAddr, Arc<Seen>) {
    serve_on("127.0.0.1:0", bytes, None).await
}

/// Answers each look-up with the next list; the last one stays.
struct Scripted(Mutex<VecDeque<Vec<IpAddr>>>);

#[async_trait]
impl Resolve for Scripted {
    async fn resolve(&self, _: &str, _: u16) -> std::io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock();
        let last = answers.len() == 1;
        let answer = if last { answers.front().cloned() } else { answers.pop_front() };
        answer.ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

fn outbound(exceptions: &[String], names: &[&[&str]], ca_file: Option<&Path>) -> HttpOutbound {
    let exceptions = exceptions.iter().map(|text| text.parse().unwrap()).collect();
    let answers = names.iter().map(|list| list.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
    let resolver = Arc::new(Scripted(Mutex::new(answers)));
    let policy = Policy::new(exceptions, "outbound.allow");
    let authorities = Authorities { file: ca_file, setting: "outbound.ca_file" };
    HttpOutbound::with_resolver(policy, authorities, tokio::runtime::Handle::current(), resolver).unwrap()
}

fn get(url: &str) -> OutboundRequest {
    OutboundRequest {
        method: Method::GET,
        url: Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}")),
        headers: HeaderMap::new(),
        body: Vec::new(),
        timeout: PATIENCE,
        max_body_bytes: 1024,
    }
}

fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let waited = tokio::time::timeout(PATIENCE, future);
    async { waited.await.unwrap_or_else(|_| panic!("it does not happen")) }
}

#[tokio::test]
async fn what_is_local_is_not_reached() {
    let (address, seen) = serve(PLAIN).await;
    let port = address.port();
    let outbound = outbound(&[format!("127.0.0.1:{}", port ^ 1)], &[&["127.0.0.1", "::1", "169.254.169.254"]], None);
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "LOCALHOST.",
        "innocent.example",
        "%6cocalhost",
        "１２７.0.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
    ] {
        let outcome = outbound.fetch(get(&format!("http://{host}:{port}/"))).await;
        assert!(matches!(outcome, Err(OutboundError::Forbidden(_))), "{host}: {outcome:?}");
    }
    assert_eq!(seen.connections(), 0);
}

#[tokio::test]
async fn exceptions_are_reached_by_address_and_by_name() {
    let (address, seen) = serve(PLAIN).await;
    let outbound = outbound(&[address.to_string()], &[&["127.0.0.1"]], None);
    for host in ["127.0.0.1", "service.example"] {
        let answer = outbound.fetch(get(&format!("http://{host}:{}/a?b=c#d", address.port()))).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"hello"[..]));
        assert_eq!(answer.headers["x-from"], "here");
        let head = seen.heads.lock().pop().unwrap();
        assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: {host}:{}\r\n", address.port())), "{head}");
    }
}

/// A name that first resolves to what is allowed and then to what is not; the one server stands for the public Internet.
#[tokio::test]
async fn names_that_move_are_judged_again() {
    // Closes after each answer, so that each request opens a connection.
    let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let (address, seen) = serve(closing).await;
    let (_, inner) = serve_on(&format!("127.0.0.2:{}", address.port()), PLAIN, None).await;
    let names: [&[&str]; 3] = [&["127.0.0.1"], &["127.0.0.2", "127.0.0.1"], &["127.0.0.2"]];
    let outbound = outbound(&[address.to_string()], &names, None);
    let url = format!("http://moving.example:{}/", address.port());
    assert!(outbound.fetch(get(&url)).await.is_ok());
    assert!(outbound.fetch(get(&url)).await.is_ok(), "only the address that passed is connected to");
    let outcome = outbound.fetch(get(&url)).await;
    assert!(matches!(&outcome, Err(OutboundError::Forbidden(why)) if why.contains("127.0.0.2")), "{outcome:?}");
    assert_eq!((seen.connections(), inner.connections()), (2, 0));
}

#[tokio::test]
async fn connections_are_kept_by_origin() {
    let (address, seen) = serve(PLAIN).await;
    let (port, allowed) = (address.port(), address.to_string());
    let outbound = outbound(&[allowed], &[&["127.0.0.1"], &["127.0.0.2"]], None);
    for _ in 0..3 {
        // The first look-up counts as long as its connection is kept.
        assert!(outbound.fetch(get(&format!("http://one.example:{port}/"))).await.is_ok());
    }
    assert_eq!(seen.connections(), 1);
    let other = outbound.fetch(get(&format!("http://two.example:{port}/"))).await;
    assert!(matches!(other, Err(OutboundError::Forbidden(_))), "another name, another judgement: {other:?}");
}

#[tokio::test]
async fn redirects_are_answers() {
    let (inner, seen) = serve(PLAIN).await;
    let text = format!("HTTP/1.1 302 Found\r\nlocation: http://{inner}/\r\ncontent-length: 0\r\n\r\n");
    let (address, _) = serve(text).await;
    let outbound = outbound(&[address.to_string(), inner.to_string()], &[&[]], None);
    let answer = outbound.fetch(get(&format!("http://{address}/"))).await.unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_eq!(answer.headers["location"], format!("http://{inner}/"));
    assert_eq!(seen.connections(), 0);
}

#[tokio::test]
async fn answers_are_counted() {
    let exact = "x".repeat(1024);
    let cases: [(Vec<u8>, bool); 5] = [
        (format!("HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n{exact}").into(), true),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1025\r\n\r\n".to_vec(), false),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n".to_vec(), false),
        (format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n400\r\n{exact}\r\n1\r\nx\r\n").into(), false),
        (format!("HTTP/1.1 200 OK\r\n\r\n{exact}{exact}").into(), false),
    ];
    for (bytes, fits) in cases {
        let shown = String::from_utf8_lossy(&bytes[..60.min(bytes.len())]).into_owned();
        let (address, seen) = serve(bytes).await;
        let outbound = outbound(&[address.to_string()], &[&[]], None);
        let outcome = within(outbound.fetch(get(&format!("http://{address}/")))).await;
        match outcome {
            Ok(answer) => assert!(fits && answer.body.len() == 1024, "{shown}"),
            Err(error) => {
                // hyper refuses the length that cannot be.
                let is_refused = error == OutboundError::TooLarge || shown.contains("18446744073709551615");
                assert!(!fits && is_refused, "{shown}: {error:?}");
                drop(outbound);
                within(seen.ended.notified()).await;
            }
        }
    }
}

#[tokio::test]
async fn heads_are_bounded() {
    for head in [
        format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(HEAD_BYTES * 2)),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(HEAD_FIELDS + 1)),
        "not HTTP at all\r\n\r\n".into(),
    ] {
        let (address, _) = serve(head).await;
        let outbound = outbound(&[address.to_string()], &[&[]], None);
        let outcome = within(outbound.fetch(get(&format!("http://{address}/")))).await;
        assert!(matches!(outcome, Err(OutboundError::Failed(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn the_whole_exchange_is_timed() {
    let soon = |url: &str| OutboundRequest { timeout: Duration::from_millis(50), ..get(url) };
    for silent in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhe"] {
        let (address, seen) = serve(silent).await;
        let outbound = outbound(&[address.to_string()], &[&[]], None);
        let outcome = within(outbound.fetch(soon(&format!("http://{address}/")))).await;
        assert_eq!(outcome.map(drop), Err(OutboundError::Timeout), "{silent:?}");
        within(seen.ended.notified()).await;
    }
    // Waiting for others counts.
    let (address, seen) = serve(PLAIN).await;
    let outbound = outbound(&[address.to_string()], &[&[]], None);
    let all = outbound.permits.acquire_many(u32::try_from(EXCHANGES).unwrap()).await.unwrap();
    let outcome = outbound.fetch(soon(&format!("http://{address}/"))).await;
    assert_eq!(outcome.map(drop), Err(OutboundError::Timeout));
    assert_eq!(seen.connections(), 0);
    drop(all);
    assert!(outbound.fetch(get(&format!("http://{address}/"))).await.is_ok());
}

#[tokio::test]
async fn who_stops_waiting_ends_the_exchange() {
    let (address, seen) = serve("").await;
    let outbound = Arc::new(outbound(&[address.to_string()], &[&[]], None));
    let url = format!("http://{address}/");
    let waiting = tokio::spawn({
        let outbound = Arc::clone(&outbound);
        async move { outbound.fetch(get(&url)).await.map(drop) }
    });
    within(async {
        while seen.heads.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    waiting.abort();
    within(seen.ended.notified()).await;
    let all = within(outbound.permits.acquire_many(u32::try_from(EXCHANGES).unwrap())).await;
    assert!(all.is_ok(), "its place is free");
}

#[tokio::test]
async fn fields_of_the_connection_are_its_own() {
    let (address, seen) = serve(PLAIN).await;
    let outbound = outbound(&[address.to_string()], &[&[]], None);
    let mut request = get(&format!("http://{address}/"));
    request.method = Method::POST;
    request.body = b"sent".to_vec();
    for name in OWN_FIELDS {
        request.headers.insert(name, HeaderValue::from_static("evil.example"));
    }
    request.headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    outbound.fetch(request).await.unwrap();
    let head = seen.heads.lock().pop().unwrap();
    assert!(!head.contains("evil"), "{head}");
    assert!(head.contains(&format!("host: {address}\r\n")) && head.contains("content-length: 4\r\n"), "{head}");
    assert!(head.contains("authorization: Bearer x\r\n"), "{head}");
}

#[tokio::test]
async fn addresses_that_are_none() {
    let outbound = outbound(&["0.0.0.0/0".into()], &[&[]], None);
    for url in ["ftp://127.0.0.1/", "file:///etc/passwd", "data:,x", "unix:/run/x", "http://user:pass@127.0.0.1/"] {
        let outcome = outbound.fetch(get(url)).await;
        assert!(matches!(outcome, Err(OutboundError::Failed(_))), "{url}: {outcome:?}");
    }
    let outcome = outbound.fetch(get("http://nowhere.example/")).await;
    assert_eq!(outcome.map(drop).map_err(|error| error.to_string().contains("has no address")), Err(true));
}

#[tokio::test]
async fn certificates_are_verified() {
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = parameters.self_signed(&authority).unwrap();
    let issuer = rcgen::Issuer::from_params(&parameters, &authority);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["service.example".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let (address, seen) = serve_on("127.0.0.1:0", PLAIN, Some(TlsAcceptor::from(Arc::new(config)))).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(ca.pem().as_bytes()).unwrap();

    let url = |name: &str| format!("https://{name}:{}/", address.port());
    let (allowed, local) = ([address.to_string()], [&["127.0.0.1"][..]]);
    let trusting = outbound(&allowed, &local, Some(file.path()));
    assert_eq!(trusting.fetch(get(&url("service.example"))).await.unwrap().body, b"hello");
    for (client, name) in
        [(&trusting, "other.example"), (&trusting, "127.0.0.1"), (&outbound(&allowed, &local, None), "service.example")]
    {
        let outcome = client.fetch(get(&url(name))).await;
        assert!(
            matches!(&outcome, Err(OutboundError::Failed(why)) if why.contains("certificate")),
            "{name}: {outcome:?}"
        );
    }
    assert_eq!(seen.heads.lock().len(), 1, "nothing is sent to who is not known");
    // Plain text to a secure port, and the other way round.
    assert!(trusting.fetch(get(&format!("http://service.example:{}/", address.port()))).await.is_err());
}

#[tokio::test]
async fn authorities_must_be_there() {
    let runtime = tokio::runtime::Handle::current();
    let empty = tempfile::NamedTempFile::new().unwrap();
    for path in [Path::new("/nonexistent/ca.pem"), empty.path()] {
        let error = {
            let authorities = Authorities { file: Some(path), setting: "gate.outbound_ca_file" };
            HttpOutbound::new(Policy::new(Vec::new(), "gate.outbound_allow"), authorities, runtime.clone())
                .err()
                .unwrap()
        };
        assert!(error.to_string().contains("gate.outbound_ca_file"), "{error}");
    }
}
