//! The pool of connections.

use std::time::Duration;

pub use deadpool_postgres::{Client, GenericClient, Transaction};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};

use crate::config::{ConfigError, DatabaseConfig};
use crate::error::{DbError, Fault, is_transient};
use crate::tls;

/// The oldest PostgreSQL whose features the queries use, as `server_version_num` counts.
const OLDEST_SERVER: i32 = 140_000;

/// How long the check of a pooled connection may take before another one is opened.
const RECYCLE_TIMEOUT: Duration = Duration::from_secs(5);

/// A bounded pool of connections to one database. Cloning shares the pool.
///
/// Each connection is checked when it is handed out, so that after a restart or fail-over of the database the pool
/// recovers by itself.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    config: DatabaseConfig,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Database").field(&self.config).finish()
    }
}

/// Opening the database failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The configuration cannot be used.
    #[error("the database configuration cannot be used")]
    Config(#[from] ConfigError),
    /// The server is too old.
    #[error("the database is PostgreSQL {found}; 14 or newer is needed")]
    TooOld {
        /// Its version, as it prints it.
        found: String,
    },
    /// Connecting failed.
    #[error("connect to {url}")]
    Connect {
        /// Where to, without credentials.
        url: String,
        /// Why not.
        #[source]
        cause: DbError,
    },
}

impl ConnectError {
    /// Whether trying again can help without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Connect { cause, .. } if is_transient(cause))
    }
}

impl Database {
    /// Makes the pool without connecting, for a server that starts while its database is away.
    pub fn open(config: DatabaseConfig) -> Result<Self, ConfigError> {
        if config.pool_size == 0 {
            return Err(ConfigError::EmptyPool);
        }
        let plan = config.plan()?;
        let tls = tls::connector(&config, plan.encryption)?;
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let pool = Pool::builder(Manager::from_config(plan.config, tls, recycling))
            .max_size(config.pool_size)
            .wait_timeout(Some(config.wait_timeout))
            // Covers name resolution, TLS and authentication too, which `connect_timeout` does not.
            .create_timeout(Some(config.connect_timeout * 2))
            .recycle_timeout(Some(RECYCLE_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime is set, the only thing the builder can miss");
        Ok(Self { pool, config })
    }

    /// Makes the pool and checks that the server answers and is new enough.
    pub async fn connect(config: DatabaseConfig) -> Result<Self, ConnectError> {
        let database = Self::open(config)?;
        let failed = |cause| ConnectError::Connect { url: crate::config::shown_url(&database.config.url), cause };
        let client = database.client().await.map_err(failed)?;
        let row = client
            .query_one("SELECT current_setting('server_version_num')::int, current_setting('server_version')", &[])
            .await
            .map_err(|error| failed(error.into()))?;
        let (number, found): (i32, String) = (row.get(0), row.get(1));
        drop(client);
        if number < OLDEST_SERVER { Err(ConnectError::TooOld { found }) } else { Ok(database) }
    }

    /// How it was configured.
    pub fn config(&self) -> &DatabaseConfig {
        &self.config
    }

    /// Takes a connection; waits at most `wait_timeout` for a free one.
    pub async fn client(&self) -> Result<Client, DbError> {
        Ok(self.pool.get().await?)
    }

    /// Asks the server for a sign of life.
    pub async fn ping(&self) -> Result<(), DbError> {
        let client = self.client().await?;
        let answer = client.query_one("SELECT 1::int", &[]).await?;
        match answer.try_get::<_, i32>(0)? {
            1 => Ok(()),
            other => Err(DbError::Other(Box::new(Fault {
                code: "XX000".to_owned(),
                message: format!("a select of 1 gave {other}"),
                constraint: None,
            }))),
        }
    }

    /// Closes the pool: connections end when their users let go of them, and no new ones are handed out.
    pub fn close(&self) {
        self.pool.close();
    }
}
