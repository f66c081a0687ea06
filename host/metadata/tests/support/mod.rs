//! A PostgreSQL reached over TLS, with a certificate of an authority made for the test.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub)]

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lectern_domain::launch::Account;
use lectern_metadata::cluster::{default_account, find_binaries};
use lectern_metadata::testing::Scratch;
use lectern_metadata::{Database, DatabaseConfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

pub const PASSWORD: &str = "tls-test-password";

pub struct TlsServer {
    scratch: Scratch,
    bindir: PathBuf,
    account: Account,
    pub port: u16,
    child: Mutex<Option<Child>>,
}

impl TlsServer {
    pub async fn start() -> Self {
        let scratch = Scratch::new();
        let account = default_account().unwrap();
        let bindir = find_binaries(None, None).unwrap().dir;
        // The guard stops whatever runs in `data`, and removes all of it.
        let server = Self { bindir, account, port: free_port(), child: Mutex::new(None), scratch };
        server.make();
        server.run().await;
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// An authority that signed nothing here.
    pub fn other_ca(&self) -> PathBuf {
        self.path("other.pem")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bindir.join(program));
        command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin").current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if geteuid().is_root() {
            command.uid(self.account.uid).gid(self.account.gid);
        }
        command
    }

    fn give(&self, path: &Path, mode: u32) {
        if geteuid().is_root() {
            chown(path, Some(self.account.uid), Some(self.account.gid)).unwrap();
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn make(&self) {
        authority(self.scratch.path(), "ca");
        authority(self.scratch.path(), "other");
        certificate(self.scratch.path(), "localhost");
        self.give(&self.path("server.key"), 0o600);
        let password = self.path("initial");
        fs::write(&password, PASSWORD).unwrap();
        self.give(&password, 0o600);
        let data = self.path("data");
        fs::create_dir(&data).unwrap();
        self.give(&data, 0o700);
        let mut init = self.command("initdb");
        init.arg("-D").arg(&data).arg("--pwfile").arg(&password);
        init.args(["-U", "tester", "--auth", "scram-sha-256", "-E", "UTF8", "--locale", "C", "--no-sync"]);
        assert!(init.status().unwrap().success());
    }

    /// Starts it and waits until it answers.
    pub async fn run(&self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.path("data"));
        for (key, value) in [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", self.port.to_string()),
            ("unix_socket_directories", String::new()),
            ("ssl", "on".to_owned()),
            ("ssl_cert_file", self.path("server.pem").display().to_string()),
            ("ssl_key_file", self.path("server.key").display().to_string()),
            ("shared_buffers", "16MB".to_owned()),
            ("fsync", "off".to_owned()),
        ] {
            command.arg("-c").arg(format!("{key}={value}"));
        }
        *self.held() = Some(command.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        let database = Database::open(DatabaseConfig { pool_size: 1, ..self.config() }).unwrap();
        while let Err(error) = database.ping().await {
            let ended = self.held().as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{ended:?} {}",
                lectern_metadata::testing::chain(&error)
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Kills it, and waits until its port is free.
    pub fn kill(&self) {
        let mut child = self.held().take().unwrap();
        // QUIT ends all of its processes without tidying up; KILL would leave them for a while.
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGQUIT).unwrap();
        child.wait().unwrap();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err());
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn url(&self, host: &str, parameters: &str) -> String {
        format!("postgres://tester:{PASSWORD}@{host}:{}/postgres{parameters}", self.port)
    }

    /// How to connect: over TLS, verified.
    pub fn config(&self) -> DatabaseConfig {
        DatabaseConfig { tls_ca_file: Some(self.ca()), ..DatabaseConfig::new(self.url("localhost", "")) }
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output();
    let output = output.expect("the tests need the `openssl` command");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

fn authority(directory: &Path, name: &str) {
    openssl(directory, &format!("req -x509 {KEY} -keyout {name}.key -out {name}.pem -subj /CN=test-{name} -days 2"));
}

fn certificate(directory: &Path, host: &str) {
    let rules = format!("subjectAltName=DNS:{host}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n");
    fs::write(directory.join("server.ext"), rules).unwrap();
    openssl(directory, &format!("req {KEY} -keyout server.key -out server.csr -subj /CN={host}"));
    openssl(
        directory,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile server.ext",
    );
}
