//! What a worker is, and what it may not do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use lectern_domain::worker::Ending;
use tokio::net::UnixListener;

use crate::support::*;

/// Says everything that a process knows of itself, then serves.
const SELF_PORTRAIT: &str = r#"
import json, resource
s = listen()
status = dict(l.split(":", 1) for l in open("/proc/self/status").read().splitlines() if ":" in l)
def denied(f):
    try: f()
    except OSError as e: return e.strerror
    return "done"
os.umask(m := os.umask(0))
print(json.dumps({
    "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(),
    "no_new_privs": status["NoNewPrivs"].strip(), "caps": status["CapEff"].strip(),
    "ignored": status["SigIgn"].strip(), "blocked": status["SigBlk"].strip(),
    "session": os.getsid(0) == os.getpid(), "group": os.getpgrp() == os.getpid(),
    "env": dict(os.environ), "umask": m, "core": resource.getrlimit(resource.RLIMIT_CORE),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    "fds": sorted(int(n) for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")),
    "stdin": os.readlink("/proc/self/fd/0"), "cwd": os.getcwd(),
    "batch": os.sched_getscheduler(0) == os.SCHED_BATCH,
    "write_bundle": denied(lambda: open("new", "w")), "write_app": denied(lambda: open("app.py", "a")),
    "read_log_dir": denied(lambda: os.listdir(os.environ["JOBS"])),
    "private": denied(lambda: open(os.environ["HOME"] + "/x", "w")),
}))
serve(s)
"#;

#[tokio::test]
async fn a_worker_is_what_the_specification_says_and_no_more() {
    // A descriptor and ignored signals that the supervisor inherits must not reach workers.
    let host = Host::empty();
    let run = format!(
        "trap '' QUIT TSTP USR1; exec 7</etc/passwd; exec '{}' '{}'",
        supervise_program().display(),
        host.socket.display()
    );
    let mut supervisor =
        Command::new("/bin/sh").args(["-c", &run]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let client = host.connect().await;
    let mut spec = host.python(SELF_PORTRAIT);
    spec.env.push(("JOBS".to_owned(), path_text(&host.dir.path().join("jobs"))));
    spec.env.push(("GREETING".to_owned(), "snow ☃ and \"quotes\"\n".to_owned()));
    ready(&client, &spec).await;
    wait_until("the portrait", || !log_text(&spec).is_empty()).await;
    let seen: serde_json::Value = serde_json::from_str(&log_text(&spec)[0]).unwrap();

    let uid = spec.account.map_or(nix::unistd::getuid().as_raw(), |account| account.uid);
    let gid = spec.account.map_or(nix::unistd::getgid().as_raw(), |account| account.gid);
    assert_eq!(seen["uid"], serde_json::json!([uid, uid, uid]));
    assert_eq!(seen["gid"], serde_json::json!([gid, gid, gid]));
    assert_eq!((&seen["no_new_privs"], &seen["caps"]), (&"1".into(), &"0000000000000000".into()));
    assert_eq!(seen["blocked"], "0000000000000000");
    // Python itself ignores SIGPIPE (13) and SIGXFSZ (25). 32 and 33 are the C library's, and it lets nobody touch them.
    let ignored = u64::from_str_radix(seen["ignored"].as_str().unwrap(), 16).unwrap();
    assert_eq!(ignored & !(0b11 << 31), 1 << 12 | 1 << 24);
    assert_eq!((&seen["session"], &seen["group"]), (&true.into(), &true.into()));
    assert_eq!(seen["batch"], true, "a worker must not interrupt the server");
    let mut env: Vec<_> = spec.env.clone();
    env.sort();
    let mut got: Vec<_> =
        seen["env"].as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect();
    // Python sets it when the locale is C (PEP 538).
    got.retain(|(name, _)| name != "LC_CTYPE");
    got.sort();
    assert_eq!(got, env);
    assert_eq!((&seen["umask"], &seen["core"]), (&0o077.into(), &serde_json::json!([0, 0])));
    let own = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    assert_eq!(seen["nofile"], own.0);
    // Its own socket is 3.
    assert_eq!(seen["fds"], serde_json::json!([0, 1, 2, 3]));
    assert_eq!((&seen["stdin"], &seen["cwd"]), (&"/dev/null".into(), &path_text(&spec.directory).into()));
    assert_eq!(seen["private"], "done");
    if is_root() {
        assert_eq!(seen["groups"], serde_json::json!([]));
        assert_eq!(seen["read_log_dir"], "No such file or directory");
    }
    for what in ["write_bundle", "write_app"] {
        assert!(
            ["Read-only file system", "Permission denied"].contains(&seen[what].as_str().unwrap()),
            "{}",
            seen[what]
        );
    }
    client.shutdown(LONG).await.unwrap();
    assert!(supervisor.wait().unwrap().success());
}

#[tokio::test]
async fn setuid_programs_gain_nothing() {
    if !is_root() {
        eprintln!("skipped: only root can make a program set-uid root");
        return;
    }
    let (host, client) = Host::start().await;
    let tool = host.dir.path().join("tool");
    fs::copy("/usr/bin/id", &tool).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o4755)).unwrap();
    let mut spec = host.python(&format!("subprocess.run(['{}', '-u'])\n{SERVES}", tool.display()));
    spec.walls.read_only.push(tool);
    ready(&client, &spec).await;
    wait_until("its answer", || !log_text(&spec).is_empty()).await;
    assert_eq!(log_text(&spec), [spec.account.unwrap().uid.to_string()]);
}

