//! What a private cluster promises when things are killed, cut, in the way, or in other hands.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lectern_domain::{UserGuid, UserRole};
use lectern_metadata::cluster::{ClusterError, default_account};
use lectern_metadata::reach::ReachError;
use lectern_metadata::testing::{Scratch, chain};
use lectern_metadata::users::NewUser;
use lectern_metadata::{
    ClusterConfig, Database, DatabaseConfig, Part, PrivateCluster, is_transient, listen, migrate, users,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid, getpgid};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Longest wait for a cluster to be made, on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// Longest wait for something that should come at once.
const SOON: Duration = Duration::from_secs(20);

async fn open(config: DatabaseConfig) -> Database {
    let database = Database::connect(config).await.unwrap();
    migrate(&database).await.unwrap();
    database
}

/// Something to find again: one account.
async fn ada(database: &Database) {
    let ada = NewUser {
        guid: UserGuid(Uuid::new_v4()),
        username: "ada".into(),
        email: String::new(),
        first_name: String::new(),
        last_name: String::new(),
        role: UserRole::Publisher,
        password_hash: None,
        confirmed: true,
    };
    users::create(&database.client().await.unwrap(), &ada).await.unwrap();
}

async fn start(dir: &Path) -> PrivateCluster {
    PrivateCluster::start(ClusterConfig::new(dir)).await.unwrap_or_else(|error| panic!("{}", chain(&error)))
}

async fn until(what: &str, limit: Duration, mut state: impl FnMut() -> bool) {
    let wait = async {
        while !state() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(limit, wait).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

fn alive(pid: i32) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok()
}

/// The names in a directory that begin with `prefix`.
fn beginning(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix))
        .collect()
}

/// Not a test: the server that tests kill, run as a program of its own.
#[tokio::test]
#[ignore = "run by other tests"]
async fn a_server_to_kill() {
    let Some(dir) = std::env::var_os("LECTERN_TEST_CLUSTER") else { return };
    let _cluster = start(Path::new(&dir)).await;
    std::future::pending().await
}

