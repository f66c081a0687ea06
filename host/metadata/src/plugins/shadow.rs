//! How candidates in the shadow differ from the live releases: counted by all servers together.

use std::collections::BTreeSet;

use lectern_domain::plugin::{BindingName, Document, ReleaseHash, ShadowBatch, fold_differences};
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::read;
use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;

/// What all servers saw of a candidate since it was put on trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowReport {
    /// Calls whose decisions were compared.
    pub compared: u64,
    /// Calls of these that differed.
    pub differing: u64,
    /// Calls in which the candidate failed.
    pub failures: u64,
    /// When the first batch came.
    pub since_at: OffsetDateTime,
    /// When the last one did.
    pub updated_at: OffsetDateTime,
    /// How they differed, the most frequent first.
    pub differences: Vec<CountedDifference>,
}

/// Decisions that differ in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedDifference {
    /// What is the same in all of them.
    pub fingerprint: String,
    /// What differs: a word.
    pub kind: String,
    /// How often.
    pub count: u64,
    /// The first of them, redacted.
    pub example: Document,
    /// When it was reported.
    pub first_seen_at: OffsetDateTime,
    /// When the last one was.
    pub last_seen_at: OffsetDateTime,
}

/// Adds what a server saw; `false` when the release is not the binding's candidate any more, and nothing is added.
pub async fn record(tx: &Transaction<'_>, batch: &ShadowBatch) -> Result<bool, DbError> {
    let (binding, candidate) = (batch.binding.as_str(), batch.candidate.0.as_slice());
    // The row of counts is locked from here on: batches of one candidate come one after another.
    let sql = "INSERT INTO shadow_counts AS c (binding, candidate, compared, differing, failures) \
               SELECT b.name, b.candidate, $3, $4, $5 FROM plugin_bindings b WHERE b.name = $1 AND b.candidate = $2 \
               ON CONFLICT (binding, candidate) DO UPDATE SET compared = c.compared + excluded.compared, \
               differing = c.differing + excluded.differing, failures = c.failures + excluded.failures, \
               updated_at = greatest(c.updated_at, now())";
    let (compared, differing, failures) =
        (i64::from(batch.compared), i64::from(batch.differing), i64::from(batch.failures));
    if row::execute(tx, sql, &[&binding, &candidate, &compared, &differing, &failures]).await? == 0 {
        return Ok(false);
    }
    if batch.differences.is_empty() {
        return Ok(true);
    }
    let sql = "SELECT fingerprint FROM shadow_differences WHERE binding = $1 AND candidate = $2";
    let known = row::query(tx, sql, &[&binding, &candidate]).await?;
    let known: BTreeSet<String> = known.iter().map(|row| row::get(row, "fingerprint")).collect::<Result<_, _>>()?;
    let rows = fold_differences(&known, &batch.differences);
    let sql = "INSERT INTO shadow_differences AS d (binding, candidate, fingerprint, kind, count, example) \
               SELECT $1, $2, fingerprint, kind, count, example::json \
               FROM unnest($3::text[], $4::text[], $5::bigint[], $6::text[]) AS new (fingerprint, kind, count, example) \
               ON CONFLICT (binding, candidate, fingerprint) DO UPDATE \
               SET count = d.count + excluded.count, last_seen_at = greatest(d.last_seen_at, now())";
    let fingerprints: Vec<&str> = rows.iter().map(|row| row.fingerprint.as_str()).collect();
    let kinds: Vec<&str> = rows.iter().map(|row| row.kind.as_str()).collect();
    let counts: Vec<i64> = rows.iter().map(|row| i64::from(row.count)).collect();
    let examples: Vec<&str> = rows.iter().map(|row| row.example.as_str()).collect();
    row::execute(tx, sql, &[&binding, &candidate, &fingerprints, &kinds, &counts, &examples]).await?;
    Ok(true)
}

/// What was seen of a candidate, also after the trial ended, until the next one begins; `None` when nothing was.
pub async fn report(
    client: &impl GenericClient,
    binding: &BindingName,
    candidate: ReleaseHash,
) -> Result<Option<ShadowReport>, DbError> {
    let sql = "SELECT compared, differing, failures, since_at, updated_at FROM shadow_counts \
               WHERE binding = $1 AND candidate = $2";
    let params: row::Params<'_> = &[&binding.as_str(), &candidate.0.as_slice()];
    let Some(counts) = row::query_opt(client, sql, params).await? else { return Ok(None) };
    let sql = "SELECT fingerprint, kind, count, example::text AS example, first_seen_at, last_seen_at \
               FROM shadow_differences WHERE binding = $1 AND candidate = $2 \
               ORDER BY count DESC, fingerprint COLLATE \"C\"";
    let differences = row::query(client, sql, params).await?;
    Ok(Some(ShadowReport {
        compared: read::count(&counts, "compared")?,
        differing: read::count(&counts, "differing")?,
        failures: read::count(&counts, "failures")?,
        since_at: row::get(&counts, "since_at")?,
        updated_at: row::get(&counts, "updated_at")?,
        differences: differences.iter().map(difference).collect::<Result<_, _>>()?,
    }))
}

fn difference(row: &Row) -> Result<CountedDifference, DbError> {
    Ok(CountedDifference {
        fingerprint: row::get(row, "fingerprint")?,
        kind: row::get(row, "kind")?,
        count: read::count(row, "count")?,
        example: read::document(row, "example")?,
        first_seen_at: row::get(row, "first_seen_at")?,
        last_seen_at: row::get(row, "last_seen_at")?,
    })
}
