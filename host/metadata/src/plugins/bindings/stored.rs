//! The rows of bindings.

use std::collections::BTreeSet;

use lectern_domain::plugin::{
    Actor, Binding, BindingName, BindingSettings, BindingSpec, Candidate, CandidateMode, OnFailure, Phase, Previous,
    ReleaseHash, Releases,
};
use tokio_postgres::Row;

use super::super::read;
use crate::database::{GenericClient, Transaction};
use crate::error::DbError;
use crate::row;

const COLUMNS: &str = "b.name, b.plugin, b.phases, b.position, b.matcher, b.on_failure, b.budget, b.enabled, b.live, \
                       b.previous, b.previous_given_up, b.candidate, b.candidate_mode, b.candidate_share, b.revision, \
                       b.changed_by, b.changed_at";

/// The binding of this name.
pub async fn get(client: &impl GenericClient, name: &BindingName) -> Result<Option<Binding>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM plugin_bindings b WHERE b.name = $1");
    row::query_opt(client, &sql, &[&name.as_str()]).await?.as_ref().map(from_row).transpose()
}

/// All bindings in the order in which they are asked: by position, then by name.
pub async fn list(client: &impl GenericClient) -> Result<Vec<Binding>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM plugin_bindings b ORDER BY b.position, b.name COLLATE \"C\"");
    row::query(client, &sql, &[]).await?.iter().map(from_row).collect()
}

pub(super) async fn insert(
    tx: &Transaction<'_>,
    spec: &BindingSpec,
    live: ReleaseHash,
    by: &Actor,
) -> Result<Binding, DbError> {
    let sql = format!(
        "INSERT INTO plugin_bindings AS b (name, plugin, phases, position, matcher, on_failure, budget, enabled, live, \
         changed_by, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, clock_timestamp()) RETURNING {COLUMNS}"
    );
    let settings = &spec.settings;
    let row = row::query_one(
        tx,
        &sql,
        &[
            &spec.name.as_str(),
            &spec.plugin.as_str(),
            &words(&settings.phases),
            &settings.position,
            &read::to_json(&settings.matcher)?,
            &settings.on_failure.as_str(),
            &read::to_json(&settings.budget)?,
            &settings.enabled,
            &live.0.as_slice(),
            &by.to_stored(),
        ],
    )
    .await?;
    from_row(&row)
}

/// Writes all that may change; the revision counts itself.
pub(super) async fn update(
    tx: &Transaction<'_>,
    name: &BindingName,
    settings: &BindingSettings,
    releases: &Releases,
    by: &Actor,
) -> Result<Binding, DbError> {
    let sql = format!(
        "UPDATE plugin_bindings b SET phases = $2, position = $3, matcher = $4, on_failure = $5, budget = $6, \
         enabled = $7, live = $8, previous = $9, previous_given_up = $10, candidate = $11, candidate_mode = $12, \
         candidate_share = $13, changed_by = $14, changed_at = clock_timestamp() WHERE b.name = $1 RETURNING {COLUMNS}"
    );
    let candidate = releases.candidate.as_ref();
    let (mode, share) = match candidate.map(|candidate| &candidate.mode) {
        None => (None, None),
        Some(CandidateMode::Shadow) => (Some("shadow"), None),
        Some(CandidateMode::Canary(share)) => (Some("canary"), Some(read::to_json(share)?)),
    };
    let row = row::query_opt(
        tx,
        &sql,
        &[
            &name.as_str(),
            &words(&settings.phases),
            &settings.position,
            &read::to_json(&settings.matcher)?,
            &settings.on_failure.as_str(),
            &read::to_json(&settings.budget)?,
            &settings.enabled,
            &releases.live.0.as_slice(),
            &releases.previous.as_ref().map(|previous| previous.release.0.as_slice()),
            &releases.previous.is_some_and(|previous| previous.given_up),
            &candidate.map(|candidate| candidate.release.0.as_slice()),
            &mode,
            &share,
            &by.to_stored(),
        ],
    )
    .await?;
    from_row(&row.ok_or(DbError::NotFound("binding"))?)
}

fn words(phases: &BTreeSet<Phase>) -> Vec<&'static str> {
    phases.iter().map(|phase| phase.as_str()).collect()
}

fn from_row(row: &Row) -> Result<Binding, DbError> {
    let phase =
        |word: &&str| Phase::parse(word).ok_or_else(|| DbError::Corrupt { what: "phase", value: (*word).to_owned() });
    let settings = BindingSettings {
        phases: row::get::<Vec<&str>>(row, "phases")?.iter().map(phase).collect::<Result<_, _>>()?,
        position: row::get(row, "position")?,
        matcher: read::json(row, "matcher", "matcher")?,
        on_failure: read::word(row, "on_failure", "failure mode", OnFailure::parse)?,
        budget: read::json(row, "budget", "budget")?,
        enabled: row::get(row, "enabled")?,
    };
    let given_up = row::get(row, "previous_given_up")?;
    let releases = Releases {
        live: ReleaseHash(row::hash32(row, "live")?),
        previous: read::release_opt(row, "previous")?.map(|release| Previous { release, given_up }),
        candidate: match read::release_opt(row, "candidate")? {
            None => None,
            Some(release) => Some(Candidate { release, mode: mode(row)? }),
        },
    };
    let spec = BindingSpec {
        name: row::parsed(row, "name", "binding name")?,
        plugin: row::parsed(row, "plugin", "plugin name")?,
        settings,
    };
    Ok(Binding {
        spec,
        releases,
        revision: row::get(row, "revision")?,
        changed_by: read::actor(row, "changed_by")?,
        changed_at: row::get(row, "changed_at")?,
    })
}

fn mode(row: &Row) -> Result<CandidateMode, DbError> {
    match row::get(row, "candidate_mode")? {
        "shadow" => Ok(CandidateMode::Shadow),
        "canary" => Ok(CandidateMode::Canary(read::json(row, "candidate_share", "share")?)),
        other => Err(DbError::Corrupt { what: "candidate mode", value: other.to_owned() }),
    }
}
