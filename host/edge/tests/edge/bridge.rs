//! What a worker sees of a request, and a client of its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use lectern_domain::integrations::visitor;
use lectern_domain::snapshot::ContentEntry;
use lectern_domain::{ContentGuid, UserGuid, UserRole};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use uuid::Uuid;

use crate::harness::{
    LISTED, PUBLIC, SHINY, Setup, VANITY, VISITOR_KEY, World, boxed, mirror, mount, ok, request, snapshot, until,
};

fn guid(item: u128) -> ContentGuid {
    ContentGuid(Uuid::from_u128(item))
}

/// The values that the worker saw under a name.
fn seen(answer: &serde_json::Value, name: &str) -> Vec<String> {
    let fields = answer["fields"].as_array().unwrap();
    let values = fields.iter().filter(|field| field[0] == name).map(|field| field[1].as_str().unwrap().to_owned());
    values.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_sees_its_own_path_and_who_asks() {
    let world = World::start().await;
    world.worker(mirror);
    let target = format!("{}/a%20b/../c?x=1", mount(PUBLIC));
    let fields = [("authorization", "Key key-viewer"), ("cookie", "a=1; lectern=tok; b=2"), ("x-own", "kept")];
    let answer = world.ask(Method::GET, &target, &fields).await;
    assert_eq!(answer.status, StatusCode::OK);
    let id = answer.field("x-request-id").unwrap().to_owned();
    let told = answer.json();
    assert_eq!((told["method"].as_str(), told["uri"].as_str()), (Some("GET"), Some("/c?x=1")));
    let base = mount(PUBLIC);
    let expected = [
        ("host", "apps.example.org".to_owned()),
        ("x-own", "kept".into()),
        ("cookie", "a=1; b=2".into()),
        ("x-forwarded-for", "127.0.0.1".into()),
        ("x-forwarded-host", "apps.example.org".into()),
        ("x-forwarded-port", "80".into()),
        ("x-forwarded-proto", "http".into()),
        ("x-forwarded-prefix", base.clone()),
        ("forwarded", "for=127.0.0.1;host=\"apps.example.org\";proto=http".into()),
        ("rstudio-connect-app-base-url", format!("http://apps.example.org{base}")),
        ("x-rsc-request", format!("http://apps.example.org{base}/c?x=1")),
        ("x-request-id", id.clone()),
        ("x-correlation-id", id),
        ("rstudio-connect-credentials", r#"{"user":"viewer","groups":[]}"#.into()),
    ];
    for (name, value) in expected {
        assert_eq!(seen(&told, name), [value], "{name}");
    }
    assert_eq!(seen(&told, "authorization"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_a_client_claims_about_itself_arrives() {
    let world = World::start().await;
    world.worker(mirror);
    let claims = [
        "RStudio-Connect-Credentials",
        "rstudio_connect_credentials",
        "RStudio_Connect-Credentials",
        "Shiny-Server-Credentials",
        "Shiny_Server_Credentials",
        "Posit-Connect-User-Session-Token",
        "RStudio-Connect-App-Base-URL",
        "X-RSC-Request",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "X-Forwarded-Prefix",
        "X_FORWARDED_PREFIX",
        "Forwarded",
        "X-Real-IP",
        "X-Request-Id",
        "X-Correlation-ID",
        "X-Lectern-Principal",
        "X-RSC-Authorization",
        "SCRIPT_NAME",
        "Proxy",
        "TE",
        "Keep-Alive",
        "Proxy-Authorization",
    ];
    for guid in [PUBLIC, SHINY] {
        let mut fields = vec![("connection", "x-named, x-request-id"), ("x-named", "evil")];
        // Twice each: taking one away must not leave the other.
        let sent: Vec<(&str, &str)> = claims
            .iter()
            .filter(|name| **name != "X-RSC-Authorization")
            .flat_map(|name| [(*name, "evil"); 2])
            .collect();
        fields.extend(sent);
        let answer = world.ask(Method::GET, &format!("{}/", mount(guid)), &fields).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let told = answer.json();
        assert!(!answer.text().contains("evil"), "{told}");
        assert_eq!(seen(&told, "x-request-id").len(), 1);
        for name in ["rstudio-connect-credentials", "shiny-server-credentials"] {
            assert_eq!(seen(&told, name), Vec::<String>::new(), "{name}: anonymous visitors have none");
        }
    }
    let answer =
        world.ask(Method::GET, &format!("{}/", mount(SHINY)), &[("x-rsc-authorization", "Key key-owner")]).await;
    let told = answer.json();
    assert_eq!(seen(&told, "shiny-server-credentials"), [r#"{"user":"owner","groups":["Staff"]}"#]);
    assert_eq!(seen(&told, "rstudio-connect-credentials"), Vec::<String>::new());
    assert_eq!(seen(&told, "x-rsc-authorization"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn content_with_integrations_is_told_who_visits() {
    let integrated = |content: &mut ContentEntry| content.has_integrations = content.guid == guid(PUBLIC);
    let world = World::with(Setup { snapshot: snapshot(integrated), ..Setup::default() }).await;
    world.worker(mirror);
    let (name, now) = ("posit-connect-user-session-token", OffsetDateTime::now_utc().unix_timestamp() as u64);
    let forged = (name, "forged");
    let ask = async |item: u128, fields: &[(&str, &str)]| {
        let answer = world.ask(Method::GET, &format!("{}/", mount(item)), fields).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        seen(&answer.json(), name)
    };
    let token = ask(PUBLIC, &[("authorization", "Key key-viewer"), forged]).await;
    let visit = visitor::read(&token[0], &VISITOR_KEY, now).unwrap();
    assert_eq!(token.len(), 1, "and nothing of what the client sent");
    assert_eq!((visit.content, visit.role), (guid(PUBLIC), UserRole::Viewer));
    assert_eq!(visit.user, UserGuid(Uuid::from_u128(2)));
    let other = ask(PUBLIC, &[("authorization", "Key key-owner")]).await;
    assert_ne!(other, token, "each visitor has their own");
    assert_eq!(ask(PUBLIC, &[forged]).await, Vec::<String>::new(), "nobody in particular");
    assert_eq!(
        ask(VANITY, &[("authorization", "Key key-viewer"), forged]).await,
        Vec::<String>::new(),
        "no integration"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_proxies_speak_for_their_clients() {
    let mut setup = Setup::default();
    setup.config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let world = World::with(setup).await;
    world.worker(mirror);
    let fields = [
        ("x-forwarded-for", "6.6.6.6, 192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "public.example.org"),
        ("x-forwarded-prefix", "/rsc"),
        ("x-request-id", "from-the-proxy"),
        ("x_forwarded_for", "evil"),
        ("rstudio-connect-credentials", "evil"),
    ];
    let answer = world.ask(Method::GET, &format!("{}/x", mount(PUBLIC)), &fields).await;
    assert_eq!(answer.field("x-request-id"), Some("from-the-proxy"));
    let told = answer.json();
    let mount = format!("/rsc{}", mount(PUBLIC));
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.7, 127.0.0.1".to_owned()),
        ("x-forwarded-port", "443".into()),
        ("x-forwarded-proto", "https".into()),
        ("x-forwarded-prefix", mount.clone()),
        ("rstudio-connect-app-base-url", format!("https://public.example.org{mount}")),
        ("x-rsc-request", format!("https://public.example.org{mount}/x")),
    ] {
        assert_eq!(seen(&told, name), [value], "{name}");
    }
    assert!(!answer.text().contains("evil"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_kept_below_the_mount() {
    let world = World::start().await;
    world.worker(|request| async move {
        let mut response = ok("x");
        let headers = response.headers_mut();
        for (name, value) in [
            ("server", "uvicorn"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("set-cookie", "a=1; Path=/; HttpOnly"),
            ("set-cookie", "lectern=evil; Path=/"),
            ("service-worker-allowed", "/"),
            ("location", request.uri().query().unwrap_or("/login")),
            ("x-request-id", "the app's own"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        *response.status_mut() = StatusCode::FOUND;
        response
    });
    for (guid, base) in [(PUBLIC, mount(PUBLIC)), (VANITY, "/sales/plan".to_owned())] {
        let address = if guid == VANITY { "/sales/plan/x".to_owned() } else { format!("{base}/x") };
        let answer = world.get(&address).await;
        assert_eq!(answer.field("location"), Some(format!("{base}/login").as_str()));
        let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, [format!("a=1; Path={base}/; HttpOnly").as_str()]);
        for gone in ["server", "x-hop", "service-worker-allowed"] {
            assert_eq!(answer.field(gone), None, "{gone}");
        }
        let own = answer.field("x-request-id").unwrap();
        assert_ne!(own, "the app's own", "the log's id, so that it can be found");
        assert_eq!(
            world.get(&format!("{address}?{base}/in")).await.field("location"),
            Some(format!("{base}/in").as_str())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_and_methods_without_a_body() {
    let world = World::start().await;
    world.worker(|request| async move {
        let status = request.uri().path()[1..].parse::<u16>().unwrap();
        let mut response = if status == 200 { ok("hello") } else { ok("") };
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    });
    let mut client = world.connect().await;
    for (method, status, length) in [
        (Method::GET, 204, None),
        (Method::GET, 304, None),
        (Method::HEAD, 200, Some("5")),
        (Method::GET, 200, Some("5")),
        (Method::DELETE, 204, None),
        (Method::OPTIONS, 200, Some("5")),
        (Method::from_bytes(b"PROPFIND").unwrap(), 200, Some("5")),
    ] {
        // All on one connection: an answer whose end is unclear would garble the next.
        let target = format!("{}/{status}", mount(PUBLIC));
        let answer = client.send(request(method.clone(), &target, &[], boxed(""))).await;
        assert_eq!((answer.status.as_u16(), answer.field("content-length")), (status, length), "{method}");
        let body = if method != Method::HEAD && status == 200 { "hello" } else { "" };
        assert_eq!(answer.text(), body, "{method} {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_workers_are_kept() {
    let world = World::start().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let worker = world.raw_worker(1, move |mut stream: UnixStream| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut buffer = vec![0; 64 * 1024];
            let mut requests = 0;
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                requests += 1;
                // The first connection is closed at the third request, as a server does that had enough of it.
                if number == 0 && requests == 3 {
                    return;
                }
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    world.stage.offer(1, &worker);
    let mut client = world.connect().await;
    let target = format!("{}/", mount(PUBLIC));
    let mut texts = Vec::new();
    for _ in 0..4 {
        texts.push(client.send(request(Method::GET, &target, &[], boxed(""))).await.text());
    }
    assert_eq!(texts, ["0", "0", "1", "1"], "the third is asked again on a new connection");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    assert_eq!(worker.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_done_twice_is_not_repeated() {
    let world = World::start().await;
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    let worker = world.raw_worker(1, move |mut stream: UnixStream| {
        let count = count.clone();
        async move {
            let mut buffer = vec![0; 64 * 1024];
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                if count.fetch_add(1, Ordering::SeqCst) > 0 {
                    return;
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            }
        }
    });
    world.stage.offer(1, &worker);
    let mut client = world.connect().await;
    let target = format!("{}/", mount(PUBLIC));
    assert_eq!(client.send(request(Method::GET, &target, &[], boxed(""))).await.status, StatusCode::OK);
    let answer = client.send(request(Method::POST, &target, &[], boxed("order one"))).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_worker_is_reported_and_another_is_asked() {
    let world = World::start().await;
    let dead = world.raw_worker(1, |_| async {});
    std::fs::remove_file(dead.socket()).unwrap();
    let alive = world.worker_for(1, mirror);
    world.stage.offer(1, &dead);
    world.stage.decide(Ok(alive));
    let target = format!("{}/", mount(PUBLIC));
    let answer = world.send(Method::POST, &target, &[], Bytes::from_static(b"kept")).await;
    assert_eq!((answer.status, answer.json()["body"].as_str()), (StatusCode::OK, Some("kept")));
    assert_eq!(*world.stage.dead.lock(), [dead.job().clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_before_it_answers_is_a_502_with_the_requests_name() {
    let world = World::start().await;
    let worker = world.raw_worker(1, |mut stream: UnixStream| async move {
        let mut buffer = vec![0; 1024];
        let _ = stream.read(&mut buffer).await;
    });
    world.stage.offer(1, &worker);
    let answer = world.ask(Method::GET, &format!("{}/", mount(LISTED)), &[("authorization", "Key key-owner")]).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    let id = answer.field("x-request-id").unwrap().to_owned();
    assert!(answer.text().contains(&id));
    until("the worker has nothing to do", || worker.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_from_a_worker_is_a_502() {
    let world = World::start().await;
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(40).leak();
    let nonsense = [
        // It never comes to an answer.
        interim,
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        // A protocol nobody asked for.
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ];
    for (bundle, text) in nonsense.into_iter().enumerate() {
        let worker = world.raw_worker(bundle as i64, move |mut stream: UnixStream| async move {
            let mut buffer = vec![0; 1024];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(text.as_bytes()).await;
        });
        world.stage.offer(1, &worker);
        assert_eq!(world.get(&format!("{}/", mount(PUBLIC))).await.status, StatusCode::BAD_GATEWAY, "{text:?}");
    }
    // Interim answers are not the answer.
    let worker = world.raw_worker(9, |mut stream: UnixStream| async move {
        let mut buffer = vec![0; 1024];
        let _ = stream.read(&mut buffer).await;
        let text = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let _ = stream.write_all(text.as_bytes()).await;
    });
    world.stage.offer(1, &worker);
    assert_eq!(world.get(&format!("{}/", mount(PUBLIC))).await.text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_clients_are_served_alike() {
    let world = World::start().await;
    world.worker(mirror);
    let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://apps.example.org{}/x?y", mount(PUBLIC));
    let asks = (0..20).map(|n| {
        let request = http::Request::post(&uri)
            .header("cookie", "a=1")
            .header("cookie", "lectern=t")
            .header("cookie", "b=2")
            .body(boxed(format!("body {n}")))
            .unwrap();
        sender.send_request(request)
    });
    let answers: Vec<Response<hyper::body::Incoming>> =
        futures_util::future::join_all(asks).await.into_iter().map(Result::unwrap).collect();
    for (n, answer) in answers.into_iter().enumerate() {
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(told["uri"], "/x?y");
        assert_eq!(told["body"], format!("body {n}"));
        assert_eq!(seen(&told, "host"), ["apps.example.org"]);
        assert_eq!(seen(&told, "cookie"), ["a=1; b=2"]);
    }
}
