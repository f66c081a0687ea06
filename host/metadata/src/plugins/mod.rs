//! The plugins of the gate in the database: packages, releases, bindings, their history, and what plugins and servers keep.
//!
//! Changes that servers must follow (bindings, secrets, trusted keys) lock the one row of `gate` first, so they come one after
//! another, and write their entry of the history in the same transaction: neither exists without the other.

pub mod bindings;
mod error;
pub mod gate;
pub mod history;
pub mod nodes;
mod note;
pub mod packages;
mod read;
pub mod releases;
pub mod secrets;
pub mod shadow;
pub mod trusted_keys;
pub mod values;

pub use error::{PluginRefusal, Stale};
pub use note::Note;
