//! A worker's log file: its output as lines of JSON, bounded in size, readable while it grows.
//!
//! A full file is replaced by one half its size: the first lines (what failed at the start stands there), a line that
//! says what is missing, and the latest lines. It is replaced by a rename, so a reader with the file open reads on in the
//! old one, and one that opens it always finds whole lines.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::protocol::{LogLine, Source};

/// Most bytes of one line; a longer one is split.
pub(crate) const MAX_LINE_BYTES: usize = 64 * 1024;

/// The smallest limit: one line of [`MAX_LINE_BYTES`] control characters takes 384 KiB as JSON and must fit beside half.
const MIN_LIMIT_BYTES: u64 = 1024 * 1024;

/// Entries are written in pieces of about this size.
const WRITE_BYTES: usize = 64 * 1024;

const TIME: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// The log of one worker, written by one owner.
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    len: u64,
    limit: u64,
    /// Where the kept first lines end, once they are complete.
    head_end: u64,
    /// What was read of the unfinished line of each stream.
    partial: [Vec<u8>; 2],
    /// Entries not written yet.
    out: Vec<u8>,
    /// Worker output lost to write errors and not reported yet.
    lost_bytes: u64,
}

/// A log at rest, for another program in the place of this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogRest {
    pub(crate) path: PathBuf,
    pub(crate) file: RawFd,
    pub(crate) limit: u64,
    pub(crate) head_end: u64,
    pub(crate) partial: [Vec<u8>; 2],
    pub(crate) lost_bytes: u64,
}

impl LogFile {
    /// How it stands; everything that was taken has been written but unfinished lines.
    pub(crate) fn rest(&self) -> LogRest {
        LogRest {
            path: self.path.clone(),
            file: self.file.as_raw_fd(),
            limit: self.limit,
            head_end: self.head_end,
            partial: self.partial.clone(),
            lost_bytes: self.lost_bytes,
        }
    }

    /// Goes on where `rest` says, with its descriptor.
    pub(crate) fn again(rest: LogRest, file: OwnedFd) -> io::Result<Self> {
        let file = File::from(file);
        let len = file.metadata()?.len();
        let LogRest { path, limit, head_end, partial, lost_bytes, .. } = rest;
        Ok(Self { path, file, len, limit, head_end, partial, out: Vec::new(), lost_bytes })
    }

    /// Opens `path` (mode 0600) to append to it, at most `limit_bytes` long; fewer than 1 MiB count as 1 MiB.
    pub(crate) fn open(path: &Path, limit_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(path)?;
        let len = file.metadata()?.len();
        let limit = limit_bytes.max(MIN_LIMIT_BYTES);
        Ok(Self {
            path: path.to_owned(),
            file,
            len,
            limit,
            head_end: 0,
            partial: [Vec::new(), Vec::new()],
            out: Vec::new(),
            lost_bytes: 0,
        })
    }

