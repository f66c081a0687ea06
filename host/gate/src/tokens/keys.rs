//! Sets of public keys (RFC 7517), and which key of a set a token is verified with.

use serde_json::{Map, Value};

use super::algorithm::{Algorithm, PublicKey};
use super::{json, jws, pem};

/// Most keys of a set: issuers publish two or three; keys beyond are not read.
pub(super) const MAX_KEYS: usize = 64;
/// Largest text of a set.
pub(super) const MAX_BYTES: usize = 256 << 10;

/// Public keys of one issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KeySet(Vec<NamedKey>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct NamedKey {
    kid: Option<String>,
    /// The only algorithm it is for, where the set says so.
    only: Option<Algorithm>,
    key: PublicKey,
}

impl NamedKey {
    fn fits(&self, algorithm: Algorithm) -> bool {
        self.key.fits(algorithm) && self.only.is_none_or(|only| only == algorithm)
    }
}

/// How the key is chosen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// The one that the token names.
    Named(&'a str),
    /// The only one that fits: the token names none, or there is only one.
    Only,
}

/// What there is of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice<'a> {
    /// This one.
    Key(&'a PublicKey),
    /// A key of this name that is for something else.
    Unfit,
    /// None.
    Absent,
    /// More than one, and nothing to tell them apart by.
    Ambiguous,
}

impl KeySet {
    /// Reads a JSON Web Key Set. Keys of other kinds and for other uses are left out, as RFC 7517 §5 asks; so are shared
    /// secrets, which have no place in a public set.
    pub(super) fn parse_jwks(text: &[u8]) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err("the key set is larger than 256 KiB".into());
        }
        let text = std::str::from_utf8(text).map_err(|_| "the key set is not UTF-8")?;
        let set = json::object(text).map_err(|reason| format!("the key set is not JSON with one meaning: {reason}"))?;
        let Some(Value::Array(keys)) = set.get("keys") else { return Err("the key set has no list of keys".into()) };
        Ok(Self(keys.iter().filter_map(Value::as_object).filter_map(named_key).take(MAX_KEYS).collect()))
    }

    /// Reads one PEM public key.
    pub(super) fn parse_pem(text: &[u8]) -> Result<Self, String> {
        let key = pem::public_key(text).ok_or("there is no PEM public key of a kind that is understood")?;
        Ok(Self(vec![NamedKey { kid: None, only: None, key }]))
    }

    /// Chooses.
    pub(super) fn choose(&self, wanted: Wanted<'_>, algorithm: Algorithm) -> Choice<'_> {
        match wanted {
            Wanted::Named(kid) => {
                let mut named = self.0.iter().filter(|key| key.kid.as_deref() == Some(kid)).peekable();
                if named.peek().is_none() {
                    return Choice::Absent;
                }
                named.find(|key| key.fits(algorithm)).map_or(Choice::Unfit, |key| Choice::Key(&key.key))
            }
            Wanted::Only => {
                let mut fitting = self.0.iter().filter(|key| key.fits(algorithm));
                match (fitting.next(), fitting.next()) {
                    (Some(key), None) => Choice::Key(&key.key),
                    (Some(_), Some(_)) => Choice::Ambiguous,
                    (None, _) if self.0.is_empty() => Choice::Absent,
                    (None, _) => Choice::Unfit,
                }
            }
        }
    }
}

/// Reads one key of a set; `None`: not for signatures, or not understood.
fn named_key(key: &Map<String, Value>) -> Option<NamedKey> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    if let Some(Value::Array(operations)) = key.get("key_ops")
        && !operations.iter().any(|operation| operation == "verify")
    {
        return None;
    }
    let only = match text("alg") {
        Some(name) => Some(Algorithm::parse(name)?),
        None => None,
    };
    let bytes = |name: &str| jws::base64url(text(name)?);
    let sized = |name: &str, length: usize| bytes(name).filter(|bytes| bytes.len() == length);
    let point = |length: usize| Some([vec![4], sized("x", length)?, sized("y", length)?].concat());
    let public = match (text("kty")?, text("crv")) {
        ("RSA", _) => PublicKey::rsa(&bytes("n")?, &bytes("e")?)?,
        ("EC", Some("P-256")) => PublicKey::P256(point(32)?),
        ("EC", Some("P-384")) => PublicKey::P384(point(48)?),
        ("OKP", Some("Ed25519")) => PublicKey::Ed25519(sized("x", 32)?),
        _ => return None,
    };
    Some(NamedKey { kid: text("kid").map(ToOwned::to_owned), only, key: public })
}
