//! The host's side of every import of `lectern:plugin`, one file for each group. What an interface needs a grant for is not in
//! the linker of a component without it; parameters of grants (origins, secrets, roles) are checked here, at each call.

mod accounts;
mod directory;
mod local;
mod outbound;
mod request;
mod secrets;
mod store;
mod tokens;

use lectern_domain::plugin::GrantKind;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::lectern::plugin;
use crate::state::State;

/// Adds the interfaces that are open to every plugin.
pub(crate) fn add_open(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    plugin::request::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    plugin::connection::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    plugin::visitor::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    plugin::target::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    plugin::logging::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    plugin::config::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

/// Adds the interface that a grant of this kind opens, if it opens one.
pub(crate) fn add_granted(linker: &mut Linker<State>, kind: GrantKind) -> wasmtime::Result<()> {
    match kind {
        GrantKind::Clock => plugin::clock::add_to_linker::<State, HasSelf<State>>(linker, |state| state),
        GrantKind::Random => plugin::random::add_to_linker::<State, HasSelf<State>>(linker, |state| state),
        GrantKind::Content => plugin::content::add_to_linker::<State, HasSelf<State>>(linker, |state| state),
        GrantKind::Directory => plugin::directory::add_to_linker::<State, HasSelf<State>>(linker, |state| state),
        GrantKind::Accounts => plugin::accounts::add_to_linker::<State, HasSelf<State>>(linker, |state| state),
        GrantKind::Tokens => plugin::tokens::add_to_linker::<State, HasSelf<State>>(linker, |state| state),
        GrantKind::KeyValue => plugin::key_value::add_to_linker::<State, HasSelf<State>>(linker, |state| state),
        GrantKind::Limiter => plugin::limiter::add_to_linker::<State, HasSelf<State>>(linker, |state| state),
        GrantKind::Outbound => plugin::outbound::add_to_linker::<State, HasSelf<State>>(linker, |state| state),
        GrantKind::Secret => plugin::secrets::add_to_linker::<State, HasSelf<State>>(linker, |state| state),
        GrantKind::SecretValue => plugin::secret_values::add_to_linker::<State, HasSelf<State>>(linker, |state| state),
        GrantKind::Redirect => Ok(()),
    }
}
