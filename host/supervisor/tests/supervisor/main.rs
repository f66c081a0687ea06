//! The real supervisor with real processes: Python and shell programs that behave as well or as badly as content may.
//!
//! Runs as root and as anybody else; what only root can do is skipped otherwise, and says so.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub)]

mod attacks;
mod confinement;
mod deaths;
mod keeping;
mod life;
mod logs;
mod spawning;
mod stopping;
mod support;
mod upgrade;
mod wire;
mod zygote_upgrade;
mod zygotes;
