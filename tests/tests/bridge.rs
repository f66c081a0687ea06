//! Between listener and process: what reaches the app, what comes back, and what happens when the app dies.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use http::Method;
use lectern_tests::apps;
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server};
use lectern_tests::wait::until;
use serde_json::{Value, json};

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));
static PROBE: LazyLock<String> = LazyLock::new(|| ada().publish("probe", &apps::probe()));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

/// The values of a header field as the app saw it.
fn seen(echo: &Value, name: &str) -> Vec<String> {
    let headers = echo["headers"].as_array().unwrap();
    headers.iter().filter(|pair| pair[0] == name).map(|pair| text(&pair[1])).collect()
}

#[test]
fn the_app_is_told_where_it_is_and_who_asks() {
    let guid = &*PROBE;
    let ask = SERVER.get(&format!("/content/{guid}/echo?a=1&b=%20")).key(&ADA.key);
    let echo = ask.header("x-custom", "kept").send().expect(200).json();
    assert_eq!(echo["query"], "a=1&b=%20");
    assert_eq!(echo["root_path"], format!("/content/{guid}"));
    assert_eq!(seen(&echo, "x-custom"), ["kept"]);
    let credentials: Value = serde_json::from_str(&seen(&echo, "rstudio-connect-credentials")[0]).unwrap();
    assert_eq!(credentials["user"], "ada");
    assert!(seen(&echo, "rstudio-connect-app-base-url")[0].ends_with(&format!("/content/{guid}")), "{echo}");
    assert!(seen(&echo, "x-rsc-request")[0].ends_with(&format!("/content/{guid}/echo?a=1&b=%20")), "{echo}");
    assert_eq!(seen(&echo, "x-forwarded-proto"), ["http"]);
    assert_eq!(seen(&echo, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen(&echo, "x-forwarded-host"), [SERVER.address().to_string()]);
    assert_eq!(seen(&echo, "forwarded").len(), 1);
    assert!(
        seen(&echo, "authorization").iter().all(|value| !value.contains(&ADA.key)),
        "the key is not the app's business"
    );
    assert!(seen(&echo, "connection").iter().all(|value| value != "close"), "{echo}");
}

#[test]
fn nobody_can_pass_themselves_off_as_somebody_else() {
    let guid = ada().publish("open", &apps::probe());
    ada().change(&guid, &json!({"access_type": "all"})).expect(200);
    let forged = [
        ("rstudio-connect-credentials", "{\"user\":\"root\",\"groups\":[]}"),
        ("shiny-server-credentials", "{\"user\":\"root\",\"groups\":[]}"),
        ("posit-connect-user-session-token", "forged"),
        ("rstudio-connect-app-base-url", "http://evil.example/"),
        ("x-rsc-request", "http://evil.example/"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "for=203.0.113.9;host=evil.example"),
        ("x-real-ip", "203.0.113.9"),
    ];
    let mut ask = SERVER.get(&format!("/content/{guid}/echo"));
    for (name, value) in forged {
        ask = ask.header(name, value);
    }
    let echo = ask.send().expect(200).json();
    for (name, value) in forged {
        assert!(
            !seen(&echo, name).iter().any(|seen| seen == value || seen.contains("evil")),
            "{name}: {:?}",
            seen(&echo, name)
        );
    }
    // Underscores are dashes to a WSGI server: such a field would arrive under the other's name.
    let mut raw = TcpStream::connect(SERVER.address()).unwrap();
    write!(
        raw,
        "GET /content/{guid}/echo HTTP/1.1\r\nhost: x\r\nRStudio_Connect_Credentials: {{\"user\":\"root\"}}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut reply = String::new();
    raw.read_to_string(&mut reply).unwrap();
    assert!(!reply.to_lowercase().contains("rstudio_connect_credentials"), "{reply}");
}

#[test]
fn bodies_are_streamed_both_ways() {
    let guid = &*PROBE;
    // 32 MiB up: counted by the app.
    let big = vec![b'x'; 32 << 20];
    let counted = SERVER.post(&format!("/content/{guid}/count")).key(&ADA.key).body(big).send().expect(200).json();
    assert_eq!(counted["received"], 32 << 20);

    // Down: the first part arrives well before the last is made.
    ada().open(guid, "").expect(200);
    let mut stream = TcpStream::connect(SERVER.address()).unwrap();
    let start = Instant::now();
    write!(
        stream,
        "GET /content/{guid}/stream HTTP/1.1\r\nhost: x\r\nauthorization: Key {}\r\nconnection: close\r\n\r\n",
        ADA.key
    )
    .unwrap();
    let (mut got, mut block, mut first) = (Vec::new(), [0; 4096], None);
    loop {
        match stream.read(&mut block).unwrap() {
            0 => break,
            read => got.extend(&block[..read]),
        }
        if first.is_none() && got.windows(2).any(|pair| pair == b"0\n") {
            first = Some(start.elapsed());
        }
    }
    let (first, last) = (first.unwrap(), start.elapsed());
    assert!(String::from_utf8_lossy(&got).contains("4\n"));
    assert!(last - first > Duration::from_millis(600), "first part after {first:?}, last after {last:?}");
}

#[test]
fn an_app_s_cookies_stay_at_its_address() {
    let reply = ada().open(&PROBE, "cookies").expect(200);
    let cookies = reply.header_values("set-cookie");
    for name in ["plain", "rooted", "deep"] {
        let cookie =
            cookies.iter().find(|cookie| cookie.starts_with(name)).unwrap_or_else(|| panic!("{name} in {cookies:?}"));
        let path = cookie
            .split(';')
            .map(str::trim)
            .find_map(|part| part.to_lowercase().strip_prefix("path=").map(str::to_owned));
        assert!(path.as_deref().is_some_and(|path| path.starts_with(&format!("/content/{}", *PROBE))), "{cookie}");
    }
    assert!(cookies.iter().any(|cookie| cookie.contains("HttpOnly")), "{cookies:?}");
}

#[test]
fn a_process_that_dies_gives_502_and_comes_back() {
    let guid = ada().publish("mortal", &apps::probe());
    let before = ada().open(&guid, "").expect(200).json()["pid"].clone();
    let reply = ada().open(&guid, "die").expect(502);
    let id = reply.header("x-request-id").to_owned();
    assert!(!id.is_empty() && reply.text().contains(&id), "the id is in the header and on the page: {reply:?}");
    let log = until("the log's line", Duration::from_secs(10), || {
        SERVER.log().lines().find(|line| line.contains(&id) && line.contains("job")).map(str::to_owned)
    });
    assert!(log.contains("502") || log.contains("upstream") || log.contains("worker"), "{log}");

    // In the moment of its death others may meet it too, and after a crash there is a short pause.
    let back = || {
        until("the content again", Duration::from_secs(20), || {
            let reply = ada().open(&guid, "");
            assert!([200, 502, 503].contains(&reply.status), "{reply:?}");
            (reply.status == 200).then(|| reply.json()["pid"].clone())
        })
    };
    assert_ne!(before, back());
    // What was begun cannot be taken back, but it must not look whole.
    let midway = SERVER.get(&format!("/content/{guid}/die-midway")).key(&ADA.key).try_send();
    assert!(midway.is_none(), "{midway:?}");
    back();
}

#[test]
fn a_first_request_waits_for_the_process_and_starts_one() {
    let guid = ada().publish("lazy", &apps::probe());
    let pids: Vec<Value> = std::thread::scope(|scope| {
        let asks: Vec<_> =
            (0..8).map(|_| scope.spawn(|| ada().open(&guid, "").expect(200).json()["pid"].clone())).collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    });
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
}

#[test]
fn methods_and_statuses_pass_unchanged() {
    let path = format!("/content/{}/echo", *PROBE);
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        let echo = SERVER.ask(method.clone(), &path).key(&ADA.key).send().expect(200).json();
        assert_eq!(echo["method"], method.as_str());
    }
    ada().open(&PROBE, "no/such/path").expect(404);
    let redirect = ada().open(&PROBE, "redirect").expect(302);
    assert_eq!(redirect.header("location"), format!("/content/{}/", *PROBE));
}
