//! Write plugins for the gate of Lectern: components that decide where a request goes, and who is asking.
//!
//! Implement [`Router`] or [`Authenticator`], export it with one macro, and build a `cdylib` with
//! `cargo build --target wasm32-wasip2`. The contract is `wit/` of Lectern: its comments say what each function means.
//!
//! ```
//! use lectern_plugin::{Decision, Failure, Host, Reply, Router};
//!
//! /// Sends everybody who asks for `/old` to `/new`.
//! struct Moved;
//!
//! impl Router for Moved {
//!     fn route(host: &impl Host) -> Result<Decision, Failure> {
//!         Ok(match host.path_prefix(1).as_str() {
//!             "/old" => Decision::Respond(Reply::redirect(308, "/new")),
//!             _ => Decision::Next,
//!         })
//!     }
//! }
//!
//! lectern_plugin::export_router!(Moved);
//!
//! // The same logic in a native test:
//! let decision = Moved::route(&lectern_plugin::Mock::get("/old/page"));
//! assert!(matches!(decision, Ok(Decision::Respond(reply)) if reply.field("location") == Some("/new")));
//! ```
//!
//! Every call runs on a fresh instance: nothing kept in memory reaches the next request. A panic, an endless loop or too much
//! memory ends the call and denies the request; it never harms the server.

#[doc(hidden)]
pub mod bindings;
pub mod browser;
mod host;
pub mod jwt;
mod mock;
pub mod page;
pub mod people;
pub mod web;

pub use bindings::auth::exports::lectern::plugin::auth::Outcome;
pub use bindings::imports::lectern::plugin::accounts::{Profile, Refusal as SignInRefusal};
pub use bindings::imports::lectern::plugin::connection::Certificate;
pub use bindings::imports::lectern::plugin::content::Mount;
pub use bindings::imports::lectern::plugin::directory::Refusal;
pub use bindings::imports::lectern::plugin::key_value::Error as StoreError;
pub use bindings::imports::lectern::plugin::logging::Level;
pub use bindings::imports::lectern::plugin::outbound::{Error as FetchError, Request as Fetch, Response as Fetched};
pub use bindings::imports::lectern::plugin::tokens::{Expectations, Keys, Refusal as TokenRefusal, Verified};
pub use bindings::imports::lectern::plugin::types::{Failure, Field, Identity, Pairs, Reply};
pub use bindings::pages::exports::lectern::plugin::pages::Handled;
pub use bindings::routing::exports::lectern::plugin::routing::{Decision, Forward, Rewrite};
pub use host::Host;
#[cfg(target_family = "wasm")]
pub use host::Live;
pub use mock::Mock;

/// A plugin that decides where requests go. Export it with [`export_router!`], or with [`export_gate!`] if it is an
/// [`Authenticator`] too.
pub trait Router {
    /// Called once when the plugin is loaded: refuse a configuration here.
    fn check(host: &impl Host) -> Result<(), Failure> {
        let _ = host;
        Ok(())
    }

    /// Decides about one request.
    fn route(host: &impl Host) -> Result<Decision, Failure>;
}

/// A plugin that says who is asking. Export it with [`export_authenticator!`].
pub trait Authenticator {
    /// Called once when the plugin is loaded: refuse a configuration here.
    fn check(host: &impl Host) -> Result<(), Failure> {
        let _ = host;
        Ok(())
    }

    /// Identifies the visitor of one request.
    fn authenticate(host: &impl Host) -> Result<Outcome, Failure>;

    /// Handles a request to a path below `/__plugin__/<name>/`.
    fn page(host: &impl Host, body: &[u8]) -> Result<Handled, Failure> {
        let _ = (host, body);
        Ok(Handled::Reply(Reply::not_found()))
    }
}

impl Forward {
    /// Hands the request on to this target as it is.
    pub fn to(target: &str) -> Self {
        Self {
            target: target.to_owned(),
            rewrite: Rewrite::Keep,
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            sticky_key: None,
            hints: Vec::new(),
        }
    }

    /// Leaves out the first segments of the path.
    pub fn strip_segments(mut self, segments: u32) -> Self {
        self.rewrite = Rewrite::StripSegments(segments);
        self
    }

