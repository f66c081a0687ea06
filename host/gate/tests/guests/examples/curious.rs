//! A router that tries API keys.

use lectern_plugin::{Decision, Failure, Host, Reply, Router, export_router};

/// The component.
#[derive(Debug)]
pub struct Curious;

export_router!(Curious);

impl Router for Curious {
    fn route(host: &impl Host) -> Result<Decision, Failure> {
        Ok(Decision::Respond(Reply::text(200, &format!("{:?}", host.find_key("guess").is_some()))))
    }
}
