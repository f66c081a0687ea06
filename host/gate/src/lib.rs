//! The gate: the WebAssembly components that decide where a request goes and who is asking.
//!
//! [`Gate::load`] turns a component into a [`Release`]: compiled, linked, checked. A [`Chain`] puts releases in order and
//! [`Gate::swap`] puts it in force. A request takes the chain once and asks [`Gate::route`], [`Gate::authenticate`] and
//! [`Gate::page`]. Every call runs on a fresh instance under [`Limits`]; every answer is checked before anyone acts on it. A
//! failed call is a [`GateError`], which is never a decision.
//!
//! This room knows no tables and no HTTP server: accounts and content come through [`Directory`], the request as a [`Head`].

mod answer;
mod backend;
mod bindings;
mod chain;
mod check;
mod directory;
mod engine;
mod error;
mod gate;
mod head;
mod limiter;
pub mod learn;
mod limits;
mod path;
mod release;
mod run;
mod state;
mod stderr;
mod tokens;
mod visitor;

pub use answer::{Authenticated, Challenge, Forward, Identity, Page, Reply, Rewrite, Routed, System, Target, Vouched};
pub use backend::{
    Accounts, Backend, Clock, KeyValue, Outbound, OutboundError, OutboundRequest, OutboundResponse, Profile, Secret,
    Secrets, SignInRefusal, StoreError, SystemClock,
};
pub use chain::{Chain, ChainError};
pub use check::stays_on_this_origin;
pub use directory::{Directory, PasswordRefusal};
pub use engine::{Engine, EngineError};
pub use error::{BadAnswer, Call, Exceeded, Failure, GateError, LoadError};
pub use gate::Gate;
pub use head::{Head, SESSION_COOKIE, Scheme, without_session_cookie};
pub use limiter::Buckets;
pub use limits::{COMPONENT_BYTES, Limits, PAGE_BODY_BYTES, TICK};
pub use path::{MAX_PATH_BYTES, PathError, RequestPath, path_and_query};
pub use release::{Release, ReleaseId, Spec};
pub use tokens::{Expectations, KeySets, Keys, TOKEN_BYTES, TokenRefusal, Verified};
pub use visitor::Visitor;
