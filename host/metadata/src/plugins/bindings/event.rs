//! What a change of a binding leaves in the history.

use lectern_domain::plugin::{
    Action, Binding, BindingSettings, CandidateMode, Change, HistoryEvent, PackageDigest, Phase, ReleaseHash,
};
use serde_json::{Map, Value, json};

use super::super::{Note, history, read};
use crate::database::Transaction;
use crate::error::DbError;
use crate::row;

/// Something that happened to a binding.
pub(super) enum Step<'a> {
    Bound { binding: &'a Binding },
    Unbound { binding: &'a Binding },
    Changed { before: &'a Binding, after: &'a Binding, change: &'a Change },
    LearningOff { binding: &'a Binding, release: ReleaseHash, phase: Phase },
}

/// Writes the entry.
pub(super) async fn tell(tx: &Transaction<'_>, step: &Step<'_>, note: &Note) -> Result<(), DbError> {
    let (binding, mut event) = match step {
        Step::Bound { binding } => (*binding, bound(binding, Action::Bind, note)?),
        Step::Unbound { binding } => (*binding, bound(binding, Action::Unbind, note)?),
        Step::Changed { before, after, change } => (*after, changed(before, after, change, note)?),
        Step::LearningOff { binding, release, phase } => {
            let mut event = note.event(Action::LearningOff, [("phase", json!(phase.as_str()))]);
            event.to_release = Some(*release);
            (*binding, event)
        }
    };
    event.binding = Some(binding.spec.name.clone());
    event.plugin = Some(binding.spec.plugin.clone());
    event.package = match event.to_release.or(event.from_release) {
        Some(release) => package_of(tx, release).await?,
        None => None,
    };
    history::append(tx, event).await.map(drop)
}

fn bound(binding: &Binding, action: Action, note: &Note) -> Result<HistoryEvent, DbError> {
    let mut event = note.event(action, [("settings", read::to_json(&binding.spec.settings)?)]);
    let live = Some(binding.releases.live);
    (event.from_release, event.to_release) = if action == Action::Bind { (None, live) } else { (live, None) };
    Ok(event)
}

fn changed(before: &Binding, after: &Binding, change: &Change, note: &Note) -> Result<HistoryEvent, DbError> {
    let candidate = |binding: &Binding| binding.releases.candidate.as_ref().map(|candidate| candidate.release);
    let lives = (Some(before.releases.live), Some(after.releases.live));
    let (action, details, (from, to)) = match change {
        Change::Settings(settings) => {
            let changes = differing(&before.spec.settings, settings)?;
            (Action::Configure, Some(("changes", Value::Object(changes))), (None, None))
        }
        Change::Swap(_) => (Action::Swap, None, lives),
        Change::Rollback => (Action::Rollback, None, lives),
        Change::Promote => (Action::Promote, None, lives),
        Change::Offer(offered) => {
            let (action, details) = match &offered.mode {
                CandidateMode::Shadow => (Action::Shadow, None),
                CandidateMode::Canary(share) => (Action::Canary, Some(("share", read::to_json(share)?))),
            };
            (action, details, (candidate(before), Some(offered.release)))
        }
        Change::Withdraw => (Action::Withdraw, None, (candidate(before), None)),
    };
    let mut event = note.event(action, details);
    (event.from_release, event.to_release) = (from, to);
    Ok(event)
}

/// The settings that changed, each with what it was and what it is.
fn differing(before: &BindingSettings, after: &BindingSettings) -> Result<Map<String, Value>, DbError> {
    let (Value::Object(before), Value::Object(after)) = (read::to_json(before)?, read::to_json(after)?) else {
        return Ok(Map::new());
    };
    let changed = |(key, to): (String, Value)| {
        let from = before.get(&key).filter(|from| **from != to)?;
        let change = json!({"from": from, "to": to});
        Some((key, change))
    };
    Ok(after.into_iter().filter_map(changed).collect())
}

async fn package_of(tx: &Transaction<'_>, release: ReleaseHash) -> Result<Option<PackageDigest>, DbError> {
    let sql = "SELECT package FROM plugin_releases WHERE hash = $1";
    let row = row::query_opt(tx, sql, &[&release.0.as_slice()]).await?;
    row.map(|row| Ok(PackageDigest(row::hash32(&row, "package")?))).transpose()
}
