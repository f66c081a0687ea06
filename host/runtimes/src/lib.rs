//! What each kind of content needs to run: an interpreter, an environment, a command.
//!
//! [`Runtimes`] is the whole; its parts are useful alone. Nothing here starts content: [`Runtimes::prepare`] checks and
//! restores, [`Runtimes::launch`] says how to start it, and the supervisor does.

pub mod choose;
mod fence;
pub mod git;
pub mod interpreters;
pub mod launch;
pub mod launchers;
pub mod node;
mod process;
pub mod program;
pub mod python;
pub mod r;
pub mod r_library;
pub mod reach;
mod runtimes;
mod seal;
mod shelf;
mod workshop;
mod zygote;

pub use fence::Fence;
pub use interpreters::{Found, Language, Search};
pub use process::RunError;
pub use runtimes::{PrepareError, PrepareRequest, Runtimes, Settings};
pub use shelf::ShelfError;

/// Receives the lines that a publisher reads in the task's output.
pub type Log<'a> = &'a mut (dyn FnMut(&str) + Send);