    /// Takes bytes that the worker wrote, and writes the lines that they complete.
    ///
    /// Errors of the disk are not the worker's: what cannot be written is counted, and reported in the log once it can.
    pub(crate) fn absorb(&mut self, source: Source, bytes: &[u8], at: OffsetDateTime) {
        let time = stamp(at);
        let mut partial = std::mem::take(&mut self.partial[source as usize]);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let complete = piece.last() == Some(&b'\n');
            if complete && partial.is_empty() && piece.len() <= MAX_LINE_BYTES {
                self.entry(source, &time, without_end(piece));
                continue;
            }
            partial.extend_from_slice(piece);
            let mut rest = partial.as_slice();
            while rest.len() > MAX_LINE_BYTES {
                let cut = cut_before(rest, MAX_LINE_BYTES);
                self.entry(source, &time, &rest[..cut]);
                rest = &rest[cut..];
            }
            if complete {
                self.entry(source, &time, without_end(rest));
                rest = &[];
            }
            let done = partial.len() - rest.len();
            partial.drain(..done);
        }
        if partial.is_empty() {
            partial = Vec::new();
        }
        self.partial[source as usize] = partial;
        self.flush();
    }

    /// Counts output that was thrown away because this file could not be written in time.
    pub(crate) fn lose(&mut self, bytes: u64) {
        self.lost_bytes += bytes;
    }

    /// Writes the lines that never got an end.
    pub(crate) fn finish(&mut self, at: OffsetDateTime) {
        let time = stamp(at);
        for source in [Source::Stdout, Source::Stderr] {
            let rest = std::mem::take(&mut self.partial[source as usize]);
            if !rest.is_empty() {
                self.entry(source, &time, &rest);
            }
        }
        self.flush();
    }

    fn entry(&mut self, source: Source, time: &str, line: &[u8]) {
        push_entry(&mut self.out, source, time, &String::from_utf8_lossy(line));
        if self.out.len() >= WRITE_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let mut out = std::mem::take(&mut self.out);
        if self.lost_bytes > 0 {
            let text = format!("--- {} bytes of output were lost: the log could not be written ---", self.lost_bytes);
            push_entry(&mut out, Source::Stderr, &stamp(OffsetDateTime::now_utc()), &text);
        }
        match self.append(&out) {
            Ok(()) => self.lost_bytes = 0,
            Err(error) => {
                if self.lost_bytes == 0 {
                    tracing::warn!(%error, path = %self.path.display(), "cannot write a worker's log");
                }
                self.lost_bytes += out.len() as u64;
            }
        }
        out.clear();
        self.out = out;
    }

    fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        if self.len + entries.len() as u64 > self.limit {
            self.shorten()?;
        }
        if let Err(error) = self.file.write_all(entries) {
            // Readers shall not find half a line.
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.len += entries.len() as u64;
        if self.len <= self.limit / 8 {
            self.head_end = self.len;
        }
        Ok(())
    }

    /// Replaces the file: the first eighth of the limit, a mark, the last three eighths.
    fn shorten(&mut self) -> io::Result<()> {
        let temporary = self.path.with_extension("log.new");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut next = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(&temporary)?;
        let tail = self.next_line(self.len.saturating_sub(self.limit / 8 * 3).max(self.head_end))?;
        let mut len = copy_range(&self.file, 0, self.head_end, &mut next)?;
        let mut mark = Vec::new();
        let text = format!("--- earlier output was dropped: this log keeps {} bytes ---", self.limit);
        push_entry(&mut mark, Source::Stderr, &stamp(OffsetDateTime::now_utc()), &text);
        next.write_all(&mark)?;
        len += mark.len() as u64;
        len += copy_range(&self.file, tail, self.len, &mut next)?;
        fs::rename(&temporary, &self.path)?;
        (self.file, self.len) = (next, len);
        Ok(())
    }

    /// The start of the first line at or after `offset`, or the end of the file.
    fn next_line(&self, offset: u64) -> io::Result<u64> {
        if offset == 0 || offset >= self.len {
            return Ok(offset.min(self.len));
        }
        let mut at = offset - 1;
        let mut block = [0; 4096];
        while at < self.len {
            let got = self.file.read_at(&mut block, at)?;
            if got == 0 {
                break;
            }
            if let Some(end) = block[..got].iter().position(|byte| *byte == b'\n') {
                return Ok(at + end as u64 + 1);
            }
            at += got as u64;
        }
        Ok(self.len)
    }
}

fn copy_range(from: &File, start: u64, end: u64, to: &mut File) -> io::Result<u64> {
    let mut from = from;
    from.seek(SeekFrom::Start(start))?;
    io::copy(&mut from.take(end.saturating_sub(start)), to)
}

fn push_entry(out: &mut Vec<u8>, source: Source, time: &str, data: &str) {
    let source = match source {
        Source::Stdout => "stdout",
        Source::Stderr => "stderr",
    };
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\",\"source\":\"");
    out.extend_from_slice(source.as_bytes());
    out.extend_from_slice(b"\",\"data\":");
    serde_json::to_writer(&mut *out, data).expect("a string is written to memory");
    out.extend_from_slice(b"}\n");
}

fn stamp(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC).format(TIME).expect("a UTC time has every part of the format")
}

