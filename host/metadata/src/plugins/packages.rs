//! Packages that were admitted. Their files stand in the shared store under their digests.

use lectern_domain::plugin::{Action, BindingName, Document, Package, PackageDigest, PluginName};
use serde_json::json;
use tokio_postgres::Row;

use super::{Note, PluginRefusal, gate, history, read};
use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;

const COLUMNS: &str = "p.digest, p.plugin, p.version, p.size_bytes, p.signed_by, p.manifest::text AS manifest, \
                       p.installed_by, p.installed_at";

/// A package to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPackage {
    /// Its file's hash.
    pub digest: PackageDigest,
    /// The plugin.
    pub plugin: PluginName,
    /// Its version (semver).
    pub version: String,
    /// The file's size.
    pub size_bytes: u64,
    /// The key whose signature was found good.
    pub signed_by: Option<String>,
    /// Its manifest.
    pub manifest: Document,
}

/// What installing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// The package is new.
    New(Package),
    /// The very same file was there; nothing was changed.
    Already(Package),
}

impl Installed {
    /// The package, new or not.
    pub fn into_package(self) -> Package {
        match self {
            Self::New(package) | Self::Already(package) => package,
        }
    }
}

/// Stores an admitted package. [`PluginRefusal::VersionTaken`] when the version is another file.
pub async fn install(tx: &Transaction<'_>, package: &NewPackage, note: &Note) -> Result<Installed, DbError> {
    gate::lock(tx).await?;
    if let Some(found) = get(tx, package.digest).await? {
        return Ok(Installed::Already(found));
    }
    if let Some(other) = get_version(tx, &package.plugin, &package.version).await? {
        let (plugin, version, installed) = (other.plugin, other.version, other.digest);
        return Err(PluginRefusal::VersionTaken { plugin, version, installed }.into());
    }
    let sql = format!(
        "INSERT INTO plugin_packages AS p (digest, plugin, version, size_bytes, signed_by, manifest, installed_by) \
         VALUES ($1, $2, $3, $4, $5, $6::text::json, $7) RETURNING {COLUMNS}"
    );
    // A size beyond what the column holds is refused by its rule, as zero is.
    let size = i64::try_from(package.size_bytes).unwrap_or_default();
    let row = row::query_one(
        tx,
        &sql,
        &[
            &package.digest.0.as_slice(),
            &package.plugin.as_str(),
            &package.version,
            &size,
            &package.signed_by,
            &package.manifest.as_str(),
            &note.actor.to_stored(),
        ],
    )
    .await?;
    let stored = from_row(&row)?;
    tell(tx, Action::Install, &stored, note).await?;
    Ok(Installed::New(stored))
}

/// Removes a package with its releases. [`PluginRefusal::PackageInUse`] while a binding names one of them.
pub async fn remove(tx: &Transaction<'_>, digest: PackageDigest, note: &Note) -> Result<Package, DbError> {
    gate::lock(tx).await?;
    let package = get(tx, digest).await?.ok_or(DbError::NotFound("package"))?;
    let bindings = users(tx, digest).await?;
    if !bindings.is_empty() {
        return Err(PluginRefusal::PackageInUse { bindings }.into());
    }
    row::execute(tx, "DELETE FROM plugin_packages WHERE digest = $1", &[&digest.0.as_slice()]).await?;
    tell(tx, Action::Remove, &package, note).await?;
    Ok(package)
}

/// The bindings that name a release of the package, by name.
pub async fn users(client: &impl GenericClient, digest: PackageDigest) -> Result<Vec<BindingName>, DbError> {
    let sql = "SELECT b.name FROM plugin_bindings b WHERE EXISTS (SELECT 1 FROM plugin_releases r \
               WHERE r.package = $1 AND r.hash IN (b.live, b.previous, b.candidate)) ORDER BY b.name COLLATE \"C\"";
    let rows = row::query(client, sql, &[&digest.0.as_slice()]).await?;
    rows.iter().map(|row| row::parsed(row, "name", "binding name")).collect()
}

/// The package with this digest.
pub async fn get(client: &impl GenericClient, digest: PackageDigest) -> Result<Option<Package>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM plugin_packages p WHERE p.digest = $1");
    row::query_opt(client, &sql, &[&digest.0.as_slice()]).await?.as_ref().map(from_row).transpose()
}

/// The package of this version.
pub async fn get_version(
    client: &impl GenericClient,
    plugin: &PluginName,
    version: &str,
) -> Result<Option<Package>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM plugin_packages p WHERE p.plugin = $1 AND p.version = $2");
    row::query_opt(client, &sql, &[&plugin.as_str(), &version]).await?.as_ref().map(from_row).transpose()
}

/// All packages, by plugin, oldest first.
pub async fn list(client: &impl GenericClient) -> Result<Vec<Package>, DbError> {
    let sql =
        format!("SELECT {COLUMNS} FROM plugin_packages p ORDER BY p.plugin COLLATE \"C\", p.installed_at, p.digest");
    row::query(client, &sql, &[]).await?.iter().map(from_row).collect()
}

/// The packages of the releases that bindings name.
pub(super) async fn bound(client: &impl GenericClient) -> Result<Vec<Package>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM plugin_packages p WHERE EXISTS (SELECT 1 FROM plugin_releases r \
         JOIN plugin_bindings b ON r.hash IN (b.live, b.previous, b.candidate) WHERE r.package = p.digest)"
    );
    row::query(client, &sql, &[]).await?.iter().map(from_row).collect()
}

async fn tell(tx: &Transaction<'_>, action: Action, package: &Package, note: &Note) -> Result<(), DbError> {
    let mut event = note.event(action, [("version", json!(package.version)), ("signed_by", json!(package.signed_by))]);
    event.plugin = Some(package.plugin.clone());
    event.package = Some(package.digest);
    history::append(tx, event).await.map(drop)
}

fn from_row(row: &Row) -> Result<Package, DbError> {
    Ok(Package {
        digest: PackageDigest(row::hash32(row, "digest")?),
        plugin: row::parsed(row, "plugin", "plugin name")?,
        version: row::get(row, "version")?,
        size_bytes: read::count(row, "size_bytes")?,
        signed_by: row::get(row, "signed_by")?,
        manifest: read::document(row, "manifest")?,
        installed_by: read::actor(row, "installed_by")?,
        installed_at: row::get(row, "installed_at")?,
    })
}
