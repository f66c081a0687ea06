//! The answer to a request for one commit: where the history was cut, then a pack, in channels (gitprotocol-pack(5)).
//!
//! Bytes come in any pieces; no more than one packet is held.

use super::commit::Commit;
use super::packet::{self, BadPacket, Packet};

/// Most commits at which the history is cut. One commit was asked for, so it is that one.
const MOST_SHALLOW: usize = 16;

/// Reads an answer as it comes.
#[derive(Debug)]
pub struct Answer {
    state: State,
    /// Bytes of a packet that is not whole.
    held: Vec<u8>,
    shallow: Vec<Commit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Lines `shallow`, to a flush.
    Shallow,
    /// The line `NAK`.
    Nak,
    /// Packets of channels, to a flush.
    Channels,
    /// The pack, bare.
    Bare,
    /// It is over.
    Done,
}

/// Why an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Not packets.
    #[error(transparent)]
    Packet(#[from] BadPacket),
    /// Packets that do not belong there.
    #[error("what it sends is not an answer to a fetch")]
    Form,
    /// The server says what is wrong.
    #[error("it says: {0}")]
    Said(String),
    /// It ended too early.
    #[error("its answer broke off")]
    Short,
}

impl Answer {
    /// Expects an answer, its pack in channels or bare.
    pub fn new() -> Self {
        Self { state: State::Shallow, held: Vec::new(), shallow: Vec::new() }
    }

    /// Takes the next bytes and adds what there is of the pack to `pack`. `channels`: as
    /// [`super::Advertisement::has_channels`] says.
    pub fn take(&mut self, bytes: &[u8], channels: bool, pack: &mut Vec<u8>) -> Result<(), BadAnswer> {
        if self.state == State::Bare {
            pack.extend_from_slice(bytes);
            return Ok(());
        }
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_slice();
        while let Some((packet, length)) = packet::first(rest)? {
            rest = &rest[length..];
            self.one(packet, channels, pack)?;
            if self.state == State::Bare {
                pack.extend_from_slice(rest);
                return Ok(());
            }
        }
        rest.clone_into(&mut self.held);
        Ok(())
    }

    fn one(&mut self, packet: Packet<'_>, channels: bool, pack: &mut Vec<u8>) -> Result<(), BadAnswer> {
        if let (Packet::Data(data), State::Shallow | State::Nak) = (packet, self.state)
            && let Some(said) = packet::refusal(data)
        {
            return Err(BadAnswer::Said(said));
        }
        match (self.state, packet) {
            (State::Shallow, Packet::Flush) => self.state = State::Nak,
            (State::Shallow, Packet::Data(data)) => {
                let line = packet::text(data);
                let commit = line.strip_prefix("shallow ").and_then(|commit| commit.parse().ok());
                let commit = commit.filter(|_| self.shallow.len() < MOST_SHALLOW).ok_or(BadAnswer::Form)?;
                self.shallow.push(commit);
            }
            (State::Nak, Packet::Data(data)) if packet::text(data) == "NAK" => {
                self.state = if channels { State::Channels } else { State::Bare };
            }
            (State::Channels, Packet::Flush) => self.state = State::Done,
            (State::Channels, Packet::Data([1, data @ ..])) => pack.extend_from_slice(data),
            // What it says about its progress.
            (State::Channels, Packet::Data([2, ..])) => {}
            (State::Channels, Packet::Data([3, data @ ..])) => return Err(BadAnswer::Said(packet::said(data))),
            (State::Nak | State::Channels | State::Bare | State::Done, _) => return Err(BadAnswer::Form),
        }
        Ok(())
    }

    /// The commits whose parents were left out, once all bytes were taken.
    pub fn finish(self) -> Result<Vec<Commit>, BadAnswer> {
        let whole = self.held.is_empty() && matches!(self.state, State::Done | State::Bare);
        if whole { Ok(self.shallow) } else { Err(BadAnswer::Short) }
    }
}

impl Default for Answer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn channel(number: u8, data: &[u8]) -> Vec<u8> {
        let mut packet = format!("{:04x}", data.len() + 5).into_bytes();
        packet.push(number);
        packet.extend_from_slice(data);
        packet
    }

    fn read(bytes: &[u8], piece: usize, channels: bool) -> Result<(Vec<u8>, usize), BadAnswer> {
        let (mut answer, mut pack) = (Answer::new(), Vec::new());
        for piece in bytes.chunks(piece.max(1)) {
            answer.take(piece, channels, &mut pack)?;
        }
        answer.finish().map(|shallow| (pack, shallow.len()))
    }

    fn good() -> Vec<u8> {
        let head = format!("0035shallow {A}\n00000008NAK\n").into_bytes();
        let parts = [head, channel(2, b"counting"), channel(1, b"PACK"), channel(1, b"data"), b"0000".to_vec()];
        parts.concat()
    }

    #[test]
    fn a_pack_in_channels_and_a_bare_one() {
        assert_eq!(read(&good(), 1000, true), Ok((b"PACKdata".to_vec(), 1)));
        assert_eq!(read(b"00000008NAK\nPACKdata", 7, false), Ok((b"PACKdata".to_vec(), 0)));
    }

    #[test]
    fn what_goes_wrong_is_said() {
        let said = |words: &str| Err(BadAnswer::Said(words.into()));
        let head = b"00000008NAK\n".to_vec();
        assert_eq!(read(b"000cERR gone", 100, true), said("gone"));
        assert_eq!(read(&[head.clone(), channel(3, b"out of\nmemory")].concat(), 100, true), said("out of memory"));
        assert_eq!(read(&head, 100, true), Err(BadAnswer::Short));
        assert_eq!(read(&good()[..70], 100, true), Err(BadAnswer::Short));
        assert_eq!(read(&[head.clone(), channel(4, b"x")].concat(), 100, true), Err(BadAnswer::Form));
        assert_eq!(read(&[good(), channel(1, b"x")].concat(), 100, true), Err(BadAnswer::Form));
        assert_eq!(read(b"0008ACK\n", 100, true), Err(BadAnswer::Form));
        let many = format!("0035shallow {A}\n").repeat(MOST_SHALLOW + 1);
        assert_eq!(read(many.as_bytes(), 100, true), Err(BadAnswer::Form));
    }

    proptest! {
        /// In which pieces it comes does not matter.
        #[test]
        fn pieces_do_not_matter(piece in 1_usize..40) {
            prop_assert_eq!(read(&good(), piece, true), Ok((b"PACKdata".to_vec(), 1)));
        }

        #[test]
        fn nothing_panics_and_little_is_held(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..90) {
            let mut answer = Answer::new();
            let mut all = good();
            all.truncate(at);
            all.extend(bytes);
            let mut pack = Vec::new();
            let _ = answer.take(&all, true, &mut pack);
            prop_assert!(answer.held.len() < packet::MOST_BYTES && pack.len() <= all.len());
        }
    }
}
