//! Which uploaded versions of a content item are kept.

use crate::ids::BundleId;

/// A bundle as the rule sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its number; later ones are newer.
    pub id: BundleId,
    /// Whether it is the one served at the item's address.
    pub active: bool,
    /// Whether a task that is not over is about it.
    pub wanted: bool,
}

/// The bundles to delete so that `limit` are left: the oldest, but never the active one, one that a task is about, nor
/// one newer than the active one, which may be a draft that somebody is looking at. 0 keeps all.
pub fn to_delete(bundles: &[Kept], limit: usize) -> Vec<BundleId> {
    let Some(active) = bundles.iter().find(|bundle| bundle.active).filter(|_| limit > 0) else { return Vec::new() };
    let mut old: Vec<BundleId> =
        bundles.iter().filter(|bundle| !bundle.wanted && bundle.id < active.id).map(|bundle| bundle.id).collect();
    old.sort_unstable();
    old.truncate(bundles.len().saturating_sub(limit));
    old
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(bundles: &[(i64, &str)], limit: usize) -> Vec<i64> {
        let kept = |&(id, state): &(i64, &str)| Kept {
            id: BundleId(id),
            active: state == "active",
            wanted: state == "wanted",
        };
        to_delete(&bundles.iter().map(kept).collect::<Vec<_>>(), limit).into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_oldest_go() {
        let some = [(5, "active"), (4, ""), (3, ""), (2, ""), (1, "")];
        assert_eq!(check(&some, 0), [0i64; 0]);
        assert_eq!(check(&some, 5), [0i64; 0]);
        assert_eq!(check(&some, 3), [1, 2]);
        assert_eq!(check(&some, 1), [1, 2, 3, 4]);
        assert_eq!(check(&[(1, ""), (2, "")], 1), [0i64; 0], "nothing is served yet");
        assert_eq!(check(&[(1, ""), (2, "active"), (3, ""), (4, "")], 1), [1], "what is newer is somebody's draft");
        assert_eq!(check(&[(1, "wanted"), (2, ""), (3, "active")], 1), [2]);
    }

    proptest! {
        #[test]
        fn what_is_served_or_wanted_stays(
            states in proptest::collection::vec(0u8..4, 0..30), active in 0usize..30, limit in 0usize..40,
        ) {
            let bundles: Vec<Kept> = states
                .iter()
                .enumerate()
                .map(|(at, state)| Kept { id: BundleId(at as i64 + 1), active: at == active, wanted: *state == 0 })
                .collect();
            let gone = to_delete(&bundles, limit);
            prop_assert!(bundles.iter().all(|bundle| !gone.contains(&bundle.id) || !(bundle.active || bundle.wanted)));
            prop_assert!(limit == 0 || bundles.len() - gone.len() >= limit.min(bundles.len()));
        }
    }
}
