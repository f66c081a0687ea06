//! An authority of a test's own, what it signs, and clients that trust it.

use std::sync::Arc;

use lectern_edge::{TlsAuthorities, TlsChain, TlsConfig, TlsKey, TlsPolicy, TlsSlot, TlsVersion};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::World;

/// The name that servers' certificates are for.
pub(crate) const HOST: &str = "apps.example.org";

/// A certificate and its key.
pub(crate) struct Signed {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) pem: String,
    key: KeyPair,
}

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    /// One named `name`, with a key of its own: two of one name are different authorities.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { der: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// Signs a certificate for these DNS names.
    pub(crate) fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Signed { der: certificate.der().clone(), pem: certificate.pem(), key }
    }

    /// A server's configuration with a new certificate of this authority.
    pub(crate) fn server(&self, policy: &TlsPolicy) -> TlsConfig {
        let own = self.sign(&[HOST], |_| {});
        let key = TlsKey::from_pem(own.key.serialize_pem().as_bytes()).unwrap();
        TlsConfig::new(&TlsChain::from_pem(own.pem.as_bytes()).unwrap(), &key, policy).unwrap()
    }

    /// The same in a slot, for a listener.
    pub(crate) fn slot(&self, policy: &TlsPolicy) -> Option<Arc<TlsSlot>> {
        Some(Arc::new(TlsSlot::new(self.server(policy))))
    }

    /// Asks clients for a certificate of this authority.
    pub(crate) fn asks(&self, require_certificate: bool) -> TlsPolicy {
        let authorities = TlsAuthorities::from_pem(self.pem.as_bytes()).unwrap();
        TlsPolicy { least_version: TlsVersion::Tls12, authorities: Some(authorities), require_certificate }
    }

    /// Begins a client that trusts it.
    pub(crate) fn client(&self) -> Dial<'_> {
        Dial { authority: self, shown: None, alpn: Vec::new(), versions: rustls::ALL_VERSIONS.to_vec() }
    }
}

/// How a client connects.
#[derive(Clone)]
pub(crate) struct Dial<'a> {
    authority: &'a Authority,
    shown: Option<&'a Signed>,
    alpn: Vec<Vec<u8>>,
    versions: Vec<&'static SupportedProtocolVersion>,
}

impl<'a> Dial<'a> {
    /// Shows a certificate if it is asked for one.
    pub(crate) fn showing(self, shown: &'a Signed) -> Self {
        Self { shown: Some(shown), ..self }
    }

    /// Asks for one of these protocols.
    pub(crate) fn speaking(self, protocols: &[&str]) -> Self {
        Self { alpn: protocols.iter().map(|name| name.as_bytes().to_vec()).collect(), ..self }
    }

    /// Speaks this version of TLS only.
    pub(crate) fn only(self, version: &'static SupportedProtocolVersion) -> Self {
        Self { versions: vec![version], ..self }
    }

    /// A client that keeps what it needs to resume sessions.
    pub(crate) fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.shown {
            None => builder.with_no_client_auth(),
            Some(shown) => {
                let key = PrivateKeyDer::try_from(shown.key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![shown.der.clone()], key).unwrap()
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        TlsConnector::from(Arc::new(config))
    }

    /// The first bytes of its handshake.
    pub(crate) fn hello(&self) -> Vec<u8> {
        let name = ServerName::try_from(HOST).unwrap();
        let mut connection = rustls::ClientConnection::new(self.connector().config().clone(), name).unwrap();
        let mut bytes = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// Connects. With TLS 1.3 a refusal shows only at the first read.
    pub(crate) async fn try_open(&self, world: &World) -> std::io::Result<TlsStream<TcpStream>> {
        connect(&self.connector(), world).await
    }

    pub(crate) async fn open(&self, world: &World) -> TlsStream<TcpStream> {
        self.try_open(world).await.unwrap()
    }
}

/// Connects with a client that connects again later.
pub(crate) async fn connect(connector: &TlsConnector, world: &World) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(world.address).await.unwrap();
    connector.connect(ServerName::try_from(HOST).unwrap(), stream).await
}
