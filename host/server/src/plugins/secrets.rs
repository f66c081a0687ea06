//! The plugins' secrets, opened, in this server's memory: a request asks for one without a query.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use lectern_domain::plugin::SealedSecret;
use lectern_gate::{Secret, Secrets};
use lectern_metadata::{Database, DbError, plugins};

use crate::seal::Sealer;

/// By plugin and name.
type Opened = HashMap<String, HashMap<String, Secret>>;

/// The secrets of this server's plugins.
pub(crate) struct SealedSecrets {
    sealer: Arc<Sealer>,
    opened: ArcSwap<Opened>,
}

impl SealedSecrets {
    /// Without any, until [`Self::refresh`].
    pub(crate) fn new(sealer: Arc<Sealer>) -> Self {
        Self { sealer, opened: ArcSwap::default() }
    }

    /// Reads all of them. On an error those that were known stay.
    pub(crate) async fn refresh(&self, database: &Database) -> Result<(), DbError> {
        let rows = plugins::secrets::all(&database.client().await?).await?;
        self.show(&rows);
        Ok(())
    }

    /// Puts these in place of all that are known. One that cannot be opened is left out, and the log says which: a plugin
    /// that needs it fails, others do not.
    fn show(&self, rows: &[SealedSecret]) {
        let mut opened = Opened::new();
        for row in rows {
            match self.sealer.open_secret(row.plugin.as_str(), &row.name, &row.sealed) {
                Ok(bytes) => {
                    opened.entry(row.plugin.to_string()).or_default().insert(row.name.clone(), Secret::new(bytes));
                }
                Err(error) => tracing::error!(error = crate::cli::chain(error.as_ref()), "a secret cannot be opened"),
            }
        }
        self.opened.store(Arc::new(opened));
    }
}

impl Secrets for SealedSecrets {
    fn secret(&self, plugin: &str, name: &str) -> Option<Secret> {
        self.opened.load().get(plugin)?.get(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lectern_domain::plugin::Actor;
    use time::OffsetDateTime;

    #[test]
    fn rows_open_only_where_they_were_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let sealer = Arc::new(Sealer::open(&dir.path().join("secret.key")).unwrap());
        let secrets = SealedSecrets::new(Arc::clone(&sealer));
        let row = |plugin: &str, name: &str, sealed: Vec<u8>| SealedSecret {
            plugin: plugin.parse().unwrap(),
            name: name.to_owned(),
            sealed,
            stamp: 1,
            set_by: Actor::Automatic,
            set_at: OffsetDateTime::UNIX_EPOCH,
        };
        let sealed = |plugin: &str, name: &str, value: &[u8]| sealer.seal_secret(plugin, name, value).unwrap();
        let hidden = sealed("oidc", "client", b"hunter2\0\xff");
        assert!(!hidden.windows(7).any(|window| window == b"hunter2"));
        secrets.show(&[
            row("oidc", "client", hidden.clone()),
            row("oidc", "other", hidden.clone()),
            row("saml", "client", hidden),
            row("oidc", "cut", vec![1; 10]),
            row("oidc", "empty", sealed("oidc", "empty", b"")),
            row("oi", "dcx", sealed("oidc", "x", b"moved")),
        ]);
        let shown = |plugin: &str, name: &str| secrets.secret(plugin, name).map(|secret| secret.reveal().to_vec());
        assert_eq!(shown("oidc", "client").as_deref(), Some(&b"hunter2\0\xff"[..]));
        assert_eq!(shown("oidc", "empty").as_deref(), Some(&b""[..]));
        for (plugin, name) in [("oidc", "other"), ("saml", "client"), ("oidc", "cut"), ("oi", "dcx"), ("x", "client")] {
            assert_eq!(shown(plugin, name), None, "{plugin} {name}");
        }
        secrets.show(&[]);
        assert_eq!(shown("oidc", "client"), None, "removed");
    }
}
