//! Where a browser goes after it came back from a provider: a page of this server.

/// Longest address, in bytes: it is stored.
const MAX_BYTES: usize = 2048;

/// Whether a browser stays on this server when it is sent to `text`: a path with or without a query, in plain characters.
///
/// `//x`, and `/\x`, which browsers read alike, name another server.
pub fn is_way_back(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>`{}|^#".contains(&byte);
    text.len() <= MAX_BYTES && text.starts_with('/') && !text.starts_with("//") && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_server() {
        for good in ["/", "/connect/account", "/rsc/content/0f4b/?a=b&c=%2F", "/a//b"] {
            assert!(is_way_back(good), "{good}");
        }
        for bad in [
            "",
            "//evil.example/",
            "/\\evil.example/",
            "https://evil.example/",
            "connect/",
            "javascript:alert(1)",
            "/a b",
            "/a\r\nb",
            "/\t/evil.example",
            "/a#b",
            "/\u{e4}",
        ] {
            assert!(!is_way_back(bad), "{bad}");
        }
        assert!(!is_way_back(&format!("/{}", "x".repeat(MAX_BYTES))));
    }
}
