//! What content is given to speak with the server: used from inside by stock libraries, and attacked from inside and outside.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use lectern_tests::client::{directory, guid_in, r, rsconnect};
use lectern_tests::http::Reply;
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, Server};
use lectern_tests::unprivileged::again_as_nobody;
use lectern_tests::wait::until;
use lectern_tests::{apps, is_root};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// It believes proxies on its own host, as one behind nginx does.
static SERVER: LazyLock<Server> =
    LazyLock::new(|| Server::setup().env("LECTERN_SERVER__TRUSTED_PROXIES", "127.0.0.1, 198.18.0.0/15").start());
static ADMIN: LazyLock<Account> = LazyLock::new(|| SERVER.account("root", "administrator"));

/// Asks the API as somebody with this key.
fn ask(server: &Server, key: &str, method: Method, path: &str, body: &Value) -> Reply {
    server.ask(method, &format!("/__api__{path}")).key(key).json(body).send()
}

fn whoami(server: &Server, key: &str) -> Reply {
    server.get("/__api__/v1/user").key(key).send()
}

/// Publishes an app that runs the code it is sent.
fn publish(server: &Server, account: &Account, name: &str) -> String {
    let guid = Publisher::new(server, account).publish(name, &apps::asgi(include_str!("../apps/attacker.py")));
    Publisher::new(server, account).change(&guid, &json!({"max_processes": 1})).expect(200);
    guid
}

/// Has the app run code in a child process; the last line printed.
fn inside(server: &Server, account: &Account, guid: &str, code: &str) -> String {
    server.post(&format!("/content/{guid}/try")).key(&account.key).body(code.to_owned()).send().expect(200).text()
}

fn variable(server: &Server, account: &Account, guid: &str, name: &str) -> String {
    inside(server, account, guid, &format!("import os; print(os.environ.get({name:?}, 'absent'))"))
}

fn running_job(publisher: &Publisher<'_>, guid: &str) -> String {
    let jobs = publisher.api(Method::GET, &format!("/v1/content/{guid}/jobs")).send().expect(200).json();
    let jobs = jobs.as_array().unwrap().iter();
    let running = jobs.filter(|job| job["status"] == 0).map(|job| job["key"].as_str().unwrap().to_owned());
    let mut running: Vec<String> = running.collect();
    assert_eq!(running.len(), 1, "{running:?}");
    running.remove(0)
}

const FASTAPI: &str = r#"
import os
from fastapi import FastAPI
from posit import connect

# As libraries do: while the app is loaded, from the environment alone.
client = connect.Client()
AT_IMPORT = client.me["username"]

app = FastAPI()

@app.get("/who")
def who():
    own = client.content.get(os.environ["CONNECT_CONTENT_GUID"])
    return {
        "at_import": AT_IMPORT,
        "now": connect.Client().me["username"],
        "own_title": own["title"],
        "has_content_credentials": client.oauth.has_content_credentials(),
    }
"#;

#[test]
fn a_fastapi_app_asks_the_api_with_posit_sdk_while_it_is_loaded() {
    let ada = SERVER.account("ada", "publisher");
    let requirements = "fastapi\nuvicorn\nposit-sdk==0.17.0\n";
    let files = [("app.py", FASTAPI), ("requirements.txt", requirements)];
    let path = directory(&SERVER, "sdk-inside", &files);
    let run = rsconnect(&SERVER, &ada, "deploy fastapi", &["--title", "sdk inside", "--entrypoint", "app:app", &path]);
    let guid = guid_in(&run.expect_success().printed);
    let seen = Publisher::new(&SERVER, &ada).open(&guid, "who").expect(200).json();
    println!("{seen}");
    assert_eq!((&seen["at_import"], &seen["now"]), (&json!("ada"), &json!("ada")));
    assert!(seen["own_title"] == "sdk inside", "{seen}");
    assert_eq!(seen["has_content_credentials"], true);
}

