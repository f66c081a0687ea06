//! Admission: a package becomes one that can be bound. Signature, form, contract, imports and compilation in a bounded child come
//! first; only then is it kept.

use lectern_domain::UserRole;
use lectern_domain::plugin::{BindingName, Document, Grant, Grants, Origin, PackageDigest, PluginName};
use lectern_gate::Spec;
use lectern_metadata::plugins::packages::NewPackage;
use lectern_metadata::plugins::{Note, packages, secrets, trusted_keys};
use lectern_metadata::{DbError, sealing};
use lectern_packages::{Package, PublicKey, TrustedKey, verify};

use super::{Plugins, Refused};

/// The contract that this server speaks: `lectern:plugin` 0.1.
const CONTRACT: (u16, u16) = (0, 1);

/// What installing a package did.
#[derive(Debug, serde::Serialize)]
pub(crate) struct InstalledView {
    /// The package's row.
    pub(crate) package: lectern_domain::plugin::Package,
    /// It was there before, byte by byte.
    pub(crate) already: bool,
    /// What it asks for, and why.
    pub(crate) asks: std::collections::BTreeMap<Grant, String>,
    /// How many of its own tests passed.
    pub(crate) cases: usize,
}

impl Plugins {
    /// Admits a package.
    pub(crate) async fn install(
        &self,
        bytes: Vec<u8>,
        signature: Option<&str>,
        note: &Note,
    ) -> Result<InstalledView, Refused> {
        let signed_by = self.signed_by(&bytes, signature).await?;
        self.admit(bytes, signed_by, note).await
    }

    /// Whose signature is on these bytes; `None`: unsigned packages are taken, and this one is.
    async fn signed_by(&self, bytes: &[u8], signature: Option<&str>) -> Result<Option<String>, Refused> {
        if signature.is_none() && self.config.allow_unsigned {
            return Ok(None);
        }
        let trusted = self.trusted().await?;
        Ok(Some(verify(bytes, signature, &trusted)?.to_string()))
    }

    /// The keys of the configuration and of the database.
    pub(crate) async fn trusted(&self) -> Result<Vec<TrustedKey>, Refused> {
        let mut trusted = Vec::new();
        for text in &self.config.trusted_keys {
            let key: PublicKey = text.parse().map_err(|error| {
                Refused::Request(format!("gate.trusted_keys has a key that cannot be read: {error}"))
            })?;
            trusted.push(TrustedKey { name: "configuration".into(), key });
        }
        for row in trusted_keys::list(&self.database.client().await?).await? {
            match row.public_key.parse() {
                Ok(key) => trusted.push(TrustedKey { name: row.comment, key }),
                Err(error) => tracing::error!(key.id = row.id, %error, "a trusted key cannot be read"),
            }
        }
        Ok(trusted)
    }

    /// Admits a package whose origin is known.
    pub(super) async fn admit(
        &self,
        bytes: Vec<u8>,
        signed_by: Option<String>,
        note: &Note,
    ) -> Result<InstalledView, Refused> {
        let size_bytes = bytes.len() as u64;
        let (bytes, package) = tokio::task::spawn_blocking(move || {
            let package = Package::read(&bytes);
            (bytes, package)
        })
        .await
        .map_err(|error| Refused::Package(error.to_string()))?;
        let package = package?;
        let manifest = &package.manifest;
        if (manifest.contract.major, manifest.contract.minor) != CONTRACT {
            return Err(Refused::Package(format!(
                "built for lectern:plugin {}.{}, this server speaks {}.{}: rebuild it with the SDK of this server's version",
                manifest.contract.major, manifest.contract.minor, CONTRACT.0, CONTRACT.1
            )));
        }
        self.try_load(&package).await?;
        let cases = self.self_test(&package).await?;
        let digest = self.shelf.put(bytes).await?;
        let new = NewPackage {
            digest,
            plugin: manifest.name.clone(),
            version: manifest.version.to_string(),
            size_bytes,
            signed_by,
            manifest: manifest_document(&package)?,
        };
        let mut client = self.database.client().await?;
        let tx = client.transaction().await.map_err(DbError::from)?;
        let installed = packages::install(&tx, &new, note).await?;
        tx.commit().await.map_err(DbError::from)?;
        let already = matches!(installed, packages::Installed::Already(_));
        Ok(InstalledView { package: installed.into_package(), already, asks: manifest.grants.clone(), cases })
    }

