//! What the gate does by itself and what candidates in the shadow decide, written down.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lectern_domain::plugin::{Actor, BindingName, Document, Phase, ReleaseHash, ShadowBatch, ShadowDifference};
use lectern_gate::{Call, Compared, GateEvent, Release, Shadow, ShadowRunner};
use lectern_metadata::plugins::{Note, bindings, shadow};
use lectern_metadata::{Database, DbError};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Plugins;

/// How often what a candidate decided is written down.
const BATCH: Duration = Duration::from_secs(1);
/// Between tries while the database is away.
const RETRY: Duration = Duration::from_secs(2);

impl Plugins {
    /// Writes down what bindings do by themselves, until `stop`.
    pub(crate) async fn write_events(self: Arc<Self>, mut events: mpsc::Receiver<GateEvent>, stop: CancellationToken) {
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.recv() => match event {
                    Some(event) => event,
                    None => return,
                },
            };
            while let Err(error) = self.write_event(&event).await {
                tracing::warn!(
                    error = crate::cli::chain(&error),
                    "what the gate did by itself is not written down yet"
                );
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }

    async fn write_event(&self, event: &GateEvent) -> Result<(), DbError> {
        let (binding, failed, calls, failures, because) = match event {
            GateEvent::RolledBack { binding, from, calls, failures, because, .. } => {
                (binding, from, calls, failures, because)
            }
            GateEvent::CandidateGivenUp { binding, candidate, calls, failures, because } => {
                (binding, candidate, calls, failures, because)
            }
            GateEvent::LearningOff { binding, release, phase, because } => {
                return self.write_learning_off(binding, release, *phase, because).await;
            }
        };
        let Ok(name) = binding.parse::<BindingName>() else { return Ok(()) };
        let Some(hash) = self.hash_of(&name, failed).await else { return Ok(()) };
        let reason: String =
            format!("{failures} of {calls} calls failed; the last: {because}").chars().take(1_000).collect();
        let mut note = Note::new(Actor::Automatic, reason);
        note.details = [("calls", json!(calls)), ("failures", json!(failures))]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        bindings::give_up(&tx, &name, hash, &note).await?;
        tx.commit().await?;
        drop(client);
        if let Err(error) = self.converge().await {
            // Followed again when the database tells of the change.
            tracing::warn!(error = crate::cli::chain(error.as_ref()), "the gate does not show its own fall yet");
        }
        Ok(())
    }

    async fn write_learning_off(
        &self,
        binding: &str,
        release: &Arc<Release>,
        phase: Phase,
        because: &str,
    ) -> Result<(), DbError> {
        let Ok(name) = binding.parse::<BindingName>() else { return Ok(()) };
        let Some(hash) = self.hash_of(&name, release).await else { return Ok(()) };
        let note = Note::new(Actor::Automatic, because.chars().take(1_000).collect::<String>());
        let mut client = self.database.client().await?;
        let tx = client.transaction().await?;
        bindings::learning_off(&tx, &name, hash, phase, &note).await?;
        Ok(tx.commit().await?)
    }

    /// The name of a loaded release.
    async fn hash_of(&self, name: &BindingName, release: &Arc<Release>) -> Option<ReleaseHash> {
        let loaded = self.loaded.lock().await;
        let found = loaded.releases.iter().find(|((of, _), one)| of == name && Arc::ptr_eq(one, release));
        found.map(|((_, hash), _)| *hash)
    }

    /// A queue for copies, with a task that runs the candidate on them for as long as its binding lives.
    pub(super) fn shadow(&self, binding: &BindingName, candidate: ReleaseHash) -> Arc<Shadow> {
        let (queue, runner) = Shadow::new();
        let (database, binding) = (self.database.clone(), binding.clone());
        self.tasks.spawn(compare(runner, database, binding, candidate));
        queue
    }
}

