//! Signature algorithms (RFC 7518 §3, RFC 8037), and the kind of key that each of them takes.

use ring::rsa::PublicKeyComponents;
use ring::signature::{self, UnparsedPublicKey};
use ring::{hmac, signature::RsaParameters};

/// An algorithm that is understood. `none` is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// Reads its name, exactly as it is registered. ES512 is not there: `ring` has no curve P-521.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }

    /// Whether it takes a shared secret. A public key is never taken for one.
    pub(super) fn is_shared(self) -> bool {
        self.hmac().is_some()
    }

    fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            Self::Hs256 => Some(hmac::HMAC_SHA256),
            Self::Hs384 => Some(hmac::HMAC_SHA384),
            Self::Hs512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            _ => None,
        }
    }

    /// Whether `signature` is the one of `message` under a shared secret, in constant time; `None`: the algorithm takes none,
    /// or the secret is shorter than its hash, which RFC 7518 §3.2 forbids: such secrets are guessed from one token.
    pub(super) fn is_signed_with(self, secret: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
        let algorithm = self.hmac()?;
        if secret.len() < algorithm.digest_algorithm().output_len() {
            return None;
        }
        Some(hmac::verify(&hmac::Key::new(algorithm, secret), message, signature).is_ok())
    }
}

/// A public key of a kind that is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublicKey {
    /// Modulus and exponent, without leading zeros; 2,048 to 8,192 bits.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// An uncompressed point of P-256.
    P256(Vec<u8>),
    /// An uncompressed point of P-384.
    P384(Vec<u8>),
    /// The 32 bytes of Ed25519.
    Ed25519(Vec<u8>),
}

impl PublicKey {
    /// An RSA key; `None`: too short to be safe, or so long that it would only cost time.
    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        let trimmed = |bytes: &[u8]| bytes.iter().copied().skip_while(|&byte| byte == 0).collect::<Vec<u8>>();
        let (n, e) = (trimmed(n), trimmed(e));
        ((256..=1024).contains(&n.len()) && (1..=5).contains(&e.len())).then_some(Self::Rsa { n, e })
    }

    /// Whether the algorithm takes this kind of key.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa { .. } => algorithm.rsa().is_some(),
            Self::P256(_) => algorithm == Algorithm::Es256,
            Self::P384(_) => algorithm == Algorithm::Es384,
            Self::Ed25519(_) => algorithm == Algorithm::EdDsa,
        }
    }

    /// Whether `signature` is this key's of `message`. `false` too when the algorithm does not fit.
    pub(super) fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        let verified = match self {
            Self::Rsa { n, e } => match algorithm.rsa() {
                Some(parameters) => PublicKeyComponents { n, e }.verify(parameters, message, signature),
                None => return false,
            },
            Self::P256(point) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Self::P384(point) => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(message, signature)
            }
            Self::Ed25519(key) => UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature),
        };
        verified.is_ok()
    }
}
