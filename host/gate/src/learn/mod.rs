//! Learned decisions: what plugins decided before, found again without calling them.
//!
//! On a fresh instance a deterministic plugin is a function of the answers that the host gave it. So a call is recorded as
//! the questions it asked, in order, with a keyed hash of each answer, and its decision. Because the plugin is deterministic,
//! the answers so far say which question comes next: the records form a tree. The next request walks it: evaluate the
//! question, hash the answer, follow the edge. A leaf is the decision; a missing edge is a miss, which calls the plugin and
//! grows the tree. Everything that a decision depended on was asked on the way, so a hit is never a wrong answer.
//!
//! One [`Learned`] belongs to one release, hook and phase, and dies with the release. It knows nothing of WebAssembly: the
//! caller brings an evaluator ([`Ask`]), the time, and decisions ([`Decision`]). What is lost, by eviction or at a restart, is
//! speed, never correctness.

mod counters;
mod decision;
mod encode;
mod evict;
mod explain;
mod graph;
mod kept;
mod learned;
mod question;
mod record;
mod render;
mod taint;
mod tree;
mod worth;

pub use counters::Counters;
pub use decision::{Decision, Hit, Learnable, Off, Outcome, Walk};
pub use encode::{Ask, Encoder, Key};
pub use explain::{Answered, Asked, Branch, Decided, Report};
pub use kept::{Kept, Part};
pub use learned::Learned;
pub(crate) use learned::seat;
pub use question::{Question, Take};
pub use record::{Line, Recorder};
pub use taint::{NotLearned, Taint};
pub use tree::Settings;
pub use worth::Rest;
