//! Networks of addresses, as operators write them: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.7`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error};

/// Reads an address as [`crate::Host::client_ip`] gives it. An IPv4 address in IPv6 clothes (`::ffff:192.0.2.7`) is that IPv4
/// address.
pub fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// All addresses that begin with the same bits. `::ffff:0:0/96` and what is inside it are networks of IPv4.
///
/// ```
/// use lectern_plugin::web::{Network, address};
///
/// let office: Network = "192.0.2.0/24".parse().unwrap();
/// assert!(office.contains(address("::ffff:192.0.2.7").unwrap()));
/// assert!(!office.contains(address("2001:db8::7").unwrap()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    first: IpAddr,
    length: u8,
}

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadNetwork {
    /// Neither an address nor an address and a length.
    Form(String),
    /// The address has bits beyond the length: it is unclear whether the address or the network is meant.
    Bits(String, Network),
}

impl fmt::Display for BadNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(text) => {
                write!(f, "{text:?} is no network: write an address, or one with a length as 10.0.0.0/8")
            }
            Self::Bits(text, meant) => write!(f, "{text:?} has bits beyond its length: write {meant}"),
        }
    }
}

impl std::error::Error for BadNetwork {}

impl Network {
    /// Whether the address is in it. An IPv4 address is never in a network of IPv6, `::/0` included.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && cut(address, self.length) == self.first
    }

    /// How many leading bits its addresses share: the more, the more specific it is.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// The network of that length around an address; a length beyond the address's own is its whole length.
    pub fn around(address: IpAddr, length: u8) -> Self {
        let address = address.to_canonical();
        let length = length.min(if address.is_ipv4() { 32 } else { 128 });
        Self { first: cut(address, length), length }
    }
}

/// The address with all bits after the first `length` off.
fn cut(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    }
}

impl FromStr for Network {
    type Err = BadNetwork;
    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let bad = || BadNetwork::Form(text.chars().take(60).collect());
        let (written, length) = match text.split_once('/') {
            Some((address, length)) if length.bytes().all(|byte| byte.is_ascii_digit()) => (address, Some(length)),
            Some(_) => return Err(bad()),
            None => (text, None),
        };
        let written: IpAddr = written.parse().map_err(|_| bad())?;
        let all = if written.is_ipv4() { 32 } else { 128 };
        let length: u8 = match length {
            Some(length) => length.parse().ok().filter(|length| *length <= all).ok_or_else(bad)?,
            None => all,
        };
        let address = written.to_canonical();
        // What IPv4 looks like in IPv6 has 96 bits before its own; a shorter one is a network of IPv6 that has them inside.
        let unmapped = address.is_ipv4() && written.is_ipv6();
        let (first, length) = match length.checked_sub(96) {
            Some(own) if unmapped => (address, own),
            _ => (written, length),
        };
        let network = Self { first: cut(first, length), length };
        if network.first == first { Ok(network) } else { Err(BadNetwork::Bits(text.to_owned(), network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn networks_are_read_and_printed() {
        let cases = [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), expected, "{text}");
        }
        for bad in
            ["", "/", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0/8", "010.0.0.1", "10.0.0.0/+8", "a/8", "::1%lo"]
        {
            assert!(matches!(bad.parse::<Network>(), Err(BadNetwork::Form(_))), "{bad}");
        }
        let error = "10.1.0.0/8".parse::<Network>().unwrap_err();
        assert_eq!(error.to_string(), "\"10.1.0.0/8\" has bits beyond its length: write 10.0.0.0/8");
        assert!("::ffff:0:0/95".parse::<Network>().is_err());
    }

    #[test]
    fn families_are_kept_apart() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.0.1", false),
            ("::/0", "::ffff:10.0.0.1", false),
            ("2001:db8::/33", "2001:db8:8000::", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
        ];
        for (network, text, expected) in cases {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address(text).unwrap()), expected, "{network} {text}");
        }
    }

    #[test]
    fn an_address_has_a_network_around_it() {
        let around = |text: &str, length| Network::around(address(text).unwrap(), length).to_string();
        assert_eq!(around("2001:db8:1:2:3::4", 64), "2001:db8:1:2::/64");
        assert_eq!(around("192.0.2.7", 64), "192.0.2.7/32");
        assert_eq!(around("::ffff:192.0.2.7", 24), "192.0.2.0/24");
    }
}
