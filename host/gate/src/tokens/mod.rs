//! Verifies signed tokens (JWT: RFC 7519, RFC 7515, RFC 8725) for plugins, and keeps the keys that they are signed with.
//!
//! An algorithm must be on the caller's list and fit the key; a public key is never taken for a shared secret. Nothing that a
//! token says of its own key counts but the key's name. The time is an argument, for claims and for the age of keys.

mod algorithm;
mod bounded;
mod claims;
mod json;
mod jws;
mod keys;
mod pem;
mod slot;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use parking_lot::Mutex;
use url::Url;

use self::algorithm::{Algorithm, PublicKey};
use self::bounded::Bounded;
use self::jws::Token;
use self::keys::{KeySet, Wanted};
use self::slot::{Budget, Form, Search, Slot};
use crate::backend::{Outbound, Secret};

pub use self::jws::TOKEN_BYTES;

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// A JSON Web Key Set at this address.
    JwksUrl(String),
    /// A JSON Web Key Set.
    Jwks(String),
    /// One PEM public key at this address, in which `{kid}` stands for the name of the key.
    PemUrl(String),
    /// A shared secret, given with the token.
    Secret,
}

/// What a token must say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expectations {
    /// `iss` is one of these; empty: any.
    pub issuers: Vec<String>,
    /// `aud` holds one of these; empty: any.
    pub audiences: Vec<String>,
    /// Accepted algorithms, by their registered names. None is accepted when it is empty.
    pub algorithms: Vec<String>,
    /// By how much clocks may differ; more than 300 is 300.
    pub leeway_seconds: u32,
    /// Claims that must be there and not null.
    pub required: Vec<String>,
}

/// A good token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its header, as JSON.
    pub header: String,
    /// Its claims, as JSON.
    pub claims: String,
    /// Seconds for which it stays good, without leeway; `None`: it does not end.
    pub valid_seconds: Option<u32>,
}

/// Why a token is not good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenRefusal {
    /// Not a signed token: why.
    Malformed(String),
    /// The algorithm is not accepted, or does not fit the key: why.
    Algorithm(String),
    /// The key is not among the keys.
    UnknownKey,
    /// The signature is wrong.
    Signature,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
    /// From another issuer.
    Issuer,
    /// For another audience.
    Audience,
    /// This claim is missing.
    Missing(String),
    /// The keys cannot be had: why.
    Keys(String),
}

/// Sets that are kept, fetched or given as text: a server trusts a few issuers.
const SETS: usize = 64;
/// Addresses of PEM keys that are kept; each has up to [`keys::MAX_KEYS`] keys.
const PEM_SOURCES: usize = 16;

/// The keys that tokens were signed with, for all plugins of a server.
#[derive(Debug)]
pub struct KeySets {
    sets: Mutex<Bounded<String, Arc<Slot>>>,
    pems: Mutex<Bounded<String, Arc<Pems>>>,
    /// Sets given as text, by the BLAKE3 hash of it, so that it is not read again for each token.
    texts: Mutex<Bounded<[u8; 32], Arc<KeySet>>>,
}

/// The PEM keys below one address.
#[derive(Debug)]
struct Pems {
    by_kid: Mutex<Bounded<String, Arc<Slot>>>,
    budget: Arc<Budget>,
}

impl Default for KeySets {
    fn default() -> Self {
        Self::new()
    }
}

impl Keys {
    /// The address that is asked, for a check of its origin: keys of any name have the same one. `None`: nobody is asked.
    pub fn address(&self) -> Result<Option<Url>, TokenRefusal> {
        match self {
            Self::JwksUrl(text) => address(text).map(Some),
            Self::PemUrl(template) => pem_address(template, Some("kid")).map(Some),
            Self::Jwks(_) | Self::Secret => Ok(None),
        }
    }

