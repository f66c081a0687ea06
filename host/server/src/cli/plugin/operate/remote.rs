//! Asks a running server: `/v1` of its admin socket, or `/__lectern__/v1` of its address with an administrator's key.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use clap::Args;
use http::{Method, Request, Uri};
use http_body_util::Full;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::cli::ConfigArgs;
use crate::cli::client::http_exchange;
use crate::plugins::api::REASON;

/// Admission compiles an interpreter and runs its cases, behind others.
const PATIENCE: Duration = Duration::from_secs(300);

/// Which server, and how to answer.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct RemoteArgs {
    /// The server's configuration file, to find its admin socket. Not `--config`: that is a plugin's configuration.
    #[arg(long, value_name = "FILE", env = "LECTERN_CONFIG")]
    server_config: Option<PathBuf>,
    /// The server's directory for data, to find its admin socket.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A server elsewhere: its address, like https://apps.example.org. Needs a key; without it the admin socket here is asked.
    #[arg(long, value_name = "URL", env = "LECTERN_SERVER")]
    server: Option<String>,
    /// An administrator's API key, for --server.
    #[arg(long, value_name = "KEY", env = "LECTERN_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Send the key over http to other hosts than this one.
    #[arg(long)]
    insecure_http: bool,
    /// Answer in JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// What a change says besides itself.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ChangeArgs {
    /// Why; stands in the history.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(super) reason: String,
    /// Only if the binding is still at this revision: of two operators one is told.
    #[arg(long, value_name = "REVISION")]
    pub(super) expect: Option<i64>,
}

/// One request.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// Below `/v1`.
    pub(super) path: String,
    pub(super) body: Bytes,
    /// Why, where the body is not JSON.
    pub(super) reason: &'a str,
    /// Further fields.
    pub(super) fields: Vec<(&'static str, String)>,
}

impl RemoteArgs {
    /// Asks with a JSON body.
    pub(super) fn ask(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        self.send(Ask { method, path: path.to_owned(), body, reason: "", fields: Vec::new() })
    }

    /// Reads.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, &Value::Null)
    }

    /// Asks.
    pub(super) fn send(&self, ask: Ask<'_>) -> anyhow::Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
        runtime.block_on(async {
            let asked = async {
                match &self.server {
                    Some(server) => self.over_http(server, ask).await,
                    None => self.over_socket(ask).await,
                }
            };
            tokio::time::timeout(PATIENCE, asked)
                .await
                .with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))?
        })
    }

    async fn over_socket(&self, ask: Ask<'_>) -> anyhow::Result<Value> {
        let config = ConfigArgs { config: self.server_config.clone(), data_dir: self.data_dir.clone(), listen: None };
        let config = config.try_load().map_err(|list| anyhow::anyhow!("{}", list.join("; ")))?;
        let socket = crate::paths::Paths::new(&config.data).admin_socket();
        let stream = UnixStream::connect(&socket).await.with_context(|| {
            format!(
                "reach a server at {}; is `lectern serve` running with this data directory (--data-dir), and may you use it?",
                socket.display()
            )
        })?;
        let path = format!("/v1{}", ask.path);
        exchange(stream, request(ask, &path, "localhost", None)?).await
    }

    async fn over_http(&self, server: &str, ask: Ask<'_>) -> anyhow::Result<Value> {
        let uri: Uri = server.parse().with_context(|| format!("{server:?} is no address"))?;
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
            bail!("{server:?} must be an address with its scheme, like https://apps.example.org");
        };
        let key = self
            .api_key
            .as_deref()
            .context("a server elsewhere needs a key: set LECTERN_API_KEY, or give --api-key")?;
        let tls = match scheme {
            "https" => true,
            "http" => false,
            other => bail!("{server:?}: {other} is neither https nor http"),
        };
        let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        ensure!(
            tls || here || self.insecure_http,
            "the key would go over the network unencrypted to {host}: use https, or say --insecure-http"
        );
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let address = (host.trim_start_matches('[').trim_end_matches(']'), port);
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {host}:{port}"))?;
        let path = format!("{}/__lectern__/v1{}", uri.path().trim_end_matches('/'), ask.path);
        let authority = uri.authority().map_or(host, |authority| authority.as_str());
        let request = request(ask, &path, authority, Some(key))?;
        if !tls {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(host.to_owned()).with_context(|| format!("{host} cannot be verified"))?;
        let stream = connector()?.connect(name, stream).await.with_context(|| format!("greet {host} over TLS"))?;
        exchange(stream, request).await
    }
}

/// Trusts the authorities of this system.
fn connector() -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("set up TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn request(ask: Ask<'_>, path: &str, host: &str, key: Option<&str>) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder().method(ask.method).uri(path).header("host", host);
    if let Some(key) = key {
        request = request.header("authorization", format!("Key {key}"));
    }
    if !ask.reason.is_empty() {
        request = request.header(REASON, ask.reason);
    }
    for (name, value) in ask.fields {
        request = request.header(name, value);
    }
    request.body(Full::new(ask.body)).context("make the request")
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Value> {
    let (status, bytes) = http_exchange(stream, request).await?;
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if status.is_success() {
        return Ok(answer);
    }
    match answer["error"].as_str() {
        Some(error) => bail!("{error}"),
        None => bail!("the server answered {status}"),
    }
}
