//! Supervisors that a client starts.

use std::path::Path;

use lectern_supervisor::{Client, ClientError, Program};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;

use crate::support::*;

pub fn program(socket: &Path) -> Program {
    let log = socket.parent().unwrap().parent().unwrap().join("supervisor.log");
    Program { path: supervise_program(), args: vec![socket.into()], log }
}

#[tokio::test]
async fn many_clients_start_one_supervisor() {
    let host = Host::empty();
    let (socket, program) = (host.socket.clone(), program(&host.socket));
    let all = (0..6).map(|_| {
        let (socket, program) = (socket.clone(), program.clone());
        tokio::spawn(async move { Client::connect_or_spawn(&socket, &program).await.unwrap() })
    });
    let mut clients = Vec::new();
    for client in all.collect::<Vec<_>>() {
        clients.push(client.await.unwrap());
    }
    assert!(clients.iter().all(|client| client.greeting() == clients[0].greeting()));
    // It is in a session of its own: what ends our terminal does not end it.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", clients[0].greeting().pid)).unwrap();
    let session: u32 = stat.rsplit(')').next().unwrap().split(' ').nth(4).unwrap().parse().unwrap();
    assert_eq!(session, clients[0].greeting().pid);
    // One that still waits for the lock would take over.
    wait_until("the others to give up", || host.supervisors().len() == 2).await;
    clients[0].shutdown(LONG).await.unwrap();
}

/// A supervisor of an earlier version, as far as a client sees it: refuses the greeting, ends when it is told to.
async fn serve_as_an_older_one(listener: UnixListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let request: serde_json::Value = serde_json::from_str(&line).unwrap();
            let id = &request["id"];
            let refusal = serde_json::json!({"code": "version", "message": "this supervisor speaks version 1, not 2"});
            let answer = match request["do"].as_str().unwrap() {
                "shutdown" => serde_json::json!({"id": id, "ok": {}}),
                _ => serde_json::json!({"id": id, "error": refusal}),
            };
            write.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
            if answer["ok"].is_object() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_supervisor_of_another_version_is_replaced() {
    let host = Host::empty();
    let run = host.socket.parent().unwrap();
    std::fs::create_dir(run).unwrap();
    std::fs::set_permissions(run, std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let older = tokio::spawn(serve_as_an_older_one(UnixListener::bind(&host.socket).unwrap()));
    let client = Client::connect_or_spawn(&host.socket, &program(&host.socket)).await.unwrap();
    older.await.unwrap();
    assert_eq!(client.greeting().version, lectern_supervisor::protocol::VERSION);
    client.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_supervisor_that_cannot_start_is_reported() {
    let host = Host::empty();
    let mut wrong = program(&host.socket);
    wrong.path = "/nowhere/lectern".into();
    let error = Client::connect_or_spawn(&host.socket, &wrong).await.err().unwrap();
    assert!(matches!(error, ClientError::Spawn { .. }), "{error}");
    wrong.path = "/bin/false".into();
    let error = Client::connect_or_spawn(&host.socket, &wrong).await.err().unwrap();
    assert!(matches!(error, ClientError::SpawnEnded { .. }), "{error}");
    assert!(error.to_string().contains("supervisor.log"), "{error}");
}

/// Listens at argv[2] as the account argv[1], and answers every line with argv[3].
const FOREIGNER: &str = r#"
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[2])
os.chmod(sys.argv[2], 0o777)
u = int(sys.argv[1])
if u:
    os.setresgid(u, u, u)
    os.setresuid(u, u, u)
s.listen()
while True:
    c, _ = s.accept()
    try:
        c.makefile().readline()
        c.sendall(sys.argv[3].encode() + b"\n")
    except OSError:
        pass
"#;

/// A process that ends with its test.
struct Foreigner(std::process::Child);

impl Drop for Foreigner {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

async fn foreigner(host: &Host, uid: u32, answer: &str) -> Foreigner {
    std::fs::create_dir_all(host.socket.parent().unwrap()).unwrap();
    let child = std::process::Command::new("/usr/bin/python3")
        .args(["-c", FOREIGNER, &uid.to_string()])
        .args([host.socket.as_os_str(), answer.as_ref()])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let child = Foreigner(child);
    wait("it to listen", || async { tokio::net::UnixStream::connect(&host.socket).await.ok() }).await;
    child
}

#[tokio::test]
async fn whoever_else_listens_is_not_taken_for_a_supervisor() {
    let host = Host::empty();
    let program = program(&host.socket);
    {
        let _other = foreigner(&host, 0, "220 mail server ready").await;
        let error = Client::connect_or_spawn(&host.socket, &program).await.err().unwrap();
        assert!(matches!(error, ClientError::Gone | ClientError::Protocol(_)), "{error}");
        assert_eq!(
            host.supervisors().len(),
            1,
            "the other one, which has the path on its command line, and none of ours"
        );
    }
    if is_root() {
        std::fs::remove_file(&host.socket).unwrap();
        let uid = fresh_account().uid;
        // It must stay connected to be told apart: whose it is shows the socket's listener.
        let _other = foreigner(&host, uid, r#"{"id":1,"ok":{}}"#).await;
        let error = Client::connect(&host.socket).await.err().unwrap();
        assert!(matches!(error, ClientError::Untrusted { uid: told, .. } if told == uid), "{error}");
        let error = Client::connect_or_spawn(&host.socket, &program).await.err().unwrap();
        assert!(error.to_string().contains(&format!("answered by uid {uid}")), "{error}");
    }
    // A file that nobody listens on, as a dead one leaves it, is in nobody's way.
    assert!(host.socket.exists());
    let client = Client::connect_or_spawn(&host.socket, &program).await.unwrap();
    client.shutdown(LONG).await.unwrap();
}
