//! What an application tries from inside its walls, and what comes of it; with root and without.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use lectern_domain::confinement::Walls;
use tokio::net::{TcpListener, UnixListener};

use crate::support::*;

/// Tries everything and says what came of each, a line each: name, tab, outcome.
const ATTACKS: &str = r#"
import ctypes, ctypes.util, errno, resource, threading
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    ctypes.set_errno(0)
    return "done" if getattr(libc, name)(*args) >= 0 else errno.errorcode[ctypes.get_errno()]
def syscall(number, *args): return call("syscall", ctypes.c_long(number), *args)
def attempt(name, f):
    try: outcome = f()
    except OSError as e: outcome = errno.errorcode.get(e.errno, str(e))
    print(f"{name}\t{'done' if outcome is None else outcome}", flush=True)
def read(path): open(path, "rb").read(); return "done"
def write(path): open(path, "ab").write(b"x"); return "done"
def tcp(host, port):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
        s.settimeout(5); s.connect((host, port))
def unix(path):
    with socket.socket(socket.AF_UNIX) as s: s.connect(path)
def fill(directory):
    written, name = 0, os.path.join(directory, "filling")
    try:
        with open(name, "wb", buffering=0) as f:
            while written < (1 << 31): written += f.write(b"x" * (1 << 20))
    except OSError as e: return f"{errno.errorcode[e.errno]} after {written >> 20} MiB"
    finally: os.path.exists(name) and os.remove(name)
    return "no end"
def files(directory):
    try: open(os.path.join(directory, "file"), "w").close()
    except OSError as e: return errno.errorcode[e.errno]
def forks():
    children = []
    try:
        for _ in range(10000):
            pid = os.fork()
            if pid == 0:
                time.sleep(1000); os._exit(0)
            children.append(pid)
        return "no end"
    except OSError as e: return f"{errno.errorcode[e.errno]} after {len(children)}"
    finally:
        for pid in children: os.kill(pid, 9)
        for pid in children: os.waitpid(pid, 0)
def foreign():
    seen = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try: line = open(f"/proc/{pid}/cmdline").read().replace("\0", " ")
        except OSError: continue
        # A forked worker's command line is cut to the length of its zygote's, so it need not name the application.
        if "worker-init" not in line and "python" not in line: seen.append(line)
    if "worker-init" not in open("/proc/1/cmdline").read(): seen.append("another first process")
    return f"{len(seen)} foreign processes"
def own_loopback():
    with socket.socket() as l:
        l.bind(("127.0.0.1", 0)); l.listen(1)
        with socket.socket() as s: s.connect(l.getsockname())
def devices(): return " ".join(sorted(os.listdir("/dev")))
def caps():
    return [l.split()[1] for l in open("/proc/self/status") if l.startswith("CapEff")][0]
def filter_mode():
    return [l.split()[1] for l in open("/proc/self/status") if l.startswith("Seccomp:")][0]

def write_memory(pid): open(f"/proc/{pid}/mem", "r+b").close(); return "done"

