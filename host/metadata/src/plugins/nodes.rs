//! What each server says that its gate runs.

use std::time::Duration;

use lectern_domain::plugin::NodeReport;
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::read;
use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

/// The last word of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it said.
    pub report: NodeReport,
    /// When.
    pub reported_at: OffsetDateTime,
    /// How long ago that is, by the database's clock.
    pub age: Duration,
}

/// Takes a server's report in the place of its last one.
pub async fn report(client: &impl GenericClient, report: &NodeReport) -> Result<(), DbError> {
    let sql = "INSERT INTO node_reports (server_id, hostname, generation, releases) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (server_id) DO UPDATE SET hostname = excluded.hostname, \
               generation = excluded.generation, releases = excluded.releases, reported_at = excluded.reported_at";
    let releases = read::to_json(&report.releases)?;
    row::execute(client, sql, &[&report.server, &report.hostname, &report.generation, &releases]).await.map(drop)
}

/// All servers, by the names of their hosts.
pub async fn list(client: &impl GenericClient) -> Result<Vec<Node>, DbError> {
    let sql = "SELECT server_id, hostname, generation, releases, reported_at, \
               greatest(extract(epoch FROM now() - reported_at), 0)::float8 AS age \
               FROM node_reports ORDER BY hostname COLLATE \"C\", server_id";
    row::query(client, sql, &[]).await?.iter().map(from_row).collect()
}

/// Forgets a server that ends in good order.
pub async fn forget(client: &impl GenericClient, server: uuid::Uuid) -> Result<(), DbError> {
    row::execute(client, "DELETE FROM node_reports WHERE server_id = $1", &[&server]).await.map(drop)
}

/// Removes what was reported longer ago than `age`; answers how many servers that were.
pub async fn sweep(client: &impl GenericClient, age: Duration) -> Result<u64, DbError> {
    let sql = "DELETE FROM node_reports WHERE reported_at < now() - make_interval(secs => $1)";
    row::execute(client, sql, &[&age.as_secs_f64()]).await
}

fn from_row(row: &Row) -> Result<Node, DbError> {
    let age: f64 = row::get(row, "age")?;
    let report = NodeReport {
        server: row::get(row, "server_id")?,
        hostname: row::get(row, "hostname")?,
        generation: row::get(row, "generation")?,
        releases: read::json(row, "releases", "releases of a server")?,
    };
    let age = Duration::try_from_secs_f64(age).unwrap_or_default();
    Ok(Node { report, reported_at: row::get(row, "reported_at")?, age })
}
