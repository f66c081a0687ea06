//! How the client reached the server: its address, the scheme and the host it used, after trusted proxies.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use ipnet::IpNet;
use lectern_gate::{ClientCertificate, Scheme};

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
pub(crate) const X_RSC_REQUEST: HeaderName = HeaderName::from_static("x-rsc-request");

/// The address of content that reaches this server from a network of its own, as content itself sees it: one of a range for
/// tests between devices (RFC 2544), which is nobody's outside. It is never a trusted proxy's.
pub(crate) const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 100));

/// Most addresses read from a trusted proxy's `X-Forwarded-For`; a chain of real proxies is shorter.
const MOST_HOPS: usize = 16;

/// What is known of a connection before its first request.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Who connected; an IPv4 address in its own form also on a dual-stack socket.
    pub(crate) ip: IpAddr,
    /// The address as text.
    pub(crate) ip_value: HeaderValue,
    /// Whether it is a trusted proxy.
    pub(crate) trusted: bool,
    /// Whether the connection is encrypted here.
    pub(crate) scheme: Scheme,
    /// The certificate that it proved to hold, verified.
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
}

impl Peer {
    pub(crate) fn new(peer: SocketAddr, scheme: Scheme, trusted: &[IpNet]) -> Self {
        let ip = peer.ip().to_canonical();
        Self { ip, ip_value: value(&ip.to_string()), trusted: is_trusted(ip, trusted), scheme, certificate: None }
    }

    /// Content of this host. What it says of others is not believed, whatever the operator trusts.
    pub(crate) fn inside() -> Self {
        let ip_value = value(&INSIDE.to_string());
        Self { ip: INSIDE, ip_value, trusted: false, scheme: Scheme::Http, certificate: None }
    }
}

fn is_trusted(ip: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&ip))
}

/// A value made of an address, an authority or digits.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// How one request came.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The client: the last address that no trusted proxy vouches away.
    pub(crate) client: IpAddr,
    /// The client and the trusted proxies after it, as `X-Forwarded-For` has them. What the client claimed is left out.
    pub(crate) forwarded_for: HeaderValue,
    pub(crate) scheme: Scheme,
    /// Host and port as the client addressed them.
    pub(crate) authority: Option<Authority>,
    /// The port as the client addressed it.
    pub(crate) port: u16,
    /// Path under which a trusted proxy serves this server; empty, or a slash and segments without a last slash.
    pub(crate) prefix: String,
    /// The whole external URL, when a trusted proxy says it.
    pub(crate) url: Option<HeaderValue>,
}

impl Origin {
    /// Reads the fields of a request whose forbidden fields have been stripped. `authority` is what the request addressed.
    pub(crate) fn read(peer: &Peer, headers: &HeaderMap, authority: Option<Authority>, trusted: &[IpNet]) -> Self {
        if !peer.trusted {
            return Self {
                client: peer.ip,
                forwarded_for: peer.ip_value.clone(),
                scheme: peer.scheme,
                port: port_of(authority.as_ref(), peer.scheme),
                authority,
                prefix: String::new(),
                url: None,
            };
        }
        let (client, forwarded_for) = client(peer, headers, trusted);
        let scheme = match last(headers, &X_FORWARDED_PROTO).map(str::to_ascii_lowercase).as_deref() {
            Some("https" | "wss") => Scheme::Https,
            Some("http" | "ws") => Scheme::Http,
            Some(_) | None => peer.scheme,
        };
        let authority = last(headers, &X_FORWARDED_HOST).and_then(|host| host.parse().ok()).or(authority);
        let port = last(headers, &X_FORWARDED_PORT).and_then(|port| port.parse().ok());
        Self {
            client,
            forwarded_for,
            scheme,
            port: port.unwrap_or_else(|| port_of(authority.as_ref(), scheme)),
            authority,
            prefix: last(headers, &X_FORWARDED_PREFIX).and_then(prefix).unwrap_or_default(),
            url: headers.get(&X_RSC_REQUEST).cloned(),
        }
    }

    /// Host and port as addressed; empty when the client named none.
    pub(crate) fn host(&self) -> &str {
        self.authority.as_ref().map_or("", Authority::as_str)
    }

    /// `scheme://host`, without a last slash.
    pub(crate) fn base(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.host())
    }

    /// The value of `Forwarded` (RFC 7239 §4): the client, the host and the scheme.
    pub(crate) fn forwarded(&self) -> String {
        let mut text = String::with_capacity(96);
        // Writing to a String cannot fail.
        let _ = match self.client {
            IpAddr::V4(ip) => write!(text, "for={ip}"),
            IpAddr::V6(ip) => write!(text, "for=\"[{ip}]\""),
        };
        if let Some(authority) = &self.authority {
            text.push_str(";host=\"");
            text.push_str(authority.as_str());
            text.push('"');
        }
        text.push_str(";proto=");
        text.push_str(self.scheme.as_str());
        text
    }
}

fn port_of(authority: Option<&Authority>, scheme: Scheme) -> u16 {
    let default = if scheme == Scheme::Https { 443 } else { 80 };
    authority.and_then(Authority::port_u16).unwrap_or(default)
}

/// The last value of a field that may be a list or repeated: the one that the nearest proxy wrote.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next().map(str::trim).filter(|value| !value.is_empty())
}