/// Runs copies and writes down what came of them, until the last sender is gone.
async fn compare(mut runner: ShadowRunner, database: Database, binding: BindingName, candidate: ReleaseHash) {
    let mut batch = Batch::default();
    let mut write = tokio::time::interval(BATCH);
    loop {
        let ended = tokio::select! {
            compared = runner.next() => match compared {
                Some(compared) => {
                    batch.add(&compared);
                    false
                }
                None => true,
            },
            _ = write.tick() => false,
        };
        if batch.compared > 0 && (ended || batch.is_due()) {
            let taken = std::mem::take(&mut batch).into_batch(&binding, candidate);
            let written = async {
                let mut client = database.client().await?;
                let tx = client.transaction().await?;
                shadow::record(&tx, &taken).await?;
                tx.commit().await.map_err(DbError::from)
            };
            if let Err(error) = written.await {
                tracing::warn!(binding = %binding, error = crate::cli::chain(&error), "comparisons of a shadow are lost");
            }
        }
        if ended {
            return;
        }
    }
}

/// Comparisons that are not written down yet.
struct Batch {
    since: tokio::time::Instant,
    compared: u32,
    differing: u32,
    failures: u32,
    kinds: HashMap<String, ShadowDifference>,
}

impl Default for Batch {
    fn default() -> Self {
        let since = tokio::time::Instant::now();
        Self { since, compared: 0, differing: 0, failures: 0, kinds: HashMap::new() }
    }
}

/// Kinds of differences in one batch; more are counted together by the database.
const KINDS: usize = 1_000;

impl Batch {
    fn is_due(&self) -> bool {
        self.since.elapsed() >= BATCH
    }

    fn add(&mut self, one: &Compared) {
        self.compared = self.compared.saturating_add(1);
        self.failures = self.failures.saturating_add(u32::from(one.failed));
        if one.agrees() {
            return;
        }
        self.differing = self.differing.saturating_add(1);
        let call = match one.call {
            Call::Authenticate => "authenticate",
            Call::Route | Call::Check | Call::Page => "route",
        };
        let kind = format!("{call}: {} -> {}", word(&one.live), word(&one.candidate));
        let both = format!("{call}\0{}\0{}", one.live, one.candidate);
        let fingerprint = format!("{kind} [{}]", &blake3::hash(both.as_bytes()).to_hex()[..12]);
        if let Some(known) = self.kinds.get_mut(&fingerprint) {
            known.count = known.count.saturating_add(1);
        } else if self.kinds.len() < KINDS {
            let example = json!({"request": one.request, "live": one.live, "candidate": one.candidate});
            let example = Document::of(&example).unwrap_or_default();
            let kind = if one.failed { "failure".to_owned() } else { call.to_owned() };
            self.kinds.insert(fingerprint.clone(), ShadowDifference { fingerprint, kind, count: 1, example });
        }
    }

    fn into_batch(self, binding: &BindingName, candidate: ReleaseHash) -> ShadowBatch {
        ShadowBatch {
            binding: binding.clone(),
            candidate,
            compared: self.compared,
            differing: self.differing,
            failures: self.failures,
            differences: self.kinds.into_values().collect(),
        }
    }
}

/// The first word of a decision.
fn word(decision: &str) -> &str {
    decision.split([' ', ',', ':']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_counted_by_kind() {
        let one = |live: &str, candidate: &str| Compared {
            call: Call::Route,
            request: "GET h/".into(),
            live: live.into(),
            candidate: candidate.into(),
            failed: candidate.starts_with("fails"),
        };
        let mut batch = Batch::default();
        for _ in 0..3 {
            batch.add(&one("next", "respond 404 [1]"));
        }
        batch.add(&one("next", "next"));
        batch.add(&one("next", "fails: trap"));
        assert_eq!((batch.compared, batch.differing, batch.failures, batch.kinds.len()), (5, 4, 1, 2));
        let counted: Vec<u32> = batch.kinds.values().map(|kind| kind.count).collect();
        assert!(counted.contains(&3) && counted.contains(&1), "{counted:?}");
    }
}
