//! Keys at one address: kept, renewed, and asked for no more often than needed, whatever tokens come in.
//!
//! What to do is decided by [`State::judge`], which is pure. One fetch is on its way at a time; whoever has a usable key
//! does not wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use url::Url;

use super::TokenRefusal;
use super::algorithm::{Algorithm, PublicKey};
use super::keys::{Choice, KeySet, MAX_BYTES, Wanted};
use crate::backend::{Outbound, OutboundRequest};

/// How long keys are fresh when the issuer does not say, and what it may say: less would ask with every sign-in, more would
/// keep keys that were withdrawn for days.
const FRESH_MS: u64 = 600_000;
const FRESH_BOUNDS_MS: (u64, u64) = (60_000, 86_400_000);
/// How long keys that are no longer fresh are used while they cannot be renewed: an issuer that is away for a night locks
/// nobody out.
const STALE_MS: u64 = 86_400_000;
/// Between two fetches because of keys that are not there, or while old ones will do. Rotation shows after this at the latest.
const PAUSE_MS: u64 = 30_000;
/// Between two tries while there are no keys at all.
const RETRY_MS: u64 = 5_000;
/// One fetch: what any request of a plugin may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);

/// What is at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A JSON Web Key Set.
    Jwks,
    /// One PEM public key.
    Pem,
}

/// Which key is looked for, and when.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) wanted: Wanted<'a>,
    pub(super) algorithm: Algorithm,
    pub(super) now_ms: u64,
}

impl Search<'_> {
    /// Looks in a set; `None`: not there.
    pub(super) fn within(&self, set: &KeySet) -> Option<Result<PublicKey, TokenRefusal>> {
        match set.choose(self.wanted, self.algorithm) {
            Choice::Key(key) => Some(Ok(key.clone())),
            Choice::Unfit => Some(Err(TokenRefusal::Algorithm("it does not fit the key".into()))),
            Choice::Ambiguous => Some(Err(TokenRefusal::UnknownKey)),
            Choice::Absent => None,
        }
    }
}

/// Bounds fetches for keys that may not exist: anybody can write names of keys into tokens.
#[derive(Debug, Default)]
pub(super) struct Budget(Mutex<(u64, u32)>);

/// Fetches of one source for keys it does not hold, within [`PAUSE_MS`].
const STRANGE_FETCHES: u32 = 10;

impl Budget {
    /// Whether something is left.
    pub(super) fn is_left(&self, now_ms: u64) -> bool {
        let (began, used) = *self.0.lock();
        used < STRANGE_FETCHES || now_ms.abs_diff(began) >= PAUSE_MS
    }

    fn take(&self, now_ms: u64) -> bool {
        let mut budget = self.0.lock();
        if now_ms.abs_diff(budget.0) >= PAUSE_MS {
            *budget = (now_ms, 0);
        }
        let left = budget.1 < STRANGE_FETCHES;
        budget.1 += u32::from(left);
        left
    }
}

/// One address and what is known of it.
#[derive(Debug)]
pub(super) struct Slot {
    url: Url,
    form: Form,
    /// Where the address was made from what a token says.
    budget: Option<Arc<Budget>>,
    state: Mutex<State>,
    /// Held while a fetch is on its way.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct State {
    kept: Option<Kept>,
    /// When the last fetch ended.
    tried_at_ms: Option<u64>,
    /// How it failed, if it did.
    failure: Option<Failure>,
}

/// The next version of any set: no two sets that differ have the same.
static VERSIONS: AtomicU64 = AtomicU64::new(1);

#[derive(Debug, Clone)]
struct Kept {
    set: Arc<KeySet>,
    version: u64,
    fetched_at_ms: u64,
    fresh_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    /// The issuer knows no such key.
    Gone,
    /// Something else.
    Failed(String),
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It is known.
    Settled(Result<PublicKey, TokenRefusal>),
    /// The issuer is to be asked; who finds somebody else asking takes `meanwhile`.
    Fetch { meanwhile: Option<PublicKey> },
}

