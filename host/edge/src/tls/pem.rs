//! Certificates and keys out of PEM (RFC 7468), each with its own list of what can be wrong with it.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::server::ParsedCertificate;
use rustls::sign::SigningKey;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate::Summary;

/// What is wrong with a text that should hold certificates or a key. Never holds anything of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// It has sections that do not end, or are not base64.
    #[error("it is not in PEM form: {0}")]
    Syntax(String),
    /// There is no certificate in it.
    #[error("it holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// One of its certificates cannot be read.
    #[error("its certificate number {number} cannot be used: {reason}")]
    BadCertificate {
        /// Which, counted from 1.
        number: usize,
        /// What is wrong.
        reason: String,
    },
    /// There is no private key in it.
    #[error("it holds no private key in PEM form (-----BEGIN PRIVATE KEY-----, RSA PRIVATE KEY or EC PRIVATE KEY)")]
    NoKey,
    /// The key needs a password, and nobody is there to give one when a server starts.
    #[error("its key is encrypted with a password: take that away with `openssl pkey -in FILE -out NEW`")]
    Encrypted,
    /// The key is of a kind that is not known, too short, or damaged.
    #[error("its key cannot be used: {0}; known are RSA from 2048 bits, ECDSA over P-256 and P-384, and Ed25519")]
    BadKey(String),
}

fn syntax(error: &pem::Error) -> PemError {
    // Of a key's lines nothing may be repeated.
    PemError::Syntax(match error {
        pem::Error::MissingSectionEnd { .. } => "a section does not end".into(),
        pem::Error::IllegalSectionStart { .. } => "a section begins with a line that cannot be read".into(),
        pem::Error::Base64Decode(_) => "a section is not base64".into(),
        _ => "it cannot be read".into(),
    })
}

/// All certificates of a text, with what they say; at least one.
fn certificates(pem: &[u8]) -> Result<Vec<(CertificateDer<'static>, Summary)>, PemError> {
    let mut all = Vec::new();
    for (at, found) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let der = found.map_err(|error| syntax(&error))?;
        let bad = |reason: String| PemError::BadCertificate { number: at + 1, reason };
        let summary = Summary::of(&der).map_err(|error| bad(error.to_string()))?;
        all.push((der, summary));
    }
    if all.is_empty() { Err(PemError::NoCertificate) } else { Ok(all) }
}

fn untimely<'a>(summaries: impl Iterator<Item = &'a Summary>, now: i64) -> Vec<String> {
    summaries.filter_map(|summary| summary.untimely(now)).collect()
}

/// The certificates that a server shows: its own first, then those of the authorities in between.
#[derive(Debug, Clone)]
pub struct TlsChain(pub(super) Vec<(CertificateDer<'static>, Summary)>);

impl TlsChain {
    /// Reads them from PEM.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PemError> {
        let all = certificates(pem)?;
        if let Some((own, _)) = all.first() {
            let bad = |error: rustls::Error| PemError::BadCertificate { number: 1, reason: error.to_string() };
            ParsedCertificate::try_from(own).map_err(bad)?;
        }
        Ok(Self(all))
    }

    /// Which of them clients will refuse at `now`, in seconds since 1970, because of its time.
    pub fn untimely(&self, now: i64) -> Vec<String> {
        untimely(self.0.iter().map(|(_, summary)| summary), now)
    }
}

/// The private key of a server's certificate. Has no form in which it could be printed.
#[derive(Clone)]
pub struct TlsKey(pub(super) Arc<dyn SigningKey>);

impl std::fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsKey(hidden)")
    }
}

