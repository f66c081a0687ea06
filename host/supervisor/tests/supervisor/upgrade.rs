//! Another program in the supervisor's place: what goes on, and what happens when it does not come to that.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use lectern_domain::worker::{Ending, ExitStatus};
use lectern_supervisor::protocol::ErrorCode;
use lectern_supervisor::{Client, ClientError, Event, WorkerState};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::*;
use crate::wire::Raw;

/// Answers each line with the number of this process, and the line.
const ECHOES: &str = r#"
import threading
def talk(c):
    for line in c.makefile("rb"):
        c.sendall(b"%d " % os.getpid() + line)
s = listen()
while True:
    threading.Thread(target=talk, args=(s.accept()[0],), daemon=True).start()
"#;

/// The supervisor's program again, as another file: another program.
pub fn next(host: &Host, name: &str) -> PathBuf {
    let path = host.dir.path().join(format!("lectern-supervise-{name}"));
    fs::copy(supervise_program(), &path).unwrap();
    path
}

/// A program in Python. `REAL` is the supervisor's.
pub fn script(host: &Host, code: &str) -> PathBuf {
    let path = host.dir.path().join(format!("lectern-supervise-{}", uuid::Uuid::new_v4().simple()));
    let text = format!("#!/usr/bin/python3\nimport os, signal, sys, time\nREAL = {:?}\n{code}\n", supervise_program());
    // Under another name first: a file that is open for writing cannot be run.
    fs::write(path.with_extension("new"), text).unwrap();
    fs::set_permissions(path.with_extension("new"), Permissions::from_mode(0o755)).unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    path
}

/// Answers the check as the real one does; what follows is done in the supervisor's place.
pub const CHECKS_WELL: &str = "if sys.argv[1] == 'supervisor-check': os.execv(REAL, [REAL] + sys.argv[1:])\n";