    /// Loads the component as it would be loaded, with everything that it asks for, and throws it away. `lectern plugin check`
    /// judges by the same function.
    async fn try_load(&self, package: &Package) -> Result<(), Refused> {
        let (config, lacks) = match package.schema.configure(&package.manifest.config, &serde_json::Map::new()) {
            Ok(config) => (config, None),
            Err(error) => (package.manifest.config.clone(), Some(error.to_string())),
        };
        let spec = Spec {
            config,
            grants: example_grants(&package.manifest.asked()),
            instances: package.manifest.defaults.instances,
            ..Spec::new(package.manifest.name.as_str(), &package.parts.component)
        };
        let judged = lectern_trials::judge(&package.manifest, lacks, self.gate.load(spec).await)?;
        if judged.findings.is_empty() { Ok(()) } else { Err(Refused::Package(judged.findings.join("; "))) }
    }

    /// Runs the package's own tests in a gate of their own; answers how many there are.
    async fn self_test(&self, package: &Package) -> Result<usize, Refused> {
        if package.cases.is_empty() {
            return Ok(0);
        }
        let results = lectern_trials::run_cases(self.compiler.clone(), package, |_| true).await;
        let results = results.map_err(|error| Refused::Package(crate::cli::chain(&error)))?;
        let failed: Vec<String> = results
            .iter()
            .filter(|result| !result.passed())
            .map(|result| format!("{} in {}: {}", result.name, result.file, one_line(&result.verdict.to_string())))
            .collect();
        if failed.is_empty() { Ok(results.len()) } else { Err(Refused::Cases { total: results.len(), failed }) }
    }

    /// Reads an admitted package again.
    pub(super) async fn package(&self, digest: PackageDigest) -> Result<Package, Refused> {
        let bytes = self.shelf.get(digest).await?;
        let read = tokio::task::spawn_blocking(move || Package::read(&bytes)).await;
        Ok(read.map_err(|error| Refused::Package(error.to_string()))??)
    }