fn server_to_kill(dir: &Path) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "a_server_to_kill"]).env("LECTERN_TEST_CLUSTER", dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_leaves_nothing_broken() {
    let scratch = Scratch::new();
    let dir = scratch.path().join("c");
    // Killed while initdb works.
    let mut server = server_to_kill(&dir);
    let begun = || beginning(&dir, "init-").iter().any(|path| path.join("base").exists());
    until("initdb has begun", LONG, begun).await;
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(!dir.join("data").exists());
    let left = beginning(&dir, "init-");
    assert!(!left.is_empty());

    // Killed while PostgreSQL runs: what the first left is gone, and PostgreSQL goes on.
    let mut server = server_to_kill(&dir);
    let ready = || fs::read_to_string(dir.join("data/postmaster.pid")).is_ok_and(|text| text.contains("ready"));
    until("PostgreSQL runs", LONG, ready).await;
    assert!(left.iter().all(|path| !path.exists()));
    server.kill().unwrap();
    server.wait().unwrap();
    let text = fs::read_to_string(dir.join("data/postmaster.pid")).unwrap();
    let pid: i32 = text.lines().next().unwrap().parse().unwrap();
    assert!(alive(pid));

    // The next one adopts it, alone.
    let cluster = start(&dir).await;
    assert_eq!(cluster.pid(), pid);
    assert!(cluster.is_running());
    let database = open(cluster.config()).await;
    ada(&database).await;
    let second = PrivateCluster::start(ClusterConfig::new(&dir)).await.unwrap_err();
    assert!(matches!(&second, ClusterError::Busy { dir: named } if *named == dir), "{second:?}");
    cluster.stop().await.unwrap();
    assert!(!alive(pid) && !cluster.is_running() && !dir.join("data/postmaster.pid").exists());
    cluster.stop().await.unwrap();
    drop(cluster);

    // And after a stop in good order everything is there.
    let cluster = start(&dir).await;
    assert_ne!(cluster.pid(), pid);
    let database = Database::connect(cluster.config()).await.unwrap();
    assert_eq!(users::count(&database.client().await.unwrap()).await.unwrap(), 1);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_postgresql_comes_back() {
    let scratch = Scratch::new();
    let dir = scratch.path().join("c");
    let cluster = Arc::new(start(&dir).await);
    let database = open(cluster.config()).await;
    let stop = CancellationToken::new();
    let mut changes = listen(&cluster.config(), &stop).unwrap();
    assert_eq!(timeout(SOON, changes.next()).await.unwrap(), Some(Part::Everything));
    assert!(!cluster.restart_if_dead().await.unwrap(), "it lives");
    let expect_users = async |expected: i64| {
        assert_eq!(users::count(&database.client().await.unwrap()).await.unwrap(), expected);
    };

    // Killed hard: socket and pid file stay behind, and what was confirmed is there after recovery.
    ada(&database).await;
    assert_eq!(timeout(SOON, changes.next()).await.unwrap(), Some(Part::Users));
    let first = cluster.pid();
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    until("it is seen", SOON, || !cluster.is_running()).await;
    assert!(cluster.socket_dir().join(".s.PGSQL.5432").exists() && dir.join("data/postmaster.pid").exists());
    assert!(cluster.restart_if_dead().await.unwrap());
    assert_ne!(cluster.pid(), first);
    expect_users(1).await;
    assert_eq!(timeout(SOON, changes.next()).await.unwrap(), Some(Part::Everything));

    // Its number now is another process's, of the same account: PostgreSQL alone would not start for it.
    kill(Pid::from_raw(cluster.pid()), Signal::SIGKILL).unwrap();
    until("it is seen", SOON, || !cluster.is_running()).await;
    assert!(is_transient(&database.client().await.err().unwrap()));
    let account = default_account().unwrap();
    let mut other = Command::new("sleep");
    if geteuid().is_root() {
        other.uid(account.uid).gid(account.gid);
    }
    let mut other = other.arg("600").current_dir("/").spawn().unwrap();
    for file in [dir.join("data/postmaster.pid"), cluster.socket_dir().join(".s.PGSQL.5432.lock")] {
        let text = fs::read_to_string(&file).unwrap();
        let (_, rest) = text.split_once('\n').unwrap();
        fs::write(&file, format!("{}\n{rest}", other.id())).unwrap();
    }
    assert!(cluster.restart_if_dead().await.unwrap());
    assert!(other.try_wait().unwrap().is_none(), "the other process is left alone");
    other.kill().unwrap();
    other.wait().unwrap();
    expect_users(1).await;

    // Watched, it comes back by itself. A terminal's Ctrl-C, which goes to our process group, is not for it.
    assert_eq!(getpgid(Some(Pid::from_raw(cluster.pid()))).unwrap().as_raw(), cluster.pid());
    let watch = cluster.watch(stop.clone());
    let before = cluster.pid();
    kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
    until("it runs again", SOON, || cluster.pid() != before && cluster.is_running()).await;
    expect_users(1).await;
    // Stopped on purpose, it stays so.
    cluster.stop().await.unwrap();
    assert!(!alive(cluster.pid()));
    assert!(!cluster.restart_if_dead().await.unwrap() && !cluster.is_running());
    stop.cancel();
    timeout(SOON, watch).await.unwrap().unwrap();
}

fn psql(cluster: &PrivateCluster, uid: u32, password: Option<&str>) -> Output {
    let mut command = Command::new(cluster.bindir().join("psql"));
    command.env_clear().current_dir("/").stdin(Stdio::null());
    command.args(["-X", "-w", "-At", "-U", "lectern", "-d", "lectern", "-c", "SELECT 42"]);
    command.arg("-h").arg(cluster.socket_dir());
    if let Some(password) = password {
        command.env("PGPASSWORD", password);
    }
    if geteuid().is_root() && uid != 0 {
        command.uid(uid).gid(uid);
    }
    command.output().unwrap()
}

/// In a directory whose path is too long for a socket, so that the socket is elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_gets_in() {
    let scratch = Scratch::new();
    let long = "a-name-as-long-as-people-like-them/".repeat(4);
    let dir = scratch.path().join(long).join("c");
    let cluster = start(&dir).await;
    let socket_dir = cluster.socket_dir();
    assert!(!socket_dir.starts_with(scratch.path()) && socket_dir.as_os_str().len() + 14 < 108, "{socket_dir:?}");

    let account = default_account().unwrap();
    for path in [&socket_dir, &dir.join("data")] {
        let found = fs::metadata(path).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o777), (account.uid, 0o700), "{path:?}");
    }
    for name in ["password", "postgres.log", "lock"] {
        let found = fs::metadata(dir.join(name)).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o777), (geteuid().as_raw(), 0o600), "{name}");
    }
    assert!(
        !format!("{cluster:?} {:?}", cluster.config()).contains(&fs::read_to_string(dir.join("password")).unwrap())
    );

    let password = fs::read_to_string(dir.join("password")).unwrap();
    let told = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let ours = psql(&cluster, account.uid, Some(&password));
    assert_eq!(String::from_utf8_lossy(&ours.stdout), "42\n", "{}", told(&ours));
    // The account itself needs the password.
    for wrong in [None, Some("guess")] {
        let refused = psql(&cluster, account.uid, wrong);
        assert!(!refused.status.success() && told(&refused).contains("password"), "{}", told(&refused));
    }
    if geteuid().is_root() {
        // Any other account does not even reach the socket, knowing the password or not.
        for uid in [65_534, 200_001] {
            let refused = psql(&cluster, uid, Some(&password));
            assert!(!refused.status.success() && told(&refused).contains("Permission denied"), "{}", told(&refused));
        }
    }

    let database = Database::connect(cluster.config()).await.unwrap();
    let client = database.client().await.unwrap();
    for (name, expected) in [
        ("listen_addresses", ""),
        ("fsync", "on"),
        ("server_encoding", "UTF8"),
        ("data_checksums", "on"),
        ("password_encryption", "scram-sha-256"),
    ] {
        let value: String = client.query_one("SELECT current_setting($1)", &[&name]).await.unwrap().get(0);
        assert_eq!(value, expected, "{name}");
    }
    drop(client);
    database.close();
    cluster.stop().await.unwrap();
    assert!(!socket_dir.exists(), "nothing is left outside");
    drop(cluster);

    // Without its password the cluster is not opened, and not made anew.
    fs::remove_file(dir.join("password")).unwrap();
    let error = PrivateCluster::start(ClusterConfig::new(&dir)).await.unwrap_err();
    assert!(matches!(error, ClusterError::PasswordMissing { .. }), "{error:?}");
    assert!(dir.join("data/PG_VERSION").exists() && !socket_dir.exists());
}

