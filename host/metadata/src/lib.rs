//! PostgreSQL for Lectern: connections, migrations, every query, and the private cluster.
//!
//! The only crate that speaks SQL. Functions are named for what they mean; they take a client or a transaction and
//! return typed rows. The caller opens transactions and keeps none open across a process start, a plugin call or a file
//! copy. Times are the database's, so servers with different clocks agree. Knows no HTTP, no files but the cluster's.

pub mod audit;
pub mod bundles;
mod chain;
pub mod cluster;
pub mod config;
pub mod content;
pub mod database;
pub mod environments;
pub mod error;
pub mod groups;
mod hidden;
pub mod hits;
pub mod identities;
pub mod integrations;
pub mod jobs;
pub mod keys;
pub mod migrate;
pub mod notify;
pub mod oauth;
pub mod packages;
pub mod password_links;
pub mod permission_requests;
pub mod permissions;
pub mod plugins;
pub mod reach;
pub mod repositories;
mod row;
pub mod schedules;
pub mod sealing;
pub mod sessions;
pub mod settings;
pub mod shiny_usage;
pub mod short_tasks;
pub mod signed_tokens;
pub mod snapshots;
pub mod tags;
pub mod tasks;
pub mod testing;
pub mod thumbnails;
pub mod timezones;
mod tls;
pub mod users;
pub mod vanities;
pub mod variables;
pub mod variants;

pub use cluster::{ClusterConfig, ClusterError, PrivateCluster};
pub use config::{ConfigError, DatabaseConfig};
pub use database::{Client, Database, GenericClient, Transaction};
pub use error::{DbError, is_transient};
pub use migrate::{Applied, MigrateError, migrate, pending};
pub use notify::{Changes, Part, listen};
