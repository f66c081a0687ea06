//! Reads job logs: JSON lines that the supervisor writes while a process runs.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use time::OffsetDateTime;

/// Most bytes read from a log's end for one answer: ten thousand ordinary lines.
const MOST_BYTES: u64 = 4 << 20;

/// A line as the supervisor writes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Line {
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) time: OffsetDateTime,
    pub(crate) source: String,
    pub(crate) data: String,
}

/// The last `most` lines of the log at `path`, oldest first; none when there is no log. Blocking.
///
/// A line that is being written just now is left out.
pub(crate) fn tail(path: &Path, most: usize) -> std::io::Result<Vec<Line>> {
    let mut file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let length = file.metadata()?.len();
    let from = length.saturating_sub(MOST_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines: Vec<Line> = complete.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok(lines[lines.len().saturating_sub(most)..].to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_last_whole_lines_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job.log");
        assert_eq!(tail(&path, 10).unwrap(), []);
        let line = |n: u32| {
            format!("{{\"time\":\"2026-11-22T10:00:0{n}.000001Z\",\"source\":\"stderr\",\"data\":\"line {n}\"}}\n")
        };
        let cut = "{\"time\":\"2026-11-22T10:00:09Z\",\"sour";
        std::fs::write(&path, format!("{}{}{}not json\n{cut}", line(1), line(2), line(3))).unwrap();
        let read: Vec<String> = tail(&path, 2).unwrap().into_iter().map(|line| line.data).collect();
        assert_eq!(read, ["line 2", "line 3"]);
        assert_eq!(tail(&path, 99).unwrap().len(), 3);
    }
}
