//! Chunked bodies of workers, taken apart as they arrive (RFC 9112 §7.1). Trailers are read and dropped.

use bytes::{Buf as _, Bytes, BytesMut};

/// Most bytes of one chunk's extensions, which nobody here understands, and of all trailers. Real ones are a few dozen.
const ASIDE: usize = 16 * 1024;

/// What a decoder made of the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A piece of the body, never empty.
    Data(Bytes),
    /// More bytes are needed.
    More,
    /// The body is complete; what is left in the buffer is not part of it.
    End,
}

/// Bytes that are no chunked body.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("byte {byte:#04x} in a chunked body, where {expected} was expected")]
pub(crate) struct BadChunk {
    byte: u8,
    expected: &'static str,
}

/// Where in a chunked body the next byte stands.
#[derive(Debug, Clone, Copy)]
enum At {
    /// In the digits of a chunk's size, `digits` of them seen.
    Size { size: u64, digits: u8 },
    /// After the digits, before the end of the line.
    Extension { size: u64, length: usize },
    /// At the line feed after a size.
    SizeEnd { size: u64 },
    /// In the data, so many bytes of which are to come.
    Data(u64),
    /// At the carriage return after the data.
    DataReturn,
    /// At the line feed after the data.
    DataEnd,
    /// At the first byte of a trailer's line, or of the empty line that ends all.
    TrailerStart { length: usize },
    /// In a trailer's line.
    Trailer { length: usize },
    /// At the line feed after a trailer.
    TrailerEnd { length: usize },
    /// At the last line feed.
    LastEnd,
    /// Behind it all.
    End,
}

/// Takes one body apart.
#[derive(Debug)]
pub(super) struct Chunks(At);

impl Chunks {
    pub(super) fn new() -> Self {
        Self(At::Size { size: 0, digits: 0 })
    }

    /// Takes from `bytes` what belongs to the body, up to the next piece of data.
    pub(super) fn decode(&mut self, bytes: &mut BytesMut) -> Result<Step, BadChunk> {
        loop {
            if let At::Data(left) = self.0 {
                if bytes.is_empty() {
                    return Ok(Step::More);
                }
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.0 = if here as u64 == left { At::DataReturn } else { At::Data(left - here as u64) };
                return Ok(Step::Data(bytes.split_to(here).freeze()));
            }
            if matches!(self.0, At::End) {
                return Ok(Step::End);
            }
            let Some(&byte) = bytes.first() else { return Ok(Step::More) };
            self.0 = next(self.0, byte)?;
            bytes.advance(1);
        }
    }
}

