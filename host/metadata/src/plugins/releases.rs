//! Releases: made once, never changed, named by what they are made of.

use std::time::Duration;

use lectern_domain::plugin::{Actor, Instances, PackageDigest, PluginName, Release, ReleaseHash, ReleaseSpec};
use tokio_postgres::Row;

use super::read;
use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

const COLUMNS: &str = "r.hash, r.plugin, r.package, r.config::text AS config, r.grants, r.limits::text AS limits, \
                       r.instances, r.created_by, r.created_at";

/// Stores a release, or finds the one that is the same. [`DbError::NotFound`] when its package is not installed.
pub async fn create(client: &impl GenericClient, spec: &ReleaseSpec, by: &Actor) -> Result<Release, DbError> {
    // The update changes nothing but makes the row that is there come back.
    let sql = format!(
        "INSERT INTO plugin_releases AS r (hash, plugin, package, config, grants, limits, instances, created_by) \
         SELECT $1, p.plugin, p.digest, $3::text::json, $4, $5::text::json, $6, $7 FROM plugin_packages p \
         WHERE p.digest = $2 ON CONFLICT (hash) DO UPDATE SET hash = r.hash RETURNING {COLUMNS}"
    );
    let row = row::query_opt(
        client,
        &sql,
        &[
            &spec.hash().0.as_slice(),
            &spec.package.0.as_slice(),
            &spec.config.as_str(),
            &read::to_json(&spec.grants)?,
            &spec.limits.as_str(),
            &spec.instances.as_str(),
            &by.to_stored(),
        ],
    )
    .await?;
    from_row(&row.ok_or(DbError::NotFound("package"))?)
}

/// The release with this hash.
pub async fn get(client: &impl GenericClient, hash: ReleaseHash) -> Result<Option<Release>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM plugin_releases r WHERE r.hash = $1");
    row::query_opt(client, &sql, &[&hash.0.as_slice()]).await?.as_ref().map(from_row).transpose()
}

/// The releases of a plugin, newest first.
pub async fn list(client: &impl GenericClient, plugin: &PluginName) -> Result<Vec<Release>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM plugin_releases r WHERE r.plugin = $1 ORDER BY r.created_at DESC, r.hash");
    row::query(client, &sql, &[&plugin.as_str()]).await?.iter().map(from_row).collect()
}

/// The releases that bindings name.
pub(super) async fn bound(client: &impl GenericClient) -> Result<Vec<Release>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM plugin_releases r WHERE EXISTS (SELECT 1 FROM plugin_bindings b \
         WHERE r.hash IN (b.live, b.previous, b.candidate))"
    );
    row::query(client, &sql, &[]).await?.iter().map(from_row).collect()
}

/// Removes releases that no binding names, older than `age` and not among the newest `keep` of their plugin; answers how
/// many. Every try of a configuration leaves one.
pub async fn sweep(client: &impl GenericClient, keep: i64, age: Duration) -> Result<u64, DbError> {
    let sql = "DELETE FROM plugin_releases r USING (SELECT hash, row_number() OVER \
               (PARTITION BY plugin ORDER BY created_at DESC, hash) AS place FROM plugin_releases) AS placed \
               WHERE placed.hash = r.hash AND placed.place > $1 \
               AND r.created_at < now() - make_interval(secs => $2) \
               AND NOT EXISTS (SELECT 1 FROM plugin_bindings b WHERE r.hash IN (b.live, b.previous, b.candidate))";
    row::execute(client, sql, &[&keep.max(0), &age.as_secs_f64()]).await
}

fn from_row(row: &Row) -> Result<Release, DbError> {
    let hash = ReleaseHash(row::hash32(row, "hash")?);
    let spec = ReleaseSpec {
        package: PackageDigest(row::hash32(row, "package")?),
        config: read::document(row, "config")?,
        grants: read::json(row, "grants", "grants")?,
        limits: read::document(row, "limits")?,
        instances: read::word(row, "instances", "use of instances", Instances::parse)?,
    };
    // Changed by hand, it would run under a name that says otherwise.
    if spec.hash() != hash {
        return Err(DbError::Corrupt { what: "release", value: hash.to_string() });
    }
    Ok(Release {
        hash,
        plugin: row::parsed(row, "plugin", "plugin name")?,
        spec,
        created_by: read::actor(row, "created_by")?,
        created_at: row::get(row, "created_at")?,
    })
}
