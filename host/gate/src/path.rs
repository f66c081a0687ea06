//! The path of a request, in the one form that is routed, matched and handed on.
//!
//! Two readings of one path are how gates are passed, so a path is read once, here. Dot segments are resolved, encoded ones
//! too; percent-escapes are decoded once. An encoded slash is the exception: it stays `%2F` in both forms, so the slashes of
//! the decoded form separate the same segments as those of the encoded form, which is what an upstream gets.

use std::fmt;

/// Longest path accepted, in bytes as sent. Longer ones are no addresses: common servers stop at 8 KiB for the whole line.
pub const MAX_PATH_BYTES: usize = 8 * 1024;

/// A path that cannot be routed. The client gets 414 for [`PathError::TooLong`], else 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The target is not a path: `*`, or an authority.
    #[error("path does not begin with a slash")]
    NotAbsolute,
    /// More than [`MAX_PATH_BYTES`].
    #[error("path has {0} bytes, more than {MAX_PATH_BYTES}")]
    TooLong(usize),
    /// `%` without two hexadecimal digits after it.
    #[error("path has a broken percent-escape at byte {0}")]
    BadEscape(usize),
    /// NUL or another control character, as such or encoded.
    #[error("path has a control character at byte {0}")]
    Control(usize),
    /// The decoded bytes are no UTF-8.
    #[error("path is not UTF-8 once decoded")]
    NotUtf8,
    /// A dot segment hidden behind encoded slashes, as in `/a/..%2F..%2Fb`: whoever decodes once more would climb.
    #[error("path hides a dot segment behind an encoded slash")]
    HiddenDots,
}

/// A normalised path. Both forms begin with a slash and have the same segments.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestPath {
    decoded: String,
    /// `None`: the same as `decoded`.
    encoded: Option<String>,
}

impl RequestPath {
    /// Normalises the path of a request target (without its query).
    pub fn parse(raw: &str) -> Result<Self, PathError> {
        if !raw.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        if raw.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong(raw.len()));
        }
        if raw.bytes().all(is_plain) && !raw.contains("/.") {
            return Ok(Self { decoded: raw.to_owned(), encoded: None });
        }
        let mut forms = Forms::default();
        let mut at = 1;
        let mut segments = raw[1..].split('/').peekable();
        while let Some(segment) = segments.next() {
            forms.push(segment, at, segments.peek().is_none())?;
            at += segment.len() + 1;
        }
        forms.finish()
    }

    /// Takes a path in the decoded form, as a plugin writes it, under the same rules.
    pub fn from_decoded(path: &str) -> Result<Self, PathError> {
        let mut raw = String::with_capacity(path.len());
        for (at, byte) in path.bytes().enumerate() {
            match byte {
                b'%' if path[at..].starts_with("%2F") => raw.push('%'),
                b'%' => raw.push_str("%25"),
                _ if is_plain(byte) => raw.push(char::from(byte)),
                _ => push_escape(&mut raw, byte),
            }
        }
        Self::parse(&raw)
    }

    /// Decoded once, `%2F` excepted: what routing compares.
    pub fn decoded(&self) -> &str {
        &self.decoded
    }

    /// Encoded as RFC 3986 asks: what an upstream, a log line or a `Location` gets.
    pub fn encoded(&self) -> &str {
        self.encoded.as_deref().unwrap_or(&self.decoded)
    }

    /// The first `segments` segments, decoded, without the slash after the last; the whole path when it has no more.
    pub fn prefix(&self, segments: usize) -> &str {
        first_segments(&self.decoded, segments)
    }

    /// The first `segments` segments as encoded: what [`RequestPath::without`] leaves out.
    pub fn encoded_prefix(&self, segments: usize) -> &str {
        first_segments(self.encoded(), segments)
    }

    /// The encoded path without its first `segments` segments, `/` when nothing is left; `None` when it has fewer.
    pub fn without(&self, segments: usize) -> Option<&str> {
        let encoded = self.encoded();
        match encoded.match_indices('/').nth(segments) {
            Some((at, _)) => Some(&encoded[at..]),
            None => (encoded.matches('/').count() == segments).then_some("/"),
        }
    }
}

