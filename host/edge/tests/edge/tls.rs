//! The listener with TLS: who is let in, what is agreed on, what the gate learns of it, and what happens to all others.

use std::time::Duration;

use http::{Method, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lectern_edge::{TlsPolicy, TlsVersion};
use lectern_gate::Spec;
use rcgen::{DnType, ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::authority::{Authority, Dial, connect};
use crate::harness::{Client, PUBLIC, SOON, Setup, World, boxed, gate_with, mirror, mount, request, until};
use crate::websocket::{echo, handshake, read_until};

fn setup(authority: &Authority, policy: &TlsPolicy) -> Setup {
    let mut setup = Setup::default();
    setup.config.tls = authority.slot(policy);
    setup
}

async fn world(authority: &Authority, policy: &TlsPolicy) -> World {
    World::with(setup(authority, policy)).await
}

const PING: &[u8] = b"GET /__ping__ HTTP/1.1\r\nhost: apps.example.org\r\nconnection: close\r\n\r\n";

/// What a client gets that asks for a sign of life: the status line, or why there was none.
async fn ping(world: &World, dial: &Dial<'_>) -> Result<String, String> {
    let mut stream = dial.try_open(world).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let work = async {
        stream.write_all(PING).await?;
        stream.read_to_end(&mut answer).await
    };
    tokio::time::timeout(SOON, work).await.expect("an end").map_err(|error| error.to_string())?;
    match String::from_utf8_lossy(&answer).lines().next() {
        Some(line) => Ok(line.to_owned()),
        None => Err("closed".into()),
    }
}

const FINE: &str = "HTTP/1.1 200 OK";

#[tokio::test(flavor = "multi_thread")]
async fn requests_come_over_https() {
    let authority = Authority::new("here");
    let world = world(&authority, &TlsPolicy::default()).await;
    world.worker(mirror);
    for dial in [authority.client(), authority.client().only(&TLS12), authority.client().only(&TLS13)] {
        let mut client = Client::over(dial.open(&world).await).await;
        let seen = client.send(request(Method::GET, &mount(PUBLIC), &[], boxed(""))).await;
        assert_eq!(seen.status, StatusCode::TEMPORARY_REDIRECT, "one connection carries several requests: {seen:?}");
        let seen = client.send(request(Method::GET, &format!("{}/", mount(PUBLIC)), &[], boxed(""))).await.json();
        let fields = seen["fields"].to_string();
        for field in [r#"["x-forwarded-proto","https"]"#, r#"["x-forwarded-port","443"]"#, r#"proto=https"#] {
            assert!(fields.contains(field), "{field}: {fields}");
        }
        assert!(fields.contains("https://apps.example.org/content/"), "{fields}");
        let told = client.send(request(Method::GET, "/connect/", &[], boxed(""))).await.json();
        assert_eq!(told["base_url"], "https://apps.example.org");
    }
    let mut client = Client::over(authority.client().open(&world).await).await;
    let form = [("content-type", "application/x-www-form-urlencoded"), ("origin", "https://apps.example.org")];
    let signed_in = client
        .send(request(Method::POST, "/__plugin__/password-login/", &form, boxed("username=viewer&password=pw-viewer")))
        .await;
    let cookie = signed_in.field("set-cookie").unwrap_or_else(|| panic!("{signed_in:?}"));
    assert!(cookie.starts_with("lectern=") && cookie.ends_with("; Secure"), "{cookie}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_is_agreed_on_and_kept() {
    let authority = Authority::new("here");
    let world = world(&authority, &TlsPolicy::default()).await;
    world.worker(mirror);
    // Asked for, agreed on.
    let cases: &[(&[&str], Option<&[u8]>)] = &[
        (&["h2", "http/1.1"], Some(b"h2")),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["http/1.1"], Some(b"http/1.1")),
        (&["spdy/1", "http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ];
    for (asked, agreed) in cases {
        let stream = authority.client().speaking(asked).open(&world).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), *agreed, "{asked:?}");
    }
    let refused = authority.client().speaking(&["spdy/1"]).try_open(&world).await.unwrap_err().to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");

    // HTTP/2, agreed on or known beforehand.
    for asked in [&["h2"][..], &[]] {
        let stream = authority.client().speaking(asked).open(&world).await;
        let io = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let target = format!("https://apps.example.org{}/", mount(PUBLIC));
        let ask = http::Request::get(&target).body(boxed("")).unwrap();
        let response = tokio::time::timeout(SOON, sender.send_request(ask)).await.expect("an answer").unwrap();
        assert_eq!((response.status(), response.version()), (StatusCode::OK, http::Version::HTTP_2));
    }
    assert_eq!(ping(&world, &authority.client()).await.as_deref(), Ok(FINE));
    assert_eq!(ping(&world, &authority.client().speaking(&["http/1.1"])).await.as_deref(), Ok(FINE));

    // One agreed on, the other spoken.
    let crossed = ping(&world, &authority.client().speaking(&["h2"])).await;
    assert!(crossed.is_err(), "{crossed:?}");
    let mut stream = authority.client().speaking(&["http/1.1"]).open(&world).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the edge closes");
    assert!(answer.is_empty(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_is_refused_where_it_is_not_wanted() {
    let authority = Authority::new("here");
    let policy = TlsPolicy { least_version: TlsVersion::Tls13, ..TlsPolicy::default() };
    let world = world(&authority, &policy).await;
    assert_eq!(ping(&world, &authority.client().only(&TLS13)).await.as_deref(), Ok(FINE));
    let refused = ping(&world, &authority.client().only(&TLS12)).await.unwrap_err();
    assert!(refused.contains("ProtocolVersion"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_see_the_certificate_of_the_connection() {
    let (authority, proxies) = (Authority::new("here"), Authority::new("proxies"));
    let proxy = proxies.sign(&["proxy.example.org", "*.proxies.example.org"], |params| {
        params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
        params.distinguished_name.push(DnType::CommonName, "proxy");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let other = proxies.sign(&["other.example.org"], |params| {
        params.distinguished_name.push(DnType::CommonName, "other");
    });
    let digest: String = sha256(&proxy.der);
    // The shipped plugin, once for each thing that it may know the proxy by; each reads a field of its own.
    let spec = |header: &str, certificate: serde_json::Value| {
        let mut spec = Spec::new(header, lectern_shipped::component("trusted-header").unwrap());
        spec.config = json!({"header": header, "certificate": certificate}).as_object().unwrap().clone();
        spec.granting(
            ["directory", "accounts:viewer", "secret:none"].iter().map(|grant| grant.parse().unwrap()).collect(),
        )
    };
    let gate = gate_with(
        None,
        vec![
            spec("by-hash", json!({"sha256": [digest]})),
            spec("by-subject", json!({"subjects": ["CN=proxy,O=Example\\, Inc."]})),
            spec("by-name", json!({"dns_names": ["proxy.example.org"]})),
        ],
    );
    let world = World::with(Setup { gate, ..setup(&authority, &proxies.asks(false)) }).await;
    let who = async |dial: Dial<'_>, fields: &[(&str, &str)]| {
        let mut client = Client::over(dial.open(&world).await).await;
        let mut seen = Vec::new();
        // What was proved counts for all requests of the connection.
        for _ in 0..2 {
            let told = client.send(request(Method::GET, "/connect/", fields, boxed(""))).await.json();
            seen.push((told["principal"].as_str().map(str::to_owned), told["rejected"] == true));
        }
        assert_eq!(seen[0], seen[1]);
        seen.remove(0)
    };
    let (viewer, nobody) = ((Some("viewer".to_owned()), false), (None, true));
    for header in ["by-hash", "by-subject", "by-name"] {
        let fields = [(header, "viewer")];
        assert_eq!(who(authority.client().showing(&proxy), &fields).await, viewer, "{header}");
        assert_eq!(who(authority.client().showing(&proxy).only(&TLS12), &fields).await, viewer, "{header}");
        assert_eq!(who(authority.client().showing(&other), &fields).await, nobody, "{header}");
        assert_eq!(who(authority.client(), &fields).await, nobody, "{header}");
    }
    assert_eq!(who(authority.client().showing(&proxy), &[]).await, (None, false), "a certificate alone is nobody");
}

fn sha256(der: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_do_not_verify_end_the_handshake() {
    let (authority, proxies, twin) = (Authority::new("here"), Authority::new("proxies"), Authority::new("proxies"));
    let good = proxies.sign(&["proxy.example.org"], |_| {});
    let unknown = Authority::new("somebody").sign(&["proxy.example.org"], |_| {});
    let strange = twin.sign(&["proxy.example.org"], |_| {});
    let expired = proxies.sign(&["proxy.example.org"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    });
    let early = proxies.sign(&["proxy.example.org"], |params| params.not_before = date_time_ymd(3000, 1, 1));
    let for_servers = proxies.sign(&["proxy.example.org"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for required in [false, true] {
        let world = world(&authority, &proxies.asks(required)).await;
        for version in [&TLS12, &TLS13] {
            let dial = || authority.client().only(version);
            assert_eq!(ping(&world, &dial().showing(&good)).await.as_deref(), Ok(FINE));
            let absent = ping(&world, &dial()).await;
            assert_eq!(absent.is_ok(), !required, "{absent:?}");
            for (what, shown) in [
                ("unknown", &unknown),
                ("strange", &strange),
                ("expired", &expired),
                ("early", &early),
                ("for servers", &for_servers),
            ] {
                let refused = ping(&world, &dial().showing(shown)).await;
                println!("required {required}, {what}: {refused:?}");
                assert!(refused.is_err(), "{what}: {refused:?}");
            }
        }
    }
    // Where nobody asks for certificates none is shown, good or bad.
    let world = world(&authority, &TlsPolicy::default()).await;
    assert_eq!(ping(&world, &authority.client().showing(&strange)).await.as_deref(), Ok(FINE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_proved_anew_for_each_connection() {
    let (authority, proxies) = (Authority::new("here"), Authority::new("proxies"));
    let proxy = proxies.sign(&["proxy.example.org"], |_| {});
    for (policy, resumed) in
        [(TlsPolicy::default(), HandshakeKind::Resumed), (proxies.asks(false), HandshakeKind::Full)]
    {
        let world = world(&authority, &policy).await;
        for version in [&TLS12, &TLS13] {
            let connector = authority.client().showing(&proxy).only(version).connector();
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let mut stream = connect(&connector, &world).await.unwrap();
                stream.write_all(PING).await.unwrap();
                stream.read_to_end(&mut Vec::new()).await.unwrap();
                kinds.push(stream.get_ref().1.handshake_kind().unwrap());
            }
            assert_eq!(kinds[1], resumed, "{version:?}");
            assert_ne!(kinds[0], HandshakeKind::Resumed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_handshakes_harm_nobody() {
    let (authority, proxies) = (Authority::new("here"), Authority::new("proxies"));
    let world = world(&authority, &proxies.asks(true)).await;
    let hello = authority.client().speaking(&["h2", "http/1.1"]).hello();
    assert!(hello.len() > 100);
    // Cut off after each byte, and with each byte changed.
    for at in 0..hello.len() {
        let mut changed = hello.clone();
        changed[at] ^= 0xff;
        for bytes in [&hello[..at], &changed] {
            let mut stream = TcpStream::connect(world.address).await.unwrap();
            // The edge may have closed already.
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the edge closes");
            assert!(!answer.starts_with(b"HTTP") || !bytes.starts_with(b"\x16"), "{at}");
        }
    }
    assert!(!world.running.is_finished());
    let proxy = proxies.sign(&["proxy.example.org"], |_| {});
    assert_eq!(ping(&world, &authority.client().showing(&proxy)).await.as_deref(), Ok(FINE));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_handshakes_end_and_count_as_connections() {
    let authority = Authority::new("here");
    let mut setup = setup(&authority, &TlsPolicy::default());
    setup.config.limits.handshake_timeout = Duration::from_millis(400);
    setup.config.limits.connections_per_thread = 2;
    let world = World::with(setup).await;
    let mut slow = Vec::new();
    // Nothing at all, and the beginning of a record that does not come.
    for bytes in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        slow.push(stream);
    }
    // The third gets its turn when their time is over.
    assert_eq!(ping(&world, &authority.client()).await.as_deref(), Ok(FINE));
    for mut stream in slow {
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.expect("the edge closes");
        assert!(rest.is_empty());
    }
    // One byte each time does not help either.
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let trickle = async {
        while writer.write_all(b"\x16").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut rest = Vec::new();
    tokio::select! {
        () = trickle => {}
        ended = tokio::time::timeout(SOON, reader.read_to_end(&mut rest)) => { let _ = ended.expect("the edge closes"); }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_told_and_garbage_is_left() {
    let authority = Authority::new("here");
    let world = world(&authority, &TlsPolicy::default()).await;
    let large = format!("POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n{}", "x".repeat(60_000));
    for bytes in ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "HEAD /__ping__ HTTP/1.0\r\n\r\n", "O", &large] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the edge closes").unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n") && answer.contains("use the same address with https://"),
            "{answer}"
        );
    }
    for bytes in [&b"\0\0\0\0"[..], b"get / HTTP/1.1\r\n\r\n", b"\x80\x2e\x01\x00\x02", b"\xff\xff", b"{}"] {
        assert_eq!(world.raw(bytes).await, "", "{bytes:?}");
    }
    // It begins like TLS and goes on like nothing: at most an alert comes back.
    for bytes in [&b"\x16\x03\x01\x00\x05hello"[..], b"\x16GET / HTTP/1.1\r\n\r\n", &[22; 300]] {
        let answer = world.raw(bytes).await;
        assert!(answer.len() <= 7 && !answer.contains("HTTP"), "{bytes:?}: {answer:?}");
    }
    assert_eq!(ping(&world, &authority.client()).await.as_deref(), Ok(FINE), "and others are served as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_pass() {
    let authority = Authority::new("here");
    let world = world(&authority, &TlsPolicy::default()).await;
    let worker = echo(&world);
    let mut client = authority.client().speaking(&["http/1.1"]).open(&world).await;
    client.write_all(handshake(&format!("{}/ws", mount(PUBLIC)), "").as_bytes()).await.unwrap();
    assert!(read_until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 101"));
    assert_eq!(read_until(&mut client, ";").await, "greeting;");
    let large = vec![b'x'; 1 << 20];
    let (mut reader, mut writer) = tokio::io::split(client);
    let mut back = vec![0; large.len()];
    let (sent, received) = tokio::join!(
        async {
            writer.write_all(&large).await?;
            writer.flush().await
        },
        reader.read_exact(&mut back)
    );
    assert!(sent.is_ok() && received.is_ok() && back == large);
    drop(reader.unsplit(writer));
    until("the tunnel ended", || worker.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_see_a_new_certificate_and_open_ones_stay() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let setup = setup(&old, &TlsPolicy::default());
    let slot = setup.config.tls.clone().unwrap();
    let world = World::with(setup).await;
    let ask = || request(Method::GET, "/__ping__", &[], boxed(""));
    let mut open = Client::over(old.client().open(&world).await).await;
    assert_eq!(open.send(ask()).await.status, StatusCode::OK);
    slot.replace(new.server(&TlsPolicy::default()));
    assert_eq!(open.send(ask()).await.status, StatusCode::OK);
    assert_eq!(ping(&world, &new.client()).await.as_deref(), Ok(FINE));
    assert!(ping(&world, &old.client()).await.unwrap_err().contains("UnknownIssuer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_requests_and_not_for_silence() {
    let authority = Authority::new("here");
    let mut world = World::with(Setup { grace: SOON, ..setup(&authority, &TlsPolicy::default()) }).await;
    let _silent = TcpStream::connect(world.address).await.unwrap();
    let _idle = authority.client().open(&world).await;
    let worker = world.worker(|_| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        crate::harness::ok("whole")
    });
    let mut client = Client::over(authority.client().open(&world).await).await;
    let target = format!("{}/", mount(PUBLIC));
    let asking = tokio::spawn(async move { client.send(request(Method::GET, &target, &[], boxed(""))).await });
    until("the request is at the worker", || worker.in_flight() == 1).await;
    world.stop.cancel();
    assert_eq!(asking.await.unwrap().text(), "whole");
    let stopped = tokio::time::timeout(SOON / 2, &mut world.running).await.expect("it stops").unwrap().unwrap();
    assert_eq!(stopped.cut, 0);
}
