//! Runs the real `lectern`, on a port and a data directory of its own.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::authority::{Authority, Trust};
use crate::guardian::Guardian;
use crate::http::Ask;
use crate::processes::{self, Process};
use crate::scratch::Scratch;
use crate::wait::until;

/// A first start makes a database cluster and compiles the plugins with an unoptimised build, on a busy machine.
const READY: Duration = Duration::from_secs(120);
/// The server's own limits for requests, workers and the database add up to less.
const STOPPED: Duration = Duration::from_secs(90);

/// The program under test: `LECTERN_BIN`, or what was built beside the tests.
pub static LECTERN: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = std::env::var_os("LECTERN_BIN").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().expect("know the test's own path");
        test.ancestors().nth(2).expect("a target directory").join("lectern")
    });
    assert!(path.is_file(), "no {}: build it with `cargo build -p lectern-server --bin lectern`", path.display());
    path
});

/// The directory of the publishers' tools: `LECTERN_TOOLS`, or where `./just` puts them.
pub static TOOLS: LazyLock<PathBuf> = LazyLock::new(|| {
    let cache = || {
        std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache"))
            .join("lectern/tools")
    };
    let path = std::env::var_os("LECTERN_TOOLS").map_or_else(cache, PathBuf::from).join("bin");
    assert!(path.join("rsconnect").is_file(), "no rsconnect in {}: run `./just setup test`", path.display());
    path
});

/// An account of the server, with an API key.
#[derive(Debug, Clone)]
pub struct Account {
    /// User name.
    pub name: String,
    /// GUID.
    pub guid: String,
    /// An API key with all the account's rights.
    pub key: String,
    /// Password.
    pub password: String,
}

/// How a server is started.
#[derive(Debug, Default)]
pub struct Setup {
    env: Vec<(String, String)>,
    /// Files in its directory: the variable that names each to the server, names and contents.
    files: Vec<(Option<&'static str>, &'static str, String)>,
    trust: Option<Trust>,
}

impl Setup {
    /// Sets an environment variable: every configuration key is one.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Has the server speak HTTPS with a certificate of `authority`, and its tests with it.
    ///
    /// The certificate is `tls.pem` in the test's directory, its key `tls.key`, the authority's own `authority.pem`.
    #[must_use]
    pub fn tls(self, authority: &Authority) -> Self {
        let own = authority.server();
        let mut this = self
            .file(Some("LECTERN_SERVER__TLS__CERT_FILE"), "tls.pem", own.pem)
            .file(Some("LECTERN_SERVER__TLS__KEY_FILE"), "tls.key", own.key_pem)
            // For clients.
            .file(None, "authority.pem", authority.pem.clone());
        this.trust = Some(authority.trusted(None));
        this
    }

    /// Has the server believe certificates of clients that `authority` signed.
    #[must_use]
    pub fn clients_of(self, authority: &Authority) -> Self {
        self.file(Some("LECTERN_SERVER__TLS__CLIENT_CA_FILE"), "clients.pem", authority.pem.clone())
    }

    /// Writes a file that only the server's account may read, and sets a variable to its path.
    fn file(mut self, variable: Option<&'static str>, name: &'static str, contents: String) -> Self {
        self.files.push((variable, name, contents));
        self
    }

    /// Starts the server in a directory of its own and waits until it is ready.
    pub fn start(self) -> Server {
        self.start_in(Scratch::new())
    }

    /// The same in `scratch`.
    pub fn start_in(self, scratch: Scratch) -> Server {
        let mut env = self.env;
        for (variable, name, contents) in self.files {
            let path = scratch.join(name);
            write_private(&path, &contents);
            let path = path.to_str().expect("a path in UTF-8").to_owned();
            env.extend(variable.map(|variable| (variable.to_owned(), path)));
        }
        let server = Server {
            env,
            trust: self.trust,
            state: Mutex::new(State { child: None, address: None, starts: 0 }),
            _guardian: Guardian::of(scratch.path()),
            scratch,
        };
        server.start();
        server
    }
}

#[derive(Debug)]
struct State {
    child: Option<Child>,
    address: Option<SocketAddr>,
    starts: u32,
}