#[test]
fn a_plumber_api_asks_the_api() {
    let rita = SERVER.account("rita", "publisher");
    let source = r#"
#* @get /who
#* @serializer text
function() {
  headers <- c(Authorization = paste("Key", Sys.getenv("CONNECT_API_KEY")))
  at <- url(paste0(Sys.getenv("CONNECT_SERVER"), "__api__/v1/user"), headers = headers)
  on.exit(close(at))
  paste(readLines(at, warn = FALSE), collapse = "")
}
"#;
    let path = directory(&SERVER, "plumber-inside", &[("plumber.R", source)]);
    let run = r(
        &SERVER,
        &rita,
        &format!(
            "library(rsconnect)
             addConnectServer(server, 'here', quiet = TRUE)
             connectApiUser(account = name, server = 'here', apiKey = key, quiet = TRUE)
             deployAPI('{path}', appName = 'plumber-inside', account = name, server = 'here', launch.browser = FALSE, forceUpdate = TRUE)"
        ),
    );
    run.expect_success();
    let listed = Publisher::new(&SERVER, &rita).api(Method::GET, "/v1/content?name=plumber-inside").send().json();
    let guid = listed[0]["guid"].as_str().unwrap();
    let seen = Publisher::new(&SERVER, &rita).open(guid, "who").expect(200).text();
    println!("{seen}");
    assert!(seen.contains("\"username\":\"rita\""), "{seen}");
}

/// Everything here again, with a server that runs as an ordinary account.
#[test]
fn content_speaks_with_a_server_without_root_too() {
    again_as_nobody(&["without_root_too", "a_fastapi_app", "a_plumber_api"]);
}

