//! How workers start and end by themselves.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use lectern_domain::worker::{Ending, ExitStatus};
use lectern_supervisor::{ClientError, Event, WorkerState};
use tokio::net::UnixStream;

use crate::support::*;

#[tokio::test]
async fn a_worker_becomes_ready_and_leaves_only_its_log() {
    let (host, client) = Host::start().await;
    let spec = host.python(&format!("print('hello')\n{SERVES}"));
    let started = client.start(spec.clone()).await.unwrap();
    assert!(!started.existed);
    assert_eq!(started.worker.state, WorkerState::Starting);
    let status = client.wait_ready(&spec.job, LONG).await.unwrap();
    assert_eq!((status.content, status.bundle, &status.socket), (spec.content, spec.bundle, &spec.socket));
    assert!(is_alive(status.pid.unwrap().cast_signed()));
    UnixStream::connect(&spec.socket).await.unwrap();
    let private = fs::metadata(&spec.private).unwrap();
    assert_eq!(private.mode() & 0o777, 0o700);
    assert_eq!(private.uid(), spec.account.map_or(nix::unistd::geteuid().as_raw(), |account| account.uid));
    assert_eq!(fs::metadata(&spec.log).unwrap().mode() & 0o777, 0o600);

    client.stop(&spec.job, None).await.unwrap();
    let end = exited(&client, &spec).await;
    assert_eq!((end.ending, end.status), (Ending::Stopped, Some(ExitStatus::Signal(15))));
    assert!(!spec.private.exists());
    assert_eq!(log_text(&spec), ["hello"]);
    assert_eq!(host.running(), [0; 0]);
}

#[tokio::test]
async fn what_a_worker_says_before_it_fails_is_reported() {
    let (host, client) = Host::start().await;
    let spec = host.python("print('starting')\nraise RuntimeError('no such module: frobnicate')");
    client.start(spec.clone()).await.unwrap();
    let error = client.wait_ready(&spec.job, LONG).await.unwrap_err();
    let ClientError::Ended { status } = error else { panic!("{error}") };
    let WorkerState::Exited(end) = status.state else { panic!("{status:?}") };
    assert_eq!((end.ending, end.status), (Ending::FailedToStart, Some(ExitStatus::Code(1))));
    assert!(end.message.starts_with("exited with status 1 before it listened"), "{}", end.message);
    assert!(end.last_lines.iter().any(|line| line.data == "RuntimeError: no such module: frobnicate"));
    assert!(!spec.private.exists());
}

#[tokio::test]
async fn a_worker_that_never_listens_is_killed() {
    let (host, client) = Host::start().await;
    let mut spec = host.python("print('thinking')\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(1000)");
    spec.init_timeout = Duration::from_millis(300);
    client.start(spec.clone()).await.unwrap();
    let end = exited(&client, &spec).await;
    assert_eq!((end.ending, end.status), (Ending::NeverListened, Some(ExitStatus::Signal(9))));
    assert!(end.message.contains("did not listen on") && end.message.contains("0.3 seconds"), "{}", end.message);
    assert_eq!(host.running(), [0; 0]);
}

#[tokio::test]
async fn a_worker_that_listens_at_the_last_moment_is_in_time() {
    let (host, client) = Host::start().await;
    let mut spec = host.python(&format!("time.sleep(1.5)\n{SERVES}"));
    spec.init_timeout = Duration::from_secs(5);
    let status = ready(&client, &spec).await;
    assert!(is_alive(status.pid.unwrap().cast_signed()));
    // Its time to begin is over by then, and means nothing any more.
    let after = spec.init_timeout + Duration::from_millis(300);
    assert!(matches!(client.wait_exited(&spec.job, after).await, Err(ClientError::Timeout { .. })));
    assert_eq!(client.status(&spec.job).await.unwrap().state, WorkerState::Ready);
}

#[tokio::test]
async fn a_socket_file_without_a_listener_is_not_ready() {
    let (host, client) = Host::start().await;
    let code = "s = socket.socket(socket.AF_UNIX)\ns.bind(os.environ['SOCKET'])\nprint('bound')\ntime.sleep(1000)";
    let mut spec = host.python(code);
    spec.init_timeout = Duration::from_millis(700);
    client.start(spec.clone()).await.unwrap();
    assert_eq!(exited(&client, &spec).await.ending, Ending::NeverListened);
}

#[tokio::test]
async fn a_program_that_cannot_run_is_named() {
    let (host, client) = Host::start().await;
    let mut spec = host.python(SERVES);
    spec.argv[0] = "/nowhere/python3".to_owned();
    client.start(spec.clone()).await.unwrap();
    let end = exited(&client, &spec).await;
    assert_eq!((end.ending, end.status), (Ending::NotStarted, None));
    assert!(end.message.contains("/nowhere/python3") && end.message.contains("No such file"), "{}", end.message);
    assert!(!spec.private.exists());
    assert_eq!(client.status(&spec.job).await.unwrap().pid, None);
}

