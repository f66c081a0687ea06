//! Bindings and their changes. Whoever changes one says which revision they saw: of two at once one wins, and the other is
//! told who did what.

mod event;
mod stored;

use lectern_domain::plugin::{
    Action, Actor, Binding, BindingName, BindingSpec, Change, GivenUp, Phase, ReleaseHash, Releases,
};

use self::event::Step;
use super::{Note, PluginRefusal, Stale, gate, history};
use crate::database::Transaction;
use crate::error::DbError;
use crate::row;

pub use self::stored::{get, list};

/// Most bindings. Each request walks through all of its phase.
pub const MOST_BINDINGS: i64 = 200;

/// Makes a binding with `live` as its only release. [`PluginRefusal::BindingTaken`] when there is one of this name,
/// [`DbError::NotFound`] when the plugin has no such release.
pub async fn bind(
    tx: &Transaction<'_>,
    spec: &BindingSpec,
    live: ReleaseHash,
    note: &Note,
) -> Result<Binding, DbError> {
    spec.settings.check().map_err(PluginRefusal::from)?;
    gate::lock(tx).await?;
    if get(tx, &spec.name).await?.is_some() {
        return Err(PluginRefusal::BindingTaken.into());
    }
    let count = row::query_one(tx, "SELECT count(*) AS total FROM plugin_bindings", &[]).await?;
    if row::get::<i64>(&count, "total")? >= MOST_BINDINGS {
        return Err(PluginRefusal::TooMany { what: "bindings", most: MOST_BINDINGS }.into());
    }
    let binding = stored::insert(tx, spec, live, &note.actor).await?;
    event::tell(tx, &Step::Bound { binding: &binding }, note).await?;
    Ok(binding)
}

/// Removes a binding of which the caller saw `expected`. [`PluginRefusal::Stale`] when it was changed since.
pub async fn unbind(tx: &Transaction<'_>, name: &BindingName, expected: i64, note: &Note) -> Result<Binding, DbError> {
    gate::lock(tx).await?;
    let binding = expect(tx, name, expected).await?;
    row::execute(tx, "DELETE FROM plugin_bindings WHERE name = $1", &[&name.as_str()]).await?;
    event::tell(tx, &Step::Unbound { binding: &binding }, note).await?;
    Ok(binding)
}

/// Changes a binding of which the caller saw `expected`. [`PluginRefusal::Stale`] when it was changed since,
/// [`PluginRefusal::Change`] when there is nothing to change.
pub async fn change(
    tx: &Transaction<'_>,
    name: &BindingName,
    expected: i64,
    change: &Change,
    note: &Note,
) -> Result<Binding, DbError> {
    if let Change::Settings(settings) = change {
        settings.check().map_err(PluginRefusal::from)?;
    }
    gate::lock(tx).await?;
    let before = expect(tx, name, expected).await?;
    let releases = before.releases.after(change).map_err(PluginRefusal::from)?;
    let settings = if let Change::Settings(settings) = change { settings } else { &before.spec.settings };
    let after = stored::update(tx, name, settings, &releases, &note.actor).await?;
    if let Change::Offer(_) = change {
        // Another trial: what an earlier one found says nothing about it.
        row::execute(tx, "DELETE FROM shadow_counts WHERE binding = $1", &[&name.as_str()]).await?;
    }
    event::tell(tx, &Step::Changed { before: &before, after: &after, change }, note).await?;
    Ok(after)
}

/// Gives up a release that failed over its budget: the binding goes back to the release before, or the trial ends. `None`
/// when there is nothing to do, so that several servers may report the same failure.
pub async fn give_up(
    tx: &Transaction<'_>,
    name: &BindingName,
    failed: ReleaseHash,
    note: &Note,
) -> Result<Option<(GivenUp, Binding)>, DbError> {
    gate::lock(tx).await?;
    let Some(before) = get(tx, name).await? else { return Ok(None) };
    let Some((releases, what)) = before.releases.after_failure(failed) else { return Ok(None) };
    let note = Note { actor: Actor::Automatic, ..note.clone() };
    let after = stored::update(tx, name, &before.spec.settings, &releases, &note.actor).await?;
    let change = match what {
        GivenUp::RolledBack => Change::Rollback,
        GivenUp::Withdrawn => Change::Withdraw,
    };
    event::tell(tx, &Step::Changed { before: &before, after: &after, change: &change }, &note).await?;
    Ok(Some((what, after)))
}

/// Writes down that nothing more is learned of a release in a phase. `false`: there is no such binding any more, or it is written
/// down already, by another server or before a restart.
pub async fn learning_off(
    tx: &Transaction<'_>,
    name: &BindingName,
    release: ReleaseHash,
    phase: Phase,
    note: &Note,
) -> Result<bool, DbError> {
    gate::lock(tx).await?;
    let Some(binding) = get(tx, name).await? else { return Ok(false) };
    let sql = "SELECT 1 FROM plugin_history WHERE binding = $1 AND action = $2 AND to_release = $3 AND \
               details->>'phase' = $4 LIMIT 1";
    let known: row::Params<'_> =
        &[&name.as_str(), &Action::LearningOff.as_str(), &release.0.as_slice(), &phase.as_str()];
    if row::query_opt(tx, sql, known).await?.is_some() {
        return Ok(false);
    }
    event::tell(tx, &Step::LearningOff { binding: &binding, release, phase }, note).await?;
    Ok(true)
}

/// The binding, when its revision is the expected one.
async fn expect(tx: &Transaction<'_>, name: &BindingName, expected: i64) -> Result<Binding, DbError> {
    let binding = get(tx, name).await?.ok_or(DbError::NotFound("binding"))?;
    if binding.revision == expected {
        return Ok(binding);
    }
    let filter = history::HistoryFilter { binding: Some(name.clone()), ..history::HistoryFilter::default() };
    let last = history::list(tx, &filter, 1).await?.pop();
    let Binding { revision, changed_by, changed_at, releases: Releases { live, .. }, .. } = binding;
    let (action, reason) = last.map_or((None, String::new()), |last| (Some(last.event.action), last.event.reason));
    Err(PluginRefusal::Stale(Box::new(Stale { revision, changed_by, changed_at, live, action, reason })).into())
}