impl fmt::Debug for RequestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.encoded())
    }
}

/// The path and query of a request target as one `Location` may carry them back.
pub fn path_and_query(path: &RequestPath, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{}?{query}", path.encoded()),
        None => path.encoded().to_owned(),
    }
}

fn first_segments(path: &str, segments: usize) -> &str {
    path.match_indices('/').nth(segments).map_or(path, |(at, _)| &path[..at])
}

/// Both forms while they grow, with the length of each before every segment, so that `..` can take one back.
#[derive(Default)]
struct Forms {
    decoded: Vec<u8>,
    encoded: String,
    starts: Vec<(usize, usize)>,
}

impl Forms {
    fn push(&mut self, segment: &str, at: usize, last: bool) -> Result<(), PathError> {
        let start = (self.decoded.len(), self.encoded.len());
        self.decoded.push(b'/');
        self.encoded.push('/');
        let bytes = segment.as_bytes();
        let mut index = 0;
        while let Some(&byte) = bytes.get(index) {
            let octet = if byte == b'%' {
                let octet = escape(&bytes[index + 1..]).ok_or(PathError::BadEscape(at + index))?;
                index += 3;
                octet
            } else {
                index += 1;
                byte
            };
            if octet.is_ascii_control() {
                return Err(PathError::Control(at + index - 1));
            }
            // Encoded slashes alone keep their escape in the decoded form.
            if octet == b'/' {
                self.decoded.extend(b"%2F")
            } else {
                self.decoded.push(octet)
            }
            // An escape stays one, except of characters that never need it; whatever needs one gets it.
            let needs = if byte == b'%' { !is_unreserved(octet) } else { !is_plain(octet) };
            if needs { push_escape(&mut self.encoded, octet) } else { self.encoded.push(char::from(octet)) }
        }
        let decoded = &self.decoded[start.0 + 1..];
        match decoded {
            b"." | b".." => {
                let up = decoded == b"..";
                self.truncate(start);
                if up && let Some(before) = self.starts.pop() {
                    self.truncate(before);
                }
                // `/a/.` and `/a/b/..` are directories: they end in a slash.
                if last {
                    self.decoded.push(b'/');
                    self.encoded.push('/');
                }
            }
            _ => {
                let text = std::str::from_utf8(decoded).map_err(|_| PathError::NotUtf8)?;
                if text.contains("%2F") && text.split("%2F").any(|part| part == "." || part == "..") {
                    return Err(PathError::HiddenDots);
                }
                self.starts.push(start);
            }
        }
        Ok(())
    }

    fn truncate(&mut self, (decoded, encoded): (usize, usize)) {
        self.decoded.truncate(decoded);
        self.encoded.truncate(encoded);
    }

    fn finish(self) -> Result<RequestPath, PathError> {
        let decoded = String::from_utf8(self.decoded).map_err(|_| PathError::NotUtf8)?;
        let encoded = (self.encoded != decoded).then_some(self.encoded);
        Ok(RequestPath { decoded, encoded })
    }
}

fn escape(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| digits.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

fn push_escape(text: &mut String, octet: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(octet >> 4)]));
    text.push(char::from(DIGITS[usize::from(octet & 15)]));
}