#[tokio::test]
async fn a_crash_while_serving_is_told_apart() {
    let (host, client) = Host::start().await;
    let spec = host.python("s = listen()\nwhile not os.path.exists('die'): time.sleep(0.01)\nsys.exit(7)");
    ready(&client, &spec).await;
    fs::write(spec.directory.join("die"), b"").unwrap();
    let end = exited(&client, &spec).await;
    assert_eq!((end.ending, end.status), (Ending::Crashed, Some(ExitStatus::Code(7))));

    let spec = host.python(SERVES);
    let pid = ready(&client, &spec).await.pid.unwrap().cast_signed();
    // 40 is a real-time signal, which has no name.
    nix::unistd::Pid::from_raw(pid);
    let status = std::process::Command::new("/bin/sh").args(["-c", &format!("kill -40 {pid}")]).status().unwrap();
    assert!(status.success());
    let end = exited(&client, &spec).await;
    assert_eq!((end.ending, end.status), (Ending::Crashed, Some(ExitStatus::Signal(40))));
}

#[tokio::test]
async fn starting_twice_starts_once() {
    let (host, client) = Host::start().await;
    let spec = host.python(SERVES);
    let first = ready(&client, &spec).await;
    let again = client.start(spec.clone()).await.unwrap();
    assert!(again.existed);
    assert_eq!(again.worker, first);
    client.stop(&spec.job, None).await.unwrap();
    exited(&client, &spec).await;
    let after = client.start(spec.clone()).await.unwrap();
    assert!(after.existed && matches!(after.worker.state, WorkerState::Exited(_)));
}

#[tokio::test]
async fn no_more_workers_than_allowed() {
    let (host, client) = Host::start_with(&["2"]).await;
    let specs = [host.python(SERVES), host.python(SERVES), host.python(SERVES)];
    ready(&client, &specs[0]).await;
    ready(&client, &specs[1]).await;
    let error = client.start(specs[2].clone()).await.unwrap_err();
    assert!(error.to_string().contains("2 workers run"), "{error}");
    client.stop(&specs[0].job, None).await.unwrap();
    exited(&client, &specs[0]).await;
    ready(&client, &specs[2]).await;
}

#[tokio::test]
async fn every_change_is_told_in_order() {
    let (host, client) = Host::start().await;
    let mut events = client.events().unwrap();
    let spec = host.python(SERVES);
    ready(&client, &spec).await;
    client.stop(&spec.job, None).await.unwrap();
    let (mut seen, mut revision) = (Vec::new(), 0);
    loop {
        let Event::Changed { worker } = events.next().await.unwrap() else { panic!("lagged") };
        assert!(worker.revision > revision);
        revision = worker.revision;
        let name = match worker.state {
            WorkerState::Starting => "starting",
            WorkerState::Ready => "ready",
            WorkerState::Draining => "draining",
            WorkerState::Exited(_) => "exited",
        };
        seen.push(name);
        if name == "exited" {
            break;
        }
    }
    seen.dedup();
    assert_eq!(seen, ["starting", "ready", "draining", "exited"]);
}

#[tokio::test]
async fn what_a_worker_took_is_reported_with_its_end() {
    let (host, client) = Host::start().await;
    // Half a second of work and 96 MiB, in a child that it waits for.
    let code = "work = 'import time; block = bytearray(96 << 20); end = time.process_time() + 0.5\\n\
                while time.process_time() < end: pass'\nsubprocess.run([sys.executable, '-c', work], check=True)";
    let spec = host.python(code);
    client.start(spec.clone()).await.unwrap();
    let end = exited(&client, &spec).await;
    let usage = end.usage.unwrap();
    assert!(usage.cpu >= Duration::from_millis(500) && usage.cpu < Duration::from_secs(30), "{usage:?}");
    assert!((96 << 20..1 << 30).contains(&usage.peak_memory_bytes), "{usage:?}");
    assert_eq!(end.excess, [""; 0]);

    // Whoever asks later is told the same: the server may have been away.
    let (again, _) = (host.connect().await, drop(client));
    let WorkerState::Exited(remembered) = again.status(&spec.job).await.unwrap().state else { panic!("it ended") };
    assert_eq!(remembered.usage, Some(usage));

    // One that must be killed, with all that is around it.
    let stubborn = host.python(
        "block = bytearray(96 << 20)\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\n\
         signal.signal(signal.SIGTERM, signal.SIG_IGN)\nserve(listen())",
    );
    ready(&again, &stubborn).await;
    again.stop(&stubborn.job, Some(Duration::ZERO)).await.unwrap();
    let killed = exited(&again, &stubborn).await;
    assert_eq!(killed.status, Some(ExitStatus::Signal(9)));
    let usage = killed.usage.unwrap();
    assert!(usage.cpu >= Duration::from_millis(500), "{usage:?}");
    assert!(usage.peak_memory_bytes >= 96 << 20, "{usage:?}");

    let mut missing = host.python("");
    missing.argv[0] = "/no/such/program".into();
    again.start(missing.clone()).await.unwrap();
    assert_eq!(exited(&again, &missing).await.usage, None);
}
