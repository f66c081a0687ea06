//! The gate with real components: the shipped ones, and ones that misbehave.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod admission;
mod hostile;
mod learned;
mod released;
mod sharing;
mod shipped;
mod support;
