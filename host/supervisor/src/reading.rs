//! Reads workers' logs while they grow: their end, or all of them line by line, across the replacement of a full file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::log::number;
use crate::protocol::LogLine;

/// Reads the last lines of a log: at most `max_lines`, out of its last `max_bytes`. Lines that are not in the form, as
/// a crash of the machine may leave one, are skipped. A log that does not exist has none.
pub fn read_tail(path: &Path, max_lines: usize, max_bytes: u64) -> io::Result<Vec<LogLine>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let start = file.metadata()?.len().saturating_sub(max_bytes);
    let mut reader = BufReader::new(&mut file);
    if start > 0 {
        // One byte earlier, so that a line that starts at `start` is not taken for the rest of one.
        reader.seek(SeekFrom::Start(start - 1))?;
        reader.skip_until(b'\n')?;
    }
    let mut lines = std::collections::VecDeque::new();
    // What is appended meanwhile is left for the next time.
    for line in reader.take(max_bytes).split(b'\n') {
        if let Ok(line) = serde_json::from_slice(&line?) {
            lines.push_back(line);
            if lines.len() > max_lines {
                lines.pop_front();
            }
        }
    }
    Ok(lines.into())
}

/// Reads a log from its beginning or from a line on, as far as it goes, and then what is added.
///
/// A line is given once, in the order of its number. When the file is replaced by a shorter one, the rest of the old one is
/// given first; where lines were dropped before they were read, the log's own mark stands in their place.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: Option<BufReader<File>>,
    /// The number of the last line given.
    last: u64,
    /// The beginning of a line that was not complete.
    partial: Vec<u8>,
}

impl Follower {
    /// Follows the log at `path`, which need not exist yet, from the line after number `after` on; 0: from the first.
    pub fn new(path: PathBuf, after: u64) -> Self {
        Self { path, file: None, last: after, partial: Vec::new() }
    }

    /// The next lines, about `most_bytes` of them at most; none when there are no more for now. Blocking.
    ///
    /// Lines that are not in the form are skipped, as in [`read_tail`].
    pub fn read(&mut self, most_bytes: usize) -> io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        let mut room = most_bytes;
        while room > 0 {
            self.open()?;
            let Some(file) = &mut self.file else { break };
            let mut limited = file.take(room as u64);
            let got = limited.read_until(b'\n', &mut self.partial)?;
            room = room.saturating_sub(got);
            if self.partial.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.partial);
                // The number first: most of a log that is followed from its end on is passed over.
                if number(&line).is_some_and(|number| number <= self.last) {
                    // What is passed over costs little and is not counted: else a long log would be passed in many steps.
                    room += got;
                    continue;
                }
                lines.extend(self.parse(&line));
            } else if got == 0 && !self.replaced()? {
                break;
            }
        }
        Ok(lines)
    }

    fn parse(&mut self, line: &[u8]) -> Option<LogLine> {
        let mut line: LogLine = serde_json::from_slice(line).ok()?;
        if line.n == 0 {
            // Of a version before lines had numbers.
            line.n = self.last + 1;
        }
        self.last = line.n;
        Some(line)
    }

    fn open(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            match File::open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => self.file = Some(BufReader::new(opened?)),
            }
        }
        Ok(())
    }

    /// Whether another file has taken the place of the one that was read to its end; it is read next.
    fn replaced(&mut self) -> io::Result<bool> {
        let Some(file) = &mut self.file else { return Ok(false) };
        let position = file.get_mut().stream_position()?;
        let (mine, there) = (file.get_ref().metadata()?, std::fs::metadata(&self.path));
        let there = match there {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            there => there?,
        };
        // A file that became shorter lost half a line that could not be written.
        let shorter = there.len() < position;
        if (mine.dev(), mine.ino()) == (there.dev(), there.ino()) && !shorter {
            return Ok(false);
        }
        (self.file, self.partial) = (None, Vec::new());
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use time::OffsetDateTime;

    use super::*;
    use crate::log::LogFile;
    use crate::protocol::Source;

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.data.as_str()).collect()
    }

    #[test]
    fn a_log_is_followed_from_before_it_exists_and_from_any_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut all = Follower::new(path.clone(), 0);
        assert!(all.read(1000).unwrap().is_empty());
        let mut log = LogFile::open(&path, 1 << 20).unwrap();
        log.absorb(Source::Stdout, b"one\ntwo\n", OffsetDateTime::UNIX_EPOCH);
        assert_eq!(texts(&all.read(1000).unwrap()), ["one", "two"]);
        assert!(all.read(1000).unwrap().is_empty());
        log.absorb(Source::Stdout, b"three\n", OffsetDateTime::UNIX_EPOCH);
        assert_eq!(texts(&all.read(1000).unwrap()), ["three"]);
        assert_eq!(texts(&Follower::new(path.clone(), 1).read(1000).unwrap()), ["two", "three"]);
        assert!(Follower::new(path.clone(), 9).read(1000).unwrap().is_empty());
        // Half a line is not given until it is whole.
        let text = std::fs::read(&path).unwrap();
        let other = dir.path().join("b.log");
        std::fs::write(&other, &text[..text.len() - 5]).unwrap();
        let mut half = Follower::new(other.clone(), 0);
        assert_eq!(half.read(1000).unwrap().len(), 2);
        std::io::Write::write_all(&mut File::options().append(true).open(&other).unwrap(), &text[text.len() - 5..])
            .unwrap();
        assert_eq!(texts(&half.read(1000).unwrap()), ["three"]);
    }

    #[test]
    fn old_lines_without_numbers_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let line = r#"{"time":"2026-01-01T00:00:00Z","source":"stdout","data":"old"}"#;
        std::fs::write(&path, format!("{line}\nnot json\n{line}\n")).unwrap();
        let lines = Follower::new(path, 0).read(1000).unwrap();
        assert_eq!(lines.iter().map(|line| line.n).collect::<Vec<_>>(), [1, 2]);
    }

    proptest! {
        // Each case writes some MiB.
        #![proptest_config(ProptestConfig::with_cases(16))]
        /// However a log is written, filled and read: each line comes at most once, in order; what is missing was dropped, and said to be.
        #[test]
        fn nothing_comes_twice_or_is_missed_silently(
            writes in prop::collection::vec((1_usize..40, any::<bool>()), 1..40),
            size in 1000_usize..10_000,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.log");
            let mut log = LogFile::open(&path, 1 << 20).unwrap();
            let mut follower = Follower::new(path, 0);
            let (mut written, mut seen) = (0_usize, Vec::new());
            for (count, read) in writes {
                for _ in 0..count {
                    written += 1;
                    let text = format!("{written} {}\n", "x".repeat(size));
                    log.absorb(Source::Stdout, text.as_bytes(), OffsetDateTime::UNIX_EPOCH);
                }
                if read {
                    seen.extend(follower.read(100_000).unwrap());
                }
            }
            loop {
                let more = follower.read(1 << 20).unwrap();
                if more.is_empty() {
                    break;
                }
                seen.extend(more);
            }
            let mut last = 0;
            for line in &seen {
                prop_assert!(line.n > last);
                match line.data.split_once(' ').and_then(|(number, _)| number.parse::<u64>().ok()) {
                    Some(number) => {
                        prop_assert_eq!(number, line.n);
                        prop_assert_eq!(line.n, last + 1, "a gap that nobody speaks of");
                    }
                    None => prop_assert!(line.data.contains("dropped here")),
                }
                last = line.n;
            }
            prop_assert_eq!(last, written as u64);
        }
    }
}
