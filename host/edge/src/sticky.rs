//! Sessions that belong with a worker: a cookie of content whose framework keeps a visitor's session in memory names the process.
//!
//! The cookie is signed, for one content item: nobody chooses a worker, and what another item set means nothing. It names the
//! worker by a digest of its job key and says nothing else. A worker that is gone is replaced by another one and another cookie;
//! one that is being let go serves the sessions it has to their end, while pages that are opened anew go elsewhere.
//! Neither content nor plugins see the cookie, and content cannot set one of its name.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use lectern_domain::snapshot::ContentEntry;
use lectern_domain::{ContentGuid, JobKey};
use lectern_gate::{Head, Scheme, WORKER_COOKIE};

use crate::worker::Worker;

/// Bytes that name a worker: nobody finds another job key with the same.
const NAME_BYTES: usize = 16;
/// Name and BLAKE3 tag.
const COOKIE_BYTES: usize = NAME_BYTES + blake3::OUT_LEN;

/// Where a request belongs.
pub(crate) struct Mate<'a> {
    content: ContentGuid,
    key: &'a [u8; 32],
    /// The worker that the visitor's cookie names, if it has a good one.
    named: Option<[u8; NAME_BYTES]>,
    /// A page is opened: its session begins with it.
    navigates: bool,
}

/// Where the request belongs; `None`: anywhere, as its content keeps no sessions in its processes.
pub(crate) fn mate<'a>(content: &ContentEntry, head: &Head, key: &'a [u8; 32]) -> Option<Mate<'a>> {
    if !content.mode.is_sticky() {
        return None;
    }
    let named = head.cookie(WORKER_COOKIE).and_then(|cookie| verify(content.guid, cookie, key));
    // Fetch Metadata: said by every browser of today, and never by a script (forbidden header name).
    let navigates = head.headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    Some(Mate { content: content.guid, key, named, navigates })
}

impl Mate<'_> {
    /// Whether it belongs with any worker.
    pub(crate) fn is_known(&self) -> bool {
        self.named.is_some()
    }

    /// Whether it need not go to a worker that is being let go: a page that is opened anew is the newest version's.
    pub(crate) fn begins_anew(&self) -> bool {
        self.navigates
    }

    /// Whether it belongs with this worker.
    pub(crate) fn is(&self, job: &JobKey) -> bool {
        self.named.is_some_and(|named| named == name(job))
    }

    /// The cookie that the visitor needs when `worker` serves them; `None` when they have it.
    ///
    /// For the content's own addresses only, closed to scripts, not sent along by other sites, over HTTPS never without it, and gone
    /// with the browser's session (RFC 6265bis §4.1.2).
    pub(crate) fn cookie(&self, worker: &Worker, mount: &str, scheme: Scheme) -> Option<HeaderValue> {
        // A path with a semicolon would end the attribute.
        if self.is(worker.job()) || mount.contains(';') {
            return None;
        }
        let value = sign(self.content, name(worker.job()), self.key);
        let secure = if scheme == Scheme::Https { "; Secure" } else { "" };
        let text = format!("{WORKER_COOKIE}={value}; Path={mount}/; HttpOnly; SameSite=Lax{secure}");
        let mut cookie = HeaderValue::from_str(&text).ok()?;
        cookie.set_sensitive(true);
        Some(cookie)
    }
}

fn name(job: &JobKey) -> [u8; NAME_BYTES] {
    let mut name = [0; NAME_BYTES];
    name.copy_from_slice(&blake3::hash(job.as_str().as_bytes()).as_bytes()[..NAME_BYTES]);
    name
}

fn tag(content: ContentGuid, name: &[u8], key: &[u8; 32]) -> blake3::Hash {
    blake3::Hasher::new_keyed(key).update(content.0.as_bytes()).update(name).finalize()
}

fn sign(content: ContentGuid, name: [u8; NAME_BYTES], key: &[u8; 32]) -> String {
    let mut bytes = [0; COOKIE_BYTES];
    bytes[..NAME_BYTES].copy_from_slice(&name);
    bytes[NAME_BYTES..].copy_from_slice(tag(content, &name, key).as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The worker that a cookie names; `None` when this server did not sign it for this content.
fn verify(content: ContentGuid, cookie: &str, key: &[u8; 32]) -> Option<[u8; NAME_BYTES]> {
    let mut bytes = [0; COOKIE_BYTES];
    let read = URL_SAFE_NO_PAD.decode_slice(cookie, &mut bytes).ok()?;
    let (named, given) = bytes.split_at(NAME_BYTES);
    let given: [u8; blake3::OUT_LEN] = given.try_into().ok()?;
    // The hashes' own comparison takes the same time wherever they differ.
    let good = read == COOKIE_BYTES && tag(content, named, key) == blake3::Hash::from_bytes(given);
    if good { named.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    #[test]
    fn only_what_was_signed_here_for_this_content_counts() {
        let (here, there) = (ContentGuid(Uuid::from_u128(1)), ContentGuid(Uuid::from_u128(2)));
        let (key, other) = ([1; 32], [2; 32]);
        let job = JobKey::from_random([7; 16]);
        let cookie = sign(here, name(&job), &key);
        assert_eq!(cookie.len(), 64);
        assert!(!cookie.contains(job.as_str()), "the job's name is in URLs of the API");
        assert_eq!(verify(here, &cookie, &key), Some(name(&job)));
        assert_eq!(verify(there, &cookie, &key), None, "another item's");
        assert_eq!(verify(here, &cookie, &other), None, "another server's");
        for at in 0..cookie.len() {
            let mut forged = cookie.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(verify(here, std::str::from_utf8(&forged).unwrap(), &key), None, "{at}");
        }
        for bad in ["", "x", &cookie[1..], &format!("{cookie}AA"), "ä", &"A".repeat(10_000)] {
            assert_eq!(verify(here, bad, &key), None, "{bad}");
        }
    }

    #[test]
    fn the_cookie_is_for_the_contents_own_addresses() {
        let job = JobKey::from_random([7; 16]);
        let worker = Worker::new(job.clone(), "/nowhere".into());
        let stranger = Mate { content: ContentGuid(Uuid::from_u128(1)), key: &[1; 32], named: None, navigates: false };
        let cookie = stranger.cookie(&worker, "/content/x", Scheme::Https).unwrap();
        assert!(!format!("{cookie:?}").contains("lectern-worker"), "it does not print");
        let text = cookie.to_str().unwrap();
        assert!(
            text.starts_with("lectern-worker=") && text.ends_with("; Path=/content/x/; HttpOnly; SameSite=Lax; Secure")
        );
        assert!(!stranger.cookie(&worker, "", Scheme::Http).unwrap().to_str().unwrap().contains("Secure"));
        let known = Mate { named: Some(name(&job)), ..stranger };
        assert_eq!(known.cookie(&worker, "/content/x", Scheme::Http), None, "once is enough");
    }
}
