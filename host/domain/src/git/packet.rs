//! Packet lines: four hexadecimal digits of length, then so many bytes less four (gitprotocol-common(5)).

/// Longest packet, its length's digits included.
pub(super) const MOST_BYTES: usize = 65_520;

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// `0000`: a part of the message ends.
    Flush,
    /// Bytes.
    Data(&'a [u8]),
}

/// What a server sends is not packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPacket {
    /// The length is not one.
    #[error("it sends a packet without a proper length")]
    Length,
    /// It ends in the middle.
    #[error("it ends within a packet")]
    Short,
}

/// The first packet of `bytes` and how many bytes it takes; `None` when it is not whole yet.
pub(super) fn first(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, BadPacket> {
    let Some(digits) = bytes.get(..4) else { return Ok(None) };
    let digits = std::str::from_utf8(digits).map_err(|_| BadPacket::Length)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(BadPacket::Length);
    }
    match usize::from_str_radix(digits, 16).map_err(|_| BadPacket::Length)? {
        0 => Ok(Some((Packet::Flush, 4))),
        // 1 and 2 are of version 2, which was not asked for; 3 is nothing.
        length @ 4..=MOST_BYTES => Ok(bytes.get(4..length).map(|data| (Packet::Data(data), length))),
        _ => Err(BadPacket::Length),
    }
}

/// Writes a line as a packet.
pub(super) fn line(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{:04x}{text}", text.len() + 4).as_bytes());
}

/// Writes the end of a part.
pub(super) fn flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0000");
}

/// A line's text, without its end; what is no text is shown as such.
pub(super) fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data.strip_suffix(b"\n").unwrap_or(data)).into_owned()
}

/// What a server says went wrong, if that is what a packet is: without control characters, and short.
pub(super) fn refusal(data: &[u8]) -> Option<String> {
    data.strip_prefix(b"ERR ").map(said)
}

/// Somebody else's words, fit for a log line.
pub(super) fn said(bytes: &[u8]) -> String {
    // Servers say a sentence; more than a few of them is no explanation.
    const MOST: usize = 500;
    let text = String::from_utf8_lossy(bytes);
    let text: String = text.chars().map(|one| if one.is_control() { ' ' } else { one }).take(MOST).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        assert_eq!(first(b"0000rest"), Ok(Some((Packet::Flush, 4))));
        assert_eq!(first(b"0004"), Ok(Some((Packet::Data(b""), 4))));
        assert_eq!(first(b"0006a\nb"), Ok(Some((Packet::Data(b"a\n"), 6))));
        for unfinished in [&b""[..], b"00", b"0006a"] {
            assert_eq!(first(unfinished), Ok(None));
        }
        for bad in [&b"0001"[..], b"0003", b"fff1", b"ffff", b"+006a\n", b" 006", b"<htm", b"\xff\xff\xff\xff"] {
            assert_eq!(first(bad), Err(BadPacket::Length), "{bad:?}");
        }
        let mut out = Vec::new();
        line("want\n", &mut out);
        flush(&mut out);
        assert_eq!(out, b"0009want\n0000");
    }

    #[test]
    fn words_of_others_are_made_harmless() {
        assert_eq!(refusal(b"ERR no\x1b[2Jsuch\r\nthing\n"), Some("no [2Jsuch  thing".to_owned()));
        assert_eq!(refusal(b"NAK\n"), None);
        assert_eq!(said(&[b'x'; 9000]).len(), 500);
    }
}