    /// Removes a package that no binding needs.
    pub(crate) async fn remove(&self, digest: PackageDigest, note: &Note) -> Result<(), Refused> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await.map_err(DbError::from)?;
        packages::remove(&tx, digest, note).await?;
        tx.commit().await.map_err(DbError::from)?;
        // The row is what counts; a file that stays is found by the next installation of the same bytes.
        if let Err(error) = self.shelf.remove(digest).await {
            tracing::warn!(error = crate::cli::chain(error.as_ref()), "a removed package's file stays");
        }
        Ok(())
    }

    /// Trusts a key.
    pub(crate) async fn trust(&self, key: &str, comment: &str, note: &Note) -> Result<String, Refused> {
        let key: PublicKey =
            key.parse().map_err(|error: lectern_packages::KeyError| Refused::Request(error.to_string()))?;
        let id = key.id().to_string();
        let mut client = self.database.client().await?;
        let tx = client.transaction().await.map_err(DbError::from)?;
        trusted_keys::add(&tx, &id, &key.to_string(), comment, note).await?;
        tx.commit().await.map_err(DbError::from)?;
        Ok(id)
    }

    /// Trusts a key no more. What it signed stays admitted.
    pub(crate) async fn untrust(&self, id: &str, note: &Note) -> Result<(), Refused> {
        let mut client = self.database.client().await?;
        let tx = client.transaction().await.map_err(DbError::from)?;
        trusted_keys::remove(&tx, id, note).await.map_err(|error| match error {
            DbError::NotFound(_) => {
                Refused::NotFound(format!("no key {id} is trusted: `lectern plugin keys` lists those that are"))
            }
            other => other.into(),
        })?;
        Ok(tx.commit().await.map_err(DbError::from)?)
    }

    /// Sets a secret of what is bound under this name.
    pub(crate) async fn set_secret(
        &self,
        binding: &BindingName,
        name: &str,
        value: &[u8],
        note: &Note,
    ) -> Result<(), Refused> {
        let owner = owner(binding)?;
        format!("secret:{name}").parse::<Grant>().map_err(|_| {
            Refused::Request(format!("{name:?} cannot name a secret: 1 to 64 letters, digits, `-`, `_` and `.`"))
        })?;
        if value.is_empty() || value.len() > 64 << 10 {
            return Err(Refused::Request("a secret has 1 to 65,536 bytes".into()));
        }
        let mut client = self.database.client().await?;
        let tx = client.transaction().await.map_err(DbError::from)?;
        sealing::begin_write(&tx).await?;
        let sealed = self.sealer.seal_secret(owner.as_str(), name, value)?;
        secrets::set(&tx, &owner, name, &sealed, note).await?;
        tx.commit().await.map_err(DbError::from)?;
        Ok(self.behind.refresh_secrets().await?)
    }

    /// Forgets a secret.
    pub(crate) async fn forget_secret(&self, binding: &BindingName, name: &str, note: &Note) -> Result<(), Refused> {
        let owner = owner(binding)?;
        let mut client = self.database.client().await?;
        let tx = client.transaction().await.map_err(DbError::from)?;
        secrets::remove(&tx, &owner, name, note).await.map_err(|error| match error {
            DbError::NotFound(_) => Refused::NotFound(format!(
                "no secret {name} is set for {binding}: `lectern plugin secret list {binding}` lists those that are"
            )),
            other => other.into(),
        })?;
        tx.commit().await.map_err(DbError::from)?;
        Ok(self.behind.refresh_secrets().await?)
    }

    /// The names of a binding's secrets, and when they were set.
    pub(crate) async fn secret_names(&self, binding: &BindingName) -> Result<Vec<serde_json::Value>, Refused> {
        let rows = secrets::list(&self.database.client().await?, &owner(binding)?).await?;
        let shown = |row: &lectern_domain::plugin::SealedSecret| serde_json::json!({"name": row.name, "set_by": row.set_by.to_string(), "set_at": row.set_at.to_string()});
        Ok(rows.iter().map(shown).collect())
    }
}

/// Secrets, values and pages are kept under the name that a plugin is bound by, which has the same form as a plugin's.
fn owner(binding: &BindingName) -> Result<PluginName, Refused> {
    binding.as_str().parse().map_err(|_| Refused::Request(format!("{binding} is no name")))
}

/// The manifest as it is kept.
pub(super) fn manifest_document(package: &Package) -> Result<Document, Refused> {
    let unreadable =
        |error: &dyn std::error::Error| Refused::Package(format!("plugin.toml: {}", crate::cli::chain(error)));
    let table: toml::Table = toml::from_str(&package.parts.manifest).map_err(|error| unreadable(&error))?;
    Document::of(&table).map_err(|error| unreadable(&error))
}

/// The beginning of a report of several lines.
fn one_line(report: &str) -> String {
    report.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

/// Grants that open what a plugin asks for without giving anything in particular.
fn example_grants(asked: &Grants) -> Grants {
    asked
        .iter()
        .filter_map(|grant| {
            Some(match grant {
                Grant::Origin(kind, None) => Grant::Origin(*kind, Some(Origin::parse("https://example.invalid")?)),
                Grant::Secret(kind, None) => Grant::Secret(*kind, Some("example".into())),
                Grant::Accounts(None) => Grant::Accounts(Some(UserRole::Viewer)),
                given => given.clone(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lectern_domain::plugin::GrantKind;

    use super::*;

    /// The kinds whose parameter an operator names.
    const NAMED: [GrantKind; 5] =
        [GrantKind::Outbound, GrantKind::Redirect, GrantKind::Secret, GrantKind::SecretValue, GrantKind::Accounts];

    #[test]
    fn examples_open_every_interface_and_give_nothing() {
        let asked: Grants = ["clock", "outbound:*", "redirect:*", "secret:*", "secret-value:*", "accounts:*"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let examples = example_grants(&asked);
        assert!(asked.give(&examples).is_ok());
        assert!(NAMED.iter().all(|kind| examples.opens(*kind)));
        assert_eq!(examples.highest_role(), Some(UserRole::Viewer));
    }
}