/// The place after `byte`, which is not one of a chunk's data.
fn next(at: At, byte: u8) -> Result<At, BadChunk> {
    let wrong = |expected| Err(BadChunk { byte, expected });
    Ok(match (at, byte) {
        (At::Size { size, digits: 1.. }, b'\r') => At::SizeEnd { size },
        (At::Size { size, digits: 1.. }, b';' | b' ' | b'\t') => At::Extension { size, length: 1 },
        (At::Size { size, digits }, byte) => match (byte as char).to_digit(16) {
            // Sixteen digits are all that fit.
            Some(digit) if digits < 16 => At::Size { size: size << 4 | u64::from(digit), digits: digits + 1 },
            _ => return wrong("the size of a chunk"),
        },
        (At::Extension { size, .. }, b'\r') => At::SizeEnd { size },
        (At::Extension { .. }, b'\n') => return wrong("a carriage return"),
        (At::Extension { size, length }, _) if length < ASIDE => At::Extension { size, length: length + 1 },
        (At::Extension { .. }, _) => return wrong("the end of a very long extension"),
        (At::SizeEnd { size: 0 }, b'\n') => At::TrailerStart { length: 0 },
        (At::SizeEnd { size }, b'\n') => At::Data(size),
        (At::DataReturn, b'\r') => At::DataEnd,
        (At::DataEnd, b'\n') => At::Size { size: 0, digits: 0 },
        (At::TrailerStart { .. }, b'\r') => At::LastEnd,
        (At::Trailer { length }, b'\r') => At::TrailerEnd { length },
        (At::TrailerStart { .. } | At::Trailer { .. }, b'\n') => return wrong("a carriage return"),
        (At::TrailerStart { length } | At::Trailer { length }, _) if length < ASIDE => {
            At::Trailer { length: length + 1 }
        }
        (At::TrailerStart { .. } | At::Trailer { .. }, _) => return wrong("the end of very long trailers"),
        (At::TrailerEnd { length }, b'\n') => At::TrailerStart { length },
        (At::LastEnd, b'\n') => At::End,
        (At::SizeEnd { .. } | At::DataEnd | At::TrailerEnd { .. } | At::LastEnd, _) => return wrong("a line feed"),
        (At::DataReturn, _) => return wrong("the end of a chunk"),
        // Neither is asked for a byte.
        (At::Data(_) | At::End, _) => at,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Feeds `pieces` one after another; returns the data and what was left over.
    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, Option<Vec<u8>>), BadChunk> {
        let (mut chunks, mut buffer, mut data) = (Chunks::new(), BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match chunks.decode(&mut buffer)? {
                    Step::Data(bytes) => {
                        assert!(!bytes.is_empty());
                        data.extend_from_slice(&bytes);
                    }
                    Step::More => break,
                    Step::End => return Ok((data, Some(buffer.to_vec()))),
                }
            }
            assert!(buffer.is_empty(), "what needs more keeps nothing back");
        }
        Ok((data, None))
    }

    #[test]
    fn bodies_end_where_they_say() {
        // Bytes, data, what is left over (`None`: the body has not ended).
        type Case<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);
        let cases: &[Case<'_>] = &[
            (b"0\r\n\r\n", b"", Some(b"")),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello", Some(b"")),
            (b"5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200", b"hello", Some(b"HTTP/1.1 200")),
            (b"3;a=\"b\"\r\nabc\r\n1 ; x\r\nd\r\n000\r\n\r\n", b"abcd", Some(b"")),
            (b"A\r\n0123456789\r\n0\r\nx-trailer: 1\r\ny: 2\r\n\r\n", b"0123456789", Some(b"")),
            (b"a\r\n0123", b"0123", None),
            (b"5\r\nhello\r\n", b"hello", None),
            (b"", b"", None),
        ];
        for (bytes, data, left) in cases {
            assert_eq!(decode(&[bytes]).unwrap(), (data.to_vec(), left.map(<[u8]>::to_vec)), "{bytes:?}");
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let (one_by_one, ended) = decode(&single).unwrap();
            assert_eq!((one_by_one.as_slice(), ended.is_some()), (*data, left.is_some()), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let long = [b"1;".as_slice(), &[b'x'; ASIDE + 1]].concat();
        let trailers = [b"0\r\n".as_slice(), &b"x: y\r\n".repeat(ASIDE / 4 + 2)].concat();
        let cases: &[&[u8]] = &[
            b"\r\n",
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\na",
            b"0x1\r\na",
            b" 1\r\na",
            b"1\na",
            b"1;x\na",
            b"1\rX",
            b"11111111111111111\r\n",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n",
            b"3\r\nabc\rX",
            b"0\r\n\n",
            b"0\r\n\rX",
            b"0\r\nx: y\n\r\n",
            b"0\r\nx: y\rz",
            b";x\r\n",
            &long,
            &trailers,
        ];
        for bytes in cases {
            assert!(decode(&[bytes]).is_err(), "{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(40)]));
        }
    }

    proptest! {
        #[test]
        fn however_they_are_cut_the_data_is_the_same(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
            cuts in prop::collection::vec(1usize..20, 1..40),
        ) {
            let mut wire = Vec::new();
            for part in &parts {
                wire.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                wire.extend_from_slice(part);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let (mut pieces, mut rest, mut cuts) = (Vec::new(), wire.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, more) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                pieces.push(piece);
                rest = more;
            }
            let (data, left) = decode(&pieces).unwrap();
            prop_assert_eq!(data, parts.concat());
            prop_assert_eq!(left, Some(Vec::new()));
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&[&bytes]);
        }
    }
}
