//! Signatures of packages, detached: a file of one line beside the package.
//!
//! What is signed is `lectern-plugin-v1`, a NUL and the package's bytes: a signature made for something else is none for a
//! package, even by the same key. Nothing of a package is read before its signature is verified.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::keys::{KeyId, PublicKey, SigningKey};

const DOMAIN: &[u8] = b"lectern-plugin-v1\0";
/// A signature's file has 106 bytes.
const MAX_TEXT_BYTES: usize = 256;

/// A key that the operator trusts, and what the operator calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// For people: whose key it is.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

/// Why a package is not taken as somebody's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error("the package is not signed: sign it with `lectern plugin sign`; trusted here: {}", Listed(.trusted))]
    Unsigned {
        /// Who could have signed.
        trusted: Vec<(KeyId, String)>,
    },
    /// The text is no signature.
    #[error(
        "the signature cannot be read: it is one line, a key's id and 88 characters of base64, as `lectern plugin sign` writes it"
    )]
    Malformed,
    /// Signed by somebody else, or so it says.
    #[error(
        "the package is signed with the key {key}, which is not trusted here; trusted here: {}; if you know whose it is, get its \
         public half from them: `lectern plugin trust ed25519:…`",
        Listed(.trusted)
    )]
    UnknownKey {
        /// The key's id, as the signature names it.
        key: KeyId,
        /// Who is trusted.
        trusted: Vec<(KeyId, String)>,
    },
    /// Package and signature do not belong together.
    #[error(
        "the signature by {name} ({key}) is not one of this package: its bytes were changed after it was signed, or the signature is another's"
    )]
    Bad {
        /// The key's id.
        key: KeyId,
        /// What the operator calls it.
        name: String,
    },
}

/// Keys as they stand in a message.
struct Listed<'a>(&'a [(KeyId, String)]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no key");
        }
        for (at, (id, name)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{id} ({name})")?;
        }
        Ok(())
    }
}

/// A signature and the key that is said to have made it. Its text is the content of a signature's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    key: KeyId,
    bytes: [u8; 64],
}

impl Signature {
    /// Signs a package.
    pub fn of(package: &[u8], key: &SigningKey) -> Self {
        Self { key: key.public().id(), bytes: key.sign(&message(package)) }
    }

    /// The key that is said to have made it.
    pub fn key(&self) -> KeyId {
        self.key
    }
}

/// `<key id> <base64>` and the end of the line.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.key, STANDARD.encode(self.bytes))
    }
}

impl FromStr for Signature {
    type Err = SignatureError;
    /// Takes exactly what is written, but for the end of the line: there is one text for a signature.
    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let read = || {
            let line = text.strip_suffix('\n').unwrap_or(text);
            let (key, base64) = line.split_once(' ').filter(|_| text.len() <= MAX_TEXT_BYTES)?;
            let bytes = STANDARD.decode(base64).ok()?.try_into().ok()?;
            Some(Self { key: key.parse().ok()?, bytes })
        };
        read().ok_or(SignatureError::Malformed)
    }
}

/// Whether one of the trusted keys has signed these bytes, and which.
///
/// `signature` is the text of the signature's file, `None` where there is no such file. Copies the package once.
pub fn verify(package: &[u8], signature: Option<&str>, trusted: &[TrustedKey]) -> Result<KeyId, SignatureError> {
    let listed = || trusted.iter().map(|trusted| (trusted.key.id(), trusted.name.clone())).collect();
    let Some(text) = signature else { return Err(SignatureError::Unsigned { trusted: listed() }) };
    let signature: Signature = text.parse()?;
    let key = signature.key;
    let message = message(package);
    let mut named = None;
    // An id is short enough to be imitated: every trusted key of that id is tried.
    for trusted in trusted.iter().filter(|trusted| trusted.key.id() == key) {
        if UnparsedPublicKey::new(&ED25519, trusted.key.as_bytes()).verify(&message, &signature.bytes).is_ok() {
            return Ok(key);
        }
        named = Some(trusted.name.clone());
    }
    Err(match named {
        Some(name) => SignatureError::Bad { key, name },
        None => SignatureError::UnknownKey { key, trusted: listed() },
    })
}