/// Unreserved characters: an escape of one means the character itself (RFC 3986 §2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// What a path may hold unencoded: `pchar` and the slash (RFC 3986 §3.3).
fn is_plain(byte: u8) -> bool {
    is_unreserved(byte) || b"/!$&'()*+,;=:@".contains(&byte)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_read_once() {
        // As sent, decoded, encoded.
        let cases = [
            ("/", "/", "/"),
            ("/a/b", "/a/b", "/a/b"),
            ("/a/", "/a/", "/a/"),
            ("//a//b", "//a//b", "//a//b"),
            ("/a/./b", "/a/b", "/a/b"),
            ("/a/../b", "/b", "/b"),
            ("/a/b/..", "/a/", "/a/"),
            ("/a/b/.", "/a/b/", "/a/b/"),
            ("/..", "/", "/"),
            ("/../../etc/passwd", "/etc/passwd", "/etc/passwd"),
            ("/a/%2e%2E/b", "/b", "/b"),
            ("/%2e/a", "/a", "/a"),
            ("/.well-known/x", "/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/...", "/a/..."),
            ("/%41%7e", "/A~", "/A~"),
            ("/a%20b", "/a b", "/a%20b"),
            ("/a b", "/a b", "/a%20b"),
            ("/caf%c3%a9", "/café", "/caf%C3%A9"),
            ("/café", "/café", "/caf%C3%A9"),
            ("/a%2fb", "/a%2Fb", "/a%2Fb"),
            ("/a%252fb", "/a%2fb", "/a%252fb"),
            ("/a%25", "/a%", "/a%25"),
            ("/a%3fb", "/a?b", "/a%3Fb"),
            ("/a;v=1/@b", "/a;v=1/@b", "/a;v=1/@b"),
            ("/a%3Bb", "/a;b", "/a%3Bb"),
            (r"/a\..\b", r"/a\..\b", "/a%5C..%5Cb"),
        ];
        for (raw, decoded, encoded) in cases {
            let path = RequestPath::parse(raw).unwrap();
            assert_eq!((path.decoded(), path.encoded()), (decoded, encoded), "{raw}");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let cases = [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("a/b", PathError::NotAbsolute),
            ("/%", PathError::BadEscape(1)),
            ("/a%4", PathError::BadEscape(2)),
            ("/a/%zz", PathError::BadEscape(3)),
            ("/a%00", PathError::Control(4)),
            ("/a%0d%0aset-cookie:x", PathError::Control(4)),
            ("/a\u{7f}", PathError::Control(2)),
            ("/%ff", PathError::NotUtf8),
            ("/a/..%2f..%2fetc", PathError::HiddenDots),
            ("/a/%2e%2e%2Fb", PathError::HiddenDots),
            ("/a/x%2F.", PathError::HiddenDots),
        ];
        for (raw, error) in cases {
            assert_eq!(RequestPath::parse(raw), Err(error), "{raw}");
        }
        let long = format!("/{}", "a".repeat(MAX_PATH_BYTES));
        assert_eq!(RequestPath::parse(&long), Err(PathError::TooLong(MAX_PATH_BYTES + 1)));
    }

    #[test]
    fn segments_are_counted_by_slashes() {
        let path = RequestPath::parse("/content/a%20b/x%2Fy/").unwrap();
        let prefixes: Vec<&str> = (0..6).map(|n| path.prefix(n)).collect();
        let whole = "/content/a b/x%2Fy/";
        assert_eq!(prefixes, ["", "/content", "/content/a b", "/content/a b/x%2Fy", whole, whole]);
        let rests: Vec<Option<&str>> = (0..6).map(|n| path.without(n)).collect();
        assert_eq!(
            rests,
            [Some("/content/a%20b/x%2Fy/"), Some("/a%20b/x%2Fy/"), Some("/x%2Fy/"), Some("/"), Some("/"), None]
        );
        assert_eq!(path.encoded_prefix(2), "/content/a%20b");
    }

    proptest! {
        #[test]
        fn normalising_again_changes_nothing(raw in "/[a-c./%25eEFf\\\\ é~;0-9]{0,40}") {
            let Ok(path) = RequestPath::parse(&raw) else { return Ok(()) };
            let again = RequestPath::parse(path.encoded());
            prop_assert_eq!(again.as_ref(), Ok(&path));
            prop_assert!(path.encoded().bytes().all(|byte| is_plain(byte) || byte == b'%'));
            prop_assert_eq!(path.decoded().matches('/').count(), path.encoded().matches('/').count());
            prop_assert!(path.decoded().split('/').all(|segment| segment != "." && segment != ".."));
            if !path.decoded().contains("%2F") {
                let again = RequestPath::from_decoded(path.decoded()).unwrap();
                prop_assert_eq!(again.decoded(), path.decoded());
            }
        }

        #[test]
        fn any_text_is_answered(raw in "\\PC{0,60}") {
            let _ = RequestPath::parse(&raw);
            let _ = RequestPath::from_decoded(&raw);
        }
    }
}
