//! The keys that packages are signed with: Ed25519 (RFC 8032), as text that people copy and tools exchange.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const PUBLIC_PREFIX: &str = "ed25519:";
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// A key's file has about 120 bytes; more is something else.
const MAX_PEM_BYTES: usize = 4096;

/// A key that cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The system gives no randomness.
    #[error("the system gave no randomness for a key")]
    NoRandomness,
    /// The text is no private key in PEM. It is not repeated: it may be one nearly.
    #[error("not a private key: it is a text that begins with {PEM_BEGIN:?}, as `lectern plugin keygen` makes it")]
    NotPem,
    /// It is a private key of another kind, or a damaged one.
    #[error("the private key is damaged or is not an Ed25519 key: make one with `lectern plugin keygen`")]
    NotEd25519,
    /// A public key was given where the private one is needed.
    #[error("this is a public key: signing needs the private one")]
    Public,
    /// Not a public key.
    #[error("{0:?} is not a public key: it is {PUBLIC_PREFIX:?} and 44 characters of base64")]
    NotPublicKey(String),
    /// A private key was given where the public one is meant.
    #[error("this is a private key: keep it secret, and give the public one, which begins with {PUBLIC_PREFIX:?}")]
    Private,
    /// Not a key's id.
    #[error("{0:?} is not a key's id: 16 hexadecimal digits in lower case")]
    NotKeyId(String),
}

/// Names a public key: the first 8 bytes of its BLAKE3 hash. For people to compare; trust is in the key, not in its id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bad = || KeyError::NotKeyId(text.chars().take(40).collect());
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 16 || !text.bytes().all(is_digit) {
            return Err(bad());
        }
        u64::from_str_radix(text, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| bad())
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

/// A key that signatures are verified with. Its text is `ed25519:` and base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key's 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        let mut first = [0; 8];
        first.copy_from_slice(&blake3::hash(&self.0).as_bytes()[..8]);
        KeyId(first)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        // Nothing of a private key is repeated in a message.
        if text.contains("PRIVATE") {
            return Err(KeyError::Private);
        }
        let text = text.trim();
        let bytes = text.strip_prefix(PUBLIC_PREFIX).and_then(|base64| STANDARD.decode(base64).ok());
        let key = bytes.and_then(|bytes| bytes.try_into().ok());
        key.map(Self).ok_or_else(|| KeyError::NotPublicKey(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

/// A key that packages are signed with. It does not print.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl SigningKey {
    /// Makes one from the system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::NoRandomness)?;
        Self::of_pkcs8(Zeroizing::new(document.as_ref().to_owned()))
    }

    /// Reads PKCS#8 in PEM (RFC 7468), as [`Self::to_pem`] and `openssl genpkey -algorithm ed25519` write it.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        if text.trim_start().starts_with(PUBLIC_PREFIX) || text.contains("-----BEGIN PUBLIC KEY-----") {
            return Err(KeyError::Public);
        }
        let inside = text
            .trim()
            .strip_prefix(PEM_BEGIN)
            .and_then(|rest| rest.strip_suffix(PEM_END))
            .filter(|_| text.len() <= MAX_PEM_BYTES)
            .ok_or(KeyError::NotPem)?;
        let base64: Zeroizing<String> = Zeroizing::new(inside.split_ascii_whitespace().collect());
        Self::of_pkcs8(Zeroizing::new(STANDARD.decode(base64.as_bytes()).map_err(|_| KeyError::NotPem)?))
    }

    fn of_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        // Unchecked is the public half, which OpenSSL leaves out; where it is there, it is compared.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).map_err(|_| KeyError::NotEd25519)?;
        Ok(Self { pair, pkcs8 })
    }

    /// The text of the key's file. Whoever has it can sign.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let base64 = Zeroizing::new(STANDARD.encode(&*self.pkcs8));
        let mut pem = Zeroizing::new(format!("{PEM_BEGIN}\n"));
        for (at, letter) in base64.chars().enumerate() {
            if at > 0 && at % 64 == 0 {
                pem.push('\n');
            }
            pem.push(letter);
        }
        pem.push('\n');
        pem.push_str(PEM_END);
        pem.push('\n');
        pem
    }

    /// The half that others verify with.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        // An Ed25519 public key has 32 bytes (RFC 8032 §5.1.5).
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs a message as it is.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        // An Ed25519 signature has 64 bytes (RFC 8032 §5.1.6).
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        bytes
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().id())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The key of RFC 8032 §7.1, test 1, in the form that `openssl genpkey -algorithm ed25519` writes.
    const OPENSSL: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";

    #[test]
    fn keys_survive_their_text() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(again.public(), key.public());
        assert_eq!(again.to_pem(), key.to_pem());
        assert!(key.to_pem().lines().all(|line| line.len() <= 64));
        let public = key.public();
        assert_eq!(public.to_string().parse::<PublicKey>().unwrap(), public);
        assert_eq!(public.id().to_string().parse::<KeyId>().unwrap(), public.id());
        let json = serde_json::to_string(&(public, public.id())).unwrap();
        assert_eq!(serde_json::from_str::<(PublicKey, KeyId)>(&json).unwrap(), (public, public.id()));
    }

    #[test]
    fn keys_of_openssl_are_read() {
        let key = SigningKey::from_pem(OPENSSL).unwrap();
        // The public key that RFC 8032 gives: d75a9801…f707511a.
        assert_eq!(key.public().to_string(), "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
        assert_eq!(key.public().id().to_string().len(), 16);
    }

    #[test]
    fn a_private_key_does_not_print() {
        let key = SigningKey::from_pem(OPENSSL).unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.public().id()));
        let told = OPENSSL.parse::<PublicKey>().unwrap_err().to_string();
        assert_eq!(
            told,
            "this is a private key: keep it secret, and give the public one, which begins with \"ed25519:\""
        );
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        let pem = |inside: &str| format!("{PEM_BEGIN}\n{inside}\n{PEM_END}\n");
        let not_pem = "not a private key: it is a text that begins with \"-----BEGIN PRIVATE KEY-----\", \
                       as `lectern plugin keygen` makes it";
        let damaged = "the private key is damaged or is not an Ed25519 key: make one with `lectern plugin keygen`";
        let public = "this is a public key: signing needs the private one";
        for (text, expected) in [
            (String::new(), not_pem),
            ("secret".into(), not_pem),
            (pem("*"), not_pem),
            (OPENSSL.replace("-----END PRIVATE KEY-----", ""), not_pem),
            (format!("{}{}", pem(&"A".repeat(8000)), ""), not_pem),
            (pem(""), damaged),
            (pem("AAAA"), damaged),
            (OPENSSL.replace("MC4C", "MC5C"), damaged),
            ("ed25519:AAAA".into(), public),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----".into(), public),
        ] {
            assert_eq!(SigningKey::from_pem(&text).unwrap_err().to_string(), expected, "{text}");
        }
        for bad in ["", "ed25519:", "ed25519:AAAA", "rsa:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="] {
            assert_eq!(
                bad.parse::<PublicKey>().unwrap_err().to_string(),
                format!("{bad:?} is not a public key: it is \"ed25519:\" and 44 characters of base64")
            );
        }
        for bad in ["", "0123", "0123456789ABCDEF", "+123456789abcdef", "0123456789abcdef0"] {
            assert_eq!(
                bad.parse::<KeyId>().unwrap_err().to_string(),
                format!("{bad:?} is not a key's id: 16 hexadecimal digits in lower case")
            );
        }
    }
}
