//! The packages that bundles run with.

use lectern_domain::packages::{Language, Package};
use lectern_domain::{BundleId, ContentGuid, ContentId, UserId};
use tokio_postgres::Row;

use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;

/// A package of an active bundle, with where it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedPackage {
    /// The package.
    pub package: Package,
    /// Its hash, where one is known.
    pub hash: Option<String>,
    /// The version of the language that the bundle runs with.
    pub language_version: Option<String>,
    /// The bundle.
    pub bundle: BundleId,
    /// The content item.
    pub content: ContentId,
    /// Its GUID.
    pub content_guid: ContentGuid,
}

/// Which packages of all content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageFilter {
    /// Exactly this name; letter case does not matter.
    pub name: Option<String>,
    /// Only of content that this user owns or whose items are among `edited`; `None`: of all content.
    pub changed_by: Option<UserId>,
    /// Items that `changed_by` collaborates on.
    pub edited: Vec<ContentId>,
}

/// One page of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackagePage {
    /// The page.
    pub packages: Vec<UsedPackage>,
    /// How many there are on all pages.
    pub total: i64,
}

fn package(row: &Row) -> Result<Package, DbError> {
    let language: String = row::get(row, "language")?;
    Ok(Package {
        language: Language::parse(&language).ok_or(DbError::Corrupt { what: "package language", value: language })?,
        name: row::get(row, "name")?,
        version: row::get(row, "version")?,
    })
}

/// Makes `packages` (each name once per language) those of a bundle. [`DbError::NotFound`] when there is no such bundle.
pub async fn record(tx: &Transaction<'_>, bundle: BundleId, packages: &[Package]) -> Result<(), DbError> {
    row::execute(tx, "DELETE FROM bundle_packages WHERE bundle_id = $1", &[&bundle.0]).await?;
    let languages: Vec<&str> = packages.iter().map(|package| package.language.as_str()).collect();
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let versions: Vec<&str> = packages.iter().map(|package| package.version.as_str()).collect();
    let sql = "INSERT INTO bundle_packages (bundle_id, language, name, version) \
               SELECT $1, language, name, version FROM unnest($2::text[], $3::text[], $4::text[]) \
               AS new (language, name, version)";
    row::execute(tx, sql, &[&bundle.0, &languages, &names, &versions]).await.map(drop)
}

/// The packages of a bundle, by language and name.
pub async fn of_bundle(client: &impl GenericClient, bundle: BundleId) -> Result<Vec<Package>, DbError> {
    let sql = "SELECT language, name, version FROM bundle_packages WHERE bundle_id = $1 ORDER BY language, name COLLATE \"C\"";
    row::query(client, sql, &[&bundle.0]).await?.iter().map(package).collect()
}

/// The packages of active bundles, by name, at most `limit` after the first `offset`. Two queries.
pub async fn list(
    client: &impl GenericClient,
    filter: &PackageFilter,
    offset: i64,
    limit: i64,
) -> Result<PackagePage, DbError> {
    const FROM: &str = "FROM bundle_packages p JOIN content c ON c.active_bundle_id = p.bundle_id \
                        WHERE ($1::text IS NULL OR lower(p.name) = lower($1)) \
                        AND ($2::bigint IS NULL OR c.owner_id = $2 OR c.id = ANY ($3::bigint[]))";
    let edited: Vec<i64> = filter.edited.iter().map(|id| id.0).collect();
    let user = filter.changed_by.map(|user| user.0);
    let sql = format!("SELECT count(*) AS total {FROM}");
    let total = row::get(&row::query_one(client, &sql, &[&filter.name, &user, &edited]).await?, "total")?;
    let sql = format!(
        "SELECT p.language, p.name, p.version, p.hash, p.bundle_id, c.id, c.guid, \
         CASE p.language WHEN 'python' THEN c.py_version ELSE c.r_version END AS language_version {FROM} \
         ORDER BY p.name COLLATE \"C\", p.language, c.id OFFSET $4 LIMIT $5"
    );
    let read = |row: &Row| {
        Ok(UsedPackage {
            package: package(row)?,
            hash: row::get(row, "hash")?,
            language_version: row::get(row, "language_version")?,
            bundle: BundleId(row::get(row, "bundle_id")?),
            content: ContentId(row::get(row, "id")?),
            content_guid: ContentGuid(row::get(row, "guid")?),
        })
    };
    let rows = row::query(client, &sql, &[&filter.name, &user, &edited, &offset, &limit]).await?;
    Ok(PackagePage { packages: rows.iter().map(read).collect::<Result<_, DbError>>()?, total })
}
