//! Rotates the key that seals environment variables and the secrets of plugins and integrations, while the server serves.
//!
//! One task does it. It does the next step that the key files ask for (`lectern_domain::sealing`), so that a rotation that was
//! cut short, by a kill or by a database that went away, goes on at the next start or a moment later.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use lectern_domain::sealing::Step;
use lectern_metadata::plugins::secrets;
use lectern_metadata::sealing::{
    SealedTable, SealedVariable, lock_rotation, places_after, replace_places, replace_secret, replace_variables,
    variables_after, wait_for_writers,
};
use lectern_metadata::{Database, DbError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cli::chain;
use crate::seal::{SealedWith, Sealer};

/// Values sealed anew in one transaction: a few hundred kilobytes usually, and a moment's work.
const BATCH: i64 = 200;

/// Between tries while something is in the way: the database, or another server that rotates.
const RETRY: Duration = Duration::from_secs(2);

/// How a rotation goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RotationStatus {
    /// Whether one is under way.
    pub(crate) running: bool,
    /// Values sealed anew by this server since the rotation began, or since this server took it up.
    pub(crate) resealed: u64,
    /// Values that open with neither key; they are left as they are.
    pub(crate) unreadable: u64,
    /// What is in the way at the moment; empty: nothing.
    pub(crate) problem: String,
}

/// The rotation of this server's key.
pub(crate) struct Rotation {
    sealer: Arc<Sealer>,
    database: Database,
    status: Mutex<RotationStatus>,
    begun: Notify,
}

impl Rotation {
    pub(crate) fn new(sealer: Arc<Sealer>, database: Database) -> Self {
        Self { sealer, database, status: Mutex::default(), begun: Notify::new() }
    }

    /// How it goes.
    pub(crate) fn status(&self) -> RotationStatus {
        self.status.lock().clone()
    }

    /// The database whose values are sealed.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Asks for a rotation. One that is under way is gone on with instead.
    pub(crate) fn begin(&self) -> RotationStatus {
        let mut status = self.status.lock();
        if !status.running {
            *status = RotationStatus { running: true, ..RotationStatus::default() };
            self.begun.notify_one();
        }
        status.clone()
    }

    /// Performs rotations until `stop`, beginning with one that was cut short.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        match self.sealer.step() {
            Ok(Step::Begin) => {}
            Ok(step) => {
                tracing::info!(?step, "going on with a rotation of the key");
                self.begin();
            }
            Err(error) => tracing::error!(error = chain(error.as_ref()), "the key files cannot be read"),
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.begun.notified() => {}
            }
            let mut is_new = self.sealer.step().is_ok_and(|step| step == Step::Begin);
            loop {
                let done = tokio::select! {
                    () = stop.cancelled() => return,
                    done = self.perform(&mut is_new) => done,
                };
                match done {
                    Ok(()) => break,
                    Err(error) => {
                        let problem = chain(error.as_ref());
                        tracing::warn!(error = problem, "the rotation of the key is held up");
                        self.status.lock().problem = problem;
                    }
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
            let mut status = self.status.lock();
            status.running = false;
            status.problem.clear();
            tracing::info!(resealed = status.resealed, unreadable = status.unreadable, "the key is rotated");
        }
    }

    /// Does steps until none is left. `is_new`: a rotation is to be begun, and not yet.
    async fn perform(&self, is_new: &mut bool) -> anyhow::Result<()> {
        let Some(_right) = lock_rotation(&self.database).await? else {
            bail!("another server is rotating the key");
        };
        loop {
            let step = self.sealer.step()?;
            match step {
                Step::Begin if !*is_new => return Ok(()),
                Step::Begin => *is_new = false,
                Step::Reseal => self.reseal_all().await?,
                Step::KeepOld | Step::Switch | Step::RemoveCopy | Step::Refuse => {}
            }
            self.sealer.change_files(step)?;
        }
    }

    /// Seals anew whatever is sealed with the old key.
    async fn reseal_all(&self) -> anyhow::Result<()> {
        // Who seals from now on uses the new key; who has begun with the old one is waited for.
        wait_for_writers(&mut self.database.client().await?).await.context("wait for changes under way")?;
        self.status.lock().unreadable = 0;
        self.reseal_variables().await.context("seal variables of content anew")?;
        self.reseal_secrets().await.context("seal secrets of plugins anew")?;
        for table in SealedTable::ALL {
            self.reseal_places(table).await.context("seal secrets of integrations anew")?;
        }
        Ok(())
    }

    async fn reseal_variables(&self) -> anyhow::Result<()> {
        let mut after = None;
        loop {
            let client = self.database.client().await?;
            let place = after.as_ref().map(|last: &SealedVariable| (last.content, last.name.as_str()));
            let part = variables_after(&client, place, BATCH).await?;
            let Some(last) = part.last().cloned() else { return Ok(()) };
            let mut new = Vec::new();
            for variable in part {
                let (with, anew) = self.sealer.reseal(variable.guid, &variable.name, &variable.sealed)?;
                if with == SealedWith::Neither {
                    let (guid, name) = (variable.guid, &variable.name);
                    tracing::warn!(content.id = %guid, variable.name = name, "sealed with neither key; left as it is");
                    self.status.lock().unreadable += 1;
                }
                new.extend(anew.map(|anew| (variable, anew)));
            }
            if !new.is_empty() {
                let resealed = replace_variables(&client, &new).await?;
                self.status.lock().resealed += resealed;
            }
            after = Some(last);
        }
    }

    async fn reseal_places(&self, table: SealedTable) -> anyhow::Result<()> {
        let mut after = 0;
        loop {
            let client = self.database.client().await?;
            let part = places_after(&client, table, after, BATCH).await?;
            let Some(last) = part.last() else { return Ok(()) };
            after = last.row;
            let mut new = Vec::new();
            for value in part {
                let (with, anew) = self.sealer.reseal_for(value.place, &value.sealed)?;
                if with == SealedWith::Neither {
                    tracing::warn!(place = %value.place, "sealed with neither key; left as it is");
                    self.status.lock().unreadable += 1;
                }
                new.extend(anew.map(|anew| (value, anew)));
            }
            if !new.is_empty() {
                let resealed = replace_places(&client, table, &new).await?;
                self.status.lock().resealed += resealed;
            }
        }
    }

    /// Of each plugin there are a hundred at most.
    async fn reseal_secrets(&self) -> anyhow::Result<()> {
        let client = self.database.client().await?;
        for secret in secrets::all(&client).await? {
            let plugin = secret.plugin.as_str();
            let (with, anew) = self.sealer.reseal_secret(plugin, &secret.name, &secret.sealed)?;
            if with == SealedWith::Neither {
                tracing::warn!(plugin, secret.name = secret.name, "sealed with neither key; left as it is");
                self.status.lock().unreadable += 1;
            }
            if let Some(anew) = anew {
                let resealed: Result<u64, DbError> =
                    replace_secret(&client, plugin, &secret.name, &secret.sealed, &anew).await;
                self.status.lock().resealed += resealed?;
            }
        }
        Ok(())
    }
}
