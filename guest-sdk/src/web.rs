//! Small tools for pages and redirects.

use crate::{Identity, Reply};

impl Reply {
    /// An empty reply of this status.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// A plain text.
    pub fn text(status: u16, text: &str) -> Self {
        Self::new(status).with("content-type", "text/plain; charset=utf-8").body(text)
    }

    /// A redirect to an encoded path on this server; see [`encode_path`] and [`is_local`].
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::new(status).with("location", location)
    }

    /// 404, as text.
    pub fn not_found() -> Self {
        Self::text(404, "not found\n")
    }

    /// Adds a field.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self
    }

    /// The first value of a field, where it is text; for tests.
    pub fn field(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }
}

impl Identity {
    /// Somebody with this subject and nothing else said.
    pub fn new(subject: &str) -> Self {
        Self { subject: subject.to_owned(), display_name: None, groups: Vec::new(), claims: Vec::new(), ttl: None }
    }
}

/// Encodes a path from the form in which `request.path` gives it. `%2F` stays: it is an encoded slash there.
pub fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'%' if path[at..].starts_with("%2F") => encoded.push('%'),
            _ if is_unreserved(byte) || b"/!$&'()*+,;=:@".contains(&byte) => encoded.push(char::from(byte)),
            _ => push_escape(&mut encoded, byte),
        }
    }
    encoded
}

/// Encodes a text as the value of a query parameter.
pub fn encode_value(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_unreserved(byte) || byte == b'/' {
            encoded.push(char::from(byte))
        } else {
            push_escape(&mut encoded, byte)
        }
    }
    encoded
}

/// Reads `application/x-www-form-urlencoded` text: names and values in order. Bytes that are no UTF-8 become U+FFFD.
pub fn form(body: &[u8]) -> Vec<(String, String)> {
    body.split(|&byte| byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let at = pair.iter().position(|&byte| byte == b'=');
            let (name, value) = at.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
            (decode(name), decode(value))
        })
        .collect()
}

/// Escapes a text for HTML, in elements and in quoted attributes.
pub fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// Whether a browser that is sent there stays on this server: one slash at the beginning, and nothing that browsers read as
/// another host (`//host`, `/\host`, tabs and newlines inside). The host refuses other redirects.
pub fn is_local(location: &str) -> bool {
    let bytes = location.as_bytes();
    bytes.first() == Some(&b'/')
        && !matches!(bytes.get(1), Some(b'/' | b'\\'))
        && bytes.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'\\')
}

fn decode(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let digit = |offset: usize| text.get(at + offset).and_then(|&b| char::from(b).to_digit(16));
        match (byte, digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
            }
            (b'+', ..) => {
                bytes.push(b' ');
                at += 1;
            }
            _ => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn push_escape(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_encoded_for_their_place() {
        assert_eq!(encode_path("/a b/ü%/x%2Fy?"), "/a%20b/%C3%BC%25/x%2Fy%3F");
        assert_eq!(encode_value("/a?b=c&d é"), "/a%3Fb%3Dc%26d%20%C3%A9");
        assert_eq!(escape_html("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
        let pairs = form(b"a=1+2&b=%26%3D&&c&d=%zz%4&e=%C3%A9");
        let expected = [("a", "1 2"), ("b", "&="), ("c", ""), ("d", "%zz%4"), ("e", "é")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn only_paths_here_are_local() {
        for good in ["/", "/a?b=//c", "/connect/#/apps"] {
            assert!(is_local(good), "{good}");
        }
        for bad in ["", "a", "//h", "/\\h", "https://h/", "/\t/h", "/a\\b", "/é", "/a\nb"] {
            assert!(!is_local(bad), "{bad:?}");
        }
    }
}
