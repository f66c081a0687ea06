//! HTTP requests for somebody else, a plugin or whoever named a URL: HTTP/1.1, no redirects, no proxies, bounded in size, time
//! and number.
//!
//! Everything runs on the control runtime: connections that are kept for later requests outlive the thread of the one that
//! opened them. They are kept by origin, so a kept connection is to an address that was judged for the same origin.

mod connect;
mod forms;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lectern_domain::outbound::{Policy, Refused};
use lectern_gate::{Outbound, OutboundError, OutboundRequest, OutboundResponse};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::forms::Forms;

use self::connect::{ConnectError, Connector, Resolve, SystemResolver};

/// Exchanges at a time: each holds up to 2 MiB, and a request of a visitor waits for it.
const EXCHANGES: usize = 64;
/// Longest exchange, whatever the caller says.
const LONGEST: Duration = Duration::from_secs(30);
/// An unused connection is closed after this: the name may stand for another address by then.
const IDLE: Duration = Duration::from_secs(15);
/// Unused connections to one origin.
const IDLE_CONNECTIONS: usize = 8;
/// Bytes and number of the answer's fields.
const HEAD_BYTES: usize = 64 << 10;
const HEAD_FIELDS: usize = 100;

/// Fields that are the connection's, not the caller's. `host` with another name would reach what the origin's server keeps
/// beside it.
const OWN_FIELDS: [HeaderName; 11] = [
    HOST,
    CONNECTION,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    TE,
    TRAILER,
    UPGRADE,
    EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Authorities that are trusted beside the system's, and the key of the configuration that names the file.
#[derive(Clone, Copy)]
pub(crate) struct Authorities<'a> {
    pub(crate) file: Option<&'a Path>,
    pub(crate) setting: &'static str,
}

/// The network, as far as a policy opens it.
pub(crate) struct HttpOutbound {
    client: Client<Connector, Full<Bytes>>,
    permits: Arc<Semaphore>,
    runtime: tokio::runtime::Handle,
}

impl HttpOutbound {
    /// To be called where `runtime` is at hand.
    pub(crate) fn new(
        policy: Policy,
        authorities: Authorities<'_>,
        runtime: tokio::runtime::Handle,
    ) -> anyhow::Result<Self> {
        Self::with_resolver(policy, authorities, runtime, Arc::new(SystemResolver))
    }

    fn with_resolver(
        policy: Policy,
        authorities: Authorities<'_>,
        runtime: tokio::runtime::Handle,
        resolver: Arc<dyn Resolve>,
    ) -> anyhow::Result<Self> {
        let connector = Connector { resolver, policy: Arc::new(policy), tls: Arc::new(tls(authorities)?) };
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_buf_size(HEAD_BYTES)
            .http1_max_headers(HEAD_FIELDS)
            .build(connector);
        Ok(Self { client, permits: Arc::new(Semaphore::new(EXCHANGES)), runtime })
    }
}

impl HttpOutbound {
    /// Sends a request and answers when the head of the answer is there. What follows is read as it comes: how long all this may
    /// take, and how many at a time, is the caller's to bound. To be called on the control runtime.
    pub(crate) async fn open(&self, request: OutboundRequest) -> Result<http::Response<Incoming>, OutboundError> {
        self.client.request(outgoing(request)?).await.map_err(|error| failed(&error))
    }
}

/// What went wrong; what the policy refuses is told apart.
fn failed(error: &(dyn std::error::Error + 'static)) -> OutboundError {
    match refusal(error) {
        Some(refused) => OutboundError::Forbidden(refused.to_string()),
        None => OutboundError::Failed(crate::cli::chain(error)),
    }
}

#[async_trait]
impl Outbound for HttpOutbound {
    /// May be dropped at any time: the exchange ends with it.
    async fn fetch(&self, request: OutboundRequest) -> Result<OutboundResponse, OutboundError> {
        let patience = request.timeout.min(LONGEST);
        let (client, permits) = (self.client.clone(), Arc::clone(&self.permits));
        let exchange = self.runtime.spawn(tokio::time::timeout(patience, async move {
            let _permit =
                permits.acquire().await.map_err(|_| OutboundError::Failed("the server is stopping".into()))?;
            exchange(&client, request).await
        }));
        match AbortOnDropHandle::new(exchange).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(OutboundError::Timeout),
            Err(_) => Err(OutboundError::Failed("the server is stopping".into())),
        }
    }
}

async fn exchange(
    client: &Client<Connector, Full<Bytes>>,
    request: OutboundRequest,
) -> Result<OutboundResponse, OutboundError> {
    let most = request.max_body_bytes;
    let answer = client.request(outgoing(request)?).await.map_err(|error| failed(&error))?;
    let (head, mut body) = answer.into_parts();
    if body.size_hint().lower() > most as u64 {
        return Err(OutboundError::TooLarge);
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|error| failed(&error))?.into_data() {
            if data.len() > most - bytes.len() {
                return Err(OutboundError::TooLarge);
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(OutboundResponse { status: head.status, headers: without_own(head.headers), body: bytes })
}

fn outgoing(request: OutboundRequest) -> Result<Request<Full<Bytes>>, OutboundError> {
    let wrong = |what: &dyn std::fmt::Display| OutboundError::Failed(format!("not an address: {what}"));
    if !matches!(request.url.scheme(), "http" | "https") || !request.url.has_host() {
        return Err(wrong(&"only http and https have one"));
    }
    // Names and passwords in the address would be sent nowhere; better not to let anybody think so.
    if !request.url.username().is_empty() || request.url.password().is_some() {
        return Err(wrong(&"it has a user"));
    }
    let mut url = request.url;
    url.set_fragment(None);
    let uri: Uri = url.as_str().parse().map_err(|error| wrong(&error))?;
    let mut outgoing = Request::new(Full::from(request.body));
    *outgoing.method_mut() = request.method;
    *outgoing.uri_mut() = uri;
    *outgoing.headers_mut() = without_own(request.headers);
    Ok(outgoing)
}

fn without_own(mut headers: HeaderMap) -> HeaderMap {
    for name in &OWN_FIELDS {
        headers.remove(name);
    }
    headers
}

/// The refusal among the causes of an error.
fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Refused> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| {
        match error.downcast_ref::<ConnectError>() {
            Some(ConnectError::Refused(refused)) => Some(refused),
            _ => None,
        }
    })
}

/// Trusts the system's authorities and those of the file. A system without any still reaches `http`.
fn tls(Authorities { file, setting }: Authorities<'_>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        let reason = loaded.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        tracing::info!(
            reason,
            setting,
            "the system trusts no authorities; https is reached with those of the setting only"
        );
    }
    if let Some(path) = file {
        let shown = || format!("read the authorities in {setting}, {}", path.display());
        let before = roots.len();
        for certificate in CertificateDer::pem_file_iter(path).with_context(shown)? {
            roots.add(certificate.with_context(shown)?).with_context(shown)?;
        }
        anyhow::ensure!(roots.len() > before, "{}: it holds no certificate in PEM form", shown());
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("choose the versions of TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests;