#[tokio::test]
async fn a_directory_out_of_reach_is_named_before_anything_starts() {
    if !geteuid().is_root() {
        // Only root runs PostgreSQL as somebody else.
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    let dir = home.join("lectern-data/postgres");
    let error = PrivateCluster::start(ClusterConfig::new(&dir)).await.unwrap_err();
    let ClusterError::Unreachable { cause: ReachError::Blocked(blocked), .. } = &error else { panic!("{error:?}") };
    assert_eq!(blocked.by, home);
    assert!(chain(&error).contains(&format!("chmod o+x {}", home.display())), "{}", chain(&error));
    assert!(!home.join("lectern-data").exists());
}

#[tokio::test]
async fn programs_that_do_not_fit_are_refused() {
    let scratch = Scratch::new();
    let dir = scratch.path().join("c");
    let nowhere = ClusterConfig { bindir: Some(scratch.path().join("bin")), ..ClusterConfig::new(&dir) };
    let error = PrivateCluster::start(nowhere).await.unwrap_err();
    assert!(chain(&error).contains("apt-get install postgresql"), "{}", chain(&error));
    fs::create_dir_all(dir.join("data")).unwrap();
    fs::write(dir.join("data/PG_VERSION"), "99\n").unwrap();
    let error = PrivateCluster::start(ClusterConfig::new(&dir)).await.unwrap_err();
    assert!(chain(&error).contains("made by PostgreSQL 99"), "{}", chain(&error));
    assert_eq!(fs::read_dir(dir.join("data")).unwrap().count(), 1, "left as it was");
}

#[tokio::test]
async fn a_failed_initdb_is_told_and_tidied_up() {
    let scratch = Scratch::new();
    let (dir, bin) = (scratch.path().join("c"), scratch.path().join("bin"));
    fs::create_dir(&bin).unwrap();
    for (name, text) in [
        ("postgres", "#!/bin/sh\necho 'postgres (PostgreSQL) 15.1'\n"),
        ("initdb", "#!/bin/sh\ntouch \"$2/half\"\necho 'the disk is full' >&2\nexit 3\n"),
    ] {
        fs::write(bin.join(name), text).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let config = ClusterConfig { bindir: Some(bin), ..ClusterConfig::new(&dir) };
    let error = PrivateCluster::start(config).await.unwrap_err();
    let told = error.to_string();
    assert!(
        matches!(error, ClusterError::Init { .. }) && told.contains("the disk is full") && told.contains('3'),
        "{told}"
    );
    assert!(beginning(&dir, "init-").is_empty() && !dir.join("data").exists());
}
