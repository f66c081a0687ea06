//! Crashes on requests that say so, if its settings let it, and answers all others.
#![allow(clippy::panic)]

use lectern_plugin::{Decision, Failure, Host, Reply, Router, export_router};

/// The component.
#[derive(Debug)]
pub struct Flaky;

export_router!(Flaky);

impl Router for Flaky {
    fn route(host: &impl Host) -> Result<Decision, Failure> {
        let traps = host.config("trap").is_some_and(|trap| trap == "yes");
        if traps && host.header_text("x-flaky").is_some_and(|flaky| flaky == "yes") {
            panic!("as asked for");
        }
        Ok(match host.config("answer") {
            Some(answer) => Decision::Respond(Reply::text(200, &answer)),
            None => Decision::Next,
        })
    }
}
