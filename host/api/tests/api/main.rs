//! The API driven as a whole: its router on a real PostgreSQL and a real bundle store, with everything behind
//! [`lectern_api::Backstage`] recorded instead of done. Modules mirror the addresses.

#![allow(clippy::unwrap_used, clippy::panic)]

mod accounts;
mod audit;
mod bootstrap;
mod bundles;
mod caches;
mod codes;
mod content;
mod conventions;
mod deploy;
mod document;
mod environment;
mod environments;
mod groups;
mod hits;
mod hostile;
mod integrations;
mod jobs;
mod legacy;
mod login;
mod oauth;
mod packages;
mod permission_requests;
mod permissions;
mod providers;
mod repositories;
mod scale;
mod schedules;
mod search;
mod settings;
mod support;
mod tags;
mod tasks;
mod thumbnails;
mod tokens;
mod uploads;
mod users;
mod vanity;
mod variants;