fn message(package: &[u8]) -> Vec<u8> {
    [DOMAIN, package].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const PACKAGE: &[u8] = b"the bytes of a package";

    fn key(seed: u8) -> SigningKey {
        // PKCS#8 around a seed (RFC 8410 §7).
        let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
        der.extend([seed; 32]);
        let base64 = STANDARD.encode(der);
        SigningKey::from_pem(&format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n")).unwrap()
    }

    fn trusted(name: &str, key: &SigningKey) -> TrustedKey {
        TrustedKey { name: name.into(), key: key.public() }
    }

    #[test]
    fn who_signed_is_told() {
        let (ours, theirs) = (key(1), key(2));
        let text = Signature::of(PACKAGE, &theirs).to_string();
        let keys = [trusted("us", &ours), trusted("them", &theirs)];
        assert_eq!(verify(PACKAGE, Some(&text), &keys), Ok(theirs.public().id()));
        assert_eq!(verify(PACKAGE, Some(text.trim_end()), &keys), Ok(theirs.public().id()));
        assert_eq!(text.len(), 106);
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let (ours, theirs) = (key(1), key(2));
        let (our_id, their_id) = (ours.public().id(), theirs.public().id());
        let good = Signature::of(PACKAGE, &ours).to_string();
        let keys = [trusted("us", &ours)];
        let malformed = "the signature cannot be read: it is one line, a key's id and 88 characters of base64, as \
                         `lectern plugin sign` writes it"
            .to_owned();
        let cases = [
            (
                PACKAGE,
                None,
                &keys[..],
                format!("the package is not signed: sign it with `lectern plugin sign`; trusted here: {our_id} (us)"),
            ),
            (
                PACKAGE,
                None,
                &[],
                "the package is not signed: sign it with `lectern plugin sign`; trusted here: no key".into(),
            ),
            (
                PACKAGE,
                Some(Signature::of(PACKAGE, &theirs).to_string()),
                &keys,
                format!(
                    "the package is signed with the key {their_id}, which is not trusted here; trusted here: {our_id} (us); if \
                     you know whose it is, get its public half from them: `lectern plugin trust ed25519:…`"
                ),
            ),
            (
                &b"other bytes"[..],
                Some(good.clone()),
                &keys,
                format!(
                    "the signature by us ({our_id}) is not one of this package: its bytes were changed after it was \
                     signed, or the signature is another's"
                ),
            ),
            (PACKAGE, Some(String::new()), &keys, malformed.clone()),
            (PACKAGE, Some(format!("{good}\n")), &keys, malformed.clone()),
            (PACKAGE, Some(format!(" {good}")), &keys, malformed.clone()),
            (PACKAGE, Some(good.to_uppercase()), &keys, malformed.clone()),
            (PACKAGE, Some(format!("{our_id} AAAA")), &keys, malformed.clone()),
            (PACKAGE, Some("x".repeat(1000)), &keys, malformed),
        ];
        for (package, signature, keys, expected) in cases {
            assert_eq!(verify(package, signature.as_deref(), keys).unwrap_err().to_string(), expected, "{signature:?}");
        }
    }

    #[test]
    fn a_signature_of_something_else_is_none_of_a_package() {
        let ours = key(1);
        let bare = Signature { key: ours.public().id(), bytes: ours.sign(PACKAGE) };
        let refused = verify(PACKAGE, Some(&bare.to_string()), &[trusted("us", &ours)]);
        assert!(matches!(refused, Err(SignatureError::Bad { .. })));
        // Under another's id it is another's.
        let posing = Signature { key: key(2).public().id(), ..Signature::of(PACKAGE, &ours) };
        let refused = verify(PACKAGE, Some(&posing.to_string()), &[trusted("us", &ours), trusted("them", &key(2))]);
        assert!(matches!(refused, Err(SignatureError::Bad { .. })));
    }

    #[test]
    fn no_bit_of_a_signature_can_be_changed() {
        let ours = key(1);
        let text = Signature::of(PACKAGE, &ours).to_string();
        for at in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[at / 8] ^= 1 << (at % 8);
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert!(verify(PACKAGE, Some(&changed), &[trusted("us", &ours)]).is_err(), "{at}: {changed:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            prop_assert!(verify(PACKAGE, Some(&text), &[trusted("us", &key(1))]).is_err());
        }

        #[test]
        fn no_bit_of_a_package_can_be_changed(
            package in proptest::collection::vec(any::<u8>(), 1..2000),
            bit in any::<proptest::sample::Index>(),
        ) {
            let ours = key(1);
            let text = Signature::of(&package, &ours).to_string();
            let mut changed = package;
            let bit = bit.index(changed.len() * 8);
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(verify(&changed, Some(&text), &[trusted("us", &ours)]).is_err());
        }
    }
}
