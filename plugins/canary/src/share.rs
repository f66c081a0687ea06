//! Which visitors belong to a share.

use std::net::IpAddr;

use lectern_plugin::web::Network;
use serde::Deserialize;

/// Addresses of one network of IPv6 belong to one visitor: computers change theirs within it every day (RFC 8981).
const IPV6_BITS: u8 = 64;

/// A part of all visitors, in hundredths of a percent: 0 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Share(u16);

impl TryFrom<String> for Share {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bad = || {
            let shown: String = text.chars().take(40).collect();
            format!("share {shown:?} must be 0% to 100% with at most two decimals")
        };
        let number = text.strip_suffix('%').ok_or_else(bad)?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits =
            |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole, 3) || !digits(decimals, 2) {
            return Err(bad());
        }
        let whole: u16 = whole.parse().map_err(|_| bad())?;
        let hundredths: u16 = format!("{decimals:0<2}").parse().map_err(|_| bad())?;
        Some(whole * 100 + hundredths).filter(|share| *share <= 10_000).map(Self).ok_or_else(bad)
    }
}

impl Share {
    /// Whether everybody belongs to it.
    pub(crate) fn is_all(self) -> bool {
        self.0 == 10_000
    }

    /// Whether a visitor belongs to it. `visitor` is what stays the same for one visitor; `salt` is what stays the same for one
    /// trial, so that not the same people try everything. Who belongs to a share belongs to every larger one too.
    pub(crate) fn includes(self, visitor: &str, salt: &str) -> bool {
        // Modulo bias of 10,000 in 2^64 is beyond noticing.
        hash(salt, visitor) % 10_000 < u64::from(self.0)
    }
}

/// What stays the same for a visitor nobody knows.
pub(crate) fn of_address(address: IpAddr) -> String {
    Network::around(address, IPV6_BITS).to_string()
}

/// FNV-1a, stirred once more so that texts that differ at their end differ in all bits (the finalizer of MurmurHash3). Written out,
/// because it must give the same numbers in every later version, and nothing here depends on it being hard to invert.
fn hash(salt: &str, visitor: &str) -> u64 {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in salt.bytes().chain([0]).chain(visitor.bytes()) {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        state = (state ^ (state >> 33)).wrapping_mul(factor);
    }
    state ^ (state >> 33)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lectern_plugin::web::address;

    fn share(text: &str) -> Share {
        text.to_owned().try_into().unwrap()
    }

    #[test]
    fn shares_are_read() {
        let cases = [("0%", 0), ("5%", 500), ("0.25%", 25), ("12.5%", 1_250), ("100%", 10_000), ("100.00%", 10_000)];
        for (text, expected) in cases {
            assert_eq!(share(text), Share(expected), "{text}");
        }
        for bad in ["", "%", "5", "101%", "100.01%", "-1%", "1.234%", "1.%", ".5%", "a%", "1e1%", "٣%", "5%%", " 5%"] {
            assert!(Share::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_is_as_large_as_it_says() {
        let visitors: Vec<String> = (0..20_000)
            .map(|n: u32| {
                if n.is_multiple_of(2) { format!("198.51.{}.{}/32", n / 256, n % 256) } else { format!("visitor {n}") }
            })
            .collect();
        for (text, low, high) in
            [("1%", 150, 250), ("5%", 900, 1_100), ("50%", 9_800, 10_200), ("100%", 20_000, 20_000)]
        {
            for salt in ["a", "b", "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162 34"] {
                let hits = visitors.iter().filter(|visitor| share(text).includes(visitor, salt)).count();
                assert!((low..=high).contains(&hits), "{text} {salt}: {hits}");
            }
        }
        assert!(!visitors.iter().any(|visitor| share("0%").includes(visitor, "a")));
    }

    #[test]
    fn a_larger_share_keeps_everybody() {
        for n in 0..2_000 {
            let visitor = n.to_string();
            assert!(!share("5%").includes(&visitor, "s") || share("5.01%").includes(&visitor, "s"));
        }
        // Half of each half: the two trials have nothing to do with each other.
        let both =
            (0..20_000).filter(|n| ["s", "t"].iter().all(|salt| share("50%").includes(&n.to_string(), salt))).count();
        assert!((4_700..5_300).contains(&both), "{both}");
    }

    #[test]
    fn the_numbers_never_change() {
        assert_eq!(hash("", ""), 0xb903_4ad3_7056_f5fb);
        assert_eq!(hash("content 34", "192.0.2.7/32"), 0xdd2c_16d3_d3f0_ef9b);
    }

    #[test]
    fn an_address_stands_for_a_visitor() {
        let of = |text: &str| of_address(address(text).unwrap());
        assert_eq!(of("192.0.2.7"), "192.0.2.7/32");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7/32");
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }
}