    /// The set that this token is verified with, for [`KeySets::version`]; `None`: one that does not change, or none.
    pub fn name_of_set(&self, token: &str) -> Option<String> {
        match self {
            Self::JwksUrl(url) => Some(url.clone()),
            // No address of keys has a fragment, so the two kinds are told apart.
            Self::PemUrl(template) => Some(format!("{template}#{}", Token::parse(token).ok()?.kid.unwrap_or_default())),
            Self::Jwks(_) | Self::Secret => None,
        }
    }
}

impl KeySets {
    /// Without any keys.
    pub fn new() -> Self {
        Self {
            sets: Mutex::new(Bounded::new(SETS)),
            pems: Mutex::new(Bounded::new(PEM_SOURCES)),
            texts: Mutex::new(Bounded::new(SETS)),
        }
    }

    /// Verifies a token. The caller has checked that the plugin may reach [`Keys::address`]; `secret` is what [`Keys::Secret`]
    /// stands for. May be dropped at any time.
    ///
    /// Nobody is asked for keys because of a token whose claims are bad.
    pub async fn verify(
        &self,
        token: &str,
        keys: &Keys,
        expected: &Expectations,
        secret: Option<&Secret>,
        outbound: &dyn Outbound,
        now_ms: u64,
    ) -> Result<Verified, TokenRefusal> {
        let token = Token::parse(token)?;
        let algorithm = accepted(&token.algorithm, expected)?;
        if algorithm.is_shared() != (*keys == Keys::Secret) {
            return Err(TokenRefusal::Algorithm(format!("{} does not fit the key", token.algorithm)));
        }
        let is_good = if algorithm.is_shared() {
            let secret = secret.ok_or_else(|| TokenRefusal::Keys("there is no such secret".into()))?;
            let too_short = || TokenRefusal::Keys(format!("the secret is too short for {}", token.algorithm));
            algorithm.is_signed_with(secret.reveal(), token.signed, &token.signature).ok_or_else(too_short)?
        } else {
            let worth_asking = || claims::check(&token.claims, expected, now_ms).map(drop);
            let key = self.find(&token, keys, algorithm, outbound, now_ms, worth_asking).await?;
            key.has_signed(algorithm, token.signed, &token.signature)
        };
        if !is_good {
            return Err(TokenRefusal::Signature);
        }
        let valid_seconds = claims::check(&token.claims, expected, now_ms)?;
        Ok(Verified { header: token.header, claims: token.payload, valid_seconds })
    }

    /// The version of a set that is kept and fresh: another number whenever its keys are others. `None`: there is none, or it has
    /// to be asked for again.
    pub fn version(&self, name: &str, now_ms: u64) -> Option<u64> {
        let slot = match name.split_once('#') {
            None => self.sets.lock().get(name)?,
            Some((template, kid)) => {
                let url = pem_address(template, Some(kid).filter(|kid| !kid.is_empty())).ok()?;
                let source = self.pems.lock().get(template)?;
                source.by_kid.lock().get(url.as_str())?
            }
        };
        slot.version(now_ms)
    }

    async fn find(
        &self,
        token: &Token<'_>,
        keys: &Keys,
        algorithm: Algorithm,
        outbound: &dyn Outbound,
        now_ms: u64,
        worth_asking: impl Fn() -> Result<(), TokenRefusal>,
    ) -> Result<PublicKey, TokenRefusal> {
        let wanted = token.kid.as_deref().map_or(Wanted::Only, Wanted::Named);
        let search = Search { wanted, algorithm, now_ms };
        match keys {
            Keys::Jwks(text) => search.within(&*self.text(text)?).unwrap_or(Err(TokenRefusal::UnknownKey)),
            Keys::JwksUrl(url) => self.set(url)?.find(search, outbound, worth_asking).await,
            Keys::PemUrl(template) => {
                let url = pem_address(template, token.kid.as_deref())?;
                let slot = self.pem(template, url, now_ms, &worth_asking)?;
                // There is one key at the address; its name is the address.
                slot.find(Search { wanted: Wanted::Only, ..search }, outbound, worth_asking).await
            }
            Keys::Secret => Err(TokenRefusal::UnknownKey),
        }
    }

