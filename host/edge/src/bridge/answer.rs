//! The head of a worker's answer: read from the wire, and made the client's.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, Version, response};

use super::chunked::Chunks;
use super::{cookies, hop, location};

const SERVICE_WORKER_ALLOWED: HeaderName = HeaderName::from_static("service-worker-allowed");

/// Largest head of an answer, in bytes, and most fields in it. Browsers refuse larger ones.
const HEAD_BYTES: usize = 64 * 1024;
const FIELDS: usize = 128;

/// What a worker sent is no HTTP/1 answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the head is larger than {HEAD_BYTES} bytes")]
    TooLong,
    #[error("the head is not HTTP/1")]
    Syntax(#[from] httparse::Error),
    #[error("the field {0:?} cannot be read")]
    Field(String),
    #[error("status {0} is none")]
    Status(u16),
    #[error("more than {0} interim answers came, and no answer")]
    Interim(u32),
    #[error("the length of the body is not clear: {0}")]
    Length(&'static str),
}

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Debug)]
pub(super) enum Rest {
    /// No bytes are to come.
    Nothing,
    /// So many are.
    Length(u64),
    /// They come in chunks.
    Chunked(Chunks),
    /// All until the worker closes.
    UntilClose,
}

/// The head of an answer, and what it says about what follows.
pub(super) struct AnswerHead {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) rest: Rest,
    /// The connection may carry another request.
    pub(super) keeps: bool,
}

/// Takes the head of an answer to a request of `method` from `bytes`; `None`: it has not arrived completely.
pub(super) fn read(bytes: &mut BytesMut, method: &Method) -> Result<Option<AnswerHead>, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if bytes.len() >= HEAD_BYTES => return Err(Malformed::TooLong),
        httparse::Status::Partial => return Ok(None),
    };
    let (code, minor) = (parsed.code.unwrap_or_default(), parsed.version.unwrap_or_default());
    let status = StatusCode::from_u16(code).map_err(|_| Malformed::Status(code))?;
    let place = |part: &[u8]| {
        let from = (part.as_ptr() as usize).saturating_sub(bytes.as_ptr() as usize);
        from..from + part.len()
    };
    let places: Vec<_> =
        parsed.headers.iter().map(|field| (place(field.name.as_bytes()), place(field.value))).collect();
    // The values stay where they arrived.
    let head = bytes.split_to(length).freeze();
    let mut headers = HeaderMap::with_capacity(places.len());
    for (name, value) in places {
        let bad = || Malformed::Field(String::from_utf8_lossy(&head[name.clone()]).into_owned());
        let value = HeaderValue::from_maybe_shared(head.slice(value)).map_err(|_| bad())?;
        headers.append(HeaderName::from_bytes(&head[name.clone()]).map_err(|_| bad())?, value);
    }
    let rest = rest(method, status, minor, &mut headers)?;
    let keeps = minor == 1 && !matches!(rest, Rest::UntilClose) && !says_close(&headers);
    Ok(Some(AnswerHead { status, headers, rest, keeps }))
}

fn says_close(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// How the end of the body is found. Where two readers could disagree, the answer is refused; a length that does not count is
/// removed.
fn rest(method: &Method, status: StatusCode, minor: u8, headers: &mut HeaderMap) -> Result<Rest, Malformed> {
    let bodiless = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless {
        return Ok(Rest::Nothing);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if minor == 0 {
            return Err(Malformed::Length("HTTP/1.0 knows no transfer coding"));
        }
        if codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(Malformed::Length("a transfer coding other than chunked"));
        }
        headers.remove(header::CONTENT_LENGTH);
        return Ok(Rest::Chunked(Chunks::new()));
    }
    let mut length: Option<u64> = None;
    let values = headers.get_all(header::CONTENT_LENGTH).iter();
    for text in values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii) {
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        match (number, length) {
            (Some(number), None) => length = Some(number),
            (Some(number), Some(before)) if number == before => {}
            (Some(_), Some(_)) => return Err(Malformed::Length("two lengths that disagree")),
            (None, _) => return Err(Malformed::Length("a length that is no number")),
        }
    }
    let Some(length) = length else { return Ok(Rest::UntilClose) };
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(if length == 0 { Rest::Nothing } else { Rest::Length(length) })
}

