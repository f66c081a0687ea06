//! A supervisor of a test's own, and programs for it to run.

use std::fs::{self, File, Permissions};
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lectern_domain::confinement::Walls;
use lectern_domain::launch::{Account, LaunchSpec, Zygote, ZygoteName, home};
use lectern_domain::{BundleId, ContentGuid, JobKey};
use lectern_supervisor::{Client, Exited, LogLine, WorkerState, WorkerStatus, read_tail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use uuid::Uuid;

/// Far longer than anything here takes, even on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);

/// Before every program: `listen()` and names.
const PREAMBLE: &str = r#"
import os, signal, socket, subprocess, sys, time
def listen():
    s = socket.socket(socket.AF_UNIX)
    s.bind(os.environ["SOCKET"])
    s.listen(64)
    return s
def serve(s):
    while True:
        c, _ = s.accept()
        c.close()
"#;

/// A program that serves until it is told to end.
pub const SERVES: &str = "serve(listen())";

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub fn supervise_program() -> PathBuf {
    // Another place when the tests are run as an account that cannot read the build directory.
    std::env::var_os("LECTERN_SUPERVISE").map_or_else(|| env!("CARGO_BIN_EXE_lectern-supervise").into(), PathBuf::from)
}

/// A directory with a supervisor in it; both end with the test.
pub struct Host {
    pub dir: TempDir,
    pub socket: PathBuf,
    guardian: Option<Child>,
}

impl Host {
    /// A directory without a supervisor.
    pub fn empty() -> Self {
        Self::empty_in("/tmp")
    }

    /// The same below another directory than the one that every worker has of its own.
    pub fn empty_in(base: &str) -> Self {
        // Short, since it is the start of socket paths; passable, since other accounts run below it.
        let dir = tempfile::Builder::new().prefix("lsv-").tempdir_in(base).unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).unwrap();
        let socket = dir.path().join("run/s.sock");
        Self { dir, socket, guardian: None }
    }

    pub async fn start() -> (Self, Client) {
        Self::start_with(&[]).await
    }

    pub async fn start_with(args: &[&str]) -> (Self, Client) {
        Self::empty().with_supervisor(args).await
    }

    /// Starts a supervisor in a directory without one.
    pub async fn with_supervisor(mut self, args: &[&str]) -> (Self, Client) {
        self.guardian = Some(self.launch(args));
        let client = self.connect().await;
        (self, client)
    }

    /// Starts one more supervisor for the same socket.
    pub fn launch(&self, args: &[&str]) -> Child {
        let log = File::options().append(true).create(true).open(self.dir.path().join("supervisor.log")).unwrap();
        let mut command = Command::new(supervise_program());
        // A test's own programs first.
        let path = format!("{}:{}", path_text(&self.dir.path().join("bin")), std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path);
        command.arg(&self.socket).args(args).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    }

    pub async fn connect(&self) -> Client {
        wait("the supervisor to answer", || async { Client::connect(&self.socket).await.ok() }).await
    }

    pub fn guardian(&self) -> Pid {
        Pid::from_raw(self.guardian.as_ref().unwrap().id().cast_signed())
    }

    /// Reaps the guardian, and with it everything: how it ended.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        let mut guardian = self.guardian.take().unwrap();
        tokio::task::spawn_blocking(move || guardian.wait().unwrap()).await.unwrap()
    }

    /// A launch specification for `code` in Python.
    pub fn python(&self, code: &str) -> LaunchSpec {
        let name = Uuid::new_v4().simple().to_string();
        let app = self.dir.path().join("apps").join(&name);
        fs::create_dir_all(&app).unwrap();
        for dir in [self.dir.path().join("apps"), app.clone()] {
            fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(app.join("app.py"), format!("{PREAMBLE}\n{code}\n")).unwrap();
        fs::set_permissions(app.join("app.py"), Permissions::from_mode(0o644)).unwrap();
        let private = self.dir.path().join("run/w").join(&name[..8]);
        let socket = private.join("s/s");
        LaunchSpec {
            job: name.parse::<JobKey>().unwrap(),
            content: ContentGuid(Uuid::new_v4()),
            bundle: BundleId(1),
            argv: vec!["/usr/bin/python3".to_owned(), "-u".to_owned(), path_text(&app.join("app.py"))],
            env: vec![("SOCKET".to_owned(), path_text(&socket)), ("HOME".to_owned(), path_text(&home(&private)))],
            directory: app,
            account: is_root().then(fresh_account),
            private,
            socket,
            log: self.dir.path().join("jobs").join(format!("{name}.log")),
            log_limit_bytes: 1 << 20,
            init_timeout: LONG,
            stop_grace: Duration::from_secs(20),
            walls: Walls::default(),
            notifies: false,
            zygote: None,
        }
    }

    /// The same from a zygote of its own, whose name is the worker's.
    pub fn forked(&self, code: &str) -> LaunchSpec {
        let directory = self.dir.path().join("launchers");
        if !directory.exists() {
            fs::create_dir_all(&directory).unwrap();
            fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
            let program = b"import runpy, sys\nPRELOAD = ['json']\ndef main(): runpy.run_path(sys.argv[-1], run_name='__main__')\n";
            let own: &[(&str, &[u8])] = &[("lectern_test.py", program)];
            for (name, bytes) in lectern_zygote::FILES.iter().chain(own) {
                fs::write(directory.join(name), bytes).unwrap();
                fs::set_permissions(directory.join(name), Permissions::from_mode(0o644)).unwrap();
            }
        }
        let mut spec = self.python(code);
        spec.walls.read_only.push(directory.clone());
        let program = path_text(&directory.join("lectern_zygote.py"));
        spec.zygote = Some(Zygote {
            name: ZygoteName(spec.job.to_string()),
            argv: vec!["/usr/bin/python3".to_owned(), "-u".to_owned(), program, "lectern_test".to_owned()],
            env: vec![("HOME".to_owned(), path_text(&home(&spec.private)))],
            init_timeout: LONG,
        });
        spec
    }

    /// One more worker of the version that `spec` is of.
    pub fn another(&self, spec: &LaunchSpec) -> LaunchSpec {
        let name = Uuid::new_v4().simple().to_string();
        let private = self.dir.path().join("run/w").join(&name[..8]);
        let socket = private.join("s/s");
        let moved = |text: &str| text.replace(&path_text(&spec.private), &path_text(&private));
        let mut other = spec.clone();
        other.job = name.parse().unwrap();
        other.env = spec.env.iter().map(|(name, value)| (name.clone(), moved(value))).collect();
        other.log = spec.log.with_file_name(format!("{name}.log"));
        if let Some(zygote) = &mut other.zygote {
            zygote.env = zygote.env.iter().map(|(name, value)| (name.clone(), moved(value))).collect();
        }
        LaunchSpec { private, socket, ..other }
    }

    /// The same, running `code` instead.
    pub fn another_with(&self, spec: &LaunchSpec, code: &str) -> LaunchSpec {
        let mut other = self.another(spec);
        let program = spec.directory.join(format!("{}.py", other.job));
        fs::write(&program, format!("{PREAMBLE}\n{code}\n")).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o644)).unwrap();
        other.argv[2] = path_text(&program);
        other
    }

    /// What runs that names this host's directory in its arguments or environment, without supervisors.
    pub fn running(&self) -> Vec<i32> {
        let name = path_text(self.dir.path());
        processes(|pid| {
            let has = |file: &str| {
                fs::read(format!("/proc/{pid}/{file}"))
                    .is_ok_and(|bytes| bytes.windows(name.len()).any(|part| part == name.as_bytes()))
            };
            let own = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            (has("cmdline") || has("environ")) && !String::from_utf8_lossy(&own).contains("lectern-supervise")
        })
    }

    pub fn supervisor_log(&self) -> String {
        fs::read_to_string(self.dir.path().join("supervisor.log")).unwrap_or_default()
    }
}

