//! Runs the cases of a plugin's package on its real component in the real gate.
//!
//! A case brings its own world: the time stands still, accounts, secrets and the store are what it names, and other servers answer
//! what it records. Every grant that the manifest asks for counts as given. Authors run cases from the command line, and a server
//! runs them before a package is admitted; both see the same results.
//!
//! This room knows the format of cases and the gate. It knows no server: nothing here reaches a database, a network or a clock.

mod accounts;
mod admission;
mod candidate;
mod grants;
mod log;
mod network;
mod outcome;
mod people;
mod request;
mod result;
mod stage;
mod store;
mod trials;

pub use admission::{Admission, judge};
pub use result::{CaseResult, Verdict};
pub use trials::{TrialError, Trials, run_cases};