/// The way in leads to this server and believes nothing of what content says of others.
#[test]
fn content_inside_is_nobody_s_proxy() {
    let sue = SERVER.account("sue", "publisher");
    let (attacker, probe) = (publish(&SERVER, &sue, "no-proxy"), "probe-of-sue");
    let probe = Publisher::new(&SERVER, &sue).publish(probe, &apps::probe());
    let code = format!(
        "import json, os, urllib.request as u\n\
         ask = u.Request(os.environ['CONNECT_SERVER'] + 'content/{probe}/echo', headers={{\n\
             'Authorization': 'Key ' + os.environ['CONNECT_API_KEY'], 'X-Forwarded-For': '192.0.2.9', 'X-Forwarded-Proto': 'https',\n\
             'Forwarded': 'for=192.0.2.9', 'X-RSC-Request': 'https://evil.example/'}})\n\
         print(json.dumps(json.load(u.urlopen(ask))['headers']))"
    );
    let headers = inside(&SERVER, &sue, &attacker, &code);
    println!("{headers}");
    let headers: Vec<(String, String)> = serde_json::from_str(&headers).unwrap();
    let of = |name: &str| headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    assert_eq!(of("x-forwarded-for"), Some("198.18.0.100"));
    assert_eq!(of("x-forwarded-proto"), Some("http"));
    assert!(!format!("{headers:?}").contains("192.0.2.9") && !format!("{headers:?}").contains("evil"), "{headers:?}");
    // Nothing else of the host's loopback is there.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let tried =
        inside(&SERVER, &sue, &attacker, &format!("import socket; socket.create_connection(('127.0.0.1', {port}), 5)"));
    assert!(tried.contains("refused"), "{tried}");
    let shown = std::fs::read_dir(SERVER.data().join("run/in")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(shown.collect::<Vec<_>>(), ["server.sock"], "all that is shown to content");
}

#[test]
fn a_key_acts_as_the_owner_of_the_moment_and_makes_nothing_that_outlives_it() {
    let (boss, bob) = (SERVER.account("boss", "administrator"), SERVER.account("bob", "publisher"));
    let guid = publish(&SERVER, &boss, "of-boss");
    let key = variable(&SERVER, &boss, &guid, "CONNECT_API_KEY");
    assert!(key.starts_with("lectern_content_") && key.len() == 59, "its form");
    assert_eq!(whoami(&SERVER, &key).expect(200).json()["username"], "boss");

    // What would outlive it, or give more to others.
    let own = format!("/v1/users/{}", boss.guid);
    let listed = ask(&SERVER, &key, Method::GET, &format!("{own}/keys"), &json!({})).expect(200).json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "it is not among the owner's keys: {listed}");
    let first = listed[0]["id"].as_str().unwrap();
    let bobs = format!("/v1/users/{}", bob.guid);
    let refused = [
        (Method::POST, format!("{own}/keys"), json!({"name": "another"})),
        (Method::DELETE, format!("{own}/keys/{first}"), json!({})),
        (
            Method::POST,
            format!("{own}/password"),
            json!({"current_password": boss.password, "password": "another one"}),
        ),
        (Method::POST, format!("{bobs}/password_link"), json!({})),
        (Method::PUT, bobs.clone(), json!({"user_role": "administrator"})),
        (
            Method::POST,
            "/v1/users".into(),
            json!({"username": "eve", "password": "eve's own", "user_role": "administrator"}),
        ),
        (Method::POST, format!("{bobs}/lock"), json!({"locked": true})),
    ];
    for (method, path, body) in &refused {
        let reply = ask(&SERVER, &key, method.clone(), path, body);
        println!("{method:6} {path:65} {} {}", reply.status, reply.text().chars().take(90).collect::<String>());
        reply.expect_error(403, 22);
    }
    // Nor by the pages, which a program can ask for as a browser does.
    for page in ["account", "users", "oauth/device"] {
        let opened = SERVER.get(&format!("/connect/{page}")).key(&key);
        let opened = opened.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document").send();
        assert!(!opened.text().contains("name=\"pass\""), "/connect/{page}: {}", opened.status);
    }
    let gate = SERVER.get("/__lectern__/v1/bindings").key(&key).send();
    assert_eq!(gate.status, 403, "{}", gate.text());

    // What it is for; and the log says that it was content.
    let made = ask(&SERVER, &key, Method::POST, "/v1/content", &json!({"name": "made-inside"})).expect(200).json();
    let log =
        ask(&SERVER, &ADMIN.key, Method::GET, "/v1/audit_logs?limit=500&ascOrder=false", &json!({})).expect(200).json();
    let entries = log["results"].as_array().unwrap();
    let entry =
        entries.iter().find(|entry| entry["event_description"].as_str().unwrap().contains("made-inside")).unwrap();
    println!("{entry}");
    assert_eq!(entry["user_description"], format!("boss, by content {guid}"));
    assert_eq!(entry["user_guid"], boss.guid.as_str());
    assert_eq!(made["owner_guid"], boss.guid.as_str());

    // It follows the owner.
    let admin = |method, path: &str, body| ask(&SERVER, &ADMIN.key, method, path, &body);
    admin(Method::POST, &format!("{own}/lock"), json!({"locked": true}));
    whoami(&SERVER, &key).expect_error(401, 30);
    admin(Method::POST, &format!("{own}/lock"), json!({"locked": false}));
    assert_eq!(whoami(&SERVER, &key).expect(200).json()["user_role"], "administrator");
    admin(Method::PUT, &own, json!({"user_role": "viewer"})).expect(200);
    assert_eq!(whoami(&SERVER, &key).expect(200).json()["user_role"], "viewer");
    ask(&SERVER, &key, Method::POST, "/v1/content", &json!({"name": "no-more"})).expect_error(403, 22);
    admin(Method::PATCH, &format!("/v1/content/{guid}"), json!({"owner_guid": bob.guid})).expect(200);
    assert_eq!(whoami(&SERVER, &key).expect(200).json()["username"], "bob");

    // And ends with its content.
    let bobs_key = bob.key.clone();
    ask(&SERVER, &bobs_key, Method::DELETE, &format!("/v1/content/{guid}"), &json!({})).expect(204);
    until("the end of the key", SOON, || (whoami(&SERVER, &key).status == 401).then_some(()));
}

