//! The protocol, byte by byte.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::support::*;

pub struct Raw(BufReader<UnixStream>);

impl Raw {
    pub async fn connect(host: &Host) -> Self {
        Self(BufReader::new(UnixStream::connect(&host.socket).await.unwrap()))
    }

    pub async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    pub async fn send(&mut self, line: &str) -> Value {
        self.write(&format!("{line}\n")).await;
        self.read().await
    }

    pub async fn read(&mut self) -> Value {
        let mut line = String::new();
        tokio::time::timeout(LONG, self.0.read_line(&mut line)).await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

#[tokio::test]
async fn wrong_requests_are_answered_and_the_connection_lives() {
    let (host, _client) = Host::start().await;
    let mut raw = Raw::connect(&host).await;
    let code = |answer: &Value| answer["error"]["code"].as_str().unwrap_or("none").to_owned();
    assert_eq!(code(&raw.send(r#"{"id":1,"do":"list"}"#).await), "hello_first");
    assert_eq!(raw.send(r#"{"id":2,"do":"ping"}"#).await, json!({"id": 2, "ok": {}}));
    let answer = raw.send(r#"{"id":3,"do":"hello","version":99}"#).await;
    assert_eq!((code(&answer), &answer["id"]), ("version".to_owned(), &json!(3)));
    assert!(answer["error"]["message"].as_str().unwrap().contains("speaks versions 2 to 3, not 99"));
    let answer = raw.send(r#"{"id":4,"do":"hello","version":99,"oldest":50}"#).await;
    assert!(answer["error"]["message"].as_str().unwrap().contains("not 50 to 99"));
    // One from the future that still speaks ours, and one from before programs were named.
    let answer = raw.send(r#"{"id":4,"do":"hello","version":99,"oldest":3,"from the future":true}"#).await;
    assert_eq!((&answer["ok"]["version"], answer["ok"]["program"].is_string()), (&json!(3), true));
    let answer = raw.send(r#"{"id":4,"do":"hello","version":2}"#).await;
    assert_eq!((&answer["ok"]["version"], answer["ok"].get("program")), (&json!(2), None));
    assert_eq!(code(&raw.send("nonsense").await), "bad_request");
    let answer = raw.send(r#"{"id":5,"do":"dance"}"#).await;
    assert_eq!(code(&answer), "unknown_command");
    assert!(answer["error"]["message"].as_str().unwrap().contains("shutdown"));
    let job = "0".repeat(32);
    assert_eq!(code(&raw.send(&format!(r#"{{"id":6,"do":"stop","job":"{job}"}}"#)).await), "unknown_job");
    assert_eq!(raw.send(r#"{"id":7,"do":"list"}"#).await, json!({"id": 7, "ok": []}));
}

#[tokio::test]
async fn any_version_can_end_the_supervisor() {
    let (mut host, client) = Host::start().await;
    let spec = host.python(SERVES);
    ready(&client, &spec).await;
    lectern_supervisor::Client::shutdown_any(&host.socket, LONG).await.unwrap();
    assert!(host.ended().await.success());
    assert_eq!(host.running(), [0; 0]);
}

#[tokio::test]
async fn bad_specifications_start_nothing() {
    let (host, client) = Host::start().await;
    let mut spec = host.python(SERVES);
    spec.private = host.dir.path().join("elsewhere");
    let error = client.start(spec.clone()).await.unwrap_err();
    assert!(error.to_string().contains("not directly below"), "{error}");
    let first = host.python(SERVES);
    ready(&client, &first).await;
    let mut second = host.python(SERVES);
    (second.private, second.socket) = (first.private.clone(), first.socket.clone());
    let error = client.start(second).await.unwrap_err();
    assert!(error.to_string().contains("belongs to job"), "{error}");
    let mut spec = host.python(SERVES);
    spec.account = if is_root() { None } else { Some(fresh_account()) };
    let error = client.start(spec).await.unwrap_err();
    assert!(error.to_string().contains("account of its own") || error.to_string().contains("cannot change"), "{error}");
}

#[tokio::test]
async fn a_line_without_end_is_cut_off() {
    let (host, client) = Host::start().await;
    let mut raw = Raw::connect(&host).await;
    // It stops reading in the middle: the rest may not be accepted.
    let _ = raw.0.write_all(&vec![b'x'; 5 << 20]).await;
    assert_eq!(raw.read().await["error"]["code"], "line_too_long");
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(LONG, raw.0.read_to_end(&mut rest)).await.unwrap();
    client.ping().await.unwrap();
}

#[tokio::test]
async fn connections_are_bounded() {
    let (host, client) = Host::start().await;
    let mut all = Vec::new();
    for _ in 0..63 {
        let mut raw = Raw::connect(&host).await;
        raw.send(r#"{"id":1,"do":"ping"}"#).await;
        all.push(raw);
    }
    let mut raw = Raw::connect(&host).await;
    assert_eq!(raw.read().await["error"]["code"], "too_many_connections");
    client.ping().await.unwrap();
    drop(all);
    wait("a place", || async { lectern_supervisor::Client::connect(&host.socket).await.ok() }).await;
}

#[tokio::test]
async fn strangers_are_refused() {
    let (host, client) = Host::start().await;
    assert_eq!(std::fs::metadata(&host.socket).unwrap().permissions().mode() & 0o777, 0o600);
    if !is_root() {
        eprintln!("skipped: only root can be somebody else");
        return;
    }
    let stranger = fresh_account();
    let connect = || {
        use std::os::unix::process::CommandExt;
        let code = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                    s.sendall(b'{\"id\":1,\"do\":\"shutdown\"}\\n')\nprint(s.makefile().readline())";
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", code]).arg(&host.socket).uid(stranger.uid).gid(stranger.gid).current_dir("/");
        command.output().unwrap()
    };
    let refused = connect();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("PermissionError"), "{refused:?}");
    // Were the file's mode wrong, the peer's uid would still tell.
    std::fs::set_permissions(&host.socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    let refused = connect();
    let said = String::from_utf8_lossy(&refused.stdout).into_owned() + &String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("not_allowed") || said.contains("BrokenPipe"), "{said}");
    client.ping().await.unwrap();
}
