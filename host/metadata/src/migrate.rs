//! Brings the schema up to date.
//!
//! Migrations are part of the binary. One server applies them at a time, under an advisory lock held by the connection
//! that applies them: another one that starts at the same moment waits, then finds nothing to do.

use std::time::Duration;

use refinery::{Migration, Target};
use tokio::task::JoinHandle;
use tracing::info;

use crate::database::Database;
use crate::error::{DbError, is_transient};
use crate::tls;

mod embedded {
    refinery::embed_migrations!("../../migrations");
}

/// Key of the advisory lock: the letters `lectern` and 1.
const LOCK: i64 = 0x6c65_6374_6572_6e01;

/// How long to wait for another server that migrates. Migrations of a large database take minutes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(600);

/// A migration that was applied or will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub version: i64,
    /// What it does.
    pub name: String,
}

impl From<&Migration> for Applied {
    fn from(migration: &Migration) -> Self {
        Self { version: i64::from(migration.version()), name: migration.name().to_owned() }
    }
}

/// The schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A newer Lectern has used this database.
    #[error(
        "the database has schema {found}, this version of Lectern knows {known}: a newer version has used it; install that one or a newer one"
    )]
    Newer {
        /// The newest migration applied.
        found: i64,
        /// The newest migration known.
        known: i64,
    },
    /// An applied migration is not the one this binary has.
    #[error("the database was made by other migrations than this version's: {0}")]
    Divergent(String),
    /// Applying failed; what came before it is kept.
    #[error("apply migrations")]
    Apply(#[source] Box<refinery::Error>),
    /// The database is away, or refused.
    #[error("migrate the database")]
    Database(#[from] DbError),
}

impl MigrateError {
    /// Whether trying again can help without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Database(cause) if is_transient(cause))
    }
}

/// Applies what is missing and says what that was. Waits while another server does the same.
pub async fn migrate(database: &Database) -> Result<Vec<Applied>, MigrateError> {
    apply(database, Target::Latest).await
}

/// Applies what is missing up to `target`.
pub(crate) async fn apply(database: &Database, target: Target) -> Result<Vec<Applied>, MigrateError> {
    let mut connection = Connection::open(database).await?;
    let client = &mut connection.client;
    let setup = format!("SET statement_timeout = 0; SET lock_timeout = {}", LOCK_TIMEOUT.as_millis());
    client.batch_execute(&setup).await.map_err(DbError::from)?;
    client.query_one("SELECT pg_advisory_lock($1)", &[&LOCK]).await.map_err(DbError::from)?;
    compare(client).await?;
    let applied = runner().set_target(target).run_async(client).await.map_err(told_apart)?;
    let applied: Vec<Applied> = applied.applied_migrations().iter().map(Applied::from).collect();
    for migration in &applied {
        info!(version = migration.version, name = migration.name, "migration applied");
    }
    connection.close().await;
    Ok(applied)
}

/// The migrations that [`migrate`] would apply.
pub async fn pending(database: &Database) -> Result<Vec<Applied>, MigrateError> {
    let connection = Connection::open(database).await?;
    let done = compare(&connection.client).await?;
    connection.close().await;
    Ok(known().into_iter().filter(|migration| !done.contains(&migration.version)).collect())
}

/// The migrations in this binary, in order.
pub fn known() -> Vec<Applied> {
    let mut known: Vec<Applied> = runner().get_migrations().iter().map(Applied::from).collect();
    known.sort_by_key(|migration| migration.version);
    known
}

fn runner() -> refinery::Runner {
    embedded::migrations::runner().set_abort_divergent(true).set_abort_missing(true)
}

/// The versions applied so far; an error when they are not a part of the known ones.
async fn compare(client: &tokio_postgres::Client) -> Result<Vec<i64>, MigrateError> {
    let table = client
        .query_one("SELECT to_regclass('refinery_schema_history') IS NOT NULL", &[])
        .await
        .map_err(DbError::from)?;
    if !table.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let sql = "SELECT version::bigint, name, checksum FROM refinery_schema_history ORDER BY version";
    let rows = client.query(sql, &[]).await.map_err(DbError::from)?;
    let runner = runner();
    let newest = runner.get_migrations().iter().map(|migration| i64::from(migration.version())).max().unwrap_or(0);
    let mut done = Vec::with_capacity(rows.len());
    for row in &rows {
        let (version, name, checksum): (i64, String, String) =
            (row.get("version"), row.get("name"), row.get("checksum"));
        if version > newest {
            return Err(MigrateError::Newer { found: version, known: newest });
        }
        let same = runner
            .get_migrations()
            .iter()
            .any(|migration| i64::from(migration.version()) == version && migration.checksum().to_string() == checksum);
        if !same {
            return Err(MigrateError::Divergent(format!("V{version}__{name} differs")));
        }
        done.push(version);
    }
    Ok(done)
}

fn told_apart(error: refinery::Error) -> MigrateError {
    use refinery::error::Kind;
    match error.kind() {
        Kind::DivergentVersion(applied, _) | Kind::MissingVersion(applied) => {
            MigrateError::Divergent(format!("{applied} differs"))
        }
        _ => MigrateError::Apply(Box::new(error)),
    }
}

/// A connection outside the pool: its settings and its lock end with it.
struct Connection {
    client: tokio_postgres::Client,
    driver: JoinHandle<()>,
}

impl Connection {
    async fn open(database: &Database) -> Result<Self, DbError> {
        let config = database.config();
        let unusable = |error: crate::config::ConfigError| DbError::Other(Box::new(error));
        let plan = config.plan().map_err(unusable)?;
        let tls = tls::connector(config, plan.encryption).map_err(unusable)?;
        let (client, connection) = plan.config.connect(tls).await?;
        let driver = tokio::spawn(async move {
            // The client's calls report the fault; here it only ends the driver.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "migration connection ended");
            }
        });
        Ok(Self { client, driver })
    }

    /// Waits until the server was told that the connection ends, so that the lock is free when this returns.
    async fn close(self) {
        let Self { client, driver } = self;
        drop(client);
        if let Err(error) = driver.await {
            tracing::debug!(%error, "migration connection");
        }
    }
}
