//! kill -9 of whoever: what goes on, and what must not.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use lectern_supervisor::{Client, ClientError, WorkerState};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::*;

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.cast_signed())
}

/// Serves, with a child in its group and one in another session.
const WITH_CHILDREN: &str = "for new in (False, True):\n    \
    subprocess.Popen(['/bin/sh', '-c', 'trap \"\" TERM HUP; while :; do /bin/sleep 1000; done'], start_new_session=new)\n\
    serve(listen())";

#[tokio::test]
async fn killing_the_supervisor_leaves_nothing() {
    let (mut host, client) = Host::start().await;
    let spec = host.python(WITH_CHILDREN);
    ready(&client, &spec).await;
    // bubblewrap and the first process inside, too.
    wait_until("worker, shells and sleeps", || host.running().len() == 7).await;
    let mut events = client.events().unwrap();
    kill(pid(client.greeting().pid), Signal::SIGKILL).unwrap();

    assert!(!host.ended().await.success());
    assert_eq!(host.running(), [0; 0]);
    assert!(!host.socket.exists());
    tokio::time::timeout(LONG, client.closed()).await.unwrap();
    assert!(matches!(client.ping().await, Err(ClientError::Gone)));
    assert!(matches!(client.events().err(), Some(ClientError::Gone)));
    while events.next().await.is_ok() {}
    assert!(matches!(Client::connect(&host.socket).await, Err(ClientError::NotRunning { .. })));

    // The next one starts clean.
    assert!(spec.private.exists());
    let second = host.launch(&[]);
    let client = host.connect().await;
    assert!(!spec.private.exists());
    assert_eq!(client.list().await.unwrap(), []);
    client.shutdown(LONG).await.unwrap();
    drop(second);
}

#[tokio::test]
async fn killing_supervisor_and_guardian_ends_the_workers() {
    let (mut host, client) = Host::start().await;
    let spec = host.python(SERVES);
    let worker = ready(&client, &spec).await.pid.unwrap().cast_signed();
    // The guardian first, stopped, so that neither can help the other.
    kill(host.guardian(), Signal::SIGSTOP).unwrap();
    kill(pid(client.greeting().pid), Signal::SIGKILL).unwrap();
    kill(host.guardian(), Signal::SIGKILL).unwrap();
    host.ended().await;
    wait_until("the worker to die", || !is_alive(worker)).await;
    // A socket that nobody listens on is replaced.
    assert!(host.socket.exists());
    let mut second = host.launch(&[]);
    let client = host.connect().await;
    client.shutdown(LONG).await.unwrap();
    assert!(second.wait().unwrap().success());
}

#[tokio::test]
async fn killing_the_guardian_ends_all_in_order() {
    let (mut host, client) = Host::start().await;
    let spec = host.python(&format!("signal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit(0)))\n{SERVES}"));
    ready(&client, &spec).await;
    kill(host.guardian(), Signal::SIGKILL).unwrap();
    host.ended().await;
    tokio::time::timeout(LONG, client.closed()).await.unwrap();
    wait_until("all to end", || host.running().is_empty()).await;
    assert_eq!(log_text(&spec), ["bye"]);
    assert!(!spec.private.exists());
}

#[tokio::test]
async fn a_client_that_leaves_leaves_its_workers() {
    let (host, client) = Host::start().await;
    let spec = host.python(SERVES);
    let before = ready(&client, &spec).await;
    let failed = host.python("sys.exit(3)");
    client.start(failed.clone()).await.unwrap();
    exited(&client, &failed).await;
    drop(client);
    let client = host.connect().await;
    let all = client.list().await.unwrap();
    assert_eq!(all[0], before);
    assert!(matches!(&all[1].state, WorkerState::Exited(end) if end.message.contains("status 3")));
}

/// Not a test: the server that the next test kills. Starts a supervisor and a worker, says so, and waits.
#[tokio::test]
#[ignore = "run by another test"]
async fn server_to_be_killed() {
    let dir = std::env::var("LECTERN_TEST_HOST").unwrap();
    let socket = std::path::Path::new(&dir).join("run/s.sock");
    let spec = serde_json::from_str(&std::env::var("LECTERN_TEST_SPEC").unwrap()).unwrap();
    let client = Client::connect_or_spawn(&socket, &crate::spawning::program(&socket)).await.unwrap();
    let status = ready(&client, &spec).await;
    println!("ready {}", status.pid.unwrap());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn killing_the_server_leaves_supervisor_and_workers() {
    let host = Host::empty();
    let spec = host.python(SERVES);
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "deaths::server_to_be_killed"])
        .env("LECTERN_TEST_HOST", host.dir.path())
        .env("LECTERN_TEST_SPEC", serde_json::to_string(&spec).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find(|line| line.contains("ready ")).expect("the server gets ready");
    let worker: u32 = line.rsplit(' ').next().unwrap().parse().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();

    let client = host.connect().await;
    let all = client.list().await.unwrap();
    assert_eq!((all.len(), all[0].pid, &all[0].state), (1, Some(worker), &WorkerState::Ready));
    tokio::net::UnixStream::connect(&spec.socket).await.unwrap();
    client.shutdown(LONG).await.unwrap();
    wait_until("all to end", || host.running().is_empty()).await;
}

#[tokio::test]
async fn one_supervisor_per_socket() {
    let host = Host::empty();
    let mut all: Vec<_> = (0..4).map(|_| host.launch(&[])).collect();
    let client = host.connect().await;
    let mut losers = 0;
    wait_until("all but one to give up", || {
        let before = all.len();
        all.retain_mut(|child| child.try_wait().unwrap().is_none_or(|status| status.success()));
        losers += before - all.len();
        losers == 3
    })
    .await;
    client.ping().await.unwrap();
    assert!(host.supervisor_log().contains("a supervisor runs already"), "{}", host.supervisor_log());
    client.shutdown(LONG).await.unwrap();
    assert!(all[0].wait().unwrap().success());
}

#[tokio::test]
async fn the_next_supervisor_waits_for_the_last_one_to_end() {
    let (mut host, client) = Host::start().await;
    let mut spec = host.python(&format!("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SERVES}"));
    spec.stop_grace = Duration::from_secs(1);
    ready(&client, &spec).await;
    let first = client.greeting().pid;
    kill(host.guardian(), Signal::SIGTERM).unwrap();
    wait_until("the socket to go", || !host.socket.exists()).await;
    assert!(!host.running().is_empty(), "the worker has its grace");
    let mut second = host.launch(&[]);
    let client = host.connect().await;
    assert_ne!(client.greeting().pid, first);
    assert_eq!(host.running(), [0; 0]);
    assert!(host.ended().await.success());
    client.shutdown(LONG).await.unwrap();
    second.wait().unwrap();
    assert!(fs::read_dir(host.dir.path().join("run/w")).unwrap().next().is_none());
}