impl State {
    fn judge(&self, search: Search<'_>) -> Verdict {
        // Clocks may go back: what is far in the future is as old as what is far in the past.
        let within = |then: u64, ms: u64| search.now_ms.abs_diff(then) < ms;
        let tried_within = |ms: u64| self.tried_at_ms.is_some_and(|then| within(then, ms));
        let kept = self.kept.as_ref().filter(|kept| within(kept.fetched_at_ms, kept.fresh_ms + STALE_MS));
        let Some(kept) = kept else {
            return match &self.failure {
                Some(Failure::Gone) if tried_within(PAUSE_MS) => Verdict::Settled(Err(TokenRefusal::UnknownKey)),
                Some(Failure::Failed(reason)) if tried_within(RETRY_MS) => {
                    Verdict::Settled(Err(TokenRefusal::Keys(reason.clone())))
                }
                _ => Verdict::Fetch { meanwhile: None },
            };
        };
        let is_fresh = within(kept.fetched_at_ms, kept.fresh_ms);
        match search.within(&kept.set) {
            Some(found) if is_fresh || tried_within(PAUSE_MS) => Verdict::Settled(found),
            Some(found) => Verdict::Fetch { meanwhile: found.ok() },
            None if !tried_within(PAUSE_MS) => Verdict::Fetch { meanwhile: None },
            None => Verdict::Settled(Err(match &self.failure {
                Some(Failure::Failed(reason)) if !is_fresh => TokenRefusal::Keys(reason.clone()),
                _ => TokenRefusal::UnknownKey,
            })),
        }
    }

    fn note(&mut self, fetched: Result<(KeySet, u64), Failure>, now_ms: u64) {
        self.tried_at_ms = Some(now_ms);
        match fetched {
            Ok((set, fresh_ms)) => {
                let version = match &self.kept {
                    Some(before) if *before.set == set => before.version,
                    _ => VERSIONS.fetch_add(1, Ordering::Relaxed),
                };
                self.kept = Some(Kept { set: Arc::new(set), version, fetched_at_ms: now_ms, fresh_ms });
                self.failure = None;
            }
            Err(failure) => {
                if failure == Failure::Gone {
                    self.kept = None;
                }
                self.failure = Some(failure);
            }
        }
    }
}

/// A fetch that is on its way. When it is dropped before its end, and there are keys, it counts as a try: clients that hang
/// up do not make the next fetch come sooner.
struct Attempt<'a> {
    slot: &'a Slot,
    now_ms: u64,
    ended: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut state = self.slot.state.lock();
        if !self.ended && state.kept.is_some() {
            state.tried_at_ms = Some(self.now_ms);
        }
    }
}