impl Host {
    /// Every supervisor and guardian of this directory, however it was started.
    pub fn supervisors(&self) -> Vec<i32> {
        let socket = path_text(&self.socket);
        with_argument(&socket)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let started = Instant::now();
        while started.elapsed() < LONG {
            let left = self.supervisors();
            if left.is_empty() {
                // A zombie by now.
                let _ = self.guardian.as_mut().map(Child::wait);
                break;
            }
            for pid in left {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if std::thread::panicking() {
            eprintln!("--- the supervisor's log ---\n{}", self.supervisor_log());
        }
    }
}

/// Processes for which `fits`, without zombies.
pub fn processes(fits: impl Fn(i32) -> bool) -> Vec<i32> {
    let names = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    names.filter(|pid| is_alive(*pid) && fits(*pid)).collect()
}

pub fn is_alive(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z') && !line.contains('X'))
}

/// Processes with this exact argument.
pub fn with_argument(argument: &str) -> Vec<i32> {
    processes(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|part| part == argument.as_bytes())
    })
}

/// An account that no other test, in this process or in another one, uses.
pub fn fresh_account() -> Account {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let id = 1_000_000 + std::process::id() * 200 + NEXT.fetch_add(1, Ordering::Relaxed);
    Account { uid: id, gid: id }
}

pub fn path_text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Waits until `look` finds something.
pub async fn wait<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < LONG, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until `holds`.
pub async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait(what, || {
        let held = holds();
        async move { held.then_some(()) }
    })
    .await;
}

/// Starts a worker and waits until it is ready.
pub async fn ready(client: &Client, spec: &LaunchSpec) -> WorkerStatus {
    client.start(spec.clone()).await.unwrap();
    client.wait_ready(&spec.job, LONG).await.unwrap()
}

/// Waits for the worker's end.
pub async fn exited(client: &Client, spec: &LaunchSpec) -> Exited {
    match client.wait_exited(&spec.job, LONG).await.unwrap().state {
        WorkerState::Exited(exited) => exited,
        other => panic!("{other:?}"),
    }
}

/// The whole log of a worker.
pub fn log(spec: &LaunchSpec) -> Vec<LogLine> {
    read_tail(&spec.log, usize::MAX, u64::MAX).unwrap()
}

/// The text of the whole log, line by line.
pub fn log_text(spec: &LaunchSpec) -> Vec<String> {
    log(spec).into_iter().map(|line| line.data).collect()
}
