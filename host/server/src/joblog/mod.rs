//! Job logs, which the supervisor writes: read here, followed while they grow, and removed when they are old or too many.

mod follow;
mod keep;

use std::path::Path;

use lectern_supervisor::{LogLine, Source, read_tail};

pub(crate) use follow::LogFollowers;
pub(crate) use keep::Keeping;

/// Most bytes read from a log's end for one answer: ten thousand ordinary lines.
const MOST_BYTES: u64 = 4 << 20;

/// The last `most` lines of the log at `path`, oldest first; none when there is no log. Blocking.
pub(crate) fn tail(path: &Path, most: usize) -> std::io::Result<Vec<LogLine>> {
    read_tail(path, most, MOST_BYTES)
}

/// The stream's name, as in the file.
pub(crate) fn source(source: Source) -> &'static str {
    match source {
        Source::Stdout => "stdout",
        Source::Stderr => "stderr",
    }
}
