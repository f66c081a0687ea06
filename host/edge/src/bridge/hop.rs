//! Fields that belong to one connection and are never forwarded (RFC 9110 §7.6.1).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Hop-by-hop fields for which the `http` crate has no name.
const OTHERS: [&str; 4] = ["http2-settings", "keep-alive", "proxy-authentication-info", "proxy-connection"];

/// Removes the fields of this connection, those that `Connection` names among them.
///
/// `Host` and the framing of the body are not for a sender to name there: they stay, for the caller to set.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let mut gone: Vec<HeaderName> = Vec::new();
    for (name, value) in headers.iter() {
        match *name {
            header::CONNECTION => {
                gone.push(header::CONNECTION);
                gone.extend(named(value));
            }
            header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION => gone.push(name.clone()),
            // Names without a number in the `http` crate are compared as text.
            _ if OTHERS.contains(&name.as_str()) => gone.push(name.clone()),
            _ => {}
        }
    }
    for name in gone {
        headers.remove(name);
    }
}

/// Whether a `Connection` field names anything besides the connection's own fate.
pub(super) fn names_others(headers: &HeaderMap) -> bool {
    let own =
        |token: &[u8]| [&b"keep-alive"[..], b"close", b"upgrade"].iter().any(|own| token.eq_ignore_ascii_case(own));
    let values = headers.get_all(header::CONNECTION).iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).any(|token| !own(token.trim_ascii()))
}

/// The field names in a `Connection` field.
fn named(connection: &HeaderValue) -> Vec<HeaderName> {
    let Ok(text) = connection.to_str() else { return Vec::new() };
    text.split(',')
        .map(str::trim)
        .filter(|token| !token.eq_ignore_ascii_case("close") && !token.eq_ignore_ascii_case("keep-alive"))
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect()
}

/// The WebSocket upgrade that a request or a response asks for: `Connection` names `Upgrade`, and that is `websocket`.
///
/// Other protocols are not forwarded: a client that spoke HTTP/2 to the worker through the tunnel would pass everything
/// that stands between them.
pub(crate) fn is_websocket_upgrade(headers: &HeaderMap) -> bool {
    let has = |name: HeaderName, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    headers.contains_key(header::UPGRADE)
        && has(header::CONNECTION, "upgrade")
        && headers.get_all(header::UPGRADE).iter().count() == 1
        && headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn fields_of_the_connection_go_and_the_rest_stays() {
        // Fields, and the names that are left.
        type Fields<'a> = &'a [(&'a str, &'a str)];
        let cases: &[(Fields<'_>, &[&str])] = &[
            (&[("accept", "*/*")], &["accept"]),
            (&[("connection", "keep-alive"), ("keep-alive", "timeout=5"), ("a", "1")], &["a"]),
            (&[("connection", "close, X-Secret"), ("x-secret", "1"), ("x-secret", "2"), ("b", "1")], &["b"]),
            (&[("connection", "x-one"), ("connection", "x-two"), ("x-one", "1"), ("x-two", "2")], &[]),
            (&[("te", "trailers"), ("trailer", "x"), ("transfer-encoding", "chunked")], &[]),
            (&[("upgrade", "h2c"), ("http2-settings", "x"), ("connection", "upgrade, http2-settings")], &[]),
            (&[("proxy-authorization", "x"), ("proxy-authenticate", "x"), ("proxy-connection", "x")], &[]),
            // A sender cannot have the host or the length of a message removed.
            (
                &[("connection", "host, content-length"), ("host", "h"), ("content-length", "3")],
                &["host", "content-length"],
            ),
            (&[("connection", "\u{7f}bad, ,x y"), ("c", "1")], &["c"]),
        ];
        for (fields, left) in cases {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.trim_matches('\u{7f}'))).collect();
            let mut headers = map(&fields);
            remove_hop_by_hop(&mut headers);
            let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            let mut left = left.to_vec();
            left.sort_unstable();
            assert_eq!(names, left, "{fields:?}");
        }
    }

    #[test]
    fn only_websockets_upgrade() {
        let cases: &[(&[(&str, &str)], bool)] = &[
            (&[("connection", "Upgrade"), ("upgrade", "websocket")], true),
            (&[("connection", "keep-alive, upgrade"), ("upgrade", "WebSocket")], true),
            (&[("upgrade", "websocket")], false),
            (&[("connection", "upgrade")], false),
            (&[("connection", "upgrade"), ("upgrade", "h2c")], false),
            (&[("connection", "upgrade"), ("upgrade", "websocket, h2c")], false),
            (&[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")], false),
        ];
        for (fields, expected) in cases {
            assert_eq!(is_websocket_upgrade(&map(fields)), *expected, "{fields:?}");
        }
    }
}
