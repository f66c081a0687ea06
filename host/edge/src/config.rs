//! What the listener is told: addresses, threads and limits, each with a default and its reason.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use lectern_domain::admission::QUEUE_LIMIT;

use crate::tls::TlsSlot;

/// Most header fields of one request; more are answered 431. hyper's own bound: below it, heads are parsed without an
/// allocation.
pub const HEADER_COUNT: usize = 100;

/// How the edge listens.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Address and port; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Threads that serve, each with a listener of its own; 0: one per core.
    pub threads: usize,
    /// Networks whose hosts may say, with `X-Forwarded-…`, for whom they speak. Empty: nobody may.
    pub trusted_proxies: Vec<IpNet>,
    /// What handshakes are made with, where the listener speaks TLS. Plain HTTP is then not served.
    pub tls: Option<Arc<TlsSlot>>,
    /// How long requests, downloads and WebSockets may go on once another process serves the address; 15 minutes by default: as long as
    /// the fleet lets a worker that was replaced go on, which is as long as people stay on a page.
    pub handed_over_grace: Duration,
    /// Limits of connections and requests.
    pub limits: Limits,
    /// Time-outs of content that sets none.
    pub content: ContentTimeouts,
}

impl EdgeConfig {
    /// The defaults, listening on `listen`.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            threads: 0,
            trusted_proxies: Vec::new(),
            tls: None,
            handed_over_grace: Duration::from_secs(900),
            limits: Limits::default(),
            content: ContentTimeouts::default(),
        }
    }
}

/// Limits of connections and requests.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most bytes of a request's line and fields; more are answered 431. The largest that common browsers and proxies send.
    pub header_bytes: usize,
    /// How long a client may take to send the head of a request, counted from its first byte (or from connecting). Long
    /// enough for a bad mobile link, short enough that slow senders cannot hold connections for long.
    pub header_timeout: Duration,
    /// How long a TLS handshake may take, counted from connecting. A good one takes two round trips, on a bad mobile link two or
    /// three seconds; less than the head, which is the client's own to write.
    pub handshake_timeout: Duration,
    /// How long a connection is kept between two requests. Longer than the 60 seconds for which load balancers keep
    /// theirs, so that they never send on a connection that closes here.
    pub idle_timeout: Duration,
    /// How long a request for something that is not content may pass without a byte either way; also the wait for the
    /// client's body. Long enough for a slow deploy step, which answers by polling anyway.
    pub io_timeout: Duration,
    /// Most connections of one thread. At some 40 KiB for a busy pair of connections that is 400 MiB, and with TLS 130 MiB
    /// more; further clients wait in the kernel's queue, and idle connections are closed after [`Limits::pressed_idle`] to make room.
    pub connections_per_thread: usize,
    /// How long an idle connection is kept while a thread has nine tenths of its connections.
    pub pressed_idle: Duration,
    /// Most requests of one content item that wait for a worker.
    pub queue_per_content: usize,
    /// Idle connections kept per worker and thread. More than a thread's usual share of a worker's concurrent requests would
    /// only hold file descriptors.
    pub upstream_idle: usize,
    /// How long an idle connection to a worker is kept. Below the 5 seconds after which Python's servers close theirs.
    pub upstream_idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 32 * 1024,
            header_timeout: Duration::from_secs(15),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            io_timeout: Duration::from_secs(600),
            connections_per_thread: 10_000,
            pressed_idle: Duration::from_secs(1),
            queue_per_content: QUEUE_LIMIT,
            upstream_idle: 64,
            upstream_idle_timeout: Duration::from_secs(4),
        }
    }
}

/// Time-outs of content that sets none of its own; zero means never.
#[derive(Debug, Clone, Copy)]
pub struct ContentTimeouts {
    /// How long a worker may take until it accepts a connection.
    pub init: Duration,
    /// How long a connection may pass without bytes either way.
    pub connection: Duration,
    /// How long the client may owe bytes: of its request's body, or on a WebSocket.
    pub read: Duration,
}

impl Default for ContentTimeouts {
    /// Connect's: a minute, an hour, an hour.
    fn default() -> Self {
        Self { init: Duration::from_secs(60), connection: Duration::from_secs(3_600), read: Duration::from_secs(3_600) }
    }
}
