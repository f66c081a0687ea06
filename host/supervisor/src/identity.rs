//! Tells one program from another.

use std::os::unix::fs::MetadataExt;

/// Names the file that this process runs from: its version, and where and when it was written. Two installations of one build
/// differ; what matters is that two builds do.
pub fn identity() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match std::fs::metadata("/proc/self/exe") {
        Ok(file) => {
            format!("{version} {}:{}:{}:{}.{:09}", file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec())
        }
        // Without /proc nothing else works either.
        Err(_) => version.to_owned(),
    }
}