/// The line without `\n` or `\r\n`.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The last place at or shortly before `limit` that does not cut a UTF-8 sequence.
fn cut_before(bytes: &[u8], limit: usize) -> usize {
    // A continuation byte is 10xxxxxx, and a sequence has at most four bytes.
    (limit.saturating_sub(3)..=limit).rev().find(|at| bytes[*at] & 0xc0 != 0x80).unwrap_or(limit)
}

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(1_767_225_600_123_456_789).unwrap()
    }

    fn lines(path: &Path) -> Vec<(Source, String)> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str::<LogLine>(line).unwrap()).map(|l| (l.source, l.data)).collect()
    }

    #[test]
    fn lines_are_complete_and_streams_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = LogFile::open(&path, 1 << 20).unwrap();
        log.absorb(Source::Stdout, b"one\ntw", now());
        log.absorb(Source::Stderr, b"err\r\n\n", now());
        log.absorb(Source::Stdout, b"o\nlast \xff\x00", now());
        let raw = fs::read_to_string(&path).unwrap();
        let first = r#"{"time":"2026-01-01T00:00:00.123456Z","source":"stdout","data":"one"}"#;
        assert_eq!(raw.lines().next(), Some(first));
        log.finish(now());
        let want = [
            (Source::Stdout, "one"),
            (Source::Stderr, "err"),
            (Source::Stderr, ""),
            (Source::Stdout, "two"),
            (Source::Stdout, "last \u{fffd}\0"),
        ];
        assert_eq!(lines(&path), want.map(|(source, text)| (source, text.to_owned())));
    }

    #[test]
    fn a_long_line_is_split_between_characters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = LogFile::open(&path, 8 << 20).unwrap();
        let text = "€".repeat(50_000);
        for piece in text.as_bytes().chunks(1000) {
            log.absorb(Source::Stdout, piece, now());
        }
        log.absorb(Source::Stdout, b"\n", now());
        let lines = lines(&path);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|(_, data)| data.len() <= MAX_LINE_BYTES && data.chars().all(|c| c == '€')));
        assert_eq!(lines.into_iter().map(|(_, data)| data).collect::<String>(), text);
    }

    #[test]
    fn a_full_log_keeps_its_first_and_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let limit = 1 << 20;
        let mut log = LogFile::open(&path, limit).unwrap();
        for n in 0..100_000 {
            log.absorb(Source::Stdout, format!("line {n}\n").as_bytes(), now());
            assert!(log.len <= limit, "{}", log.len);
        }
        log.finish(now());
        assert_eq!(fs::metadata(&path).unwrap().len(), log.len);
        let lines = lines(&path);
        assert_eq!(lines[0].1, "line 0");
        assert_eq!(lines.last().unwrap().1, "line 99999");
        assert_eq!(lines.iter().filter(|(_, data)| data.contains("was dropped")).count(), 1);
        assert!(!dir.path().join("a.log.new").exists());
    }

    #[test]
    fn the_tail_is_the_last_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        assert_eq!(read_tail(&path, 10, 1000).unwrap(), []);
        let mut log = LogFile::open(&path, 1 << 20).unwrap();
        for n in 0..1000 {
            log.absorb(Source::Stderr, format!("line {n}\n").as_bytes(), now());
        }
        let tail = read_tail(&path, 3, 1 << 20).unwrap();
        assert_eq!(
            tail.iter().map(|line| line.data.as_str()).collect::<Vec<_>>(),
            ["line 997", "line 998", "line 999"]
        );
        let few = read_tail(&path, 50, 200).unwrap();
        assert_eq!(few.iter().map(|line| line.data.as_str()).collect::<Vec<_>>(), ["line 998", "line 999"]);
    }

    proptest! {
        /// However output is cut into reads: every line arrives once, in order, within the bound.
        #[test]
        fn any_cut_gives_the_same_lines(bytes in prop::collection::vec(prop_oneof![4 => any::<u8>(), 1 => Just(b'\n')], 0..400),
                                        cuts in prop::collection::vec(1_usize..40, 1..40)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.log");
            let mut log = LogFile::open(&path, 1 << 20).unwrap();
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                log.absorb(Source::Stdout, piece, now());
                rest = after;
            }
            log.finish(now());
            let mut want: Vec<String> = bytes
                .split_inclusive(|byte| *byte == b'\n')
                .map(|line| match line.strip_suffix(b"\n") {
                    Some(line) => String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned(),
                    None => String::from_utf8_lossy(line).into_owned(),
                })
                .collect();
            let got: Vec<String> = lines(&path).into_iter().map(|(_, data)| data).collect();
            prop_assert_eq!(got, std::mem::take(&mut want));
        }
    }
}
