//! The name of a request: in the log, in error pages, and in the fields that go to the worker and to the client.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

/// Longest id taken over from a trusted proxy, in bytes.
const LONGEST: usize = 128;

/// The id of one request: 1 to 128 printable ASCII characters without quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Makes a UUID of version 7 (sorted by time).
    pub(crate) fn new() -> Self {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &random_bytes()).into_uuid();
        let text = id.hyphenated().to_string();
        Self(HeaderValue::try_from(text).expect("a UUID is hexadecimal digits and hyphens"))
    }

    /// Takes a trusted proxy's id over; `None` when it is not of the form above.
    pub(crate) fn adopt(value: &HeaderValue) -> Option<Self> {
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:=;+/@".contains(byte);
        let bytes = value.as_bytes();
        ((1..=LONGEST).contains(&bytes.len()) && bytes.iter().all(fits)).then(|| Self(value.clone()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The text as a field's value.
    pub(crate) fn value(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// Ten random bytes; asks the operating system once for 64 such.
fn random_bytes() -> [u8; 10] {
    const PORTIONS: usize = 64;
    thread_local!(static POOL: RefCell<([u8; 10 * PORTIONS], usize)> = const { RefCell::new(([0; 10 * PORTIONS], PORTIONS)) });
    POOL.with_borrow_mut(|(bytes, used)| {
        if *used == PORTIONS {
            // Ids name requests and guard nothing: where the system has no randomness the time alone must do.
            let _ = getrandom::fill(bytes);
            *used = 0;
        }
        let at = *used * 10;
        *used += 1;
        std::array::from_fn(|index| bytes[at + index])
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique_and_sorted_by_time() {
        let ids: Vec<String> = (0..1_000).map(|_| RequestId::new().as_str().to_owned()).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 1_000);
        assert!(ids.iter().all(|id| uuid::Uuid::parse_str(id).unwrap().get_version_num() == 7));
    }

    #[test]
    fn a_proxys_id_must_be_plain() {
        let adopt = |text: &'static [u8]| RequestId::adopt(&HeaderValue::from_bytes(text).unwrap()).is_some();
        assert!(adopt(b"Root=1-67891233-abcdef012345678912345678"));
        assert!(adopt(b"0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162"));
        for bad in [&b""[..], b"a b", b"<script>", b"a\"b", b"\xff", &[b'a'; 129]] {
            assert!(!adopt(Box::leak(bad.to_vec().into_boxed_slice())), "{bad:?}");
        }
    }
}
