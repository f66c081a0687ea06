//! What handshakes are made with, as one value that can be exchanged while the listener serves.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::certificate::Summary;
use super::pem::{TlsAuthorities, TlsChain, TlsKey};

/// The name of HTTP/2 in ALPN (RFC 9113 §3.1).
pub(super) const ALPN_H2: &[u8] = b"h2";
/// The name of HTTP/1.1 in ALPN (RFC 7301 §6).
pub(super) const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), which older clients need; only with forward secrecy and authenticated encryption.
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// What is asked of clients.
#[derive(Debug, Clone, Default)]
pub struct TlsPolicy {
    /// The oldest version spoken.
    pub least_version: TlsVersion,
    /// Whose certificates of clients are believed; `None`: clients are not asked for one.
    pub authorities: Option<TlsAuthorities>,
    /// Whether a client without a certificate is refused; counts only with authorities. One whose certificate does not verify
    /// always is.
    pub require_certificate: bool,
}

/// The private key is another certificate's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key does not belong to the first certificate, which is that of {subject:?}")]
pub struct KeyMismatch {
    /// Whose the first certificate is.
    pub subject: String,
}

/// What handshakes are made with. Cheap to clone.
#[derive(Clone)]
pub struct TlsConfig {
    pub(super) rustls: Arc<ServerConfig>,
    own: Summary,
}

impl std::fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsConfig").field("certificate", &self.own).finish_non_exhaustive()
    }
}

impl TlsConfig {
    /// Puts a server's certificates, its key and what it asks of clients together.
    pub fn new(chain: &TlsChain, key: &TlsKey, policy: &TlsPolicy) -> Result<Self, KeyMismatch> {
        // A chain is never empty.
        let own = chain.0.first().map(|(_, own)| own.clone());
        let mismatch = || KeyMismatch { subject: own.as_ref().map(|own| own.subject.clone()).unwrap_or_default() };
        let certified = CertifiedKey::new(chain.0.iter().map(|(der, _)| der.clone()).collect(), key.0.clone());
        certified.keys_match().map_err(|_| mismatch())?;

        let provider = Arc::new(ring::default_provider());
        let versions: &[&SupportedProtocolVersion] = match policy.least_version {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("ring supports TLS 1.2 and 1.3");
        let builder = match &policy.authorities {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&authorities.roots), provider);
                let verifier =
                    if policy.require_certificate { verifier } else { verifier.allow_unauthenticated() }.build();
                builder.with_client_cert_verifier(verifier.expect("there is an authority, and no revocation list"))
            }
        };
        let mut rustls = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        rustls.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
        if policy.authorities.is_some() {
            // A resumed session would bring back a certificate without looking at it again, also after its time. Those who show
            // one are proxies, which keep their connections.
            rustls.session_storage = Arc::new(NoServerSessionStorage {});
            rustls.send_tls13_tickets = 0;
        }
        match own {
            Some(own) => Ok(Self { rustls: Arc::new(rustls), own }),
            None => Err(mismatch()),
        }
    }

    /// Whose certificate is shown, as RFC 4514 text.
    pub fn subject(&self) -> &str {
        &self.own.subject
    }

    /// The SHA-256 of the certificate shown, in hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.own.sha256
    }

    /// Until when the certificate shown is valid, as RFC 3339 text.
    pub fn valid_until(&self) -> String {
        self.own.until()
    }
}

/// Holds what a listener makes handshakes with. New connections see a change at once, those that are open do not.
#[derive(Debug)]
pub struct TlsSlot(ArcSwap<TlsConfig>);

impl TlsSlot {
    /// A slot that holds `config`.
    pub fn new(config: TlsConfig) -> Self {
        Self(ArcSwap::from_pointee(config))
    }

    /// Makes the handshakes to come with `config`.
    pub fn replace(&self, config: TlsConfig) {
        self.0.store(Arc::new(config));
    }

    /// What the next handshake is made with.
    pub fn current(&self) -> Arc<TlsConfig> {
        self.0.load_full()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    #[test]
    fn a_key_must_be_that_of_the_first_certificate() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let pem = |key: &KeyPair| CertificateParams::default().self_signed(key).unwrap().pem();
        let chain = |pem: String| TlsChain::from_pem(pem.as_bytes()).unwrap();
        let read = |key: &KeyPair| TlsKey::from_pem(key.serialize_pem().as_bytes()).unwrap();
        let policy = TlsPolicy::default();
        let made = TlsConfig::new(&chain(pem(&key)), &read(&key), &policy).unwrap();
        assert_eq!((made.subject(), made.sha256().len()), ("CN=rcgen self signed cert", 64));
        assert!(TlsConfig::new(&chain(pem(&key) + &pem(&other)), &read(&key), &policy).is_ok());
        let wrong = TlsConfig::new(&chain(pem(&other) + &pem(&key)), &read(&key), &policy).unwrap_err();
        assert!(wrong.to_string().contains("first certificate, which is that of \"CN=rcgen"), "{wrong}");
    }
}
