//! Learned decisions, tried with random deterministic guests in random worlds. No component and no server is needed.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod bounds;
mod floods;
mod guests;
mod secrets;
mod switching;
mod threads;
mod world;
