//! `X-Content-Checksum`: the MD5 of a body, announced before it. What was announced is compared where the body ends, so that
//! nothing is held back to be hashed; a body that does not fit ends with [`Mismatch`] instead of its end.

use std::error::Error;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::HeaderMap;
use md5::{Digest as _, Md5};

use crate::error::{ApiError, Code};

/// The field.
pub(crate) const FIELD: &str = "x-content-checksum";

/// The bytes that came are not those that were announced.
#[derive(Debug, thiserror::Error)]
#[error("the bytes received do not have the checksum announced")]
pub(crate) struct Mismatch;

/// What the client announced: base64 or hexadecimal digits.
pub(crate) fn announced(headers: &HeaderMap) -> Result<Option<[u8; 16]>, ApiError> {
    let Some(given) = headers.get(FIELD) else { return Ok(None) };
    let text = given.to_str().unwrap_or_default().trim();
    let bytes = if text.len() == 32 { unhex(text) } else { STANDARD.decode(text).ok() };
    match bytes.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()) {
        Some(digest) => Ok(Some(digest)),
        None => {
            Err(ApiError::new(Code::BadChecksum, "X-Content-Checksum is not an MD5 in base64 or hexadecimal digits"))
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The body, which ends in [`Mismatch`] unless it has this digest.
pub(crate) fn checked(body: Body, announced: [u8; 16]) -> Body {
    let pieces = body.into_data_stream().map(Some).chain(futures_util::stream::iter([None]));
    let mut hash = Some(Md5::new());
    let stream = pieces.filter_map(move |piece| {
        let out: Option<Result<Bytes, axum::BoxError>> = match piece {
            Some(Ok(bytes)) => {
                if let Some(hash) = &mut hash {
                    hash.update(&bytes);
                }
                Some(Ok(bytes))
            }
            // What follows a failure is no body any more.
            Some(Err(cause)) => {
                hash = None;
                Some(Err(cause.into()))
            }
            None => {
                let whole = hash.take().map(|hash| <[u8; 16]>::from(hash.finalize()));
                whole.filter(|digest| *digest != announced).map(|_| Err(Mismatch.into()))
            }
        };
        std::future::ready(out)
    });
    Body::from_stream(stream)
}

/// Whether a body could not be read because it was not the one announced.
pub(crate) fn is_mismatch(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<Mismatch>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// The refusal of such a body.
pub(crate) fn refusal() -> ApiError {
    ApiError::new(Code::BadChecksum, Mismatch.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::BodyExt as _;

    fn digest(text: &str) -> [u8; 16] {
        Md5::digest(text).into()
    }

    #[test]
    fn both_spellings_are_read() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(FIELD, text.parse().unwrap());
            announced(&headers).map_err(|refused| refused.code())
        };
        assert_eq!(read("1B2M2Y8AsgTpgAmY7PhCfg=="), Ok(Some(digest(""))));
        assert_eq!(read("d41d8cd98f00b204e9800998ecf8427e"), Ok(Some(digest(""))));
        for bad in ["", "x", "1B2M2Y8AsgTpgAmY7PhCfg", "d41d8cd98f00b204e9800998ecf8427g"] {
            assert_eq!(read(bad), Err(104), "{bad}");
        }
        assert_eq!(announced(&HeaderMap::new()).unwrap(), None);
    }

    #[tokio::test]
    async fn only_the_announced_body_ends() {
        let pieces = || Body::from_stream(futures_util::stream::iter(["ab", "c"].map(Ok::<_, std::io::Error>)));
        let whole = checked(pieces(), digest("abc")).collect().await.unwrap();
        assert_eq!(whole.to_bytes(), "abc");
        let error = checked(pieces(), digest("abd")).collect().await.unwrap_err();
        assert!(is_mismatch(&error), "{error:?}");
        let empty = checked(Body::empty(), digest("abc")).collect().await.unwrap_err();
        assert!(is_mismatch(&empty), "{empty:?}");
        let cut = [Ok("ab"), Err(std::io::Error::other("cut"))];
        let cut =
            checked(Body::from_stream(futures_util::stream::iter(cut)), digest("abc")).collect().await.unwrap_err();
        assert!(!is_mismatch(&cut), "{cut:?}");
    }
}
