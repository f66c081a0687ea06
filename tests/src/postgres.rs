//! A PostgreSQL server with TLS, as an operator would have one: for `database.url`.

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};

use crate::is_root;
use crate::scratch::Scratch;
use crate::wait::until;

/// Who runs it when the tests run as root, which PostgreSQL refuses; it also wants the account to have a name.
fn account() -> User {
    let known = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).expect("look up an account"));
    known.expect("an account that is not root's")
}

/// A running PostgreSQL server on loopback. Dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    /// Its port.
    pub port: u16,
    /// The certificate of the authority that signed its own, in PEM.
    pub authority: PathBuf,
    scratch: Scratch,
}

/// The newest server binaries on this machine.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    let found = newest.map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    found.filter(|path| path.join("initdb").is_file()).unwrap_or_else(|| {
        let output = Command::new("pg_config").arg("--bindir").output().expect("PostgreSQL server binaries");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    })
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("run a program");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The command as the account that owns the cluster.
fn owned(program: &Path) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        let account = account();
        command.uid(account.uid.as_raw()).gid(account.gid.as_raw());
    }
    command
}

impl Postgres {
    /// Makes and starts a server whose certificate names `127.0.0.1`; user and database `lectern`, password `s3cret`.
    pub fn start() -> Self {
        let scratch = Scratch::new();
        let dir = scratch.join("pg");
        std::fs::create_dir(&dir).expect("make a directory");
        if is_root() {
            let account = account();
            let (uid, gid) = (account.uid.as_raw(), account.gid.as_raw());
            std::os::unix::fs::chown(&dir, Some(uid), Some(gid)).expect("give it away");
        }
        let (data, password) = (dir.join("data"), scratch.join("password"));
        std::fs::write(&password, "s3cret\n").expect("write the password");
        run(owned(&programs().join("initdb"))
            .args(["--username=lectern", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"])
            .arg(format!("--pwfile={}", password.display()))
            .arg("-D")
            .arg(&data)
            .current_dir(&dir));
        let authority = certificate(&dir);
        // Free when asked; another program would have to take it within the next moment.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|probe| probe.local_addr()).expect("a free port").port();
        let log = std::fs::File::create(scratch.join("postgres.log")).expect("make a log");
        let child = owned(&programs().join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "fsync=off", "-c", "ssl=on"])
            .arg("-c")
            .arg(format!("ssl_cert_file={}", dir.join("server.crt").display()))
            .arg("-c")
            .arg(format!("ssl_key_file={}", dir.join("server.key").display()))
            .arg("-c")
            .arg(format!("unix_socket_directories={}", dir.display()))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a log"))
            .stdout(log)
            .spawn()
            .expect("start PostgreSQL");
        let server = Self { child, port, authority, scratch };
        until("PostgreSQL", Duration::from_secs(60), || {
            let ready = Command::new(programs().join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                .status()
                .expect("run pg_isready");
            ready.success().then_some(())
        });
        run(Command::new(programs().join("createdb"))
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "lectern", "lectern"])
            .env("PGPASSWORD", "s3cret"));
        server
    }

    /// The URL for `database.url`.
    pub fn url(&self) -> String {
        format!("postgres://lectern:s3cret@127.0.0.1:{}/lectern", self.port)
    }

    /// Runs SQL, past the server under test.
    pub fn sql(&self, text: &str) {
        run(Command::new(programs().join("psql"))
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-U",
                "lectern",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                text,
            ])
            .arg("lectern")
            .env("PGPASSWORD", "s3cret"));
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.join("postgres.log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // "Immediate": its data is not kept.
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGQUIT).ok();
        self.child.wait().ok();
    }
}

/// Makes an authority and a certificate for 127.0.0.1 in `dir`; answers the authority's certificate.
fn certificate(dir: &Path) -> PathBuf {
    let openssl = |words: &str| {
        run(owned(Path::new("openssl")).args(words.split_whitespace()).current_dir(dir));
    };
    std::fs::write(dir.join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .expect("write");
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=Authority -keyout ca.key -out ca.crt");
    openssl("req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr");
    openssl("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt");
    run(Command::new("chmod").arg("600").arg(dir.join("server.key")));
    dir.join("ca.crt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_certificate_is_good_for_its_address() {
        let server = Postgres::start();
        let ask = |mode: &str, authority: &Path| {
            let url = format!("{}?sslmode={mode}&sslrootcert={}", server.url(), authority.display());
            let output = Command::new(programs().join("psql"))
                .args(["-Atc", "select ssl from pg_stat_ssl where pid = pg_backend_pid()", &url])
                .output();
            String::from_utf8_lossy(&output.expect("run psql").stdout).trim().to_owned()
        };
        assert_eq!(ask("verify-full", &server.authority), "t", "{}", server.log());
        assert_eq!(ask("verify-full", Path::new("/etc/ssl/certs/ca-certificates.crt")), "", "another authority");
    }
}