/// The client behind trusted proxies: going back from the peer, the first address that is no trusted proxy's.
fn client(peer: &Peer, headers: &HeaderMap, trusted: &[IpNet]) -> (IpAddr, HeaderValue) {
    let hops = headers
        .get_all(&X_FORWARDED_FOR)
        .iter()
        .rev()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.rsplit(','));
    let mut client = peer.ip;
    let mut chain = vec![peer.ip];
    for hop in hops.take(MOST_HOPS) {
        // What is no address ends the part of the chain that can be believed.
        let Some(ip) = address(hop.trim()) else { break };
        client = ip;
        chain.push(ip);
        if !is_trusted(ip, trusted) {
            break;
        }
    }
    let text: Vec<String> = chain.iter().rev().map(ToString::to_string).collect();
    (client, value(&text.join(", ")))
}

/// An address as proxies write it: alone, with a port, in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split(']').next());
    let ip: IpAddr = match bare {
        Some(inner) => inner.parse().ok()?,
        None => text.parse().ok().or_else(|| {
            let (host, port) = text.rsplit_once(':')?;
            port.parse::<u16>().ok()?;
            host.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        })?,
    };
    Some(ip.to_canonical())
}

/// A path prefix as it may stand in links: one slash and plain segments.
fn prefix(text: &str) -> Option<String> {
    let text = text.trim_end_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte);
    let fits = text.starts_with('/') && !text.starts_with("//") && text.len() <= 256 && text.bytes().all(plain);
    (fits && !text.split('/').any(|segment| segment == "..")).then(|| text.to_owned())
}

/// Names that [`Origin`] is read from; what a worker gets is written anew.
pub(crate) const READ_FROM: [HeaderName; 7] = [
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PORT,
    X_FORWARDED_PROTO,
    X_FORWARDED_PREFIX,
    X_RSC_REQUEST,
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(peer: &str, fields: &[(&str, &str)]) -> Origin {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let peer: SocketAddr = peer.parse().unwrap();
        let peer = Peer::new(peer, Scheme::Http, &trusted);
        Origin::read(&peer, &headers, Some("apps.example.org:3939".parse().unwrap()), &trusted)
    }

    #[test]
    fn a_stranger_is_who_connected() {
        let origin = read("192.0.2.1:9", &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https")]);
        assert_eq!(origin.client.to_string(), "192.0.2.1");
        assert_eq!((origin.scheme, origin.port, origin.host()), (Scheme::Http, 3939, "apps.example.org:3939"));
        assert_eq!(origin.forwarded_for, "192.0.2.1");
        assert_eq!(origin.forwarded(), "for=192.0.2.1;host=\"apps.example.org:3939\";proto=http");
        assert_eq!(origin.base(), "http://apps.example.org:3939");
    }

    #[test]
    fn the_client_is_the_last_that_no_proxy_vouches_away() {
        // Peer, what it says, the client, what is handed on.
        let cases: &[(&str, &[&str], &str, &str)] = &[
            ("10.0.0.1:9", &[], "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1:9", &["192.0.2.7"], "192.0.2.7", "192.0.2.7, 10.0.0.1"),
            ("10.0.0.1:9", &["6.6.6.6, 192.0.2.7"], "192.0.2.7", "192.0.2.7, 10.0.0.1"),
            ("10.0.0.1:9", &["6.6.6.6", "192.0.2.7, 10.0.0.2"], "192.0.2.7", "192.0.2.7, 10.0.0.2, 10.0.0.1"),
            ("10.0.0.1:9", &["192.0.2.7:4711"], "192.0.2.7", "192.0.2.7, 10.0.0.1"),
            ("10.0.0.1:9", &["[2001:db8::7]:4711"], "2001:db8::7", "2001:db8::7, 10.0.0.1"),
            ("10.0.0.1:9", &["unknown, 10.0.0.2"], "10.0.0.2", "10.0.0.2, 10.0.0.1"),
            ("[::ffff:10.0.0.1]:9", &["192.0.2.7"], "192.0.2.7", "192.0.2.7, 10.0.0.1"),
            ("[fd00::1]:9", &["2001:db8::7"], "2001:db8::7", "2001:db8::7, fd00::1"),
        ];
        for (peer, said, client, handed_on) in cases {
            let fields: Vec<(&str, &str)> = said.iter().map(|value| ("x-forwarded-for", *value)).collect();
            let origin = read(peer, &fields);
            assert_eq!(
                (origin.client.to_string().as_str(), origin.forwarded_for.to_str().unwrap()),
                (*client, *handed_on)
            );
        }
        assert!(read("[fd00::1]:9", &[]).forwarded().starts_with("for=\"[fd00::1]\";"));
    }

    #[test]
    fn a_proxy_says_how_it_was_reached() {
        let origin = read(
            "10.0.0.1:9",
            &[
                ("x-forwarded-proto", "http, https"),
                ("x-forwarded-host", "public.example.org"),
                ("x-forwarded-prefix", "/rsc/"),
                ("x-rsc-request", "https://public.example.org/rsc/content/x"),
            ],
        );
        assert_eq!((origin.base().as_str(), origin.port), ("https://public.example.org", 443));
        assert_eq!(origin.prefix, "/rsc");
        assert!(origin.url.is_some());
        for bad in ["//evil.example", "rsc", "/a/../b", "/a b", "/<x>"] {
            assert_eq!(read("10.0.0.1:9", &[("x-forwarded-prefix", bad)]).prefix, "", "{bad}");
        }
    }
}