E = os.environ
attempt("read the data directory", lambda: read(E["SECRET"]))
attempt("list the data directory", lambda: " ".join(sorted(os.listdir(E["DATA"]))))
attempt("connect to the database's socket", lambda: unix(E["DATABASE"]))
attempt("connect to the supervisor's socket", lambda: unix(E["SUPERVISOR"]))
attempt("read another bundle", lambda: read(E["OTHER"]))
attempt("read /etc/shadow", lambda: read("/etc/shadow"))
attempt("list /root", lambda: " ".join(os.listdir("/root")))
attempt("list /home", lambda: " ".join(os.listdir("/home")) or "empty")
attempt("write the bundle", lambda: write("app.py"))
attempt("write the environment", lambda: write(os.path.join(E["ENVIRONMENT"], "module.py")))
attempt("write the system", lambda: write("/usr/bin/python3"))
attempt("write /etc", lambda: write("/etc/passwd"))
attempt("make a file beside the socket", lambda: files(os.path.dirname(E["SOCKET"])))
attempt("see other processes", foreign)
attempt("signal the supervisor", lambda: os.kill(int(E["SUPERVISOR_PID"]), 9))
attempt("signal another worker", lambda: os.kill(int(E["OTHER_PID"]), 9))
attempt("read another worker's environment", lambda: read(f"/proc/{E['OTHER_PID']}/environ"))
attempt("end the first process inside", lambda: (os.kill(1, 9), time.sleep(0.1)) and "sent, nothing happened")
if E.get("ZYGOTE_PID"):
    keeper = os.getppid()
    zygote = int(open(f"/proc/{keeper}/stat").read().rsplit(") ")[-1].split()[1])
    attempt("write the zygote's memory", lambda: write_memory(zygote))
    attempt("write its keeper's memory", lambda: write_memory(keeper))
    attempt("read the zygote's descriptors", lambda: " ".join(os.listdir(f"/proc/{zygote}/fd")))
    attempt("have sockets of the zygote's", lambda: " ".join(l for l in (os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")) if l.startswith("socket:")) or "none")
attempt("mount", lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None))
attempt("pivot_root", lambda: syscall(155, b"/", b"/tmp"))
attempt("ptrace", lambda: call("ptrace", 16, 1, 0, 0))
attempt("process_vm_readv", lambda: syscall(310, 1, None, 0, None, 0, 0))
attempt("unshare a user namespace", lambda: call("unshare", 0x10000000))
attempt("clone into a user namespace", lambda: syscall(56, 0x10000000 | 17, None, None, None, None))
attempt("clone3", lambda: syscall(435, None, 0))
attempt("setns", lambda: call("setns", 0, 0))
attempt("bpf", lambda: syscall(321, 0, None, 0))
attempt("io_uring_setup", lambda: syscall(425, 1, None))
attempt("userfaultfd", lambda: syscall(323, 0))
attempt("keyctl", lambda: syscall(250, 0, 0, 0, 0, 0))
attempt("x32's ptrace", lambda: syscall(0x40000000 | 521, 16, 1, 0, 0))
attempt("open_by_handle_at", lambda: syscall(304, 0, None, 0))
attempt("set the clock", lambda: call("clock_settime", 0, ctypes.byref((ctypes.c_long * 2)(0, 0))))
attempt("become root", lambda: os.setuid(0))
attempt("run a set-uid program", lambda: "uid " + subprocess.run([E["SETUID"], "-u"], capture_output=True, text=True).stdout.strip() if E["SETUID"] else "skipped")
attempt("capabilities", caps)
attempt("seccomp mode", filter_mode)
attempt("devices", devices)
attempt("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close())
attempt("packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close())
attempt("vsock", lambda: socket.socket(40, socket.SOCK_STREAM).close())
attempt("connect to cloud metadata", lambda: tcp("169.254.169.254", 80))
attempt("connect to cloud metadata by IPv6", lambda: tcp("fd00:ec2::254", 80))
attempt("connect to the host's loopback", lambda: tcp("127.0.0.1", int(E["PORT"])))
attempt("connect to the host's loopback by the gateway", lambda: tcp("198.18.0.2", int(E["PORT"])))
attempt("use its own loopback", own_loopback)
attempt("fill /tmp", lambda: fill("/tmp"))
attempt("fill the home", lambda: fill(E["HOME"]))
attempt("fill /dev/shm", lambda: fill("/dev/shm"))
attempt("fork 10,000 times", forks)
import pwd
attempt("its own name", lambda: pwd.getpwuid(os.getuid()).pw_name)
attempt("find certificates", lambda: "some" if os.listdir("/etc/ssl/certs") else "none")
attempt("core dump limit", lambda: str(resource.getrlimit(resource.RLIMIT_CORE)[0]))
s = listen()
daemon = "import os,time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\ntime.sleep(1000)"
subprocess.run([sys.executable, "-c", daemon, E["DAEMON"]], env={})
print("ready", flush=True)
serve(s)
"#;

/// Runs the attacks and returns their outcomes; prints them as a table.
async fn attack(host: &Host, title: &str, from_zygote: bool) -> Vec<(String, String)> {
    let client = host.connect().await;
    let dir = host.dir.path();
    for name in ["data", "environment"] {
        fs::create_dir_all(dir.join(name)).unwrap();
        fs::set_permissions(dir.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    // Readable for everybody: it is the walls that hide it, not its mode.
    fs::write(dir.join("data/secret.key"), "secret").unwrap();
    fs::set_permissions(dir.join("data/secret.key"), PermissionsExt::from_mode(0o644)).unwrap();
    let _ = fs::remove_file(dir.join("data/database.sock"));
    let database = UnixListener::bind(dir.join("data/database.sock")).unwrap();
    fs::set_permissions(dir.join("data/database.sock"), PermissionsExt::from_mode(0o777)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tool = dir.join("tool");
    fs::copy("/usr/bin/id", &tool).unwrap();
    fs::set_permissions(&tool, PermissionsExt::from_mode(0o4755)).unwrap();

    let other = host.python(SERVES);
    let other_pid = ready(&client, &other).await.pid.unwrap();
    let mut spec = if from_zygote { host.forked(ATTACKS) } else { host.python(ATTACKS) };
    let shown = std::mem::take(&mut spec.walls.read_only);
    spec.walls = Walls {
        memory_bytes: Some(400 << 20),
        private_bytes: 32 << 20,
        tasks: 64,
        read_only: [vec![dir.join("environment"), tool.clone()], shown].concat(),
        ..Walls::default()
    };
    let daemon = uuid::Uuid::new_v4().to_string();
    let more = [
        ("DATA", path_text(&dir.join("data"))),
        ("SECRET", path_text(&dir.join("data/secret.key"))),
        ("DATABASE", path_text(&dir.join("data/database.sock"))),
        ("SUPERVISOR", path_text(&host.socket)),
        ("OTHER", path_text(&other.directory.join("app.py"))),
        ("ENVIRONMENT", path_text(&dir.join("environment"))),
        ("SUPERVISOR_PID", client.greeting().pid.to_string()),
        ("OTHER_PID", other_pid.to_string()),
        ("PORT", listener.local_addr().unwrap().port().to_string()),
        ("SETUID", path_text(&tool)),
        ("DAEMON", daemon.clone()),
        ("ZYGOTE_PID", if from_zygote { "yes".to_owned() } else { String::new() }),
    ];
    spec.env.extend(more.map(|(name, value)| (name.to_owned(), value)));
    let status = ready(&client, &spec).await;
    assert_eq!(status.zygote.is_some(), from_zygote);
    wait_until("all attacks", || log_text(&spec).iter().any(|line| line == "ready")).await;
    wait_until("the daemon", || !with_argument(&daemon).is_empty()).await;
    let lines = log_text(&spec);
    let outcomes: Vec<(String, String)> =
        lines.iter().filter_map(|line| line.split_once('\t')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    client.stop(&spec.job, None).await.unwrap();
    exited(&client, &spec).await;
    let mut outcomes = outcomes;
    let left = if with_argument(&daemon).is_empty() { "gone with the worker" } else { "still there" };
    outcomes.push(("leave a daemon behind".to_owned(), left.to_owned()));
    println!("\n{title}{}", if from_zygote { ", forked" } else { "" });
    outcomes.iter().for_each(|(name, outcome)| println!("  {name:45}  {outcome}"));
    assert!(is_alive(other_pid.cast_signed()), "another worker lives on");
    client.stop(&other.job, None).await.unwrap();
    exited(&client, &other).await;
    drop((database, listener));
    outcomes
}

/// Whether the kernel counts the tasks of a user namespace by itself (5.14).
fn has_counted_tasks() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (5, 14)
}

fn check(outcomes: &[(String, String)], root: bool, from_zygote: bool) {
    let denied = ["EPERM", "EACCES", "EROFS"];
    let absent = ["ENOENT", "ENOTDIR"];
    let unreachable = ["ECONNREFUSED", "EACCES", "ENETUNREACH", "EHOSTUNREACH", "EPERM"];
    let expected: &[(&str, &[&str])] = &[
        ("read the data directory", &absent),
        ("list the data directory", &absent),
        ("connect to the database's socket", &absent),
        ("connect to the supervisor's socket", &absent),
        ("read another bundle", &absent),
        ("read /etc/shadow", &absent),
        ("list /root", &absent),
        ("list /home", &["empty"]),
        ("write the bundle", &denied),
        ("write the environment", &denied),
        ("write the system", &denied),
        ("write /etc", &denied),
        ("see other processes", &["0 foreign processes"]),
        ("signal the supervisor", &["ESRCH"]),
        ("signal another worker", &["ESRCH"]),
        ("read another worker's environment", &absent),
        ("end the first process inside", &["sent, nothing happened"]),
        ("mount", &denied),
        ("pivot_root", &denied),
        ("ptrace", &denied),
        ("process_vm_readv", &denied),
        ("unshare a user namespace", &denied),
        ("clone into a user namespace", &denied),
        ("clone3", &["ENOSYS"]),
        ("setns", &denied),
        ("bpf", &denied),
        ("io_uring_setup", &denied),
        ("userfaultfd", &denied),
        ("keyctl", &denied),
        ("open_by_handle_at", &denied),
        ("x32's ptrace", &["EPERM", "ENOSYS"]),
        ("set the clock", &denied),
        ("become root", &["EPERM", "EINVAL"]),
        ("capabilities", &["0000000000000000"]),
        ("seccomp mode", &["2"]),
        ("devices", &["fd full null random shm stderr stdin stdout tty urandom zero"]),
        ("raw socket", &denied),
        ("packet socket", &denied),
        ("vsock", &denied),
        ("connect to cloud metadata", &unreachable),
        ("connect to cloud metadata by IPv6", &unreachable),
        ("connect to the host's loopback", &unreachable),
        ("connect to the host's loopback by the gateway", &unreachable),
        ("use its own loopback", &["done"]),
        ("its own name", &["lectern"]),
        ("find certificates", &["some"]),
        ("core dump limit", &["0"]),
        ("leave a daemon behind", &["gone with the worker"]),
    ];
    for (name, allowed) in expected {
        let outcome = outcomes.iter().find(|(attack, _)| attack == name).map(|(_, outcome)| outcome.as_str());
        assert!(
            outcome.is_some_and(|outcome| allowed.contains(&outcome)),
            "{name}: {outcome:?} is none of {allowed:?}"
        );
    }
    let outcome = |name: &str| &outcomes.iter().find(|(attack, _)| attack == name).unwrap().1;
    for place in ["fill /tmp", "fill the home", "fill /dev/shm"] {
        assert!(outcome(place).starts_with("ENOSPC after 3"), "{place}: {}", outcome(place));
    }
    assert_ne!(outcome("run a set-uid program"), "uid 0");
    if root {
        // Below /tmp, where an ordinary account has its directory here, the rule for /tmp allows it.
        assert!(
            denied.contains(&outcome("make a file beside the socket").as_str()),
            "{}",
            outcome("make a file beside the socket")
        );
    }
    if from_zygote {
        assert!(["EACCES", "EPERM"].contains(&outcome("write the zygote's memory").as_str()));
        assert!(["EACCES", "EPERM"].contains(&outcome("write its keeper's memory").as_str()));
        assert!(["EACCES", "EPERM"].contains(&outcome("read the zygote's descriptors").as_str()));
        assert_eq!(outcome("have sockets of the zygote's"), "none");
    }
    if root || has_counted_tasks() {
        let forks = outcome("fork 10,000 times").strip_prefix("EAGAIN after ").unwrap_or("no limit");
        assert!(forks.parse::<u32>().is_ok_and(|forks| forks < 64), "{forks}");
    }
}

#[tokio::test]
async fn nothing_comes_of_attacks_with_root() {
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let (host, client) = Host::empty_in("/run").with_supervisor(&[]).await;
    drop(client);
    for from_zygote in [false, true] {
        check(
            &attack(&host, "attacks from a Python application, supervisor as root", from_zygote).await,
            true,
            from_zygote,
        );
    }
}

#[tokio::test]
async fn nothing_comes_of_attacks_where_only_root_makes_namespaces() {
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    // A bubblewrap that fails as it does where the kernel refuses user namespaces to accounts.
    let host = Host::empty_in("/run");
    let bin = host.dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let refuses = "#!/bin/sh\ncase \" $* \" in *' --unshare-user '*) echo 'No permissions to create a new namespace' >&2; exit 1;; esac\n\
                   exec /usr/bin/bwrap \"$@\"\n";
    fs::write(bin.join("bwrap"), refuses).unwrap();
    for path in [bin.clone(), bin.join("bwrap")] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let (host, client) = host.with_supervisor(&[]).await;
    let mut spec = host.python(SERVES);
    spec.walls.require = vec![lectern_domain::confinement::Layer::UserNamespace];
    client.start(spec.clone()).await.unwrap();
    let message = exited(&client, &spec).await.message;
    assert!(message.contains("user-namespace") && message.contains("max_user_namespaces"), "{message}");
    drop(client);
    for from_zygote in [false, true] {
        let title = "attacks from a Python application, namespaces made by root";
        check(&attack(&host, title, from_zygote).await, true, from_zygote);
    }
}

#[tokio::test]
async fn nothing_comes_of_attacks_without_root() {
    if is_root() {
        // The whole test again, as an ordinary account.
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let (test, program) = (dir.path().join("test"), dir.path().join("supervise"));
        fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
        fs::copy(supervise_program(), &program).unwrap();
        let account = fresh_account();
        let status = Command::new("setpriv")
            .args([format!("--reuid={}", account.uid), format!("--regid={}", account.gid), "--clear-groups".into()])
            .arg(test)
            .args(["--exact", "--nocapture", "attacks::nothing_comes_of_attacks_without_root"])
            .env("LECTERN_SUPERVISE", program)
            .current_dir("/")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let (host, client) = Host::start().await;
    drop(client);
    for from_zygote in [false, true] {
        let title = "attacks from a Python application, supervisor as an ordinary account";
        check(&attack(&host, title, from_zygote).await, false, from_zygote);
    }
}

#[tokio::test]
async fn a_worker_that_wants_too_much_memory_is_ended_and_its_publisher_told() {
    if !is_root() {
        eprintln!("skipped: only root makes control groups");
        return;
    }
    let (host, client) = Host::start().await;
    let mut spec = host.python("s = listen()\nx = []\nwhile True: x.append(bytearray(1 << 20))");
    spec.walls.memory_bytes = Some(64 << 20);
    client.start(spec.clone()).await.unwrap();
    let end = exited(&client, &spec).await;
    let words = "the process needed more than 64 MiB of memory and was ended";
    assert!(end.message.contains(words), "{}", end.message);
    assert!(end.last_lines.iter().any(|line| line.data.contains(words)), "{:?}", end.last_lines);
    assert!(log_text(&spec).iter().any(|line| line.contains("memory_limit")));
}

#[tokio::test]
async fn what_is_required_and_missing_starts_nothing() {
    let (host, client) = Host::start().await;
    let mut spec = host.python(SERVES);
    spec.walls.require = vec![lectern_domain::confinement::Layer::CpuLimit];
    client.start(spec.clone()).await.unwrap();
    let message = exited(&client, &spec).await.message;
    assert!(message.contains("cpu-limit (no limit is set; to mend it: set sandbox.cpu_millis)"), "{message}");
}

/// Says what comes of connecting to places, and of a program without a file.
const REACHES: &str = r#"
import errno
def attempt(f):
    try: f(); return "done"
    except OSError as e: return errno.errorcode.get(e.errno, str(e))
def tcp(host, port):
    with socket.socket() as s:
        s.settimeout(0.5); s.connect((host, port))
s = listen()
print("loopback", attempt(lambda: tcp("127.0.0.1", int(os.environ["PORT"]))))
print("outside", attempt(lambda: tcp("203.0.113.9", 9)))
print("inside", attempt(lambda: tcp("203.0.113.200", 9)))
print("memfd", attempt(lambda: os.memfd_create("x")), flush=True)
serve(s)
"#;

#[tokio::test]
async fn networks_and_profiles_are_as_they_are_set() {
    use lectern_domain::confinement::{Network, Profile};
    let (host, client) = Host::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let net = |text: &str| text.parse::<ipnet::IpNet>().unwrap();
    let deny = |deny: &str, allow: &[&str]| Walls {
        egress_deny: vec![net(deny)],
        egress_allow: allow.iter().map(|text| net(text)).collect(),
        ..Walls::default()
    };
    // (walls, loopback, outside, inside, memfd); an empty text is anything but a refusal by a route.
    let cases = [
        (Walls { network: Network::Host, ..Walls::default() }, "done", "", "", "done"),
        (Walls { network: Network::None, ..Walls::default() }, "ECONNREFUSED", "ENETUNREACH", "ENETUNREACH", "done"),
        (deny("0.0.0.0/0", &[]), "ECONNREFUSED", "EACCES", "EACCES", "done"),
        (deny("203.0.113.0/24", &["203.0.113.128/25"]), "ECONNREFUSED", "EACCES", "", "done"),
        (Walls { profile: Profile::Strict, ..Walls::default() }, "ECONNREFUSED", "", "", "EPERM"),
    ];
    for (walls, loopback, outside, inside, memfd) in cases {
        let mut spec = host.python(REACHES);
        spec.walls = walls;
        spec.env.push(("PORT".to_owned(), listener.local_addr().unwrap().port().to_string()));
        ready(&client, &spec).await;
        wait_until("all attempts", || log_text(&spec).len() == 4).await;
        let lines = log_text(&spec);
        println!("{:?} {:?} {:?}: {lines:?}", spec.walls.network, spec.walls.egress_deny, spec.walls.profile);
        for (line, (name, expected)) in
            lines.iter().zip([("loopback", loopback), ("outside", outside), ("inside", inside), ("memfd", memfd)])
        {
            let outcome = line.strip_prefix(name).unwrap().trim();
            let fits = if expected.is_empty() { outcome != "EACCES" } else { outcome == expected };
            assert!(fits, "{:?}: {line} is not {expected}", spec.walls);
        }
        client.stop(&spec.job, None).await.unwrap();
        exited(&client, &spec).await;
    }
}

/// Prints what the walls cost from start to ready; asserts nothing about it.
#[tokio::test]
async fn what_walls_cost_at_the_start() {
    let (host, client) = Host::start().await;
    let mut rows = Vec::new();
    for (name, walls) in [
        ("none", Walls { enabled: false, ..Walls::default() }),
        ("no network", Walls { network: lectern_domain::confinement::Network::None, ..Walls::default() }),
        ("host network", Walls { network: lectern_domain::confinement::Network::Host, ..Walls::default() }),
        ("all", Walls::default()),
    ] {
        let mut times = Vec::new();
        for _ in 0..9 {
            let mut spec = host.python(SERVES);
            spec.walls = walls.clone();
            let begun = std::time::Instant::now();
            ready(&client, &spec).await;
            times.push(begun.elapsed());
            client.stop(&spec.job, None).await.unwrap();
            exited(&client, &spec).await;
        }
        times.sort();
        rows.push((name, times[4], times[8]));
    }
    println!("\nstart to ready of a small Python program, median and worst of 9:");
    rows.iter().for_each(|(name, median, worst)| println!("  walls: {name:12}  {median:>10.1?}  {worst:>10.1?}"));
}
