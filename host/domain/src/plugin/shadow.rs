//! What a candidate in the shadow decided otherwise, counted by kind so that any number of differences stays a short list.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::document::Document;
use super::{BindingName, ReleaseHash};

/// Most fingerprints kept for one candidate: more than a person reads, few enough to read them all for each batch.
pub const MOST_FINGERPRINTS: usize = 200;

/// Where the rest is counted.
pub const OTHER_FINGERPRINT: &str = "other";

/// Decisions that differ from the live release's in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowDifference {
    /// What is the same in all of them; at most 200 bytes.
    pub fingerprint: String,
    /// What differs: a word.
    pub kind: String,
    /// How often.
    pub count: u32,
    /// The first of them, without what could be secret.
    pub example: Document,
}

/// What one server saw of a candidate since its last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowBatch {
    /// The binding.
    pub binding: BindingName,
    /// Its candidate.
    pub candidate: ReleaseHash,
    /// Calls whose decisions were compared.
    pub compared: u32,
    /// Calls of these that differed.
    pub differing: u32,
    /// Calls in which the candidate failed.
    pub failures: u32,
    /// How they differed.
    pub differences: Vec<ShadowDifference>,
}

/// Brings a batch to one row for each fingerprint, those beyond [`MOST_FINGERPRINTS`] together in [`OTHER_FINGERPRINT`].
/// `known` are the fingerprints that have rows.
pub fn fold_differences(known: &BTreeSet<String>, batch: &[ShadowDifference]) -> Vec<ShadowDifference> {
    let mut room = MOST_FINGERPRINTS.saturating_sub(known.iter().filter(|name| *name != OTHER_FINGERPRINT).count());
    let mut rows: BTreeMap<&str, ShadowDifference> = BTreeMap::new();
    for one in batch {
        let mut name = one.fingerprint.as_str();
        if name != OTHER_FINGERPRINT && !known.contains(name) && !rows.contains_key(name) {
            match room.checked_sub(1) {
                Some(less) => room = less,
                None => name = OTHER_FINGERPRINT,
            }
        }
        match rows.get_mut(name) {
            Some(row) => row.count = row.count.saturating_add(one.count),
            None => {
                rows.insert(name, ShadowDifference { fingerprint: name.to_owned(), ..one.clone() });
            }
        }
    }
    rows.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(fingerprint: &str, count: u32) -> ShadowDifference {
        let (fingerprint, kind) = (fingerprint.to_owned(), "target".to_owned());
        ShadowDifference { fingerprint, kind, count, example: Document::default() }
    }

    fn check(known: usize, batch: &[(&str, u32)], expected: &[(&str, u32)]) {
        let known = (0..known).map(|n| format!("known {n}")).collect();
        let batch: Vec<_> = batch.iter().map(|(name, count)| difference(name, *count)).collect();
        let rows = fold_differences(&known, &batch);
        let rows: Vec<_> = rows.iter().map(|row| (row.fingerprint.as_str(), row.count)).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn rows_are_few() {
        check(0, &[], &[]);
        check(0, &[("b", 1), ("a", 2), ("b", 3)], &[("a", 2), ("b", 4)]);
        check(
            199,
            &[("b", 1), ("a", 2), ("known 7", 1), ("c", 5), ("b", 1)],
            &[("b", 2), ("known 7", 1), ("other", 7)],
        );
        check(200, &[("other", 1), ("x", u32::MAX)], &[("other", u32::MAX)]);
    }
}
