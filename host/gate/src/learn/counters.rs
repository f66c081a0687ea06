//! What happened to one tree, in numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts since the tree was made, and its present size. Those of several threads add up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Requests that walked the tree.
    pub walks: u64,
    /// Walks that ended at a decision.
    pub hits: u64,
    /// Walks that did not: the plugin was called.
    pub misses: u64,
    /// Requests that found learning resting and called the plugin.
    pub rested: u64,
    /// Decisions learned.
    pub inserts: u64,
    /// Decisions given up for want of room.
    pub evictions: u64,
    /// Hits for which the plugin was called all the same, to compare.
    pub reruns: u64,
    /// Comparisons that showed another decision.
    pub differences: u64,
    /// Decisions held.
    pub leaves: u64,
    /// Questions held.
    pub nodes: u64,
    /// Bytes held, as counted for the bound.
    pub bytes: u64,
    /// Decisions not learned, by reason.
    pub not_learned: BTreeMap<String, u64>,
}

impl Counters {
    /// Adds another thread's.
    pub fn add(&mut self, other: &Self) {
        self.walks += other.walks;
        self.hits += other.hits;
        self.misses += other.misses;
        self.rested += other.rested;
        self.inserts += other.inserts;
        self.evictions += other.evictions;
        self.reruns += other.reruns;
        self.differences += other.differences;
        self.leaves += other.leaves;
        self.nodes += other.nodes;
        self.bytes += other.bytes;
        for (reason, count) in &other.not_learned {
            *self.not_learned.entry(reason.clone()).or_default() += count;
        }
    }
}