    /// Adds a hint.
    pub fn hint(mut self, name: &str, value: &str) -> Self {
        self.hints.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Makes a type that implements [`Router`] the component's routing plugin. Does nothing in a native build.
#[macro_export]
macro_rules! export_router {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::bindings::lifecycle::exports::lectern::plugin::lifecycle;
            use $crate::bindings::routing::exports::lectern::plugin::routing;
            struct Component;
            impl lifecycle::Guest for Component {
                fn check() -> Result<(), $crate::Failure> {
                    <$plugin as $crate::Router>::check(&$crate::Live)
                }
            }
            impl routing::Guest for Component {
                fn route() -> Result<$crate::Decision, $crate::Failure> {
                    <$plugin as $crate::Router>::route(&$crate::Live)
                }
            }
    $crate::bindings::lifecycle::export!(Component with_types_in $crate::bindings::lifecycle);
    $crate::bindings::routing::export!(Component with_types_in $crate::bindings::routing);
        };
    };
}

/// Makes a type that implements [`Authenticator`] the component's authentication plugin. Does nothing in a native build.
#[macro_export]
macro_rules! export_authenticator {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::bindings::auth::exports::lectern::plugin::auth;
            use $crate::bindings::lifecycle::exports::lectern::plugin::lifecycle;
            use $crate::bindings::pages::exports::lectern::plugin::pages;
            struct Component;
            impl lifecycle::Guest for Component {
                fn check() -> Result<(), $crate::Failure> {
                    <$plugin as $crate::Authenticator>::check(&$crate::Live)
                }
            }
            impl auth::Guest for Component {
                fn authenticate() -> Result<$crate::Outcome, $crate::Failure> {
                    <$plugin as $crate::Authenticator>::authenticate(&$crate::Live)
                }
            }
            impl pages::Guest for Component {
                fn handle(body: Vec<u8>) -> Result<$crate::Handled, $crate::Failure> {
                    <$plugin as $crate::Authenticator>::page(&$crate::Live, &body)
                }
            }
    $crate::bindings::lifecycle::export!(Component with_types_in $crate::bindings::lifecycle);
    $crate::bindings::auth::export!(Component with_types_in $crate::bindings::auth);
    $crate::bindings::pages::export!(Component with_types_in $crate::bindings::pages);
        };
    };
}

/// Makes a type that implements both [`Router`] and [`Authenticator`] one component that does both. Does nothing in a native
/// build.
#[macro_export]
macro_rules! export_gate {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::bindings::auth::exports::lectern::plugin::auth;
            use $crate::bindings::lifecycle::exports::lectern::plugin::lifecycle;
            use $crate::bindings::pages::exports::lectern::plugin::pages;
            use $crate::bindings::routing::exports::lectern::plugin::routing;
            struct Component;
            impl lifecycle::Guest for Component {
                fn check() -> Result<(), $crate::Failure> {
                    <$plugin as $crate::Router>::check(&$crate::Live)?;
                    <$plugin as $crate::Authenticator>::check(&$crate::Live)
                }
            }
            impl routing::Guest for Component {
                fn route() -> Result<$crate::Decision, $crate::Failure> {
                    <$plugin as $crate::Router>::route(&$crate::Live)
                }
            }
            impl auth::Guest for Component {
                fn authenticate() -> Result<$crate::Outcome, $crate::Failure> {
                    <$plugin as $crate::Authenticator>::authenticate(&$crate::Live)
                }
            }
            impl pages::Guest for Component {
                fn handle(body: Vec<u8>) -> Result<$crate::Handled, $crate::Failure> {
                    <$plugin as $crate::Authenticator>::page(&$crate::Live, &body)
                }
            }
    $crate::bindings::lifecycle::export!(Component with_types_in $crate::bindings::lifecycle);
    $crate::bindings::routing::export!(Component with_types_in $crate::bindings::routing);
    $crate::bindings::auth::export!(Component with_types_in $crate::bindings::auth);
    $crate::bindings::pages::export!(Component with_types_in $crate::bindings::pages);
        };
    };
}
