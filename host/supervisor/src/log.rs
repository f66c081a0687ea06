//! A worker's log file: its output as lines of JSON, bounded in size, readable while it grows.
//!
//! A full file is replaced by one half its size: the first lines (what failed at the start stands there), a line that
//! says how much is missing, and the latest lines. It is replaced by a rename, so a reader with the file open reads on in the
//! old one, and one that opens it always finds whole lines. Lines are numbered from 1, in the order of the file; the numbers
//! tell a reader where it was, and what was dropped since.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::protocol::Source;

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
    /// Where the kept first lines end, once they are complete, and the number of the last of them.
    head_end: u64,
    head_last: u64,
    /// The number of the last line, written or in `out`.
    last: u64,
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
    pub(crate) head_last: u64,
    pub(crate) last: u64,
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
            head_last: self.head_last,
            last: self.last,
            partial: self.partial.clone(),
            lost_bytes: self.lost_bytes,
        }
    }

    /// Goes on where `rest` says, with its descriptor.
    pub(crate) fn again(rest: LogRest, file: OwnedFd) -> io::Result<Self> {
        let file = File::from(file);
        let len = file.metadata()?.len();
        let LogRest { path, limit, head_end, head_last, last, partial, lost_bytes, .. } = rest;
        Ok(Self { path, file, len, limit, head_end, head_last, last, partial, out: Vec::new(), lost_bytes })
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
        let mut len = file.metadata()?.len();
        let limit = limit_bytes.max(MIN_LIMIT_BYTES);
        // Nothing is to be read of a new file, nor of what is no file.
        let (last, whole) = if len > 0 { last_number(&file, len)? } else { (0, 0) };
        if whole < len {
            // Half a line, left by a crash of the machine.
            file.set_len(whole)?;
            len = whole;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            len,
            limit,
            head_end: 0,
            head_last: 0,
            last,
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
        self.last += 1;
        push_entry(&mut self.out, self.last, source, time, &String::from_utf8_lossy(line));
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
            self.last += 1;
            push_entry(&mut out, self.last, Source::Stderr, &stamp(OffsetDateTime::now_utc()), &text);
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
            (self.head_end, self.head_last) = (self.len, self.last);
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
        // What comes next is written after this: the last line in the file is the one before.
        let next_number = self.number_at(tail)?.unwrap_or(self.last + 1);
        let dropped = next_number.saturating_sub(self.head_last + 1);
        let text = format!("--- {dropped} earlier lines were dropped here: this log keeps {} bytes ---", self.limit);
        // The number of the last line that is missing: readers that were before it are told, others pass it over.
        push_entry(&mut mark, next_number.saturating_sub(1), Source::Stderr, &stamp(OffsetDateTime::now_utc()), &text);
        next.write_all(&mark)?;
        len += mark.len() as u64;
        len += copy_range(&self.file, tail, self.len, &mut next)?;
        fs::rename(&temporary, &self.path)?;
        (self.file, self.len) = (next, len);
        Ok(())
    }

    /// The number of the line that starts at `offset`; `None` at the end of the file.
    fn number_at(&self, offset: u64) -> io::Result<Option<u64>> {
        let mut start = [0; NUMBER_BYTES];
        let got = self.file.read_at(&mut start, offset)?;
        Ok(number(&start[..got]))
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

/// Bytes of a line within which its number stands: `{"n":` and twenty digits.
const NUMBER_BYTES: usize = 32;

/// The number at the start of a line.
pub(crate) fn number(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(b"{\"n\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// The number of the last whole line of a file of `len` bytes, and where that line ends. A file of an older version, without
/// numbers, counts as one without lines: what follows is numbered from 1.
fn last_number(file: &File, len: u64) -> io::Result<(u64, u64)> {
    // The longest line: 64 KiB, of which JSON makes six times as many bytes.
    let start = len.saturating_sub(8 * MAX_LINE_BYTES as u64);
    let mut end = Vec::new();
    let mut reader = file;
    reader.seek(SeekFrom::Start(start))?;
    reader.take(len - start).read_to_end(&mut end)?;
    let Some(whole) = end.iter().rposition(|byte| *byte == b'\n') else {
        return Ok((0, if start == 0 { 0 } else { len }));
    };
    let line = end[..whole].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    Ok((number(&end[line..whole]).unwrap_or(0), start + whole as u64 + 1))
}

fn push_entry(out: &mut Vec<u8>, number: u64, source: Source, time: &str, data: &str) {
    let source = match source {
        Source::Stdout => "stdout",
        Source::Stderr => "stderr",
    };
    out.extend_from_slice(b"{\"n\":");
    out.extend_from_slice(number.to_string().as_bytes());
    out.extend_from_slice(b",\"time\":\"");
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;
    use crate::protocol::LogLine;
    use crate::reading::read_tail;

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
        let first = r#"{"n":1,"time":"2026-01-01T00:00:00.123456Z","source":"stdout","data":"one"}"#;
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
        let marks: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].1.contains("dropped here")).collect();
        assert_eq!(marks.len(), 1);
        // The count is exact, however often the file was full.
        let before = lines[marks[0] - 1].1.strip_prefix("line ").unwrap().parse::<u64>().unwrap();
        let after = lines[marks[0] + 1].1.strip_prefix("line ").unwrap().parse::<u64>().unwrap();
        let said = format!("--- {} earlier lines were dropped here", after - before - 1);
        assert!(lines[marks[0]].1.starts_with(&said), "{} {said}", lines[marks[0]].1);
        let numbers: Vec<u64> = fs::read(&path).unwrap().split(|b| *b == b'\n').filter_map(number).collect();
        assert!(numbers.windows(2).all(|two| two[0] < two[1]), "in order");
        assert_eq!(numbers.last(), Some(&100_000));
        assert!(!dir.path().join("a.log.new").exists());
    }

    #[test]
    fn a_log_that_is_opened_again_counts_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = LogFile::open(&path, 1 << 20).unwrap();
        log.absorb(Source::Stdout, b"one\ntwo\n", now());
        drop(log);
        // A machine that lost power in the middle of a line.
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"n\":3,\"ti");
        fs::write(&path, text).unwrap();
        let mut log = LogFile::open(&path, 1 << 20).unwrap();
        log.absorb(Source::Stderr, b"three\n", now());
        let numbers: Vec<u64> = read_tail(&path, 10, 1 << 20).unwrap().iter().map(|line| line.n).collect();
        assert_eq!(numbers, [1, 2, 3]);
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
