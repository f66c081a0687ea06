//! A gzip stream as bytes, with the limits on size and ratio checked as they come.
//!
//! One member only (RFC 1952 §2.2 allows several): no client writes more, and what follows the first is read by some
//! programs and not by others.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use crate::archive::ArchiveError;
use crate::limits::Limits;

const INPUT_BUFFER_BYTES: usize = 64 * 1024;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

pub(crate) struct Inflate<R> {
    stream: GzDecoder<BufReader<Input<R>>>,
    out_bytes: u64,
    ended: bool,
    max_total_bytes: u64,
    max_ratio: u64,
    ratio_from_bytes: u64,
}

/// Counts what is read, and remembers whether reading itself failed: the decoder's errors look the same.
struct Input<R> {
    /// The first bytes, read to see whether this is gzip at all.
    head: io::Cursor<Vec<u8>>,
    rest: R,
    in_bytes: u64,
    failed: bool,
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.head.read(buffer)? {
            0 => self.rest.read(buffer).inspect_err(|error| {
                self.failed |= error.kind() != io::ErrorKind::Interrupted;
            })?,
            count => count,
        };
        self.in_bytes += count as u64;
        Ok(count)
    }
}

impl<R: Read> Inflate<R> {
    pub(crate) fn new(mut archive: R, limits: &Limits) -> Result<Self, ArchiveError> {
        let mut head = Vec::with_capacity(GZIP_MAGIC.len());
        archive
            .by_ref()
            .take(GZIP_MAGIC.len() as u64)
            .read_to_end(&mut head)
            .map_err(|cause| ArchiveError::Read { cause })?;
        match head[..] {
            [] => return Err(ArchiveError::EmptyInput),
            [first] if first == GZIP_MAGIC[0] => return Err(ArchiveError::Truncated { in_bytes: 1 }),
            _ if head != GZIP_MAGIC => return Err(ArchiveError::NotGzip),
            _ => {}
        }
        let input = Input { head: io::Cursor::new(head), rest: archive, in_bytes: 0, failed: false };
        Ok(Self {
            stream: GzDecoder::new(BufReader::with_capacity(INPUT_BUFFER_BYTES, input)),
            out_bytes: 0,
            ended: false,
            max_total_bytes: limits.max_total_bytes,
            max_ratio: limits.max_ratio,
            ratio_from_bytes: limits.ratio_from_bytes,
        })
    }

    /// Bytes that have come out.
    pub(crate) fn out_bytes(&self) -> u64 {
        self.out_bytes
    }

    /// Bytes of input taken, some of which may still wait to be decoded.
    pub(crate) fn in_bytes(&self) -> u64 {
        self.stream.get_ref().get_ref().in_bytes
    }

    /// Reads some bytes into `buffer`, which is not empty. 0 says that the stream has ended, its checksum is right and
    /// nothing follows it.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        if self.ended {
            return Ok(0);
        }
        let count = loop {
            match self.stream.read(buffer) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(self.explain(cause)),
            }
        };
        if count == 0 {
            self.expect_end_of_input()?;
            self.ended = true;
            return Ok(0);
        }
        self.out_bytes += count as u64;
        if self.out_bytes > self.max_total_bytes {
            return Err(ArchiveError::TooLarge { limit_bytes: self.max_total_bytes });
        }
        let in_bytes = self.in_bytes();
        if self.out_bytes > self.ratio_from_bytes && self.out_bytes > in_bytes.saturating_mul(self.max_ratio) {
            return Err(ArchiveError::RatioTooHigh { limit: self.max_ratio, in_bytes, out_bytes: self.out_bytes });
        }
        Ok(count)
    }

    fn expect_end_of_input(&mut self) -> Result<(), ArchiveError> {
        let left = loop {
            match self.stream.get_mut().fill_buf() {
                Ok(bytes) => break bytes.len(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(self.explain(cause)),
            }
        };
        if left == 0 { Ok(()) } else { Err(ArchiveError::TrailingGarbage { after: "gzip stream" }) }
    }

    fn explain(&self, cause: io::Error) -> ArchiveError {
        let input = self.stream.get_ref().get_ref();
        if input.failed {
            ArchiveError::Read { cause }
        } else if cause.kind() == io::ErrorKind::UnexpectedEof {
            ArchiveError::Truncated { in_bytes: input.in_bytes }
        } else {
            ArchiveError::CorruptGzip { cause }
        }
    }
}