impl Slot {
    pub(super) fn new(url: Url, form: Form, budget: Option<Arc<Budget>>) -> Self {
        Self { url, form, budget, state: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// Whether no key is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().kept.is_none()
    }

    /// The version of the keys, while they are fresh.
    pub(super) fn version(&self, now_ms: u64) -> Option<u64> {
        let state = self.state.lock();
        let kept = state.kept.as_ref()?;
        (now_ms.abs_diff(kept.fetched_at_ms) < kept.fresh_ms).then_some(kept.version)
    }

    fn judge(&self, search: Search<'_>) -> Verdict {
        self.state.lock().judge(search)
    }

    /// Finds the key, asking the issuer if needed and if `worth_asking` has no objection. May be dropped at any time.
    pub(super) async fn find(
        &self,
        search: Search<'_>,
        outbound: &dyn Outbound,
        worth_asking: impl FnOnce() -> Result<(), TokenRefusal>,
    ) -> Result<PublicKey, TokenRefusal> {
        let meanwhile = match self.judge(search) {
            Verdict::Settled(outcome) => return outcome,
            Verdict::Fetch { meanwhile } => meanwhile,
        };
        worth_asking()?;
        let _alone = match (self.fetching.try_lock(), meanwhile) {
            (Ok(alone), _) => alone,
            (Err(_), Some(key)) => return Ok(key),
            (Err(_), None) => self.fetching.lock().await,
        };
        // Whoever was asking may have been told.
        if let Verdict::Settled(outcome) = self.judge(search) {
            return outcome;
        }
        let is_strange = self.is_empty();
        if self.budget.as_ref().is_some_and(|budget| is_strange && !budget.take(search.now_ms)) {
            return Err(TokenRefusal::UnknownKey);
        }
        let mut attempt = Attempt { slot: self, now_ms: search.now_ms, ended: false };
        let fetched = self.fetch(outbound).await;
        attempt.ended = true;
        self.state.lock().note(fetched, search.now_ms);
        match self.judge(search) {
            Verdict::Settled(outcome) => outcome,
            Verdict::Fetch { meanwhile } => meanwhile.ok_or(TokenRefusal::UnknownKey),
        }
    }

    async fn fetch(&self, outbound: &dyn Outbound) -> Result<(KeySet, u64), Failure> {
        let failed = |reason: &str| Failure::Failed(format!("keys from {}: {reason}", self.url));
        let request = OutboundRequest {
            method: Method::GET,
            url: self.url.clone(),
            headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("*/*"))]),
            body: Vec::new(),
            timeout: FETCH_TIMEOUT,
            max_body_bytes: MAX_BYTES,
        };
        let response = outbound.fetch(request).await.map_err(|error| failed(&error.to_string()))?;
        match response.status {
            StatusCode::OK => {}
            // Stores of keys answer so where there is none of this name; object stores also with 403.
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE if self.form == Form::Pem => {
                return Err(Failure::Gone);
            }
            status => return Err(failed(&format!("the answer was {status}"))),
        }
        let set = match self.form {
            Form::Jwks => KeySet::parse_jwks(&response.body),
            Form::Pem => KeySet::parse_pem(&response.body),
        };
        Ok((set.map_err(|reason| failed(&reason))?, fresh_ms(&response.headers)))
    }
}

/// How long an answer is fresh, in milliseconds (RFC 9111 §5.2.2), within bounds.
fn fresh_ms(headers: &HeaderMap) -> u64 {
    let fields = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut fresh = None;
    for directive in fields.flat_map(|field| field.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let name = name.trim().to_ascii_lowercase();
        if name == "no-store" || name == "no-cache" {
            fresh = Some(0);
        } else if name == "max-age" && fresh.is_none() {
            let seconds: Option<u64> = value.trim().trim_matches('"').parse().ok();
            fresh = seconds.map(|seconds| seconds.saturating_mul(1_000));
        }
    }
    fresh.map_or(FRESH_MS, |ms| ms.clamp(FRESH_BOUNDS_MS.0, FRESH_BOUNDS_MS.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_answers_are_fresh() {
        let cases: [(&[&str], u64); 9] = [
            (&[], 600_000),
            (&["public, max-age=3600, must-revalidate"], 3_600_000),
            (&["MAX-AGE=\"120\""], 120_000),
            (&["max-age=1"], 60_000),
            (&["max-age=99999999999999999999"], 600_000),
            (&["max-age=18446744073709551615"], 86_400_000),
            (&["max-age=3600, no-store"], 60_000),
            (&["no-cache", "max-age=3600"], 60_000),
            (&["s-maxage=5, private"], 600_000),
        ];
        for (fields, expected) in cases {
            let headers = fields.iter().map(|field| (CACHE_CONTROL, HeaderValue::from_static(field))).collect();
            assert_eq!(fresh_ms(&headers), expected, "{fields:?}");
        }
    }

    #[test]
    fn strange_keys_are_asked_for_a_few_times() {
        let budget = Budget::default();
        let taken = |now| (0..100).filter(|_| budget.take(now)).count();
        assert_eq!(taken(1_000_000), 10);
        assert!(!budget.is_left(1_000_000 + PAUSE_MS - 1));
        assert_eq!(taken(1_000_000 + PAUSE_MS - 1), 0);
        assert!(budget.is_left(1_000_000 + PAUSE_MS));
        assert_eq!(taken(1_000_000 + PAUSE_MS), 10);
        assert_eq!(taken(0), 10, "a clock that goes back does not stop it for good");
    }
}
