//! Opens connections for somebody else: a name is resolved once, each of its addresses is judged, and only those that passed
//! are connected to.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use lectern_domain::outbound::{Policy, Refused};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

/// A whole opening, which may go on after the request that wanted it has given up.
const OPENING: Duration = Duration::from_secs(10);
/// One address of several: the next one is tried within the usual two seconds of a request.
const ONE_OF_SEVERAL: Duration = Duration::from_millis(700);
/// Addresses of a name that are tried.
const ADDRESSES: usize = 8;

/// Finds the addresses of a name.
#[async_trait]
pub(crate) trait Resolve: Send + Sync {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
pub(crate) struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.map(|address| address.ip()).collect())
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0:?} has no host that can be reached")]
    NoHost(String),
    #[error("look up {host}")]
    Resolve {
        host: String,
        #[source]
        cause: io::Error,
    },
    #[error("{0} has no address")]
    NoAddress(String),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("connect to {address}")]
    Connect {
        address: SocketAddr,
        #[source]
        cause: io::Error,
    },
    #[error("make a secure connection to {host}")]
    Tls {
        host: String,
        #[source]
        cause: io::Error,
    },
    #[error("no connection in time")]
    Timeout,
}

/// Opens connections to origins.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) policy: Arc<Policy>,
    pub(super) tls: Arc<ClientConfig>,
}

impl Connector {
    async fn open(self, uri: Uri) -> Result<Stream, ConnectError> {
        let no_host = || ConnectError::NoHost(uri.to_string());
        let host = uri.host().ok_or_else(no_host)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(no_host()),
        };
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let stream = self.reach(host, port, is_secure).await?;
        // Small messages both ways; waiting to fill packets only makes them later.
        let _ = stream.set_nodelay(true);
        if !is_secure {
            return Ok(Stream::Plain(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| no_host())?;
        let secured = TlsConnector::from(self.tls).connect(name, stream).await;
        secured
            .map(|stream| Stream::Secure(Box::new(stream)))
            .map_err(|cause| ConnectError::Tls { host: host.to_owned(), cause })
    }

    /// Connects to the first address that passes and answers.
    async fn reach(&self, host: &str, port: u16, is_secure: bool) -> Result<TcpStream, ConnectError> {
        let passed = addresses(self.resolver.as_ref(), &self.policy, host, port, is_secure).await?;
        let patience = if passed.len() > 1 { ONE_OF_SEVERAL } else { OPENING };
        let mut last = ConnectError::NoAddress(host.to_owned());
        for address in passed {
            let connecting = tokio::time::timeout(patience, TcpStream::connect(address));
            match connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => return Ok(stream),
                Err(cause) => last = ConnectError::Connect { address, cause },
            }
        }
        Err(last)
    }
}

/// Resolves a host once and answers those of its addresses that may be connected to, at least one. Who connects must do so to
/// these and not to the name, which may lead elsewhere the next time.
pub(crate) async fn addresses(
    resolver: &dyn Resolve,
    policy: &Policy,
    host: &str,
    port: u16,
    is_secure: bool,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let found = match host.parse::<IpAddr>() {
        Ok(literal) => vec![literal],
        Err(_) => {
            let resolved = resolver.resolve(host, port).await;
            resolved.map_err(|cause| ConnectError::Resolve { host: host.to_owned(), cause })?
        }
    };
    let (mut passed, mut last) = (Vec::new(), ConnectError::NoAddress(host.to_owned()));
    for ip in found.into_iter().take(ADDRESSES) {
        let address = SocketAddr::new(ip, port);
        match policy.check(address, is_secure) {
            Ok(()) => passed.push(address),
            Err(refused) => last = refused.into(),
        }
    }
    if passed.is_empty() { Err(last) } else { Ok(passed) }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let opening = tokio::time::timeout(OPENING, self.clone().open(uri));
        Box::pin(async { opening.await.unwrap_or(Err(ConnectError::Timeout)).map(TokioIo::new) })
    }
}

/// A connection, secured or not.
pub(super) enum Stream {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Secure(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
