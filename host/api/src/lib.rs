//! The HTTP protocol of Posit Connect's published clients, served from the database and the bundle store.
//!
//! One module per resource, named after its address; [`router`] puts them together. This room knows no gate and no
//! processes: who is asking arrives in the request's extensions ([`External`], `Option<Principal>`,
//! [`CredentialRejected`]), and what must happen elsewhere goes through [`Backstage`]. What a caller may do is decided
//! by `lectern_domain::access` alone.

mod access;
mod audit;
mod body;
mod bootstrap;
mod bundles;
mod caches;
mod checksum;
mod content;
mod cursor;
mod deploy;
mod document;
mod environment;
mod environments;
mod error;
mod followed;
mod groups;
mod guard;
mod hits;
mod jobs;
mod keys;
mod leftover;
mod legacy;
mod login;
pub mod oauth;
mod oauth_integrations;
mod packages;
mod page;
mod permission_requests;
mod permissions;
mod processes;
pub mod providers;
mod publish;
mod query;
mod remote;
mod repo;
mod repository;
mod router;
mod search;
mod services;
mod settings;
mod signed;
mod stamp;
mod tags;
mod tasks;
mod thumbnails;
mod timezones;
mod tokens;
mod upload;
mod users;
mod vanity;
mod variants;

pub use error::{ApiError, Code, ErrorBody};
pub use guard::{ClientAddress, CredentialRejected, External};
pub use keys::{ApiKeyText, make_key};
pub use publish::{Arrived, examine};
pub use remote::{BadGitUrl, GitRemote};
pub use router::{openapi, router};
pub use services::{
    ANNOUNCED_VERSION, Backstage, BegunSession, ContentProcess, IdToken, IdTokenRefusal, LogLine, LogLines, LogSource,
    Logout, Part, PasswordError, RuntimeCache, Runtimes, Scheduler, Services, Settings,
};
pub use tokens::claim;
pub use users::{change_password, invite, make_password_link, set_locked, set_password_by_link, set_role};