#[test]
fn a_key_is_its_process_s_alone_and_ends_with_it() {
    let (kim, lou) = (SERVER.account("kim", "publisher"), SERVER.account("lou", "publisher"));
    let (own, other) = (publish(&SERVER, &kim, "of-kim"), publish(&SERVER, &lou, "of-lou"));
    let (key, token) = (
        variable(&SERVER, &kim, &own, "CONNECT_API_KEY"),
        variable(&SERVER, &kim, &own, "CONNECT_CONTENT_SESSION_TOKEN"),
    );
    assert!(token.starts_with("lectern_session_"), "its form");
    whoami(&SERVER, &token).expect_error(401, 30);
    assert_ne!(variable(&SERVER, &lou, &other, "CONNECT_API_KEY"), key);

    // Another item looks for it wherever it can look.
    let look = format!(
        "import glob\nfound = 0\nfor path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/tmp/**', recursive=True):\n    try: found += {:?} in open(path, 'rb').read().decode('latin-1')\n    except OSError: pass\nprint('found', found)",
        key
    );
    assert_eq!(inside(&SERVER, &lou, &other, &look), "found 0");
    // It is in no log, and no process but the app's was started with it: no zygote, no supervisor.
    let supervisor = std::fs::read_to_string(SERVER.data().join("run/supervisor.log")).unwrap_or_default();
    for text in [SERVER.log(), SERVER.job_logs(), supervisor] {
        assert!(!text.contains(&key) && !text.contains(&token), "in a log");
    }
    if is_root() {
        let mut zygotes = 0;
        for process in SERVER.processes() {
            let read = |what: &str| std::fs::read(format!("/proc/{}/{what}", process.pid)).unwrap_or_default();
            let (started, words) = (read("environ"), String::from_utf8_lossy(&read("cmdline")).into_owned());
            zygotes += usize::from(words.contains("lectern_zygote"));
            let with = String::from_utf8_lossy(&started).contains(&key);
            assert!(!with, "process {} has it: {words}", process.pid);
        }
        println!("{zygotes} zygotes looked at");
        assert!(zygotes > 0, "the apps were forked from one");
    }

    let publisher = Publisher::new(&SERVER, &kim);
    let job = running_job(&publisher, &own);
    publisher.api(Method::DELETE, &format!("/v1/content/{own}/jobs/{job}")).send();
    until("the end of the key", SOON, || (whoami(&SERVER, &key).status == 401).then_some(()));
    let next = variable(&SERVER, &kim, &own, "CONNECT_API_KEY");
    assert_ne!(next, key, "the next process has another");
    whoami(&SERVER, &next).expect(200);
    whoami(&SERVER, &key).expect_error(401, 30);
    // A publisher's own is used instead.
    publisher
        .api(Method::PATCH, &format!("/v1/content/{own}/environment"))
        .json(&json!([{"name": "CONNECT_API_KEY", "value": "mine"}]))
        .send()
        .expect(200);
    until("the publisher's own key", SOON, || {
        (variable(&SERVER, &kim, &own, "CONNECT_API_KEY") == "mine").then_some(())
    });
}

#[test]
fn keys_outlive_the_server_and_not_their_process() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let guid = publish(&server, &ada, "outlives");
    let key = variable(&server, &ada, &guid, "CONNECT_API_KEY");
    let call = "import os, urllib.request as u; print(u.urlopen(u.Request(os.environ['CONNECT_SERVER'] + '__api__/v1/user', headers={'Authorization': 'Key ' + os.environ['CONNECT_API_KEY']})).status)";
    assert_eq!(inside(&server, &ada, &guid, call), "200");

    let mut old = server.take_over();
    assert!(until("the end of the old server", SOON, || old.try_wait().unwrap()).success());
    whoami(&server, &key).expect(200);
    assert_eq!(inside(&server, &ada, &guid, call), "200", "the way there leads to the new one");

    server.kill();
    server.start();
    whoami(&server, &key).expect(200);
    assert_eq!(variable(&server, &ada, &guid, "CONNECT_API_KEY"), key, "the same process");
    assert_eq!(inside(&server, &ada, &guid, call), "200");

    // Whose process ended while nobody looked is nobody's.
    server.kill();
    for worker in server.workers() {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker.pid), nix::sys::signal::Signal::SIGKILL);
    }
    until("the end of the workers", SOON, || server.workers().is_empty().then_some(()));
    server.start();
    whoami(&server, &key).expect_error(401, 30);
    assert!(server.stop().success());
}

#[test]
fn an_operator_keeps_both_back() {
    let server = Server::setup()
        .env("LECTERN_CONTENT__API_KEY", "false")
        .env("LECTERN_CONTENT__SERVER_ADDRESS", "false")
        .start();
    let ada = server.account("ada", "publisher");
    let guid = publish(&server, &ada, "kept-back");
    for name in ["CONNECT_API_KEY", "CONNECT_SERVER"] {
        assert_eq!(variable(&server, &ada, &guid, name), "absent", "{name}");
    }
    let port = server.address().port();
    let tried =
        inside(&server, &ada, &guid, &format!("import socket; socket.create_connection(('127.0.0.1', {port}), 5)"));
    assert!(tried.contains("refused"), "{tried}");
}