impl TlsKey {
    /// Reads the first key of a text: PKCS#8 (RFC 5958), PKCS#1 (RFC 8017) or SEC 1 (RFC 5915).
    pub fn from_pem(pem: &[u8]) -> Result<Self, PemError> {
        let found = PrivateKeyDer::pem_slice_iter(pem).next();
        let Some(key) = found else {
            let encrypted = pem.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
            return Err(if encrypted { PemError::Encrypted } else { PemError::NoKey });
        };
        let key = key.map_err(|error| syntax(&error))?;
        // The old way of encrypting leaves the name of the section as it is (RFC 1421 §4.6.1.1).
        let old = pem.windows(OLD_ENCRYPTED.len()).any(|window| window == OLD_ENCRYPTED);
        let bad = |error: rustls::Error| if old { PemError::Encrypted } else { PemError::BadKey(error.to_string()) };
        ring::default_provider().key_provider.load_private_key(key).map(Self).map_err(bad)
    }
}

const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
const OLD_ENCRYPTED: &[u8] = b"Proc-Type: 4,ENCRYPTED";

/// Authorities whose certificates of clients are believed.
#[derive(Debug, Clone)]
pub struct TlsAuthorities {
    pub(super) roots: Arc<RootCertStore>,
    summaries: Vec<Summary>,
}

impl TlsAuthorities {
    /// Reads them from PEM; each certificate in it is an authority by itself.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PemError> {
        let mut roots = RootCertStore::empty();
        let mut summaries = Vec::new();
        for (at, (der, summary)) in certificates(pem)?.into_iter().enumerate() {
            let bad = |error: rustls::Error| PemError::BadCertificate { number: at + 1, reason: error.to_string() };
            roots.add(der).map_err(bad)?;
            summaries.push(summary);
        }
        Ok(Self { roots: Arc::new(roots), summaries })
    }

    /// Which of them are out of their time at `now`, in seconds since 1970. What they signed is accepted nevertheless: the time
    /// of an authority that is trusted by itself does not count (RFC 5280 §6.1.1).
    pub fn untimely(&self, now: i64) -> Vec<String> {
        untimely(self.summaries.iter(), now)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::default().self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn what_is_wrong_with_a_text_is_said() {
        let (certificate, key) = pair();
        let chain = |pem: &str| TlsChain::from_pem(pem.as_bytes()).map(|chain| chain.0.len());
        assert_eq!(chain(&certificate), Ok(1));
        assert_eq!(
            chain(&format!("a note\n{certificate}{key}{certificate}")),
            Ok(2),
            "what else is there is passed over"
        );
        for pem in ["", "nothing", &key] {
            assert_eq!(chain(pem), Err(PemError::NoCertificate), "{pem}");
        }
        assert!(matches!(chain(&certificate[..certificate.len() - 40]), Err(PemError::Syntax(_))));
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let second = chain(&format!("{certificate}{empty}"));
        assert!(matches!(second, Err(PemError::BadCertificate { number: 2, .. })), "{second:?}");
        assert!(TlsAuthorities::from_pem(certificate.as_bytes()).is_ok());
        assert_eq!(TlsAuthorities::from_pem(key.as_bytes()).unwrap_err(), PemError::NoCertificate);
    }

    #[test]
    fn keys_are_read_and_never_shown() {
        let (certificate, key) = pair();
        let read = |pem: &str| TlsKey::from_pem(pem.as_bytes()).map(|_| ());
        assert_eq!(read(&key), Ok(()));
        assert_eq!(read(&format!("{certificate}{key}")), Ok(()), "both may be in one file");
        assert_eq!(read(&KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem()), Ok(()));
        assert_eq!(read(&certificate), Err(PemError::NoKey));
        assert_eq!(read(""), Err(PemError::NoKey));
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        assert_eq!(read(&encrypted), Err(PemError::Encrypted));
        let bad = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(matches!(read(bad), Err(PemError::BadKey(_))));
        let broken = "-----BEGIN PRIVATE KEY-----\nhunter2!\n-----END PRIVATE KEY-----\n";
        let said = read(broken).unwrap_err().to_string();
        assert!(!said.contains("hunter2"), "{said}");
        assert!(!format!("{:?}", TlsKey::from_pem(key.as_bytes()).unwrap()).contains("PRIVATE"));
    }
}