    fn text(&self, text: &str) -> Result<Arc<KeySet>, TokenRefusal> {
        let hash = *blake3::hash(text.as_bytes()).as_bytes();
        if let Some(set) = self.texts.lock().get(&hash) {
            return Ok(set);
        }
        let set = Arc::new(KeySet::parse_jwks(text.as_bytes()).map_err(TokenRefusal::Keys)?);
        self.texts.lock().insert(hash, Arc::clone(&set), |_| false);
        Ok(set)
    }

    fn set(&self, url: &str) -> Result<Arc<Slot>, TokenRefusal> {
        let mut sets = self.sets.lock();
        if let Some(slot) = sets.get(url) {
            return Ok(slot);
        }
        let slot = Arc::new(Slot::new(address(url)?, Form::Jwks, None));
        sets.insert(url.to_owned(), Arc::clone(&slot), |slot| slot.is_empty());
        Ok(slot)
    }

    fn pem(
        &self,
        template: &str,
        url: Url,
        now_ms: u64,
        worth_asking: impl FnOnce() -> Result<(), TokenRefusal>,
    ) -> Result<Arc<Slot>, TokenRefusal> {
        let source = {
            let mut pems = self.pems.lock();
            match pems.get(template) {
                Some(source) => source,
                None => {
                    let by_kid = Mutex::new(Bounded::new(keys::MAX_KEYS));
                    let source = Arc::new(Pems { by_kid, budget: Arc::default() });
                    pems.insert(template.to_owned(), Arc::clone(&source), |_| false);
                    source
                }
            }
        };
        let mut by_kid = source.by_kid.lock();
        if let Some(slot) = by_kid.get(url.as_str()) {
            return Ok(slot);
        }
        worth_asking()?;
        if !source.budget.is_left(now_ms) {
            return Err(TokenRefusal::UnknownKey);
        }
        let name = url.as_str().to_owned();
        let slot = Arc::new(Slot::new(url, Form::Pem, Some(Arc::clone(&source.budget))));
        by_kid.insert(name, Arc::clone(&slot), |slot| slot.is_empty());
        Ok(slot)
    }
}

/// The token's algorithm, if it is one and on the list.
fn accepted(name: &str, expected: &Expectations) -> Result<Algorithm, TokenRefusal> {
    let shown = || name.chars().filter(|c| !c.is_control()).take(32).collect::<String>();
    if !expected.algorithms.iter().any(|one| one == name) {
        return Err(TokenRefusal::Algorithm(format!("{} is not accepted", shown())));
    }
    Algorithm::parse(name).ok_or_else(|| TokenRefusal::Algorithm(format!("{} is not known", shown())))
}

/// Reads an address of keys.
fn address(text: &str) -> Result<Url, TokenRefusal> {
    let fits = |url: &Url| {
        matches!(url.scheme(), "https" | "http")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    };
    let wrong = || TokenRefusal::Keys("the address of the keys is not an https or http address".into());
    Url::parse(text).ok().filter(fits).ok_or_else(wrong)
}

/// Where the PEM key of this name is.
///
/// Names are written into the address as they are, so they may hold nothing that means something there. They do not begin
/// with a dot: no name makes a segment `.` or `..`. `{kid}` may stand behind the host only.
fn pem_address(template: &str, kid: Option<&str>) -> Result<Url, TokenRefusal> {
    const PLACE: &str = "{kid}";
    let Some(at) = template.find(PLACE) else { return address(template) };
    let path = template.find("://").and_then(|scheme| Some(scheme + 3 + template[scheme + 3..].find(['/', '?'])?));
    if path.is_none_or(|path| at < path) {
        return Err(TokenRefusal::Keys("{kid} must stand in the path or the query".into()));
    }
    let kid = kid.ok_or_else(|| TokenRefusal::Malformed("it has no kid".into()))?;
    let is_plain = (1..=128).contains(&kid.len())
        && !kid.starts_with('.')
        && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !is_plain {
        return Err(TokenRefusal::UnknownKey);
    }
    address(&template.replace(PLACE, kid))
}
