//! Pictures that publishers give their content: which kinds are taken, recognised by their first bytes.
//!
//! What a client says of a picture's type counts for nothing: a page with scripts must not be served as an image, nor an
//! image that is a page to some other reader. SVG is not taken, because it holds scripts.

/// Most bytes of a picture, 5 MiB: ten times what a card on a page needs.
pub const MAX_BYTES: usize = 5 << 20;

/// Most pixels along one side, as browsers on small devices still draw.
pub const MAX_SIDE: u32 = 8192;

/// A kind of picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// PNG (ISO/IEC 15948).
    Png,
    /// JPEG (ITU T.81).
    Jpeg,
    /// GIF 87a and 89a.
    Gif,
    /// WebP (RFC 9649).
    Webp,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Png, Self::Jpeg, Self::Gif, Self::Webp];

    /// The media type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
        }
    }

    /// Parses a media type.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Why bytes are not taken as a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPicture {
    /// Nothing was sent.
    #[error("no bytes were received")]
    Empty,
    /// Too many bytes.
    #[error("a picture may have at most {MAX_BYTES} bytes")]
    TooLong,
    /// None of the kinds, or cut short.
    #[error("the bytes are no PNG, JPEG, GIF or WebP picture")]
    Unknown,
    /// Without area, or too large.
    #[error("a picture must be 1 to {MAX_SIDE} pixels wide and high, not {width} × {height}")]
    Size {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
}

/// Recognises a picture and checks its size in bytes and pixels.
pub fn recognise(bytes: &[u8]) -> Result<Kind, BadPicture> {
    if bytes.is_empty() {
        return Err(BadPicture::Empty);
    }
    if bytes.len() > MAX_BYTES {
        return Err(BadPicture::TooLong);
    }
    let read = png(bytes).map(|size| (Kind::Png, size));
    let read = read.or_else(|| jpeg(bytes).map(|size| (Kind::Jpeg, size)));
    let read = read.or_else(|| gif(bytes).map(|size| (Kind::Gif, size)));
    let (kind, (width, height)) =
        read.or_else(|| webp(bytes).map(|size| (Kind::Webp, size))).ok_or(BadPicture::Unknown)?;
    let fits = |side| (1..=MAX_SIDE).contains(&side);
    if fits(width) && fits(height) { Ok(kind) } else { Err(BadPicture::Size { width, height }) }
}

type Size = (u32, u32);

fn big(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn big16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?).into())
}

fn little16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?).into())
}

/// The header is the first chunk (§11.2.1).
fn png(bytes: &[u8]) -> Option<Size> {
    bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?;
    if big(bytes, 8)? != 13 || bytes.get(12..16)? != b"IHDR" {
        return None;
    }
    Some((big(bytes, 16)?, big(bytes, 20)?))
}

fn gif(bytes: &[u8]) -> Option<Size> {
    if !bytes.starts_with(b"GIF87a") && !bytes.starts_with(b"GIF89a") {
        return None;
    }
    bytes.get(12)?; // The rest of the screen descriptor.
    Some((little16(bytes, 6)?, little16(bytes, 8)?))
}

/// Walks the segments to the frame header (§B.2.2); the picture's data comes after it.
fn jpeg(bytes: &[u8]) -> Option<Size> {
    bytes.strip_prefix(b"\xff\xd8\xff")?;
    let mut at = 2;
    loop {
        if *bytes.get(at)? != 0xff {
            return None;
        }
        let marker = *bytes.get(at + 1)?;
        match marker {
            // A fill byte before a marker.
            0xff => at += 1,
            // Start of a frame: all but the tables for Huffman and arithmetic coding and the JPG extension.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                return Some((big16(bytes, at + 7)?, big16(bytes, at + 5)?));
            }
            // Start of a scan or the end: there was no frame.
            0xda | 0xd9 => return None,
            // Markers without a segment.
            0x01 | 0xd0..=0xd8 => at += 2,
            _ => {
                let length = usize::try_from(big16(bytes, at + 2)?).ok()?;
                if length < 2 {
                    return None;
                }
                at += 2 + length;
            }
        }
    }
}

