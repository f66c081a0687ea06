//! Which addresses plugins may reach: the public Internet, and what the operator allows beside it. Pure.
//!
//! A plugin names an origin, but a name can resolve to anything, and to something else the next time. So it is the address
//! that is judged, when it is about to be connected to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

/// An exception: an address or a network, on any port or on one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowed {
    net: IpNet,
    /// `None`: any.
    port: Option<u16>,
}

impl FromStr for Allowed {
    type Err = ();

    /// Reads `10.1.0.0/16`, `10.1.2.3`, `127.0.0.1:8443` or `[::1]:8443`.
    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { net: canonical(address.ip()).into(), port: Some(address.port()) });
        }
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(|ip| canonical(ip).into()));
        net.map(|net| Self { net: net.trunc(), port: None }).map_err(drop)
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.net.addr(), port).fmt(f),
            None if self.net.prefix_len() == self.net.max_prefix_len() => self.net.addr().fmt(f),
            None => self.net.fmt(f),
        }
    }
}

/// An address that plugins may not reach.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {kind}, which plugins may not reach (gate.outbound_allow makes exceptions)")]
pub(super) struct Refused {
    address: SocketAddr,
    kind: &'static str,
}

/// Decides whether an address may be connected to.
#[derive(Debug, Clone, Default)]
pub(super) struct Policy(Vec<Allowed>);

impl Policy {
    pub(super) fn new(exceptions: Vec<Allowed>) -> Self {
        Self(exceptions)
    }

    pub(super) fn check(&self, address: SocketAddr) -> Result<(), Refused> {
        let Some(kind) = reserved(address.ip()) else { return Ok(()) };
        let ip = canonical(address.ip());
        let is_exception = |one: &Allowed| one.net.contains(&ip) && one.port.is_none_or(|port| port == address.port());
        if self.0.iter().any(is_exception) { Ok(()) } else { Err(Refused { address, kind }) }
    }
}

/// The IPv4 address that an IPv4-mapped one stands for: the kernel takes the one for the other.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// What kind of address it is, unless an ordinary public one. From the registries of special addresses (RFC 6890 and IANA's
/// lists after it).
fn reserved(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => reserved_v4(ip),
        IpAddr::V6(ip) => match inner(ip) {
            Some(inner) => reserved_v4(inner),
            None => reserved_v6(ip),
        },
    }
}

fn reserved_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let kind = match ip.octets() {
        [0, ..] => "of this network",
        [127, ..] => "loopback",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [100, 64..=127, ..] => "shared by customers of a provider",
        // Among them 169.254.169.254, where clouds keep credentials.
        [169, 254, ..] => "link-local",
        // Azure's, although it looks public.
        [168, 63, 129, 16] => "a cloud's own",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "for documentation",
        [198, 18 | 19, ..] => "for measurements",
        [192, 0, 0, _] | [192, 31, 196, _] | [192, 52, 193, _] | [192, 88, 99, _] | [192, 175, 48, _] => {
            "for protocols"
        }
        [224..=239, ..] => "multicast",
        [240..=255, ..] => "reserved or broadcast",
        _ => return None,
    };
    Some(kind)
}

fn reserved_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let kind = match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "of no host",
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        [0xfc00..=0xfdff, ..] => "private",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xfec0..=0xfeff, ..] => "site-local",
        [0xff00..=0xffff, ..] => "multicast",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => "for documentation",
        // Among them Teredo without a client, benchmarking, ORCHID.
        [0x2001, 0..=0x01ff, ..] => "for protocols",
        [0x2620, 0x4f, 0x8000, ..] => "for protocols",
        [0x2000..=0x3fff, ..] => return None,
        // All that is not global unicast today.
        _ => "reserved",
    };
    Some(kind)
}

