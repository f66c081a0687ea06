//! Small tools for pages, redirects, paths and addresses.

mod network;
mod notice;
mod paths;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::{Identity, Reply};

pub use network::{BadNetwork, Network, address};
pub use notice::Notice;
pub use paths::{MAX_LOCATION_BYTES, is_below, is_path, keep_query};

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

/// An address with these parameters added to its query; its fragment is left out.
///
/// ```
/// use lectern_plugin::web::with_query;
///
/// let address = with_query("https://idp.example/auth?p=1", &[("scope", "openid email")]);
/// assert_eq!(address, "https://idp.example/auth?p=1&scope=openid%20email");
/// ```
pub fn with_query(address: &str, parameters: &[(&str, &str)]) -> String {
    let mut text = address.split('#').next().unwrap_or_default().to_owned();
    for (name, value) in parameters {
        text.push(if text.contains('?') { '&' } else { '?' });
        text.push_str(&encode_value(name));
        text.push('=');
        text.push_str(&encode_value(value));
    }
    text
}

/// Writes `application/x-www-form-urlencoded` text; [`form`] reads it.
pub fn to_form(pairs: &[(&str, &str)]) -> String {
    with_query("", pairs).trim_start_matches('?').to_owned()
}

/// The origin of an absolute address, where it has none of the forms that two readers understand differently: `https://host` or
/// `https://host:port`, in lower case, no user, no backslash, no white space.
pub fn origin_of(address: &str) -> Option<&str> {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| address.starts_with(scheme))?;
    let rest = &address[scheme.len()..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte);
    let clean = address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    (end > 0 && clean && rest[..end].bytes().all(fits)).then(|| &address[..scheme.len() + end])
}

/// Whether secrets may be sent to this address: its scheme is `https`, or it is on this machine.
pub fn is_confidential(address: &str) -> bool {
    let Some(origin) = origin_of(address) else { return false };
    let here = |host: &str| origin.strip_prefix(host).is_some_and(|port| port.is_empty() || port.starts_with(':'));
    origin.starts_with("https://") || ["http://localhost", "http://127.0.0.1", "http://[::1]"].into_iter().any(here)
}

/// Bytes as base64url without padding (RFC 4648 §5).
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A text of somebody else, fit for one line of a log or a page: cut after so many characters and without control characters.
pub fn one_line(text: &str, most: usize) -> String {
    let mut line: String =
        text.chars().take(most).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if text.chars().nth(most).is_some() {
        line.push('…');
    }
    line
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
    fn addresses_with_a_query() {
        assert_eq!(with_query("https://h/a", &[("a", "1&2"), ("b", "é")]), "https://h/a?a=1%262&b=%C3%A9");
        assert_eq!(with_query("https://h/a?x#f", &[("a", "1")]), "https://h/a?x&a=1");
        assert_eq!(to_form(&[("a", "1 2"), ("b", "&=")]), "a=1%202&b=%26%3D");
        assert_eq!(to_form(&[]), "");
    }

    #[test]
    fn origins_that_all_read_alike() {
        for (address, origin) in [
            ("https://idp.example", "https://idp.example"),
            ("https://idp.example:8443/a?b#c", "https://idp.example:8443"),
            ("http://[::1]:80?x", "http://[::1]:80"),
        ] {
            assert_eq!(origin_of(address), Some(origin), "{address}");
        }
        for bad in [
            "",
            "https://",
            "https:///a",
            "//idp.example",
            "ftp://idp.example",
            "HTTPS://idp.example",
            "https://IDP.example",
            "https://u@idp.example",
            "https://idp.example\\@evil",
            "https://idp.example/ x",
            "https://idp.example/\n",
            "https://idp.example;x",
        ] {
            assert_eq!(origin_of(bad), None, "{bad}");
        }
        for good in ["https://a/", "http://localhost:8080/x", "http://127.0.0.1", "http://[::1]:1"] {
            assert!(is_confidential(good), "{good}");
        }
        for bad in ["http://a/", "http://localhost.evil/", "http://127.0.0.10/", "http://localhost@evil/"] {
            assert!(!is_confidential(bad), "{bad}");
        }
    }

    #[test]
    fn lines_are_one() {
        assert_eq!(one_line("a\nb", 9), "a\u{fffd}b");
        assert_eq!(one_line("aé\u{1b}c", 2), "aé…");
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
