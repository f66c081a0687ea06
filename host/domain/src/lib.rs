//! Values and decisions of Lectern.
//!
//! Nothing here does I/O, awaits, reads a clock or makes an id: time, randomness and ids are arguments. Every other
//! room depends on this one; this one depends on none.

pub mod access;
pub mod admission;
pub mod app_mode;
pub mod audit;
pub mod confinement;
pub mod content;
pub mod framework;
pub mod git;
pub mod ids;
pub mod integrations;
pub mod job;
pub mod json;
pub mod launch;
pub mod manifest;
pub mod oauth;
pub mod outbound;
pub mod packages;
pub mod picture;
pub mod plugin;
pub mod r_packages;
pub mod retention;
pub mod scaling;
pub mod schedule;
pub mod sealing;
pub mod search;
pub mod snapshot;
pub mod tags;
pub mod user;
pub mod vanity;
pub mod visits;
pub mod worker;

pub use access::{AccessType, Principal, PrincipalVia};
pub use app_mode::AppMode;
pub use framework::PythonFramework;
pub use ids::{
    BundleHash, BundleId, ContentGuid, ContentId, EnvironmentGuid, EnvironmentPermissionGuid, GroupGuid, GroupId,
    IntegrationGuid, IntegrationId, IntegrationPermissionGuid, JobKey, KeyId, OAuthSessionGuid, ScheduleId, TagId,
    TaskId, UserGuid, UserId, VariantId,
};
pub use user::UserRole;
