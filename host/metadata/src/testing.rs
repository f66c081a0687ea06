//! A PostgreSQL for tests: one private cluster per test program, one database per test.
//!
//! ```no_run
//! # async fn example() {
//! let database = lectern_metadata::testing::TestCluster::shared().await.migrated().await;
//! # }
//! ```
//!
//! Rust tests have no end at which to tidy up, so a small guard process does it: it waits for the test program's end,
//! however that comes, then stops PostgreSQL and removes the directory.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use refinery::Target;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::cluster::{ClusterConfig, PrivateCluster, default_account};
use crate::config::DatabaseConfig;
use crate::database::Database;
use crate::migrate::{apply, migrate};
use crate::reach::check_reachable;

/// Waits for the end of its standard input; then stops the PostgreSQL whose data is in `$1/…/data` and removes `$1`.
/// Nothing is kept, so nothing is written any more: QUIT.
const GUARD: &str = r#"
read -r _
for file in "$1"/data/postmaster.pid "$1"/*/data/postmaster.pid; do
    [ -f "$file" ] || continue
    pid=$(head -n 1 "$file")
    kill -QUIT "$pid" 2>/dev/null
    tries=0
    while kill -0 "$pid" 2>/dev/null && [ -f "$file" ] && [ "$tries" -lt 300 ]; do sleep 0.1; tries=$((tries + 1)); done
done
rm -rf "$1"
"#;

/// A directory that goes, with each PostgreSQL in it, when this value or the process does.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Closes with the process, which is what the guard waits for.
    _guard: ChildStdin,
}

impl Scratch {
    /// Makes one that the account of private clusters can reach.
    pub fn new() -> Self {
        let account = default_account().unwrap();
        let fits = |base: &PathBuf| check_reachable(base, account.uid, account.gid).is_ok();
        let base = Some(std::env::temp_dir()).filter(fits).unwrap_or_else(|| PathBuf::from("/tmp"));
        let path = base.join(format!("lectern-test-{}", &Uuid::new_v4().simple().to_string()[..12]));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        // A process group of its own, so that Ctrl-C ends the tests and not the guard.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARD, "guard"]).arg(&path).process_group(0).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let guard = command.spawn().unwrap().stdin.take().unwrap();
        Self { path, _guard: guard }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// A private cluster for tests.
#[derive(Debug)]
pub struct TestCluster {
    cluster: PrivateCluster,
    _scratch: Scratch,
}

static SHARED: OnceCell<TestCluster> = OnceCell::const_new();

impl TestCluster {
    /// The cluster of this test program, started by the first test that asks.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// Starts a cluster of its own, for a test that harms it.
    pub async fn start() -> Self {
        let scratch = Scratch::new();
        let cluster = PrivateCluster::start(ClusterConfig::new(scratch.path().join("c"))).await;
        Self { cluster: cluster.unwrap_or_else(|error| panic!("{}", chain(&error))), _scratch: scratch }
    }

    /// The cluster.
    pub fn cluster(&self) -> &PrivateCluster {
        &self.cluster
    }

    /// A new, empty database.
    pub async fn empty(&self) -> DatabaseConfig {
        new_database(&self.cluster.config()).await
    }

    /// A new database with the schema in place.
    pub async fn migrated(&self) -> Database {
        let database = Database::connect(self.empty().await).await.unwrap();
        migrate(&database).await.unwrap();
        database
    }
}

/// Makes a new, empty database on the server that `config` reaches, and answers how to connect to it.
pub async fn new_database(config: &DatabaseConfig) -> DatabaseConfig {
    let name = format!("t{}", Uuid::new_v4().simple());
    let server = Database::open(DatabaseConfig { pool_size: 1, ..config.clone() }).unwrap();
    server.client().await.unwrap().batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    // The database's name stands between the last slash before the parameters and them.
    let (base, parameters) = config.url.split_once('?').unwrap_or((&config.url, ""));
    let (server, _) = base.rsplit_once('/').unwrap();
    DatabaseConfig { url: format!("{server}/{name}?{parameters}"), ..config.clone() }
}

/// Brings a database to the schema that version `version` of it had, as an older server left it.
pub async fn migrate_to(database: &Database, version: u32) {
    // The number's type is the library's own choice.
    apply(database, Target::Version(version as _)).await.unwrap();
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
