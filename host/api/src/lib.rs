//! The HTTP protocol of Posit Connect's published clients, served from the database and the bundle store.
//!
//! One module per resource, named after its address; [`router`] puts them together. This room knows no gate and no
//! processes: who is asking arrives in the request's extensions ([`External`], `Option<Principal>`,
//! [`CredentialRejected`]), and what must happen elsewhere goes through [`Backstage`]. What a caller may do is decided
//! by `lectern_domain::access` alone.

mod access;
mod body;
mod bootstrap;
mod bundles;
mod content;
mod deploy;
mod environment;
mod error;
mod followed;
mod guard;
mod jobs;
mod keys;
mod leftover;
mod legacy;
mod permissions;
mod processes;
mod publish;
mod query;
mod router;
mod services;
mod settings;
mod stamp;
mod tasks;
mod upload;
mod users;
mod vanity;

pub use error::{ApiError, Code, ErrorBody};
pub use guard::{CredentialRejected, External};
pub use keys::ApiKeyText;
pub use router::{openapi, router};
pub use services::{
    ANNOUNCED_VERSION, Backstage, ContentProcess, LogLine, LogLines, LogSource, Logout, Part, PasswordError, Runtimes,
    Scheduler, Services, Settings,
};