/// The IPv4 address that is reached through an IPv6 address which carries one.
fn inner(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, ..] = ip.segments();
    let words = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match ip.segments() {
        // Loopback and none of these are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // IPv4-compatible (RFC 4291 §2.5.5.1), mapped (§2.5.5.2), translated (RFC 2765 §2.1) and NAT64 (RFC 6052 §2.1).
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(words(high, low)),
        // 6to4 (RFC 3056 §2).
        [0x2002, high, low, ..] => Some(words(high, low)),
        // Teredo (RFC 4380 §4): the client's address stands at the end, inverted.
        [.., high, low] if (a, b) == (0x2001, 0) => Some(words(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_public_internet() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2a00:1450:4001::1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:0:1.1.1.1::f7f7:f7f7",
        ];
        let reserved = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.0.1",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::127.0.0.1",
            "::169.254.169.254",
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::192.168.1.1",
            "64:ff9b:1::1",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:0:808:808::80ff:fffe",
            "2001:0:1.1.1.1::5601:5601",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "2002:a9fe:a9fe::1",
            "2002:c0a8:101::",
            "2620:4f:8000::1",
            "3fff::1",
            "3fff:fff::1",
            "4000::1",
            "5f00::1",
            "8000::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fdff:ffff::1",
            "fe80::1",
            "fe80::a9fe:a9fe",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "ffff::1",
        ];
        let policy = Policy::default();
        let check = |text: &str| {
            let ip: IpAddr = text.replace("1.1.1.1::", "101:101::").parse().unwrap();
            policy.check(SocketAddr::new(ip, 443))
        };
        for text in public {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for text in reserved {
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn exceptions_open_what_they_say() {
        let policy = |list: &[&str]| Policy::new(list.iter().map(|text| text.parse().unwrap()).collect());
        let opens = |list: &[&str], address: &str| policy(list).check(address.parse().unwrap()).is_ok();
        let cases = [
            ("127.0.0.1:8443", "127.0.0.1:8443", true),
            ("127.0.0.1:8443", "127.0.0.1:8444", false),
            ("127.0.0.1:8443", "127.0.0.2:8443", false),
            ("127.0.0.1:8443", "[::1]:8443", false),
            ("127.0.0.1:8443", "[::ffff:127.0.0.1]:8443", true),
            ("[::ffff:127.0.0.1]:8443", "127.0.0.1:8443", true),
            ("::ffff:10.0.0.1", "10.0.0.1:1", true),
            // Who is reached through a translator is not known here.
            ("127.0.0.1:8443", "[64:ff9b::7f00:1]:8443", false),
            ("[::1]:80", "[::1]:80", true),
            ("[::1]:80", "[::1]:81", false),
            ("10.1.0.0/16", "10.1.255.1:1", true),
            ("10.1.2.3/16", "10.1.255.1:1", true),
            ("10.1.0.0/16", "10.2.0.1:1", false),
            ("10.1.0.0/16", "169.254.169.254:80", false),
            ("10.1.2.3", "10.1.2.3:9", true),
            ("10.1.2.3", "10.1.2.4:9", false),
            ("fd00::/8", "[fd00:ec2::254]:80", true),
            ("0.0.0.0/0", "169.254.169.254:80", true),
            ("0.0.0.0/0", "[::1]:80", false),
        ];
        for (allowed, address, expected) in cases {
            assert_eq!(opens(&[allowed], address), expected, "{allowed} {address}");
        }
        assert!(opens(&["127.0.0.1:1", "127.0.0.1:2"], "127.0.0.1:2"));
        assert!(opens(&[], "1.1.1.1:1"));
    }

    #[test]
    fn exceptions_have_a_form() {
        for (text, shown) in [
            ("127.0.0.1:8443", "127.0.0.1:8443"),
            ("[::1]:80", "[::1]:80"),
            ("10.1.2.3/16", "10.1.0.0/16"),
            ("10.1.2.3", "10.1.2.3"),
            ("fd00::/8", "fd00::/8"),
        ] {
            assert_eq!(text.parse::<Allowed>().unwrap().to_string(), shown);
        }
        for bad in
            ["", "localhost", "localhost:80", "10.1.0.0/33", "10.1.0.0/16:80", "10.1", "*", "::1:80:x", "1.2.3.4:99999"]
        {
            assert!(bad.parse::<Allowed>().is_err(), "{bad}");
        }
    }
}
