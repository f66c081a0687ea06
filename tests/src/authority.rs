//! Authorities of a test's own: what they sign, and clients that trust them.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http::RUNTIME;

/// How a client of a test speaks TLS.
pub type Trust = Arc<ClientConfig>;

/// An authority. Two of one name are different ones: each has a key of its own.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    /// Its certificate, in PEM form.
    pub pem: String,
}

/// A certificate and its key.
#[derive(Debug)]
pub struct Signed {
    /// The certificate as it goes over the wire.
    pub der: CertificateDer<'static>,
    /// The certificate, in PEM form.
    pub pem: String,
    /// The key, in PEM form.
    pub key_pem: String,
    key: KeyPair,
}

impl Authority {
    /// Makes one.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { der: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    fn sign(&self, names: &[&str], subject: &str, usage: ExtendedKeyUsagePurpose) -> Signed {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, subject);
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Python's client insists on it.
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Signed { der: certificate.der().clone(), pem: certificate.pem(), key_pem: key.serialize_pem(), key }
    }

    /// Signs a certificate for a server on loopback.
    pub fn server(&self) -> Signed {
        self.sign(&["127.0.0.1", "localhost"], "server", ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Signs a certificate for a client with this DNS name; its subject is `CN=<name>,O=Example`.
    pub fn client(&self, name: &str) -> Signed {
        self.sign(&[name], name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// How a client connects that believes this authority, and shows a certificate if it is asked for one.
    pub fn trusted(&self, shown: Option<&Signed>) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some(shown) => {
                let key = PrivateKeyDer::try_from(shown.key.serialize_der()).expect("a key");
                builder.with_client_auth_cert(vec![shown.der.clone()], key).expect("a certificate with its key")
            }
        })
    }
}

/// Connects to a server on loopback.
pub(crate) async fn connect(address: SocketAddr, trust: &Trust) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::IpAddress(address.ip().into());
    TlsConnector::from(Arc::clone(trust)).connect(name, TcpStream::connect(address).await?).await
}

/// The certificate that a server shows now; `None`: it is refused.
pub fn shown(address: SocketAddr, trust: &Trust) -> Option<CertificateDer<'static>> {
    let stream = RUNTIME.block_on(connect(address, trust)).ok()?;
    stream.get_ref().1.peer_certificates()?.first().map(|der| der.clone().into_owned())
}
