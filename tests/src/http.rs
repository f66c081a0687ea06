//! An HTTP client that shows what the server said and follows nothing by itself.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;

use crate::authority::{Trust, connect};

/// Longest wait for an answer: a first request may start a process on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The runtime that requests run on.
pub static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("start a runtime")
});

/// A client with a pool of connections; cheap to clone.
pub type Pool = Client<HttpConnector, Full<Bytes>>;

/// Makes a client.
pub fn pool() -> Pool {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

/// What the server said.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics with the whole reply when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The first value of a header field, empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// All values of a header field.
    pub fn header_values(&self, name: &str) -> Vec<String> {
        self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }

    /// The reply, which must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} {:?}", self.text(), self.headers);
        self
    }

    /// Checks that this is the protocol's error `code` under `status`, with a text.
    #[track_caller]
    pub fn expect_error(&self, status: u16, code: i64) {
        assert_eq!(self.status, status, "{}", self.text());
        let body = self.json();
        assert_eq!(body["code"], code, "{body}");
        assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "an error says what is wrong: {body}");
        assert!(body.as_object().is_some_and(|body| body.contains_key("payload")), "{body}");
    }
}

/// A request being made.
#[derive(Debug)]
pub struct Ask {
    address: SocketAddr,
    trust: Option<Trust>,
    request: http::request::Builder,
    body: Bytes,
}

impl Ask {
    /// Begins a request to `path` at `address`. A whole address is accepted as path; its host is then ignored.
    pub fn new(address: SocketAddr, method: Method, path: &str) -> Self {
        let path = match path.split_once("://") {
            Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
            None => path,
        };
        let request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        Self { address, trust: None, request, body: Bytes::new() }
    }

    /// Asks over HTTPS.
    #[must_use]
    pub fn over(self, trust: &Trust) -> Self {
        Self { trust: Some(Arc::clone(trust)), ..self }
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        Self { request: self.request.header(name, value), ..self }
    }

    /// Presents an API key.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Key {key}"))
    }

    /// Sends these bytes.
    #[must_use]
    pub fn body(self, bytes: impl Into<Bytes>) -> Self {
        Self { body: bytes.into(), ..self }
    }

    /// Sends JSON.
    #[must_use]
    pub fn json(self, value: &Value) -> Self {
        self.header("content-type", "application/json").body(value.to_string())
    }

    /// Sends a form.
    #[must_use]
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        self.header("content-type", "application/x-www-form-urlencoded").body(form(fields))
    }

    /// Sends the request and reads the whole reply. `None`: the connection failed or ended early.
    pub fn try_send(self) -> Option<Reply> {
        let request = self.request.body(Full::new(self.body)).expect("a request");
        RUNTIME.block_on(async {
            let work = async {
                let response = match &self.trust {
                    None => pool().request(request).await.ok()?,
                    Some(trust) => over_tls(self.address, trust, request).await?,
                };
                let (head, body) = response.into_parts();
                let body = body.collect().await.ok()?.to_bytes();
                Some(Reply { status: head.status.as_u16(), headers: head.headers, body })
            };
            tokio::time::timeout(PATIENCE, work).await.expect("an answer in time")
        })
    }

    /// Sends the request and reads the whole reply.
    #[track_caller]
    pub fn send(self) -> Reply {
        let what = format!("{:?} at {}", self.request, self.address);
        self.try_send().unwrap_or_else(|| panic!("no answer to {what}"))
    }
}

/// Sends a request on a new connection, which ends with the answer. `None`: the connection failed or was refused.
async fn over_tls(address: SocketAddr, trust: &Trust, request: Request<Full<Bytes>>) -> Option<Response<Incoming>> {
    let stream = connect(address, trust).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let (mut head, body) = request.into_parts();
    if !head.headers.contains_key(HOST) {
        head.headers.insert(HOST, address.to_string().parse().ok()?);
    }
    head.uri = head.uri.path_and_query()?.as_str().parse().ok()?;
    sender.send_request(Request::from_parts(head, body)).await.ok()
}

/// Encodes the fields of a form or a query.
pub fn form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|b| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("%{b:02X}") })
            .collect()
    };
    fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}
