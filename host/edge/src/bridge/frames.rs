//! Knows where the frames of a WebSocket begin that pass as bytes (RFC 6455 §5.2), so that one more can be put between two.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where in a frame the last byte was. A few bytes for each tunnel; nothing is kept of what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first byte of a frame.
    Between,
    /// Its second byte comes next.
    Length,
    /// So many bytes of a longer length come, the value as far as it is known, and whether a mask of four bytes follows.
    Longer { left: u8, value: u64, masked: bool },
    /// So many bytes of its mask and payload come.
    Payload { left: u64 },
}

impl Place {
    fn after(self, bytes: &[u8]) -> Self {
        let (mut place, mut rest) = (self, bytes);
        while let Some((&byte, more)) = rest.split_first() {
            (place, rest) = match place {
                Self::Between => (Self::Length, more),
                Self::Length => {
                    let masked = byte & 0x80 != 0;
                    let place = match byte & 0x7f {
                        126 => Self::Longer { left: 2, value: 0, masked },
                        127 => Self::Longer { left: 8, value: 0, masked },
                        short => Self::payload(u64::from(short), masked),
                    };
                    (place, more)
                }
                Self::Longer { left, value, masked } => {
                    let value = (value << 8) | u64::from(byte);
                    let place = match left {
                        0 | 1 => Self::payload(value, masked),
                        left => Self::Longer { left: left - 1, value, masked },
                    };
                    (place, more)
                }
                Self::Payload { left } => {
                    let taken = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                    let left = left - taken as u64;
                    (if left == 0 { Self::Between } else { Self::Payload { left } }, &rest[taken..])
                }
            };
        }
        place
    }

    fn payload(length: u64, masked: bool) -> Self {
        match length.saturating_add(if masked { 4 } else { 0 }) {
            0 => Self::Between,
            left => Self::Payload { left },
        }
    }
}

/// A socket that knows whether what was written to it ends with a frame.
#[derive(Debug)]
pub(super) struct Framed<S> {
    socket: S,
    place: Place,
}

impl<S> Framed<S> {
    pub(super) fn new(socket: S) -> Self {
        Self { socket, place: Place::Between }
    }

    /// Whether a frame may be written now.
    pub(super) fn is_between(&self) -> bool {
        self.place == Place::Between
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
        self.place = self.place.after(bytes.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let bit = if masked { 0x80 } else { 0 };
        let mut bytes = vec![0x82];
        match length {
            0..126 => bytes.push(bit | length as u8),
            126..65_536 => bytes.extend([&[bit | 126][..], &(length as u16).to_be_bytes()].concat()),
            _ => bytes.extend([&[bit | 127][..], &(length as u64).to_be_bytes()].concat()),
        }
        bytes.extend(std::iter::repeat_n(0x81, length + if masked { 4 } else { 0 }));
        bytes
    }

    #[test]
    fn frames_end_where_their_length_says() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            for masked in [false, true] {
                let bytes = frame(length, masked);
                assert_eq!(Place::Between.after(&bytes), Place::Between, "{length}");
                assert_ne!(Place::Between.after(&bytes[..bytes.len() - 1]), Place::Between, "{length}");
                assert_ne!(Place::Between.after(&bytes[..1]), Place::Between, "{length}");
            }
        }
        // A length that nobody has sent in full.
        let endless = [0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(Place::Between.after(&endless), Place::Payload { left: u64::MAX });
        let endless = [0x82, 255, 255, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(Place::Between.after(&endless), Place::Payload { left: u64::MAX });
    }

    proptest! {
        /// However bytes are cut, the place is the same.
        #[test]
        fn any_cut_leads_to_the_same_place(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..300) {
            let (one, two) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(Place::Between.after(one).after(two), Place::Between.after(&bytes));
        }

        #[test]
        fn whole_frames_end_between(lengths in prop::collection::vec((0_usize..70_000, any::<bool>()), 0..6)) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|(length, masked)| frame(*length, *masked)).collect();
            prop_assert_eq!(Place::Between.after(&bytes), Place::Between);
        }
    }
}
