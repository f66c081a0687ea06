//! What stands behind the imports while one case is run.

use std::collections::BTreeMap;
use std::sync::Arc;

use lectern_gate::{Backend, Buckets, Clock, KeySets, Limiter, Secret, Secrets};
use lectern_packages::cases::World;

use crate::accounts::SignIn;
use crate::network::Network;
use crate::people::People;
use crate::store::Store;

/// The backend of a case, and the network in it that remembers its calls.
pub(crate) fn set(world: &Arc<World>) -> (Backend, Arc<Network>) {
    let network = Arc::new(Network::of(world));
    let backend = Backend {
        directory: Arc::new(People(Arc::clone(world))),
        accounts: Arc::new(SignIn(Arc::clone(world))),
        store: Arc::new(Store::of(world)),
        secrets: Arc::new(Named(Arc::clone(world))),
        outbound: Arc::clone(&network) as _,
        key_sets: Arc::new(KeySets::new()),
        buckets: Arc::new(SomeEmpty { empty: world.buckets_empty.clone(), rest: Buckets::new() }),
        clock: Arc::new(Stopped(world.now_unix_ms)),
    };
    (backend, network)
}

/// A clock that stands still.
struct Stopped(u64);

impl Clock for Stopped {
    fn unix_millis(&self) -> u64 {
        self.0
    }
}

/// The secrets that a case names.
struct Named(Arc<World>);

impl Secrets for Named {
    fn secret(&self, _: &str, name: &str) -> Option<Secret> {
        self.0.secrets.get(name).map(|text| Secret::new(text.clone().into_bytes()))
    }
}

/// Buckets of which some have no token.
struct SomeEmpty {
    empty: BTreeMap<String, u32>,
    rest: Buckets,
}

impl Limiter for SomeEmpty {
    fn take(&self, plugin: &str, bucket: &str, per_minute: u32, burst: u32, now_ms: u64) -> Option<u32> {
        let seconds = self.empty.get(bucket).copied();
        seconds.or_else(|| self.rest.take(plugin, bucket, per_minute, burst, now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_buckets_are_full_and_run_out() {
        let buckets = SomeEmpty { empty: [("a".to_owned(), 7)].into(), rest: Buckets::new() };
        let take = |bucket| buckets.take("p", bucket, 60, 1, 0);
        assert_eq!([take("a"), take("b"), take("b")], [Some(7), None, Some(1)]);
    }
}