/// Makes the client's answer of the worker's: `mount` is the external path of the content, `host` what the client addressed.
pub(crate) fn from_worker<B>(answer: Response<B>, mount: &str, host: &str) -> (response::Parts, B) {
    let (mut parts, body) = answer.into_parts();
    let websocket = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    hop::remove_hop_by_hop(&mut parts.headers);
    if websocket {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    // What runs the content is nobody's business.
    parts.headers.remove(header::SERVER);
    // It would let a script of one content item take over the pages of all others.
    parts.headers.remove(SERVICE_WORKER_ALLOWED);
    cookies::confine(&mut parts.headers, mount);
    location::rewrite(&mut parts.headers, mount, host);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    (parts, body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(method: &Method, text: &str) -> Result<Option<AnswerHead>, Malformed> {
        read(&mut BytesMut::from(text), method)
    }

    #[test]
    fn heads_say_how_their_bodies_end() {
        // Method, head, how the body ends, whether the connection may be kept.
        let cases = [
            ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "Length(5)", true),
            ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\nContent-Length: 5\r\n\r\n", "Length(5)", true),
            ("GET", "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", "Nothing", true),
            ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n", "Chunked", true),
            ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", "Chunked", true),
            ("GET", "HTTP/1.1 200 OK\r\n\r\n", "UntilClose", false),
            ("GET", "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 1\r\n\r\n", "Length(1)", false),
            ("GET", "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n", "Length(1)", false),
            ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "Nothing", true),
            ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "Nothing", true),
            ("GET", "HTTP/1.1 204 No\r\n\r\n", "Nothing", true),
            ("GET", "HTTP/1.1 304 No\r\ncontent-length: 7\r\n\r\n", "Nothing", true),
            ("GET", "HTTP/1.1 101 Up\r\n\r\n", "Nothing", true),
            ("POST", "HTTP/1.1 500 Oh\r\ncontent-length: 18446744073709551615\r\n\r\n", "Length(1844", true),
        ];
        for (method, text, rest, keeps) in cases {
            let head = parse(&method.parse().unwrap(), text).unwrap().unwrap();
            assert!(format!("{:?}", head.rest).starts_with(rest), "{text:?}: {:?}", head.rest);
            assert_eq!(head.keeps, keeps, "{text:?}");
            if rest == "Chunked" {
                assert!(!head.headers.contains_key("content-length"));
            }
        }
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        let many: String = (0..=FIELDS).map(|n| format!("x-{n}: 1\r\n")).collect();
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_BYTES));
        let fields = format!("HTTP/1.1 200 OK\r\n{many}\r\n");
        let cases = [
            "hello\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx : 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            &long,
            &fields,
        ];
        for text in cases {
            assert!(parse(&Method::GET, text).is_err(), "{:?}", &text[..text.len().min(80)]);
        }
    }

    #[test]
    fn a_head_is_taken_and_nothing_more() {
        let text = "HTTP/1.1 200 OK\r\nx: 1\r\nX: two \r\ncontent-length: 3\r\n\r\nabcHTTP";
        let end = text.find("abc").unwrap();
        for length in 0..end {
            assert!(parse(&Method::GET, &text[..length]).unwrap().is_none(), "{length}");
        }
        let mut bytes = BytesMut::from(text);
        let head = read(&mut bytes, &Method::GET).unwrap().unwrap();
        assert_eq!(bytes, "abcHTTP");
        assert_eq!(head.headers.get_all("x").iter().collect::<Vec<_>>(), ["1", "two"]);
    }

    #[test]
    fn answers_are_confined() {
        let mut answer = Response::new(());
        for (name, value) in [
            ("server", "uvicorn"),
            ("connection", "close, x-internal"),
            ("x-internal", "1"),
            ("keep-alive", "timeout=5"),
            ("service-worker-allowed", "/"),
            ("set-cookie", "a=1; Path=/"),
            ("set-cookie", "lectern=evil"),
            ("location", "/login"),
            ("x-fine", "1"),
        ] {
            answer.headers_mut().append(name, HeaderValue::from_static(value));
        }
        *answer.version_mut() = Version::HTTP_10;
        let (parts, ()) = from_worker(answer, "/content/x", "h");
        assert_eq!(parts.version, Version::HTTP_11);
        let mut left: Vec<(&str, &str)> =
            parts.headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(left, [("location", "/content/x/login"), ("set-cookie", "a=1; Path=/content/x/"), ("x-fine", "1")]);
    }
}
