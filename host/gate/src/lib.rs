//! The gate: the WebAssembly components that decide where a request goes, who is asking, and what they get of it.
//!
//! [`Gate::load`] turns a component with its configuration and grants into a [`Release`]: compiled, linked, checked. A [`Bound`]
//! is a release where it applies, with the one to go back to and the one being tried; a [`Chain`] puts them in order and
//! [`Gate::swap`] puts it in force. A request takes the chain once and asks [`Gate::route`], [`Gate::authenticate`],
//! [`Gate::select`] and [`Gate::page`]. Every call runs under [`Limits`], on a fresh instance unless the plugin asked otherwise;
//! every answer is checked before anyone acts on it. A failed call is a [`GateError`], which is never a decision. Decisions are
//! found again without a call where all that the plugin asked is answered as before ([`learn`]).
//!
//! This room knows no tables and no HTTP server: what stands behind the imports comes through [`Backend`], the request as a
//! [`Head`].

mod answer;
mod asked;
mod backend;
mod bindings;
mod bound;
mod chain;
mod check;
mod compile;
mod decision;
mod directory;
mod engine;
mod error;
mod evaluate;
mod gate;
mod head;
mod imports;
pub mod learn;
mod limiter;
mod limits;
mod literals;
mod log;
mod path;
mod release;
mod reuse;
mod run;
mod settings;
mod shadow;
mod state;
mod stats;
mod stderr;
mod tally;
mod tokens;
mod visitor;
mod warm;
mod wasi;

pub use answer::{
    Authenticated, Challenge, Forward, Identity, Page, Reply, Rewrite, Routed, Selected, System, Target, Vouched,
};
pub use backend::{
    Accounts, Backend, Clock, KeyValue, Limiter, Outbound, OutboundError, OutboundRequest, OutboundResponse, Profile,
    Secret, Secrets, SignInRefusal, StoreError, SystemClock,
};
pub use bound::{BindingSpec, Bound, Candidate, Fare, GateEvent, Trial};
pub use chain::{Chain, ChainError, Closed};
pub use check::stays_on_this_origin;
pub use compile::{ChildCompiler, CompileError, Compiler, compile_stdin};
pub use directory::{Directory, PasswordRefusal};
pub use engine::{Class, EngineError, try_engine};
pub use error::{BadAnswer, Call, Exceeded, Failure, GateError, LoadError};
pub use gate::Gate;
pub use head::{ClientCertificate, Head, SESSION_COOKIE, Scheme, WORKER_COOKIE, without_session_cookie};
pub use limiter::Buckets;
pub use limits::{COMPONENT_BYTES, Limits, PAGE_BODY_BYTES, TICK};
pub use path::{MAX_PATH_BYTES, PathError, RequestPath, path_and_query};
pub use release::{Release, Spec};
pub use shadow::{Compared, Shadow, ShadowRunner};
pub use stats::{Counts, Reuse, Stats};
pub use tokens::{Expectations, KeySets, Keys, TOKEN_BYTES, TokenRefusal, Verified};
pub use visitor::{TargetView, Visitor};
