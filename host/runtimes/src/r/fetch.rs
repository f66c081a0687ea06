//! Fetches files from repositories: `http`, `https` and `file` URLs, into a file, with bounds for size and time.
//!
//! The server fetches, not the build: what runs code of package authors needs no network then. Only URLs that the operator
//! configured come here; a redirect may lead elsewhere, but never from `https` to `http`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tower::Service as _;
use url::Url;

/// How long a connection, a head or the next bytes may take: a repository across the world answers within seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Package Manager redirects once, source hosts twice.
const MOST_REDIRECTS: usize = 5;

/// A file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no such file: 404, 410, or no file.
    #[error("{0}: not there")]
    Absent(String),
    /// Another status than 200.
    #[error("{url}: the repository answered {status}")]
    Status {
        /// Which URL, without a password.
        url: String,
        /// Its answer.
        status: StatusCode,
    },
    /// Longer than what is taken.
    #[error("{url}: longer than {limit} bytes, the most that is taken")]
    TooLarge {
        /// Which URL, without a password.
        url: String,
        /// The bound.
        limit: u64,
    },
    /// No answer, or one that broke off.
    #[error("{url}: {reason}")]
    Failed {
        /// Which URL, without a password.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The file fetched into.
    #[error("write what was fetched from {url}")]
    Write {
        /// Which URL, without a password.
        url: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

/// Fetches files.
pub(super) struct Fetcher {
    tls: TlsConnector,
    proxies: Matcher,
}

/// An answer, and what moves its connection: dropped, that ends.
type Answer = (Response<Incoming>, JoinSet<()>);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Fetcher {
    /// Trusts the system's authorities; goes through the proxies that the variables `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`
    /// and `NO_PROXY` name, in either case of letters.
    pub(super) fn new(variables: &[(String, String)]) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::trusting(roots, variables)
    }

    fn trusting(roots: RootCertStore, variables: &[(String, String)]) -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let value = |name: &str| {
            let found = variables.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let proxies = Matcher::builder().all(value("ALL_PROXY")).http(value("HTTP_PROXY"));
        let proxies = proxies.https(value("HTTPS_PROXY")).no(value("NO_PROXY")).build();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), proxies })
    }

    /// Fetches `url` into the new file `target`, at most `limit` bytes; answers how many. Dropped, it leaves a part of it.
    pub(super) async fn fetch(&self, url: &str, agent: &str, limit: u64, target: &Path) -> Result<u64, FetchError> {
        let shown = shown(url);
        let failed = |reason: String| FetchError::Failed { url: shown.clone(), reason };
        let url = Url::parse(url).map_err(|error| failed(error.to_string()))?;
        let write = |cause| FetchError::Write { url: shown.clone(), cause };
        let mut file = tokio::fs::File::create_new(target).await.map_err(write)?;
        let too_large = || FetchError::TooLarge { url: shown.clone(), limit };
        let mut total: u64 = 0;
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| failed("not the path of a file".into()))?;
            let source = match tokio::fs::File::open(&path).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(FetchError::Absent(shown)),
                opened => opened.map_err(|error| failed(error.to_string()))?,
            };
            total = tokio::io::copy(&mut source.take(limit.saturating_add(1)), &mut file).await.map_err(write)?;
        } else {
            let (response, _connection) = self.ask(url, agent, &shown).await?;
            let mut body = response.into_body();
            loop {
                let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
                let Some(frame) = frame.map_err(|_| failed(silent()))? else { break };
                let frame = frame.map_err(|error| failed(format!("the answer broke off: {error}")))?;
                let Ok(bytes) = frame.into_data() else { continue };
                total = total.saturating_add(bytes.len() as u64);
                if total > limit {
                    break;
                }
                file.write_all(&bytes).await.map_err(write)?;
            }
        }
        file.flush().await.map_err(write)?;
        if total > limit { Err(too_large()) } else { Ok(total) }
    }

    /// Asks, following redirects.
    async fn ask(&self, mut url: Url, agent: &str, shown: &str) -> Result<Answer, FetchError> {
        let failed = |reason: String| FetchError::Failed { url: shown.to_owned(), reason };
        for _ in 0..=MOST_REDIRECTS {
            let asked = tokio::time::timeout(PATIENCE, self.once(&url, agent)).await;
            let (response, connection) = asked.map_err(|_| failed(silent()))?.map_err(failed)?;
            match response.status() {
                StatusCode::OK => return Ok((response, connection)),
                StatusCode::NOT_FOUND | StatusCode::GONE => return Err(FetchError::Absent(shown.to_owned())),
                status if status.is_redirection() => {
                    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                    let next = location.and_then(|location| url.join(location).ok());
                    let next = next.ok_or_else(|| failed(format!("{status} without a place to go to")))?;
                    if next.scheme() != "https" && (next.scheme() != "http" || url.scheme() == "https") {
                        return Err(failed(format!("it redirects to {}, which is not https", next.scheme())));
                    }
                    url = next;
                }
                status => return Err(FetchError::Status { url: shown.to_owned(), status }),
            }
        }
        Err(failed(format!("more than {MOST_REDIRECTS} redirects")))
    }

    /// One request on a connection of its own.
    async fn once(&self, url: &Url, agent: &str) -> Result<Answer, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let uri: Uri = without_user(url).as_str().parse().map_err(|error: http::uri::InvalidUri| said(&error))?;
        let proxy = self.proxies.intercept(&uri);
        let plain = url.scheme() == "http";
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        let stream: Box<dyn Stream> = match &proxy {
            Some(proxy) if !plain => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), connector);
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                Box::new(tunnel.call(uri.clone()).await.map_err(|error| chain(&error))?.into_inner())
            }
            Some(proxy) => {
                Box::new(connector.call(proxy.uri().clone()).await.map_err(|error| chain(&error))?.into_inner())
            }
            None => Box::new(connector.call(uri.clone()).await.map_err(|error| chain(&error))?.into_inner()),
        };
        let stream: Box<dyn Stream> = if plain {
            stream
        } else {
            let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let name = rustls_pki_types::ServerName::try_from(name).map_err(|error| said(&error))?;
            Box::new(self.tls.connect(name, stream).await.map_err(|error| said(&error))?)
        };
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| chain(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // What is wrong with it is said by the answer, or by its body.
            connection.await.ok();
        });
        let target = match (&proxy, plain) {
            // A proxy of plain HTTP is told the whole address.
            (Some(_), true) => uri.to_string(),
            _ => uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        };
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let mut request = Request::get(target).header(HOST, host).header(USER_AGENT, agent);
        if let Some(credentials) = credentials(url) {
            request = request.header(AUTHORIZATION, credentials);
        }
        if let Some(auth) = proxy.as_ref().filter(|_| plain).and_then(|proxy| proxy.basic_auth()) {
            request = request.header(PROXY_AUTHORIZATION, auth);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| said(&error))?;
        let response = sender.send_request(request).await.map_err(|error| chain(&error))?;
        Ok((response, driver))
    }
}