/// The first chunk says it: lossy, lossless, or extended.
fn webp(bytes: &[u8]) -> Option<Size> {
    if !bytes.starts_with(b"RIFF") || bytes.get(8..12)? != b"WEBP" {
        return None;
    }
    let little24 = |at: usize| -> Option<u32> {
        let part = bytes.get(at..at + 3)?;
        Some(u32::from_le_bytes([part[0], part[1], part[2], 0]))
    };
    match bytes.get(12..16)? {
        b"VP8 " if bytes.get(23..26)? == b"\x9d\x01\x2a" => {
            Some((little16(bytes, 26)? & 0x3fff, little16(bytes, 28)? & 0x3fff))
        }
        b"VP8L" if *bytes.get(20)? == 0x2f => {
            let bits = u32::from_le_bytes(bytes.get(21..25)?.try_into().ok()?);
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => Some((little24(24)? + 1, little24(27)? + 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn png_of(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend(b"\x08\x06\0\0\0");
        bytes
    }

    fn jpeg_of(width: u16, height: u16, before: &[u8]) -> Vec<u8> {
        let mut bytes = b"\xff\xd8".to_vec();
        bytes.extend(before);
        bytes.extend(b"\xff\xc0\0\x11\x08");
        bytes.extend(height.to_be_bytes());
        bytes.extend(width.to_be_bytes());
        bytes.extend(b"\x03");
        bytes
    }

    #[test]
    fn kinds_are_recognised() {
        let app = b"\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xfe\0\x04hi";
        let vp8x = b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x0f\0\0\x1f\0\0";
        let vp8l = b"RIFF\x20\0\0\0WEBPVP8L\x0a\0\0\0\x2f\x0f\xc0\x07\0\0";
        let vp8 = b"RIFF\x20\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\x10\0\x20\0";
        let cases: [(&[u8], Kind); 8] = [
            (&png_of(16, 32), Kind::Png),
            (&jpeg_of(16, 32, app), Kind::Jpeg),
            (&jpeg_of(16, 32, b"\xff\xff\xe1\0\x02"), Kind::Jpeg),
            (b"GIF89a\x10\0\x20\0\0\0\0", Kind::Gif),
            (b"GIF87a\x10\0\x20\0\0\0\0", Kind::Gif),
            (vp8x, Kind::Webp),
            (vp8l, Kind::Webp),
            (vp8, Kind::Webp),
        ];
        for (bytes, kind) in cases {
            assert_eq!(recognise(bytes), Ok(kind), "{bytes:?}");
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
            for end in 0..bytes.len().min(16) {
                assert!(recognise(&bytes[..end]).is_err(), "cut at {end}: {bytes:?}");
            }
        }
        assert_eq!(webp(vp8x), Some((16, 32)));
        assert_eq!(webp(vp8l), Some((16, 32)));
        assert_eq!(webp(vp8), Some((16, 32)));
        assert_eq!(jpeg(&jpeg_of(16, 32, app)), Some((16, 32)));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>";
        for bytes in [
            &svg[..],
            b"<html>",
            b"GIF89",
            b"\xff\xd8\xff\xda\0\x02",
            b"\xff\xd8\xff\xe0\0\0",
            b"RIFF....WEBPXXXX",
            b"BM",
        ] {
            assert_eq!(recognise(bytes), Err(BadPicture::Unknown), "{bytes:?}");
        }
        assert_eq!(recognise(b""), Err(BadPicture::Empty));
        assert_eq!(recognise(&png_of(0, 1)), Err(BadPicture::Size { width: 0, height: 1 }));
        assert_eq!(recognise(&png_of(1, 8193)), Err(BadPicture::Size { width: 1, height: 8193 }));
        let mut long = png_of(1, 1);
        long.resize(MAX_BYTES + 1, 0);
        assert_eq!(recognise(&long), Err(BadPicture::TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(start in 0usize..6, rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            let starts: [&[u8]; 6] = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8 ", b"RIFF\0\0\0\0WEBPVP8X"];
            let _ = recognise(&[starts[start], &rest].concat());
        }
    }
}
