//! The gate as a whole: locked by who changes it, loaded by who runs it.

use std::collections::BTreeMap;

use lectern_domain::plugin::{GateState, HistoryHead};

use super::{bindings, history, packages, releases, secrets, trusted_keys};
use crate::database::{Database, Transaction};
use crate::error::DbError;
use crate::row;
use crate::snapshots::one_moment;

/// Makes this transaction the only one that changes the gate, until it ends; answers where the history ends.
pub(super) async fn lock(tx: &Transaction<'_>) -> Result<HistoryHead, DbError> {
    let row = row::query_opt(tx, "SELECT history_seq, history_hash FROM gate FOR UPDATE", &[]).await?;
    history::head(&row.ok_or(DbError::NotFound("the gate's row"))?)
}

/// Loads all that a server needs for its gate, as it was at one moment.
///
/// A row that is not understood is an error for the whole: a gate without one of its bindings could let in what that one
/// refuses. The server goes on with the gate that it has.
pub async fn load_gate(database: &Database) -> Result<GateState, DbError> {
    let mut client = database.client().await?;
    let tx = one_moment(&mut client).await?;
    let generation = row::query_one(&tx, "SELECT generation FROM gate", &[]).await?;
    let releases: BTreeMap<_, _> =
        releases::bound(&tx).await?.into_iter().map(|release| (release.hash, release)).collect();
    let packages: BTreeMap<_, _> =
        packages::bound(&tx).await?.into_iter().map(|package| (package.digest, package)).collect();
    let state = GateState {
        generation: row::get(&generation, "generation")?,
        bindings: bindings::list(&tx).await?,
        releases,
        packages,
        secrets: secrets::all(&tx).await?,
        trusted_keys: trusted_keys::list(&tx).await?,
    };
    tx.commit().await?;
    Ok(state)
}
