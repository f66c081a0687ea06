//! The metadata store of this server: the database it was given, or a private cluster of its own.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::Context as _;
use lectern_metadata::{ClusterConfig, Database, DatabaseConfig, PrivateCluster};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::paths::Paths;

/// An open metadata store.
pub(crate) struct MetadataStore {
    pub(crate) database: Database,
    cluster: Option<Arc<PrivateCluster>>,
}

impl MetadataStore {
    /// Connects to the configured database, or starts (or adopts) the private cluster.
    /// `lent` is the lock of the cluster, when another server that uses it hands over.
    pub(crate) async fn open(config: &Config, paths: &Paths, lent: Option<OwnedFd>) -> anyhow::Result<Self> {
        let shared = lent.is_some();
        let (settings, cluster) = match &config.database.url {
            Some(url) => {
                let mut settings = DatabaseConfig::new(url.reveal());
                settings.tls_ca_file = config.database.tls_ca_file.clone();
                settings.allow_unverified_tls = config.database.allow_unverified_tls;
                (settings, None)
            }
            None => {
                let mut wanted = ClusterConfig::new(paths.postgres());
                wanted.bindir = config.database.bin_dir.clone();
                let cluster = match lent {
                    Some(lock) => PrivateCluster::take_over(wanted, lock).await,
                    None => PrivateCluster::start(wanted).await,
                };
                let cluster = cluster.context("open the private database")?;
                (cluster.config(), Some(Arc::new(cluster)))
            }
        };
        let settings = DatabaseConfig { pool_size: config.database.max_connections, ..settings };
        let database = match Database::connect(settings).await {
            Ok(database) => database,
            Err(error) => {
                // A lent one is the lender's to stop.
                if let Some(cluster) = cluster.filter(|_| !shared) {
                    cluster.stop().await.context("stop the private database")?;
                }
                return Err(error).context("open the database");
            }
        };
        Ok(Self { database, cluster })
    }

    /// Keeps the private cluster running until `stop`.
    pub(crate) fn watch(&self, stop: CancellationToken) -> Option<tokio::task::JoinHandle<()>> {
        self.cluster.as_ref().map(|cluster| cluster.watch(stop))
    }

    /// The cluster's lock, for a server that takes over.
    pub(crate) fn lend_lock(&self) -> anyhow::Result<Option<OwnedFd>> {
        let lent = self.cluster.as_ref().map(|cluster| cluster.lend_lock()).transpose();
        lent.context("lend the lock of the private database")
    }

    /// Closes the connections, and leaves the private cluster to the server that has taken over.
    pub(crate) fn leave(self) {
        self.database.close();
        if let Some(cluster) = self.cluster {
            cluster.leave();
        }
    }

    /// Closes the connections and stops the private cluster.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        self.database.close();
        match self.cluster {
            Some(cluster) => cluster.stop().await.context("stop the private database"),
            None => Ok(()),
        }
    }
}
