//! A data directory with runtimes, and workers started by hand from their launch specifications.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, unreachable_pub)]

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use lectern_domain::confinement::Walls;
use lectern_domain::launch::{Account, LaunchSpec, Prepared, home};
use lectern_domain::manifest::Manifest;
use lectern_domain::{BundleId, ContentGuid, JobKey};
use lectern_runtimes::launch::{Credentials, LaunchContext};
use lectern_runtimes::python::uv;
use lectern_runtimes::r::Sources;
use lectern_runtimes::{PrepareError, PrepareRequest, Runtimes, Settings};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Who builds, and who runs content, when the tests run as root.
pub const BUILDER: Account = Account { uid: 199_999, gid: 199_999 };
pub const CONTENT: Account = Account { uid: 200_001, gid: 200_001 };

pub fn as_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Where uv is: `LECTERN_UV`, or along `PATH`.
pub fn uv() -> PathBuf {
    let along = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::var_os("LECTERN_UV")
        .map(PathBuf::from)
        .or_else(|| std::env::split_paths(&along).map(|place| place.join("uv")).find(|path| path.is_file()));
    found.unwrap_or_else(|| {
        panic!("these tests need uv: `python3 -m venv v && v/bin/pip install uv`, then set LECTERN_UV=$PWD/v/bin/uv")
    })
}

pub fn directory() -> TempDir {
    let directory = tempfile::Builder::new().prefix("lectern-rt-").tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

pub fn settings(data_dir: &Path) -> Settings {
    Settings {
        git: None,
        data_dir: data_dir.to_owned(),
        python: Vec::new(),
        r: Vec::new(),
        path: None,
        node: Vec::new(),
        quarto: Vec::new(),
        npm_variables: lectern_runtimes::node::passed_through(std::env::vars()),
        uv: Some(uv()),
        index_url: None,
        variables: uv::passed_through(std::env::vars()),
        build_account: as_root().then_some(BUILDER),
        build_timeout: Duration::from_secs(300),
        // A test cannot be started again as the first process inside; tests/tests/confinement.rs attacks from a build.
        fence: None,
        r_packages: Sources::default(),
    }
}

/// Runtimes shared by the tests of one binary that run at the same time: one uv cache, one set of environments. Its directory
/// goes with the last test that uses it.
pub struct Host {
    pub directory: TempDir,
    pub runtimes: Runtimes,
}

pub async fn host() -> Arc<Host> {
    static SHARED: tokio::sync::Mutex<Weak<Host>> = tokio::sync::Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(host) = shared.upgrade() {
        return host;
    }
    let directory = directory();
    let runtimes = Runtimes::open(settings(directory.path())).await.unwrap();
    let host = Arc::new(Host { directory, runtimes });
    *shared = Arc::downgrade(&host);
    host
}

/// An unpacked bundle.
pub struct Bundle {
    pub tree: TempDir,
    pub manifest: Manifest,
}

pub fn bundle(manifest: &str, files: &[(&str, &str)]) -> Bundle {
    let tree = directory();
    for (name, text) in files {
        let path = tree.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Bundle { tree, manifest: Manifest::parse(manifest.as_bytes()).unwrap() }
}

/// A manifest of a Python application as the client writes it.
pub fn python(mode: &str, entrypoint: &str) -> String {
    serde_json::json!({
        "version": 1, "metadata": {"appmode": mode, "entrypoint": entrypoint},
        "python": {"version": "3.11.7", "package_manager": {"name": "pip", "package_file": "requirements.txt"}},
    })
    .to_string()
}

/// Prepares a bundle; returns the outcome and the task's output.
pub async fn prepare(runtimes: &Runtimes, bundle: &Bundle) -> (Result<Prepared, PrepareError>, String) {
    let mut output = String::new();
    let mut log = |line: &str| {
        output.push_str(line);
        output.push('\n');
    };
    let request =
        PrepareRequest { tree: bundle.tree.path(), manifest: &bundle.manifest, restore_python: true, restore_r: true };
    let outcome = runtimes.prepare(request, &mut log, &CancellationToken::new()).await;
    (outcome, output)
}

/// A worker, killed when dropped.
pub struct Worker {
    pub child: Child,
    pub spec: LaunchSpec,
    private: TempDir,
}

pub fn context<'a>(tree: &'a Path, private: &'a Path, socket: &'a Path, log: &'a Path) -> LaunchContext<'a> {
    LaunchContext {
        job: JobKey::from_random([7; 16]),
        content: ContentGuid(uuid::Uuid::from_u128(7)),
        bundle: BundleId(33),
        tree,
        private,
        socket,
        log,
        log_limit_bytes: 1 << 20,
        account: as_root().then_some(CONTENT),
        public_url: Some("https://lectern.example"),
        credentials: Some(Credentials { api_key: Some("the-key"), session_token: "the-token" }),
        variables: &[],
        max_conns_per_process: 20,
        init_timeout: Duration::from_secs(60),
        stop_grace: Duration::from_secs(10),
        walls: &WALLS,
        zygotes: true,
    }
}

static WALLS: LazyLock<Walls> = LazyLock::new(Walls::default);

/// Starts a prepared bundle the way the supervisor does.
pub fn start(runtimes: &Runtimes, bundle: &Bundle, prepared: &Prepared, variables: &[(String, String)]) -> Worker {
    let private = directory();
    fs::set_permissions(private.path(), Permissions::from_mode(0o700)).unwrap();
    let (socket, log) = (private.path().join("s"), private.path().join("log"));
    let mut context = context(bundle.tree.path(), private.path(), &socket, &log);
    context.variables = variables;
    let spec = runtimes.launch(prepared, &context).unwrap();
    let mut command = Command::new(&spec.argv[0]);
    command.args(&spec.argv[1..]).env_clear().envs(spec.env.iter().cloned()).current_dir(&spec.directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
    let home = home(private.path());
    fs::create_dir(&home).unwrap();
    if let Some(account) = spec.account {
        chown(&home, Some(account.uid), Some(account.gid)).unwrap();
        chown(private.path(), Some(account.uid), Some(account.gid)).unwrap();
        command.uid(account.uid).gid(account.gid);
    }
    let child = command.spawn().unwrap();
    Worker { child, spec, private }
}

impl Worker {
    /// Waits until it accepts connections.
    pub fn ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while UnixStream::connect(&self.spec.socket).is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the worker ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "not ready in time:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it wrote to stderr.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.spec.log).unwrap_or_default()
    }

    /// Sends one request as the bridge does; returns the head and the body.
    pub fn get(&self, path: &str) -> (String, String) {
        self.get_at("/content/g", path)
    }

    pub fn get_at(&self, mount: &str, path: &str) -> (String, String) {
        let mut stream = UnixStream::connect(&self.spec.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: lectern.example\r\nConnection: close\r\nX-Forwarded-Prefix: {mount}\r\n\
             X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {reply:?}"));
        (head.to_owned(), body.to_owned())
    }

    /// The JSON of a 200 answer.
    pub fn json(&self, path: &str) -> serde_json::Value {
        let (head, body) = self.get(path);
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}\n{body}\n{}", self.log());
        // Chunked bodies of these small answers are one chunk.
        let body = match head.to_lowercase().contains("transfer-encoding: chunked") {
            true => body.split("\r\n").nth(1).unwrap_or_default().to_owned(),
            false => body,
        };
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// Asks it to end and waits for that.
    pub fn stop(mut self) -> std::process::ExitStatus {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.ended()
    }

    /// Waits until it has ended by itself.
    pub fn ended(&mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the worker did not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
