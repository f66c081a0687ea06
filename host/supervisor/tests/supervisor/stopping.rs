//! How workers are ended, with all they started.

use std::time::{Duration, Instant};

use lectern_domain::worker::{Ending, ExitStatus};

use crate::support::*;

/// Starts a daemon the classic way: `sleep` in a session of its own whose parent is gone.
const DAEMON: &str = r#"
def daemon(argument, env):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1, 2): os.dup2(null, fd)
            os.execve("/bin/sleep", ["sleep", argument], env)
        os._exit(0)
    os.wait()
"#;

/// An argument for `sleep` that names one process on the whole machine.
fn unique() -> String {
    format!("100000.{}", uuid::Uuid::new_v4().as_u128() % 1_000_000_000_000)
}

#[tokio::test]
async fn a_worker_that_ignores_sigterm_is_killed_after_its_grace() {
    let (host, client) = Host::start().await;
    let mut spec = host.python(&format!("signal.signal(signal.SIGTERM, lambda *_: print('no'))\n{SERVES}"));
    // Long enough for a busy machine to let it say no.
    spec.stop_grace = Duration::from_secs(2);
    ready(&client, &spec).await;
    let asked = Instant::now();
    client.stop(&spec.job, None).await.unwrap();
    let end = exited(&client, &spec).await;
    assert_eq!((end.ending, end.status), (Ending::Stopped, Some(ExitStatus::Signal(9))));
    assert!(asked.elapsed() >= spec.stop_grace);
    assert_eq!(log_text(&spec), ["no"]);
}

#[tokio::test]
async fn another_grace_can_be_given_and_hastened() {
    let (host, client) = Host::start().await;
    let spec = host.python(&format!("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SERVES}"));
    ready(&client, &spec).await;
    client.stop(&spec.job, Some(LONG * 5)).await.unwrap();
    client.stop(&spec.job, Some(Duration::ZERO)).await.unwrap();
    assert_eq!(exited(&client, &spec).await.status, Some(ExitStatus::Signal(9)));
}

#[tokio::test]
async fn children_and_daemons_end_with_the_worker() {
    let (host, client) = Host::start().await;
    let (child, session, daemon, bare) = (unique(), unique(), unique(), unique());
    // Without root no account tells whose a daemon with an empty environment is.
    let bare_env = if is_root() { "{}" } else { "dict(os.environ)" };
    let code = format!(
        "{DAEMON}\nsubprocess.Popen(['sleep', '{child}'], shell=False)\n\
         subprocess.Popen(['/bin/sh', '-c', 'trap \"\" TERM; sleep {session} & wait'], start_new_session=True)\n\
         daemon('{daemon}', dict(os.environ))\ndaemon('{bare}', {bare_env})\n"
    );
    for ends_by_itself in [false, true] {
        let mut spec = host.python(&format!(
            "{code}\ns = listen()\nwhile not os.path.exists('die'): time.sleep(0.01)\nos.kill(os.getpid(), 9)"
        ));
        spec.env.push(("PATH".to_owned(), "/usr/bin:/bin".to_owned()));
        spec.stop_grace = Duration::from_millis(200);
        ready(&client, &spec).await;
        for argument in [&child, &session, &daemon, &bare] {
            wait_until("the process to run", || !with_argument(argument).is_empty()).await;
        }
        if ends_by_itself {
            std::fs::write(spec.directory.join("die"), b"").unwrap();
        } else {
            client.stop(&spec.job, None).await.unwrap();
        }
        exited(&client, &spec).await;
        for argument in [&child, &session, &daemon, &bare] {
            assert_eq!(with_argument(argument), [0; 0], "{ends_by_itself}");
        }
        assert!(!spec.private.exists());
    }
}

#[tokio::test]
async fn another_workers_daemon_is_left_alone() {
    let (host, client) = Host::start().await;
    let daemon = unique();
    let keeps = host.python(&format!("{DAEMON}\ndaemon('{daemon}', dict(os.environ))\n{SERVES}"));
    let ends = host.python(SERVES);
    ready(&client, &keeps).await;
    ready(&client, &ends).await;
    client.stop(&ends.job, None).await.unwrap();
    exited(&client, &ends).await;
    assert_eq!(with_argument(&daemon).len(), 1);
    let asked = Instant::now();
    client.stop(&keeps.job, None).await.unwrap();
    exited(&client, &keeps).await;
    assert!(asked.elapsed() < keeps.stop_grace / 2, "the daemon is asked to end, not waited for");
    assert_eq!(with_argument(&daemon), [0; 0]);
}

#[tokio::test]
async fn children_may_use_the_grace_after_their_parent_has_ended() {
    let (host, client) = Host::start().await;
    // The parent dies of SIGTERM at once, as a shell or a launcher does; the child needs a moment to close.
    let spec = host.python(
        "if os.fork() == 0:\n    def end(*_):\n        time.sleep(0.4)\n        print('saved')\n        os._exit(0)\n    \
         signal.signal(signal.SIGTERM, end)\n    serve(listen())\ntime.sleep(1000)",
    );
    ready(&client, &spec).await;
    client.stop(&spec.job, None).await.unwrap();
    assert_eq!(exited(&client, &spec).await.status, Some(ExitStatus::Signal(15)));
    assert_eq!(log_text(&spec), ["saved"]);
}

#[tokio::test]
async fn a_worker_that_forks_without_end_is_ended() {
    let (host, client) = Host::start().await;
    // Eight lines of descent, each living in ever new processes; they end by themselves, should this test fail.
    let spec = host.python(
        "until = time.time() + 30\ns = listen()\nfor _ in range(8):\n    if os.fork() == 0:\n        \
         while time.time() < until:\n            if os.fork() != 0: os._exit(0)\n            os.setsid()\n        \
         os._exit(0)\ntime.sleep(1000)",
    );
    ready(&client, &spec).await;
    client.stop(&spec.job, Some(Duration::ZERO)).await.unwrap();
    exited(&client, &spec).await;
    if is_root() {
        assert_eq!(host.running(), [0; 0]);
    }
}

#[tokio::test]
async fn shutdown_ends_all_at_once() {
    let (mut host, client) = Host::start().await;
    let mut specs = Vec::new();
    for _ in 0..6 {
        let mut spec = host.python(&format!("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SERVES}"));
        spec.stop_grace = Duration::from_secs(2);
        specs.push(spec);
    }
    for spec in &specs {
        ready(&client, spec).await;
    }
    let asked = Instant::now();
    client.shutdown(LONG).await.unwrap();
    assert!(asked.elapsed() < specs[0].stop_grace * 3, "one after the other would take 12 seconds");
    assert!(host.ended().await.success());
    assert_eq!(host.running(), [0; 0]);
    assert!(!host.socket.exists());
    assert!(specs.iter().all(|spec| !spec.private.exists()));
    assert!(client.ping().await.is_err());
}

#[tokio::test]
async fn shutdown_is_bounded() {
    // The limit leaves workers no grace at all.
    let (mut host, client) = Host::start_with(&["10", "3000"]).await;
    let mut spec = host.python(&format!("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SERVES}"));
    spec.stop_grace = LONG * 5;
    ready(&client, &spec).await;
    client.stop(&spec.job, None).await.unwrap();
    nix::sys::signal::kill(host.guardian(), nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(host.ended().await.success());
    assert_eq!(host.running(), [0; 0]);
}
