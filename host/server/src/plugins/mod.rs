//! What stands behind the imports of the gate's plugins: network, store, secrets and accounts of this server.

mod accounts;
pub(crate) mod api;
pub(crate) mod manage;
mod metrics;
mod secrets;
mod sign_in;
mod values;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lectern_domain::outbound::Policy;
use lectern_gate::{Backend, Buckets, Directory, KeySets, SystemClock};
use lectern_metadata::Database;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::accounts::LinkedAccounts;
use self::secrets::SealedSecrets;
use self::values::DatabaseValues;
use crate::config;
use crate::outbound::{Authorities, HttpOutbound};
use crate::seal::Sealer;
use crate::view::View;

pub(crate) use sign_in::SignIn;

/// Between tries to read secrets while the database is away.
const RETRY: Duration = Duration::from_secs(2);

/// All of it, and what keeps it fresh.
#[derive(Clone)]
pub(crate) struct Behind {
    /// What the gate is given.
    pub(crate) backend: Backend,
    database: Database,
    secrets: Arc<SealedSecrets>,
    values: DatabaseValues,
}

impl Behind {
    /// Puts it together and reads the secrets. To be called on the control runtime.
    pub(crate) async fn start(
        config: &config::Gate,
        directory: Arc<dyn Directory>,
        view: &Arc<View>,
        database: &Database,
        sealer: &Arc<Sealer>,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let policy = Policy::new(config.outbound_allow.clone(), "gate.outbound_allow");
        let authorities = Authorities { file: config.outbound_ca_file.as_deref(), setting: "gate.outbound_ca_file" };
        let outbound = HttpOutbound::new(policy, authorities, runtime.clone())?;
        let secrets = Arc::new(SealedSecrets::new(Arc::clone(sealer)));
        secrets.refresh(database).await.context("read the secrets of plugins")?;
        let values = DatabaseValues::new(database.clone(), runtime.clone());
        let backend = Backend {
            directory,
            accounts: Arc::new(LinkedAccounts::new(Arc::clone(view), database.clone(), runtime)),
            store: Arc::new(values.clone()),
            secrets: Arc::clone(&secrets) as Arc<_>,
            outbound: Arc::new(outbound),
            key_sets: Arc::new(KeySets::new()),
            buckets: Arc::new(Buckets::new()),
            clock: Arc::new(SystemClock),
        };
        Ok(Self { backend, database: database.clone(), secrets, values })
    }

    /// Returns when all secrets committed before the call are known.
    pub(crate) async fn refresh_secrets(&self) -> Result<(), lectern_metadata::DbError> {
        self.secrets.refresh(&self.database).await
    }

    /// Removes values whose time is over, and reads the secrets again whenever `changed`, until `stop`.
    pub(crate) async fn run(self, changed: Arc<Notify>, stop: CancellationToken) {
        let following = async {
            loop {
                changed.notified().await;
                while let Err(error) = self.refresh_secrets().await {
                    tracing::warn!(error = crate::cli::chain(&error), "secrets of plugins cannot be read");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        tokio::select! {
            () = self.values.clone().sweep(stop.clone()) => {}
            () = stop.cancelled() => {}
            () = following => {}
        }
    }
}