/// A running server. Dropping it stops it.
///
/// One in a `static` is never dropped; its guardian then stops it and removes its directory after the tests.
#[derive(Debug)]
pub struct Server {
    env: Vec<(String, String)>,
    /// How its tests reach it over HTTPS; without, it speaks HTTP.
    trust: Option<Trust>,
    state: Mutex<State>,
    // Dropped after the server was stopped and before the directory is removed.
    _guardian: Guardian,
    scratch: Scratch,
}

impl Server {
    /// A server with the default configuration.
    pub fn new() -> Self {
        Setup::default().start()
    }

    /// Begins a server with a configuration.
    pub fn setup() -> Setup {
        Setup::default()
    }

    /// The test's directory, in which `data` is the server's.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The server's data directory.
    pub fn data(&self) -> PathBuf {
        self.scratch.join("data")
    }

    /// Starts the server (again) and waits until it is ready.
    pub fn start(&self) {
        self.launch();
        self.wait_ready();
    }

    /// Starts the server without waiting.
    pub fn launch(&self) {
        assert!(self.state.lock().unwrap().child.is_none(), "the server runs already");
        self.launch_with(&LECTERN, &[]);
    }

    /// Starts another server that takes over from this one, and waits until it is ready. Returns the one before it.
    pub fn take_over(&self) -> Child {
        self.take_over_by(&LECTERN)
    }

    /// The same with another program.
    pub fn take_over_by(&self, program: &Path) -> Child {
        let before = self.state.lock().unwrap().child.take().expect("a running server");
        self.launch_with(program, &["--take-over"]);
        self.wait_ready();
        before
    }

