//! Cleans up after a test that cannot do so itself: one that was killed, or whose server stands in a `static`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Watches over a test's directory. When the test process ends without dropping this, it ends what runs there and
/// removes the directory.
#[derive(Debug)]
pub struct Guardian(Child);

impl Guardian {
    /// Begins to watch over `directory`.
    pub fn of(directory: &Path) -> Self {
        let guardian = Command::new("sh")
            .args(["-c", include_str!("guardian.sh"), "lectern-guardian"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(guardian.expect("start the guardian"))
    }
}

impl Drop for Guardian {
    /// All is cleaned up: the guardian has nothing to do.
    fn drop(&mut self) {
        if let Some(mut leash) = self.0.stdin.take() {
            leash.write_all(b"done\n").ok();
        }
        self.0.wait().ok();
    }
}
