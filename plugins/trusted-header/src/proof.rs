//! Whether the request came through the proxy.

use std::net::IpAddr;

use lectern_plugin::Host;

use crate::settings::{Certificates, Settings};

/// What is wrong with the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The secret to compare with does not exist.
    NoSecret(String),
    /// The request did not come through the proxy.
    Unproven(&'static str),
}

/// The first flaw; everything that is set must hold.
pub(crate) fn flaw(host: &impl Host, settings: &Settings) -> Option<Flaw> {
    if !settings.peers.is_empty() {
        let peer = host.peer_ip().parse::<IpAddr>().ok();
        if !peer.is_some_and(|peer| settings.peers.iter().any(|range| range.contains(peer))) {
            return Some(Flaw::Unproven("the connection comes from an address that is none of the proxy's"));
        }
    }
    if let Some(certificates) = &settings.certificate
        && !is_ours(host, certificates)
    {
        return Some(Flaw::Unproven("the connection does not carry the proxy's certificate"));
    }
    if let Some(name) = &settings.secret {
        let values = host.header(&settings.secret_header);
        let [value] = values.as_slice() else {
            return Some(Flaw::Unproven(if values.is_empty() {
                "the proxy's secret is missing"
            } else {
                "the proxy's secret is there more than once"
            }));
        };
        match host.secret_matches(name, value) {
            Some(true) => {}
            Some(false) => return Some(Flaw::Unproven("the proxy's secret is wrong")),
            None => return Some(Flaw::NoSecret(name.clone())),
        }
    }
    None
}

/// Whether the connection carries a certificate that is named: by its hash, its subject or one of its DNS names.
fn is_ours(host: &impl Host, named: &Certificates) -> bool {
    host.client_certificate().is_some_and(|certificate| {
        named.sha256.contains(&certificate.sha256)
            || named.subjects.contains(&certificate.subject)
            || certificate.dns_names.iter().any(|name| named.dns_names.contains(&name.to_ascii_lowercase()))
    })
}

/// A range of addresses in the form `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Range {
    first: IpAddr,
    bits: u32,
}

impl TryFrom<String> for Range {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let (address, bits) =
            text.split_once('/').map_or((text.as_str(), None), |(address, bits)| (address, Some(bits)));
        let bad = || format!("{text:?} must be an address or a range, as 10.0.0.0/8");
        let first: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(bad)?,
        };
        let range = Self { first, bits };
        // `10.1.2.3/8` is a mistake somewhere.
        if number(first) & !range.mask() != 0 {
            return Err(format!("{text:?} has bits set beyond its {bits}: is the range or the address meant?"));
        }
        Ok(range)
    }
}

impl Range {
    /// Whether the address is in the range. An IPv4 address in IPv6 clothes is the IPv4 address.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && number(address) & self.mask() == number(self.first)
    }

    /// Ones for the bits that count, at the end of 128.
    fn mask(self) -> u128 {
        let width = if self.first.is_ipv4() { 32 } else { 128 };
        u128::MAX.checked_shl(width - self.bits).unwrap_or(0)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges_hold_what_they_say() {
        let holds =
            |range: &str, address: &str| Range::try_from(range.to_owned()).unwrap().contains(address.parse().unwrap());
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.7/32", "::ffff:192.0.2.7", "::192.0.2.7"),
            ("192.0.2.128/25", "192.0.2.200", "192.0.2.127"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "::2"),
        ] {
            assert!(holds(range, inside), "{range} {inside}");
            assert!(!holds(range, outside), "{range} {outside}");
        }
        for bad in [
            "",
            "10",
            "10.0.0.0/33",
            "10.1.0.0/8",
            "::1/64",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "proxy",
            "::/129",
            "010.0.0.0/8",
        ] {
            assert!(Range::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
