//! Attacks from inside published applications, in Python and in R, and from the build of a package.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, Server};
use lectern_tests::unprivileged::again_as_nobody;
use lectern_tests::wait::until;
use lectern_tests::{apps, bundle, is_root};
use serde_json::json;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    Server::setup()
        .env("LECTERN_SANDBOX__MEMORY_BYTES", "512 MiB")
        .env("LECTERN_SANDBOX__PRIVATE_BYTES", "48 MiB")
        .env("LECTERN_SANDBOX__TASKS", "96")
        .start()
});
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

fn publish_python(name: &str) -> String {
    ada().publish(name, &apps::asgi(include_str!("../apps/attacker.py")))
}

fn publish_r(name: &str) -> String {
    ada().publish(name, &bundle::app("api", "plumber.R", &[("plumber.R", include_str!("../apps/attacker.R"))]))
}

/// Has an application run `code`; what came of it.
fn attempt(guid: &str, path: &str, code: &str) -> String {
    SERVER.post(&format!("/content/{guid}/{path}")).key(&ADA.key).body(code.to_owned()).send().expect(200).text()
}

/// An attack in both languages, and what a good outcome says.
struct Attack {
    name: &'static str,
    python: String,
    r: String,
    /// One of these stands in the outcome.
    good: &'static [&'static str],
}

/// Attaches to process 1 and prints what came of it.
const PTRACE: &str = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); libc.ptrace(16, 1, 0, 0); print(os.strerror(ctypes.get_errno()))";

const ABSENT: &[&str] = &["No such file or directory"];
const DENIED: &[&str] = &["Read-only file system", "Permission denied", "Operation not permitted"];
const UNREACHABLE: &[&str] = &["refused", "unreachable", "Permission denied", "cannot be opened"];

/// Another service of the host, on loopback as many are.
static OTHER_SERVICE: LazyLock<std::net::TcpListener> =
    LazyLock::new(|| std::net::TcpListener::bind("127.0.0.1:0").unwrap());

