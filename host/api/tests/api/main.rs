//! The API driven as a whole: its router on a real PostgreSQL and a real bundle store, with everything behind
//! [`lectern_api::Backstage`] recorded instead of done. Modules mirror the addresses.

#![allow(clippy::unwrap_used, clippy::panic)]

mod bootstrap;
mod bundles;
mod content;
mod conventions;
mod deploy;
mod document;
mod environment;
mod jobs;
mod legacy;
mod permissions;
mod settings;
mod support;
mod tasks;
mod uploads;
mod users;
mod vanity;
