//! Brings what this version of Lectern ships: its packages are admitted, the default gate is bound on a fresh database, and
//! bindings that nobody changed follow the version.

use anyhow::Context as _;
use lectern_domain::plugin::{
    Actor, BindingSettings, BindingSpec, Budget, Change, Document, Grants, Matcher, PackageDigest, ReleaseSpec,
};
use lectern_metadata::plugins::{Note, PluginRefusal, bindings, gate, packages, releases};
use lectern_metadata::{Client, DbError};
use lectern_packages::{Package, Parts};
use lectern_shipped::{PACKAGES, SHIPPED, Shipped};

use super::{Plugins, Refused};

/// Why the server acts.
const REASON: &str = "shipped with this version of Lectern";

impl Plugins {
    /// Brings it. Does nothing when it was brought before; safe from many servers at once.
    pub(super) async fn bring_shipped(&self) -> anyhow::Result<()> {
        let fresh = gate::load_gate(&self.database).await.context("read the gate")?.bindings.is_empty();
        for shipped in PACKAGES {
            let installed = self.bring(shipped).await.with_context(|| format!("bring the plugin {}", shipped.name))?;
            let Some((digest, package)) = installed else { continue };
            let is_default = SHIPPED.iter().any(|(name, _)| *name == shipped.name);
            if is_default {
                self.bind_shipped(fresh, digest, &package)
                    .await
                    .with_context(|| format!("bind the plugin {}", shipped.name))?;
            }
        }
        Ok(())
    }

    /// Admits one package; `None`: this version of it came in another file before, and that one stays.
    async fn bring(&self, shipped: &Shipped) -> anyhow::Result<Option<(PackageDigest, Package)>> {
        let parts = Parts {
            manifest: shipped.manifest.to_owned(),
            component: shipped.component.to_vec(),
            schema: Some(shipped.schema.to_owned()),
            readme: Some(shipped.readme.to_owned()),
            cases: shipped.cases.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
        };
        let written = tokio::task::spawn_blocking(move || {
            let bytes = parts.write()?;
            Package::read(&bytes).map(|package| (bytes, package))
        });
        let (bytes, package) = written.await.context("write the package")??;
        let digest = PackageDigest::of(&bytes);
        let client = self.database.client().await?;
        if packages::get(&client, digest).await?.is_some() {
            // Its file may have been lost with the shared directory.
            self.shelf.put(bytes).await?;
            return Ok(Some((digest, package)));
        }
        drop(client);
        match self.admit_own(bytes, &package).await {
            Ok(()) => Ok(Some((digest, package))),
            Err(DbError::Plugin(PluginRefusal::VersionTaken { version, .. })) => {
                tracing::warn!(plugin = shipped.name, version, "another build of this version is installed; it stays");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps a package that came with this program: it was tested with it, and needs no signature.
    async fn admit_own(&self, bytes: Vec<u8>, package: &Package) -> Result<(), DbError> {
        let size_bytes = bytes.len() as u64;
        let unkept = |error: &dyn std::error::Error| {
            tracing::error!(error = crate::cli::chain(error), "a shipped package cannot be kept");
            DbError::NotFound("store of packages")
        };
        let digest = self.shelf.put(bytes).await.map_err(|error| unkept(error.as_ref()))?;
        let new = packages::NewPackage {
            digest,
            plugin: package.manifest.name.clone(),
            version: package.manifest.version.to_string(),
            size_bytes,
            signed_by: None,
            manifest: super::admit::manifest_document(package).map_err(|error| unkept(&error))?,
        };
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        packages::install(&tx, &new, &Note::new(Actor::Server, REASON)).await?;
        Ok(tx.commit().await?)
    }

    /// Binds a plugin of the default gate on a fresh database; elsewhere takes a binding that only the server ever changed to this
    /// version.
    async fn bind_shipped(&self, fresh: bool, digest: PackageDigest, package: &Package) -> Result<(), Refused> {
        let manifest = &package.manifest;
        let name = manifest.name.as_str().parse().map_err(|_| Refused::Request("a name".into()))?;
        let config = package.schema.configure(&manifest.config, &serde_json::Map::new())?;
        let asked = manifest.asked();
        let spec = ReleaseSpec {
            package: digest,
            config: Document::new(config),
            grants: Grants::new(asked.iter().filter(|grant| !grant.is_open()).cloned()),
            limits: Document::default(),
            instances: manifest.defaults.instances,
        };
        let note = Note::new(Actor::Server, REASON);
        let mut client: Client = self.database.client().await?;
        let existing = bindings::get(&client, &name).await?;
        let tx = client.transaction().await.map_err(DbError::from)?;
        let release = releases::create(&tx, &spec, &Actor::Server).await?;
        match existing {
            None if fresh => {
                let settings = BindingSettings {
                    phases: manifest.defaults.phases.clone(),
                    position: manifest.defaults.order,
                    matcher: Matcher::default(),
                    on_failure: manifest.defaults.on_failure,
                    budget: Budget::default(),
                    enabled: true,
                };
                let binding = BindingSpec { name, plugin: manifest.name.clone(), settings };
                match bindings::bind(&tx, &binding, release.hash, &note).await {
                    // Another server was quicker.
                    Err(DbError::Plugin(PluginRefusal::BindingTaken)) => return Ok(()),
                    other => drop(other?),
                }
            }
            Some(binding) if binding.changed_by == Actor::Server && binding.releases.live != release.hash => {
                let change = Change::Swap(release.hash);
                match bindings::change(&tx, &name, binding.revision, &change, &note).await {
                    Err(DbError::Plugin(PluginRefusal::Stale(_))) => return Ok(()),
                    other => drop(other?),
                }
            }
            Some(_) | None => {}
        }
        Ok(tx.commit().await.map_err(DbError::from)?)
    }
}