fn attacks(other: &str) -> Vec<Attack> {
    let data = SERVER.data().to_str().unwrap().to_owned();
    let (port, pid) = (OTHER_SERVICE.local_addr().unwrap().port(), SERVER.pid());
    let read = |name, path: String| Attack {
        name,
        python: format!("open({path:?}).read()"),
        r: format!("file({path:?}, 'rb')"),
        good: ABSENT,
    };
    let shell = |name, command: &str, good| Attack {
        name,
        python: format!(
            "import subprocess\nr = subprocess.run({command:?}, shell=True, capture_output=True, text=True)\nprint((r.stdout + r.stderr).strip().replace(chr(10), ' | '), r.returncode)"
        ),
        r: format!("suppressWarnings(system2('sh', c('-c', shQuote({command:?})), stdout = TRUE, stderr = TRUE))"),
        good,
    };
    vec![
        read("read the key of the data directory", format!("{data}/secret.key")),
        read("read the database's files", format!("{data}/postgres/PG_VERSION")),
        read("read a job's log", format!("{data}/jobs/{other}.log")),
        read("read the host's accounts", "/etc/shadow".into()),
        Attack {
            name: "connect to the admin socket",
            python: format!("import socket\nsocket.socket(socket.AF_UNIX).connect('{data}/run/admin.sock')"),
            r: format!("if (file.exists('{data}/run/admin.sock')) 'there' else 'No such file or directory'"),
            good: ABSENT,
        },
        shell("list other bundles", &format!("ls {data}/unpacked | wc -l"), &["1"]),
        shell("list the data directory", &format!("ls {data} | grep -c -e postgres -e jobs -e shared"), &["0"]),
        shell("write the bundle", "touch ./new 2>&1", DENIED),
        shell("write the system", "touch /usr/bin/new 2>&1", DENIED),
        Attack {
            name: "write the packages",
            python: "import sys\nopen(sys.prefix + '/new', 'w')".into(),
            r: "file(file.path(.Library, 'new'), 'w')".into(),
            good: DENIED,
        },
        shell("see the server's processes", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c -e '[s]upervise' -e '[p]ostgres'", &["0"]),
        shell("signal the server", &format!("kill -9 {pid} 2>&1"), &["No such process"]),
        shell("mount", "mount -t tmpfs none /tmp 2>&1", &["permission denied", "superuser", "Operation not permitted"]),
        shell("make a user namespace", "unshare -U id 2>&1", DENIED),
        shell("become root by a set-uid program", "su -c id 2>&1 </dev/null; id -un", &["lectern"]),
        Attack {
            name: "trace the first process",
            python: PTRACE.into(),
            r: format!("suppressWarnings(system2('/usr/bin/python3', c('-c', shQuote({PTRACE:?})), stdout = TRUE, stderr = TRUE))"),
            good: DENIED,
        },
        Attack {
            name: "open a raw socket",
            python: "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_RAW, 1)".into(),
            r: "system2('/usr/bin/python3', c('-c', shQuote('import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)')), stdout = TRUE, stderr = TRUE)".into(),
            good: DENIED,
        },
        Attack {
            name: "connect to cloud metadata",
            python: "import socket\nsocket.create_connection(('169.254.169.254', 80), 5)".into(),
            r: "socketConnection('169.254.169.254', 80, timeout = 5, open = 'r+')".into(),
            good: UNREACHABLE,
        },
        Attack {
            name: "connect to a service on the host's loopback",
            python: format!("import socket\nsocket.create_connection(('127.0.0.1', {port}), 5)"),
            r: format!("socketConnection('127.0.0.1', {port}, timeout = 5, open = 'r+')"),
            good: UNREACHABLE,
        },
        shell("fill /tmp", "head -c 200000000 /dev/zero > /tmp/full; du -m /tmp/full | cut -f1; rm /tmp/full", &["No space left on device"]),
        shell("fill the home", "head -c 200000000 /dev/zero > $HOME/full; rm $HOME/full", &["No space left on device"]),
        Attack {
            name: "fork 10,000 times",
            python: "import os, signal\nchildren = []\ntry:\n    while len(children) < 10000:\n        pid = os.fork()\n        if pid == 0: signal.pause()\n        children.append(pid)\nexcept OSError as e: print(e.strerror, 'after', len(children))\nfor pid in children: os.kill(pid, 9)".into(),
            r: "system2('sh', c('-c', shQuote('for i in $(seq 10000); do sleep 5 & done 2>&1 | tail -1')), stdout = TRUE, stderr = TRUE)".into(),
            good: &["Resource temporarily unavailable", "Cannot fork"],
        },
    ]
}

#[test]
fn nothing_comes_of_attacks_from_published_applications() {
    let other = publish_python("victim");
    let (python, r) = (publish_python("attacker-python"), publish_r("attacker-r"));
    // All run, so that there is somebody to attack.
    for guid in [&other, &python] {
        attempt(guid, "try", "print(1)");
    }
    let mut bad = Vec::new();
    println!("{:45}  {:50}  R", "attack", "Python");
    for attack in attacks(&other) {
        let outcomes = [attempt(&python, "try", &attack.python), attempt(&r, "try", &attack.r)];
        let short = outcomes
            .clone()
            .map(|text| text.chars().rev().take(48).collect::<Vec<_>>().into_iter().rev().collect::<String>());
        println!("{:45}  {:50}  {}", attack.name, short[0], short[1]);
        for (language, outcome) in ["Python", "R"].iter().zip(outcomes) {
            if !attack.good.iter().any(|good| outcome.contains(good)) {
                bad.push(format!("{} in {language}: {outcome}", attack.name));
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(attempt(&other, "try", "print(1)"), "1", "the others serve on");
    SERVER.get("/__ping__").send().expect(200);
}

#[test]
fn content_reaches_itself_and_what_it_needs() {
    let python = publish_python("friendly-python");
    let own = "import socket\nl = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(1)\nsocket.create_connection(l.getsockname())\nprint('connected')";
    assert_eq!(attempt(&python, "try", own), "connected");
    let tools = "import os, pwd, socket, ssl, tempfile, multiprocessing as m, time\n\
                 assert pwd.getpwuid(os.getuid()).pw_name == 'lectern'\n\
                 assert socket.gethostbyname('localhost') == '127.0.0.1'\n\
                 assert ssl.create_default_context().cert_store_stats()['x509'] > 10\n\
                 tempfile.NamedTemporaryFile().write(b'x')\n\
                 m.get_context('fork').Queue().put(1)\n\
                 time.tzset(); open('/dev/urandom', 'rb').read(8); os.cpu_count()\nprint('all there')";
    assert_eq!(attempt(&python, "try", tools), "all there");
    let r = publish_r("friendly-r");
    let tools = "stopifnot(nchar(Sys.time()) > 0, file.create(tempfile()), identical(unname(Sys.info()['user']), 'lectern'));\
                 x <- unlist(parallel::mclapply(1:2, function(i) i, mc.cores = 2)); paste(c(sum(x), La_version() > '3'))";
    assert_eq!(attempt(&r, "try", tools), "3; 1");
}

#[test]
fn too_much_memory_is_told_to_the_publisher() {
    if !is_root() {
        println!("skipped: only root makes control groups");
        return;
    }
    let python = publish_python("hungry");
    let code = "x = []\nwhile True: x.append(bytearray(1 << 20))";
    let reply = SERVER.post(&format!("/content/{python}/here")).key(&ADA.key).body(code.to_owned()).send();
    assert_eq!(reply.status, 502);
    let jobs = |guid: &str| ada().api(Method::GET, &format!("/v1/content/{guid}/jobs")).send().expect(200).json();
    let words = "the process needed more than 512 MiB of memory and was ended";
    until("the words in the job's log", LONG, || SERVER.job_logs().contains(words).then_some(()));
    let job = jobs(&python)[0].clone();
    println!("{job:#}");
    // The next request starts it again.
    until("it serves again", LONG, || {
        let again = SERVER.post(&format!("/content/{python}/try")).key(&ADA.key).body("print(1)".to_owned()).send();
        (again.status == 200).then_some(())
    });

    let r = publish_r("hungry-r");
    let code = "x <- list(); repeat x[[length(x) + 1]] <- rnorm(1e6)";
    let reply = SERVER.post(&format!("/content/{r}/try")).key(&ADA.key).body(code.to_owned()).send();
    assert_eq!(reply.status, 502);
    until("the words for R, too", LONG, || (SERVER.job_logs().matches(words).count() >= 2).then_some(()));
}

#[test]
fn publishers_set_limits_within_the_operators() {
    if !is_root() {
        println!("skipped: only root makes control groups");
        return;
    }
    let guid = publish_python("modest");
    ada().change(&guid, &json!({"memory_limit": 128 << 20, "cpu_limit": 0.5}));
    let id = ada().upload(&guid, &apps::asgi(include_str!("../apps/attacker.py")));
    ada().deploy(&guid, &id).expect_success();
    let code = "x = []\nwhile True: x.append(bytearray(1 << 20))".to_owned();
    let reply = SERVER.post(&format!("/content/{guid}/here")).key(&ADA.key).body(code).send();
    assert_eq!(reply.status, 502);
    until("the words", LONG, || SERVER.job_logs().contains("needed more than 128 MiB of memory").then_some(()));
}

#[test]
fn daemons_end_with_their_worker() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let python = publisher.publish("daemons", &apps::asgi(include_str!("../apps/attacker.py")));
    let r = publisher
        .publish("daemons-r", &bundle::app("api", "plumber.R", &[("plumber.R", include_str!("../apps/attacker.R"))]));
    let marks = [std::process::id() + 7_000_000, std::process::id() + 8_000_000];
    let send = |guid: &str, code: String| {
        server.post(&format!("/content/{guid}/try")).key(&ada.key).body(code).send().expect(200);
    };
    send(
        &python,
        format!(
            "import os\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\nfor n in range(3): os.close(n)\nos.execvp('sleep', ['sleep', '{}'])",
            marks[0]
        ),
    );
    send(&r, format!("system2('setsid', c('sleep', '{}'), wait = FALSE, stdout = FALSE, stderr = FALSE)", marks[1]));
    let running = |mark: u32| {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| *line == format!("sleep\0{mark}\0").into_bytes()).count()
    };
    until("both daemons", LONG, || marks.iter().all(|mark| running(*mark) == 1).then_some(()));
    assert!(server.stop().success());
    assert_eq!(marks.map(running), [0, 0], "no daemon outlives its worker");
}

#[test]
fn a_package_that_attacks_while_it_is_built_finds_nothing() {
    let data = SERVER.data().to_str().unwrap().to_owned();
    let setup = format!(
        "import os, socket\n\
         def attempt(name, f):\n    try: return f\"{{name}}: {{f() or 'done'}}\"\n    except OSError as e: return f'{{name}}: {{e.strerror}}'\n\
         seen = [\n\
         attempt('key', lambda: open('{data}/secret.key').read()),\n\
         attempt('jobs', lambda: os.listdir('{data}/jobs')),\n\
         attempt('others', lambda: len([n for n in os.listdir('{data}/environments') if not n.startswith('.')])),\n\
         attempt('write', lambda: open('{data}/environments/mine', 'w')),\n\
         attempt('processes', lambda: sum('postgres' in open(f'/proc/{{p}}/cmdline').read() for p in os.listdir('/proc') if p.isdigit())),\n\
         attempt('metadata', lambda: socket.create_connection(('169.254.169.254', 80), 5)),\n\
         attempt('loopback', lambda: socket.create_connection(('127.0.0.1', {port}), 5)),\n\
         attempt('signal', lambda: os.kill({pid}, 9)),\n\
         ]\n\
         raise SystemExit('OUTCOME ' + ' / '.join(map(str, seen)))\n",
        port = SERVER.address().port(),
        pid = SERVER.pid(),
    );
    let bundle = bundle::app(
        "python-fastapi",
        "app:app",
        &[("app.py", apps::PROBE), ("requirements.txt", "uvicorn\n./evil\n"), ("evil/setup.py", &setup)],
    );
    let guid = ada().create("attacks-from-a-build");
    let id = ada().upload(&guid, &bundle);
    let done = ada().deploy(&guid, &id).expect_failure();
    let line = done.output.lines().find(|line| line.contains("OUTCOME")).unwrap_or_else(|| panic!("{}", done.output));
    println!("{}", line.replace(" / ", "\n  "));
    for good in [
        "key: No such file or directory",
        "jobs: No such file or directory",
        "write: ",
        "metadata: Permission denied",
        "loopback: Connection refused",
        "signal: No such process",
    ] {
        assert!(line.contains(good), "{good} in {line}");
    }
    assert!(line.contains("others: done") && line.contains("processes: done"), "none of either: {line}");
    // Below /tmp, where this test has its data, it wrote to a /tmp of its own.
    assert!(!SERVER.data().join("environments/mine").exists(), "{line}");
}

/// Everything here again, with a server that runs as an ordinary account.
#[test]
fn nothing_comes_of_attacks_without_root_either() {
    again_as_nobody(&["without_root_either"]);
}

#[test]
fn what_is_required_and_missing_refuses_to_start_content() {
    let server = Server::setup().env("LECTERN_SANDBOX__REQUIRE", "cpu-limit").start();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.create("refused");
    let id = publisher.upload(&guid, &apps::probe());
    // Published, because no version was before, and not started.
    let said = publisher.deploy(&guid, &id).output;
    assert!(said.contains("sandbox.require asks for what this host does not give: cpu-limit"), "{said}");
    assert!(said.contains("set sandbox.cpu_millis"), "{said}");
    assert_eq!(publisher.open(&guid, "").status, 503);
}
