//! Wants files and sockets.

use lectern_plugin::{Decision, Failure, Host, Reply, Router, export_router};

/// The component.
#[derive(Debug)]
pub struct Escaping;

export_router!(Escaping);

impl Router for Escaping {
    fn route(_: &impl Host) -> Result<Decision, Failure> {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let connected = std::net::TcpStream::connect(("127.0.0.1", 22)).is_ok();
        Ok(Decision::Respond(Reply::text(200, &format!("{passwd}{connected}"))))
    }
}
