//! Releases that a binding can do without, the one before and a candidate: what cannot be loaded is tried again after a growing
//! pause, for as long as the binding names it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lectern_domain::plugin::{Binding, BindingName, GateState, ReleaseHash};
use lectern_gate::{Bound, Release};

use super::{Loaded, Plugins};

/// The first pause and the longest: what kept it may pass at once, or when an operator looks; each try may be a compilation.
const PAUSES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// A release that waits for another try.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    tries: u32,
    until: Instant,
}

impl Pause {
    /// After one more failure.
    fn after(before: Option<&Self>, now: Instant) -> Self {
        let tries = before.map_or(1, |pause| pause.tries.saturating_add(1));
        let length = PAUSES.0.saturating_mul(1 << (tries - 1).min(10)).min(PAUSES.1);
        Self { tries, until: now + length }
    }
}

impl Loaded {
    /// Whether a release that a binding lacks is to be tried now.
    pub(super) fn has_due_spares(&self, now: Instant) -> bool {
        self.spares.values().any(|pause| pause.until <= now)
    }
}

impl Plugins {
    /// Whether a running binding gets a release now that it lacked. Tries those whose pause is over.
    pub(super) async fn gets_spare(
        &self,
        state: &GateState,
        binding: &Binding,
        running: &Bound,
        loaded: &Loaded,
        next: &mut Loaded,
    ) -> bool {
        let (releases, spec) = (&binding.releases, running.spec());
        let previous = releases.previous.filter(|previous| !previous.given_up && spec.previous.is_none());
        let candidate = releases.candidate.as_ref().filter(|_| spec.candidate.is_none());
        let lacking = previous.map(|one| one.release).into_iter().chain(candidate.map(|one| one.release));
        let mut gets = false;
        for hash in lacking {
            gets |= self.spare(state, &binding.spec.name, hash, loaded, next).await.is_some();
        }
        gets
    }

    /// A release that the binding can do without; `None`: it cannot be loaded, or its pause is not over.
    pub(super) async fn spare(
        &self,
        state: &GateState,
        name: &BindingName,
        hash: ReleaseHash,
        loaded: &Loaded,
        next: &mut Loaded,
    ) -> Option<Arc<Release>> {
        let key = (name.clone(), hash);
        let (now, pause) = (Instant::now(), loaded.spares.get(&key));
        let is_loaded = loaded.releases.contains_key(&key) || next.releases.contains_key(&key);
        if let Some(pause) = pause.filter(|pause| pause.until > now && !is_loaded) {
            next.spares.insert(key, *pause);
            return None;
        }
        match self.release(state, name, hash, loaded, next).await {
            Ok(release) => Some(release),
            Err(error) => {
                let (release, pause) = (hash.short(), Pause::after(pause, Instant::now()));
                let again_in = pause.until.saturating_duration_since(now);
                let error = crate::cli::chain(&error);
                tracing::error!(binding = %name, release, error, ?again_in, "a release cannot be loaded");
                next.spares.insert(key, pause);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_growing() {
        let now = Instant::now();
        let (mut pause, mut lengths) = (None, Vec::new());
        for _ in 0..40 {
            let next = Pause::after(pause.as_ref(), now);
            lengths.push(next.until.duration_since(now).as_secs());
            pause = Some(next);
        }
        assert_eq!(lengths[..8], [10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(lengths.last(), Some(&600));
    }
}