#[tokio::test]
async fn workers_of_different_content_cannot_touch_each_other() {
    if !is_root() {
        eprintln!("skipped: without root all content runs as one account");
        return;
    }
    let (host, client) = Host::start().await;
    let victim = host.python(SERVES);
    let pid = ready(&client, &victim).await.pid.unwrap();
    let attacker = host.python(&format!(
        "def attempt(f):\n    try: f(); print('done')\n    except OSError as e: print(e.strerror)\n\
         def connect(): socket.socket(socket.AF_UNIX).connect('{}')\n\
         attempt(lambda: os.kill({pid}, 9))\nattempt(connect)\nattempt(lambda: os.listdir('{}'))\n\
         attempt(lambda: open('/proc/{pid}/environ').read())\nprint(len(os.listdir('{}')))\n{SERVES}",
        victim.socket.display(),
        victim.private.display(),
        host.dir.path().join("run/w").display(),
    ));
    ready(&client, &attacker).await;
    assert!(is_alive(pid.cast_signed()));
    wait_until("its answers", || log_text(&attacker).len() == 5).await;
    let mut lines = log_text(&attacker);
    assert_eq!(lines.pop().as_deref(), Some("1"), "its own private directory is the only one there");
    for line in lines {
        let denied = ["Permission denied", "Operation not permitted", "No such process", "No such file or directory"];
        assert!(denied.contains(&line.as_str()), "{line}");
    }
}

#[tokio::test]
async fn a_link_to_somebody_elses_socket_is_not_a_worker() {
    if !is_root() {
        eprintln!("skipped: without root all sockets are the same account's");
        return;
    }
    let (host, client) = Host::start().await;
    let target = host.dir.path().join("precious.sock");
    let precious = UnixListener::bind(&target).unwrap();
    let accepting = tokio::spawn(async move { while precious.accept().await.is_ok() {} });
    let mut spec = host.python(&format!("os.symlink('{}', os.environ['SOCKET'])\ntime.sleep(1000)", target.display()));
    spec.init_timeout = Duration::from_secs(1);
    client.start(spec.clone()).await.unwrap();
    assert_eq!(exited(&client, &spec).await.ending, Ending::NeverListened);
    assert!(target.exists(), "removing the private directory follows no link");
    accepting.abort();
}

#[tokio::test]
async fn what_the_account_cannot_reach_is_named() {
    if !is_root() {
        eprintln!("skipped: only root starts programs as another account");
        return;
    }
    let (host, client) = Host::start().await;
    let home = host.dir.path().join("home");
    fs::create_dir_all(home.join("bin")).unwrap();
    std::os::unix::fs::symlink("/bin/sh", home.join("bin/python3")).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    let mut spec = host.python(SERVES);
    spec.argv[0] = path_text(&home.join("bin/python3"));
    client.start(spec.clone()).await.unwrap();
    let end = exited(&client, &spec).await;
    assert_eq!(end.ending, Ending::NotStarted);
    let want = format!("uid {} may not pass {} (mode 0700", spec.account.unwrap().uid, home.display());
    assert!(end.message.contains(&want), "{}", end.message);
}

#[tokio::test]
async fn without_bubblewrap_content_runs_and_what_is_required_is_refused() {
    let host = Host::empty();
    let bin = host.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    // In the place of the one that there may be.
    std::fs::write(bin.join("bwrap"), "#!/bin/sh\nexit 127\n").unwrap();
    std::fs::set_permissions(bin.join("bwrap"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (host, client) = host.with_supervisor(&[]).await;
    let spec = host.python(SERVES);
    ready(&client, &spec).await;
    client.stop(&spec.job, None).await.unwrap();
    assert_eq!(exited(&client, &spec).await.ending, lectern_domain::worker::Ending::Stopped);
    assert!(!spec.private.exists());
    let mut spec = host.python(SERVES);
    spec.walls.require = vec![lectern_domain::confinement::Layer::PidNamespace];
    client.start(spec.clone()).await.unwrap();
    let message = exited(&client, &spec).await.message;
    assert!(message.contains("pid-namespace") && message.contains("bwrap does not run"), "{message}");
    assert!(message.contains("apt-get install bubblewrap"), "{message}");
}