pub fn code(error: &ClientError) -> ErrorCode {
    match error {
        ClientError::Refused { code, .. } => *code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn workers_clients_and_logs_go_on() {
    let (mut host, client) = Host::start().await;
    let mut events = client.events().unwrap();
    let echo = host.python(ECHOES);
    // Prints a number at a time, without an end between some.
    let talks = host.python(
        "import threading\ndef count():\n    n = 0\n    while not os.path.exists('enough'):\n        \
         os.write(1, b'%d' % n); time.sleep(0.0005); os.write(1, b'\\n'); n += 1\n    os.write(1, b'last')\n    sys.exit\n\
         s = listen()\nthreading.Thread(target=lambda: serve(s), daemon=True).start()\ncount()\nos._exit(7)",
    );
    let late = host.python(&format!("while not os.path.exists('go'): time.sleep(0.01)\n{SERVES}"));
    let gone = host.python("print('farewell')\nsys.exit(3)");
    let before = [ready(&client, &echo).await, ready(&client, &talks).await];
    client.start(late.clone()).await.unwrap();
    client.start(gone.clone()).await.unwrap();
    let farewell = exited(&client, &gone).await;
    let mut talk = UnixStream::connect(&echo.socket).await.unwrap();
    talk.write_all(b"half a ").await.unwrap();

    let (pid, first) = (client.greeting().pid, client.greeting().program.clone().unwrap());
    let second = Client::upgrade(&host.socket, &next(&host, "2")).await.unwrap();
    assert_eq!((second.pid, second.started_at), (pid, client.greeting().started_at));
    assert_ne!(second.program.as_ref(), Some(&first));
    // And once more: what was taken over is handed on.
    let third = Client::upgrade(&host.socket, &next(&host, "3")).await.unwrap();
    assert_ne!(third.program, second.program);

    // The client from before noticed nothing, and is told to look.
    client.ping().await.unwrap();
    let all = client.list().await.unwrap();
    let state = |spec: &lectern_domain::launch::LaunchSpec| all.iter().find(|one| one.job == spec.job).unwrap().clone();
    assert_eq!([state(&echo), state(&talks)], before);
    assert_eq!(state(&late).state, WorkerState::Starting);
    assert!(matches!(state(&gone).state, WorkerState::Exited(end) if end == farewell));
    while !matches!(events.next().await.unwrap(), Event::Lagged { .. }) {}

    // The request that was under way, by the same process.
    talk.write_all(b"line\n").await.unwrap();
    let mut answer = vec![0; 64];
    let length = talk.read(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer[..length]).ends_with(" half a line\n"));

    // One that was starting becomes ready, or would be given up; new ones start; those from before end as they do.
    fs::write(late.directory.join("go"), b"").unwrap();
    client.wait_ready(&late.job, LONG).await.unwrap();
    let new = host.python(SERVES);
    ready(&client, &new).await;
    fs::write(talks.directory.join("enough"), b"").unwrap();
    let end = exited(&client, &talks).await;
    assert_eq!((end.ending, end.status), (Ending::Crashed, Some(ExitStatus::Code(7))));
    let lines = log_text(&talks);
    assert!(lines.len() > 10, "{lines:?}");
    let (last, numbers) = lines.split_last().unwrap();
    assert_eq!(last, "last");
    for (n, line) in numbers.iter().enumerate() {
        assert_eq!(*line, n.to_string(), "no line is lost, doubled or torn");
    }
    client.stop(&echo.job, None).await.unwrap();
    let end = exited(&client, &echo).await;
    assert_eq!((end.ending, end.status), (Ending::Stopped, Some(ExitStatus::Signal(15))));
    assert!(!echo.private.exists());

    // Whoever dies now: as before.
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    assert!(!host.ended().await.success());
    assert_eq!(host.running(), [0; 0]);
    assert!(!host.socket.exists());
}

#[tokio::test]
async fn what_ends_while_nobody_looks_is_reported() {
    let (host, client) = Host::start().await;
    let spec =
        host.python("s = listen()\nsignal.signal(signal.SIGHUP, lambda *_: (print('hung up'), os._exit(9)))\nserve(s)");
    let other = host.python(SERVES);
    let stays = host.python(SERVES);
    for one in [&spec, &other, &stays] {
        ready(&client, one).await;
    }
    let outermost = client.status(&other.job).await.unwrap().pid.unwrap();
    let app = path_text(&spec.directory.join("app.py"));
    let program = with_argument(&app);
    // Between the two programs: one ends with words of its own, one is killed from outside.
    let wrapper = script(
        &host,
        &format!(
            "{CHECKS_WELL}for pid in {program:?}:\n    os.kill(pid, signal.SIGHUP)\nos.kill({outermost}, signal.SIGKILL)\n\
             def ended(pid):\n    try: return open(f'/proc/{{pid}}/stat').read().rsplit(') ')[-1][0] in 'ZX'\n    \
             except OSError: return True\n\
             while not all(map(ended, {program:?} + [{outermost}])): time.sleep(0.01)\nos.execv(REAL, [REAL] + sys.argv[1:])"
        ),
    );
    Client::upgrade(&host.socket, &wrapper).await.unwrap();
    let end = exited(&client, &spec).await;
    assert_eq!((end.ending, end.status), (Ending::Crashed, Some(ExitStatus::Code(9))));
    assert_eq!(log_text(&spec), ["hung up"]);
    let end = exited(&client, &other).await;
    assert_eq!((end.ending, end.status), (Ending::Crashed, Some(ExitStatus::Signal(9))));
    assert_eq!(client.status(&stays.job).await.unwrap().state, WorkerState::Ready);
    client.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_program_that_cannot_changes_nothing() {
    let (host, client) = Host::start().await;
    let spec = host.python(ECHOES);
    let before = ready(&client, &spec).await;
    let newer = "print('{\"reads\":false,\"because\":\"the state has version 1, and this program reads 7 to 9\",\"program\":\"9\"}')";
    let plain = host.dir.path().join("text");
    fs::write(&plain, "text").unwrap();
    fs::set_permissions(&plain, Permissions::from_mode(0o644)).unwrap();
    let cases = [
        (PathBuf::from("/nowhere/lectern"), "No such file"),
        (PathBuf::from("bin/lectern"), "absolute path"),
        (plain, "not a program"),
        (PathBuf::from("/bin/true"), "does not know how to take"),
        (script(&host, "sys.exit('usage: something else')"), "does not know how to take"),
        (script(&host, newer), "reads 7 to 9"),
        (script(&host, "os.close(1); time.sleep(60)"), "does not know how to take"),
    ];
    for (program, words) in cases {
        let error = Client::upgrade(&host.socket, &program).await.unwrap_err();
        assert_eq!(code(&error), ErrorCode::NotUpgraded, "{error}");
        assert!(error.to_string().contains(words) && error.to_string().contains(program.to_str().unwrap()), "{error}");
        assert_eq!(client.status(&spec.job).await.unwrap(), before);
    }
    // A file that passes the check and cannot be run after it.
    let once = script(&host, "print('{\"reads\":true,\"program\":\"1\"}'); os.chmod(sys.argv[0], 0o644)");
    let error = Client::upgrade(&host.socket, &once).await.unwrap_err();
    assert!(error.to_string().contains("become it"), "{error}");
    let mut talk = UnixStream::connect(&spec.socket).await.unwrap();
    talk.write_all(b"hello\n").await.unwrap();
    assert!(talk.read(&mut [0; 64]).await.unwrap() > 0);
    // Later ones may.
    Client::upgrade(&host.socket, &next(&host, "2")).await.unwrap();
    assert_eq!(client.list().await.unwrap(), [before]);
    client.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_program_that_cannot_go_on_gives_the_place_back() {
    let (host, client) = Host::start().await;
    let spec = host.python(&format!("print('hello')\n{SERVES}"));
    let before = ready(&client, &spec).await;
    // The state is at its end, so there is none to read.
    let blind =
        script(&host, &format!("{CHECKS_WELL}os.lseek(int(sys.argv[2]), 0, 2)\nos.execv(REAL, [REAL] + sys.argv[1:])"));
    let error = Client::upgrade(&host.socket, &blind).await.unwrap_err();
    assert_eq!(code(&error), ErrorCode::NotUpgraded, "{error}");
    assert!(error.to_string().contains("gave the place back") && error.to_string().contains("no version"), "{error}");
    assert_eq!(client.status(&spec.job).await.unwrap(), before);
    let again = host.connect().await;
    assert_eq!(again.greeting(), client.greeting());
    Client::upgrade(&host.socket, &next(&host, "2")).await.unwrap();
    assert_eq!(client.list().await.unwrap(), [before]);
    client.stop(&spec.job, None).await.unwrap();
    assert_eq!(exited(&client, &spec).await.ending, Ending::Stopped);
    client.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_program_that_dies_in_the_place_is_a_supervisor_that_died() {
    let (mut host, client) = Host::start().await;
    let spec = host.python(SERVES);
    ready(&client, &spec).await;
    let dies = script(&host, &format!("{CHECKS_WELL}os.kill(os.getpid(), signal.SIGKILL)"));
    let error = Client::upgrade(&host.socket, &dies).await.unwrap_err();
    assert!(matches!(error, ClientError::Gone), "{error}");
    assert!(!host.ended().await.success());
    assert_eq!(host.running(), [0; 0]);
    tokio::time::timeout(LONG, client.closed()).await.unwrap();
}

#[tokio::test]
async fn requests_that_were_on_their_way_are_answered() {
    let (host, client) = Host::start().await;
    let spec = host.python(SERVES);
    ready(&client, &spec).await;
    let mut raw = Raw::connect(&host).await;
    assert_eq!(raw.send(r#"{"id":1,"do":"hello","version":2}"#).await["ok"]["version"], 2);
    // A request, the change, half of another one: all are read by whoever comes after it.
    let program = next(&host, "2");
    raw.write(&format!(
        "{{\"id\":2,\"do\":\"upgrade\",\"program\":{program:?}}}\n{{\"id\":3,\"do\":\"list\"}}\n{{\"id\":4,"
    ))
    .await;
    let answer = raw.read().await;
    assert_eq!((&answer["id"], &answer["ok"]["version"]), (&2.into(), &2.into()));
    assert_eq!(raw.read().await["ok"][0]["job"], spec.job.to_string());
    assert_eq!(raw.send(r#""do":"ping"}"#).await["id"], 4);
    // SIGTERM ends it in order, by way of the guardian.
    kill(host.guardian(), Signal::SIGTERM).unwrap();
    assert_eq!(exited(&client, &spec).await.ending, Ending::Stopped);
    let mut host = host;
    assert!(host.ended().await.success());
}

#[tokio::test]
async fn limits_hold_after_it() {
    if !is_root() {
        eprintln!("skipped: only root makes control groups");
        return;
    }
    let (host, client) = Host::start().await;
    let mut spec = host.python("s = listen()\nx = []\nwhile not os.path.exists('go'): time.sleep(0.01)\nwhile True: x.append(bytearray(1 << 20))");
    spec.walls.memory_bytes = Some(64 << 20);
    ready(&client, &spec).await;
    Client::upgrade(&host.socket, &next(&host, "2")).await.unwrap();
    fs::File::create(spec.directory.join("go")).unwrap().write_all(b"x").unwrap();
    let end = exited(&client, &spec).await;
    assert!(end.message.contains("needed more than 64 MiB of memory"), "{}", end.message);
    client.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn many_at_once_and_all_the_time() {
    let (host, client) = Host::start().await;
    let programs = [next(&host, "a"), next(&host, "b")];
    let stays = host.python(SERVES);
    let before = ready(&client, &stays).await;
    let churn = {
        let (client, specs) = (client.clone(), (0..8).map(|_| host.python(SERVES)).collect::<Vec<_>>());
        tokio::spawn(async move {
            for spec in &specs {
                ready(&client, spec).await;
                client.stop(&spec.job, None).await.unwrap();
                assert_eq!(exited(&client, spec).await.ending, Ending::Stopped);
            }
        })
    };
    let mut done = 0;
    while !churn.is_finished() || done == 0 {
        match Client::upgrade(&host.socket, &programs[done % 2]).await {
            Ok(_) => done += 1,
            Err(error) => assert_eq!(code(&error), ErrorCode::Busy, "{error}"),
        }
    }
    churn.await.unwrap();
    println!("{done} programs one after another");
    assert_eq!(client.status(&stays.job).await.unwrap(), before);
    if !is_root() {
        println!("the descriptors are not counted: nobody but root may look at them");
        client.shutdown(LONG).await.unwrap();
        return;
    }
    // No descriptor of an earlier program is left behind: fewer than a worker takes.
    let fds = || fs::read_dir(format!("/proc/{}/fd", client.greeting().pid)).unwrap().count();
    let now = fds();
    for n in 0..3 {
        Client::upgrade(&host.socket, &programs[n % 2]).await.unwrap();
    }
    wait_until("as many descriptors as before", || fds() <= now).await;
    client.shutdown(LONG).await.unwrap();
}