fn silent() -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}

fn credentials(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pair = format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn without_user(url: &Url) -> Url {
    let mut url = url.clone();
    // Fails for URLs that cannot have a user.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    url
}

/// A URL as it may be printed: without user and password.
pub(super) fn shown(url: &str) -> String {
    Url::parse(url).map_or_else(|_| "(not a URL)".to_owned(), |url| without_user(&url).to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    /// A server on loopback that gives each connection the next answer; returns its URL and what it was asked.
    fn serve(answers: Vec<String>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let mut heads = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                heads.push(String::from_utf8(head).unwrap());
                let _ = stream.write_all(answer.as_bytes());
            }
            heads
        });
        (url, thread)
    }

    fn ok(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn answers_bounds_and_passwords() {
        let directory = tempfile::tempdir().unwrap();
        let fetcher = Fetcher::new(&[]).unwrap();
        let mut number = 0;
        let mut target = || {
            number += 1;
            directory.path().join(number.to_string())
        };
        let redirect = "HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n".to_owned();
        let (url, thread) = serve(vec![redirect, ok("hello")]);
        let with_user = url.replace("http://", "http://ada:s%40crt@");
        let at = target();
        assert_eq!(fetcher.fetch(&format!("{with_user}/x"), "R/4.2.2", 5, &at).await.unwrap(), 5);
        assert_eq!(std::fs::read_to_string(at).unwrap(), "hello");
        let heads = thread.join().unwrap();
        assert!(heads[0].contains("user-agent: R/4.2.2") && heads[0].contains("authorization: Basic YWRhOnNAY3J0"));
        assert!(heads[1].starts_with("GET /there "), "{heads:?}");

        for (answer, limit, expected) in [
            (ok("123456"), 5, "longer than 5 bytes"),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(), 9, "not there"),
            ("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n".into(), 9, "answered 500"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1".into(), 99, "broke off"),
            ("HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\n\r\n".into(), 9, "redirects to file"),
        ] {
            let (url, thread) = serve(vec![answer]);
            let with_user = url.replace("http://", "http://ada:hunter2@");
            let error = fetcher.fetch(&with_user, "", limit, &target()).await.unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
            thread.join().unwrap();
        }
        let error = fetcher.fetch("http://127.0.0.1:1/", "", 9, &target()).await.unwrap_err().to_string();
        assert!(error.contains("refused"), "{error}");

        let file = directory.path().join("PACKAGES");
        std::fs::write(&file, "Package: x").unwrap();
        let url = format!("file://{}", file.display());
        assert_eq!(fetcher.fetch(&url, "", 99, &target()).await.unwrap(), 10);
        assert!(matches!(fetcher.fetch(&url, "", 9, &target()).await, Err(FetchError::TooLarge { .. })));
        assert!(matches!(fetcher.fetch(&format!("{url}.gz"), "", 9, &target()).await, Err(FetchError::Absent(_))));
    }

    /// A server on loopback that speaks TLS and answers everything with its path; the certificate it is to be trusted by.
    async fn serve_tls() -> (String, RootCertStore) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not trust it hangs up.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default();
                stream.write_all(ok(path).as_bytes()).await.unwrap();
                let _ = stream.shutdown().await;
            }
        });
        (url, roots)
    }

    #[tokio::test]
    async fn https_is_verified() {
        let directory = tempfile::tempdir().unwrap();
        let (url, roots) = serve_tls().await;
        let at = directory.path().join("a");
        let trusting = Fetcher::trusting(roots, &[]).unwrap();
        trusting.fetch(&format!("{url}/src/contrib/PACKAGES"), "", 99, &at).await.unwrap();
        assert_eq!(std::fs::read_to_string(&at).unwrap(), "/src/contrib/PACKAGES");
        let error = Fetcher::new(&[]).unwrap().fetch(&url, "", 99, &directory.path().join("b")).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }

    #[tokio::test]
    async fn proxies_are_used() {
        let directory = tempfile::tempdir().unwrap();
        let (url, roots) = serve_tls().await;
        // A proxy: connects where it is told, and says what that was.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://ada:secret@{}", listener.local_addr().unwrap());
        let heads = tokio::spawn(async move {
            let mut heads = Vec::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                if let Some(target) = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()) {
                    let mut other = tokio::net::TcpStream::connect(target).await.unwrap();
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut other).await;
                } else {
                    stream.write_all(ok("plain").as_bytes()).await.unwrap();
                }
                heads.push(head.to_lowercase());
            }
            heads
        });
        let variables = ["HTTPS_PROXY", "http_proxy"].map(|name| (name.to_owned(), proxy.clone()));
        let fetcher = Fetcher::trusting(roots, &variables).unwrap();
        fetcher.fetch(&format!("{url}/x"), "", 99, &directory.path().join("a")).await.unwrap();
        fetcher.fetch("http://repository.invalid/y", "", 99, &directory.path().join("b")).await.unwrap();
        let heads = heads.await.unwrap();
        assert!(heads[0].starts_with("connect localhost:") && heads[0].contains("proxy-authorization: basic"));
        assert!(
            heads[1].starts_with("get http://repository.invalid/y ") && heads[1].contains("proxy-authorization: basic")
        );
    }
}
