//! What a supervisor is started with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a supervisor runs. Paths are made absolute when it starts, against the working directory of that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorConfig {
    /// The Unix socket it answers on; at most 107 bytes long. `<socket>.lock` beside it says who may.
    pub socket: PathBuf,
    /// The directory whose direct children are the workers' private directories. The supervisor owns it: what it finds
    /// there when it starts is left over from a dead one, and removed.
    pub private_root: PathBuf,
    /// Most workers running at once; more are refused.
    pub max_workers: usize,
    /// How long all workers together may take to end when the supervisor does; then they are killed.
    pub shutdown_limit: Duration,
}

impl SupervisorConfig {
    /// The defaults beside `socket`: private directories in `w/`, 1,000 workers, 30 seconds to end.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        let socket = socket.into();
        let private_root = socket.parent().unwrap_or(Path::new("")).join("w");
        Self {
            socket,
            private_root,
            // An idle interpreter with a web framework holds about 50 MiB: a thousand fill a large host's memory before
            // they trouble the supervisor, which spends seven descriptors and some kilobytes on each.
            max_workers: 1000,
            // Under the 90 seconds that systemd gives a unit to stop.
            shutdown_limit: Duration::from_secs(30),
        }
    }
}