    fn launch_with(&self, program: &Path, more: &[&str]) {
        let mut state = self.state.lock().unwrap();
        state.starts += 1;
        // A new file: the server before this one may still write to its own.
        let _ = std::fs::remove_file(self.scratch.join("stdout"));
        let file = |name: &str| File::create(self.scratch.join(name)).expect("make a log file");
        let child = command_of(program, &self.env)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(self.data())
            .args(more)
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file(&format!("log.{}", state.starts)))
            .spawn()
            .expect("start lectern");
        std::fs::write(self.scratch.join("server.pid"), child.id().to_string()).expect("write the pid");
        state.child = Some(child);
        state.address = None;
    }

    /// Waits for the line `ready`, and learns the address from the lines before it.
    pub fn wait_ready(&self) {
        let lines = until("the line `ready`", READY, || {
            let text = std::fs::read_to_string(self.scratch.join("stdout")).unwrap_or_default();
            let ended = self.state.lock().unwrap().child.as_mut().and_then(|child| child.try_wait().expect("wait"));
            if let Some(status) = ended {
                panic!("the server ended, {status}:\n{}", self.log());
            }
            text.lines().any(|line| line.trim() == "ready").then_some(text)
        });
        let port = lines
            .lines()
            .find_map(|line| line.split_once("127.0.0.1:")?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
            .unwrap_or_else(|| panic!("no bound address in {lines:?}"));
        self.state.lock().unwrap().address = Some(SocketAddr::from(([127, 0, 0, 1], port)));
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.state.lock().unwrap().address.expect("a ready server")
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.trust.is_some() { "https" } else { "http" }, self.address())
    }

    /// The server's process number.
    pub fn pid(&self) -> i32 {
        self.state.lock().unwrap().child.as_ref().expect("a running server").id().cast_signed()
    }

    /// All that it has logged since it was first started.
    pub fn log(&self) -> String {
        let starts = self.state.lock().unwrap().starts;
        (1..=starts)
            .filter_map(|n| std::fs::read(self.scratch.join(format!("log.{n}"))).ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }

    /// All that content processes have printed.
    pub fn job_logs(&self) -> String {
        let entries = std::fs::read_dir(self.data().join("jobs")).into_iter().flatten().flatten();
        entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect()
    }

    /// Sends a signal to the server's process.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("signal the server");
    }

    /// Kills the server as a failing machine would, and waits until it is gone.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
        let mut state = self.state.lock().unwrap();
        state.child.take().expect("a running server").wait().expect("reap the server");
    }

    /// Asks the server to stop and waits for its end.
    pub fn stop(&self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_stopped()
    }

    /// Waits for the end of a server that was asked to stop.
    pub fn wait_stopped(&self) -> ExitStatus {
        let status = until("the server's end", STOPPED, || {
            self.state.lock().unwrap().child.as_mut().expect("a running server").try_wait().expect("wait")
        });
        self.state.lock().unwrap().child = None;
        status
    }

    /// Processes that work on the test's directory.
    pub fn processes(&self) -> Vec<Process> {
        processes::working_on(self.scratch.path())
    }

    /// Processes that serve content: those that run in or from an unpacked bundle's or environment's directory.
    pub fn workers(&self) -> Vec<Process> {
        let run = self.data().join("run/w");
        let run = run.to_str().expect("a path in UTF-8");
        self.processes().into_iter().filter(|process| process.command.contains(run)).collect()
    }

    /// Begins a request.
    pub fn ask(&self, method: Method, path: &str) -> Ask {
        let ask = Ask::new(self.address(), method, path);
        match &self.trust {
            Some(trust) => ask.over(trust),
            None => ask,
        }
    }

    /// Begins a GET request.
    pub fn get(&self, path: &str) -> Ask {
        self.ask(Method::GET, path)
    }

    /// Begins a POST request.
    pub fn post(&self, path: &str) -> Ask {
        self.ask(Method::POST, path)
    }

    /// Runs a verb of the command line on this server's data directory, with `input` on its standard input.
    pub fn lectern(&self, words: &[&str], input: &str) -> Output {
        let mut child = command(&self.env)
            .args(words)
            .arg("--data-dir")
            .arg(self.data())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start lectern");
        child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("write its input");
        child.wait_with_output().expect("its end")
    }

    /// The same for verbs that must succeed and answer in JSON.
    #[track_caller]
    pub fn lectern_json(&self, words: &[&str], input: &str) -> Value {
        let output = self.lectern(&[words, &["--json"]].concat(), input);
        assert!(output.status.success(), "lectern {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Adds an account with a key.
    pub fn account(&self, name: &str, role: &str) -> Account {
        let password = format!("password of {name}");
        let user = self.lectern_json(&["user", "add", name, "--role", role, "--password-stdin"], &password);
        let key = self.lectern_json(&["key", "create", "--user", name, "--name", "tests"], "");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        Account { name: name.to_owned(), guid: text(&user["guid"]), key: text(&key["key"]), password }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server's log:\n{}", tail(&self.log(), 60));
        }
        // No `stop`: a second panic while a test fails would end the other tests too.
        let child = self.state.lock().ok().and_then(|mut state| state.child.take());
        if let Some(mut child) = child {
            kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).ok();
            let end = Instant::now() + STOPPED;
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Writes a file beside its place, readable by its owner, and puts it there at once.
pub fn write_private(path: &Path, contents: &str) {
    let beside = path.with_extension("new");
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside).expect("make a file");
    file.write_all(contents.as_bytes()).expect("write a file");
    std::fs::rename(beside, path).expect("put a file into its place");
}

/// The last `lines` lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// `lectern` with the tests' environment: nothing of Lectern's own from the outside, and uv on the path.
pub fn command(env: &[(String, String)]) -> Command {
    command_of(&LECTERN, env)
}

fn command_of(program: &Path, env: &[(String, String)]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("LECTERN_") || name.starts_with("CONNECT_")) {
            command.env_remove(name);
        }
    }
    command.env("PATH", with_tools(&std::env::var("PATH").unwrap_or_default()));
    // Compiled plugins are the same for all: an unoptimised compiler takes seconds for each.
    command.env("LECTERN_GATE__CACHE_DIR", LECTERN.with_file_name("plugin-cache"));
    command.envs(env.iter().map(|(name, value)| (name, value)));
    command
}

/// A search path with the publishers' tools after what is there.
fn with_tools(path: &str) -> String {
    format!("{path}:{}", TOOLS.display())
}

/// Whether a directory has no entry whose name satisfies `test`; an absent one has none.
pub fn has_no_entry(directory: &Path, test: impl Fn(&str) -> bool) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return true };
    entries.flatten().all(|entry| !test(&entry.file_name().to_string_lossy()))
}
