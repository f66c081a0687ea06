//! Which of two lists decides about an address.

use std::net::IpAddr;

use lectern_plugin::web::Network;
use serde::Deserialize;

/// In or out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// The request goes on.
    Allow,
    /// The client gets 403.
    #[default]
    Deny,
}

/// The lists as configured. No network stands in both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lists<'a> {
    pub(crate) allow: &'a [Network],
    pub(crate) deny: &'a [Network],
    /// For addresses in neither.
    pub(crate) default: Side,
}

impl Lists<'_> {
    /// The side of the most specific network that holds the address. What is no address is never let in.
    pub(crate) fn judge(&self, address: Option<IpAddr>) -> Side {
        let Some(address) = address else { return Side::Deny };
        let best = |list: &[Network]| {
            list.iter().filter(|network| network.contains(address)).map(|network| network.length()).max()
        };
        match (best(self.allow), best(self.deny)) {
            (None, None) => self.default,
            (allow, deny) if allow > deny => Side::Allow,
            _ => Side::Deny,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_most_specific_network_decides() {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Network>>();
        let allow = networks(&["10.0.0.0/8", "10.6.6.128/25", "2001:db8::/32"]);
        let deny = networks(&["10.6.0.0/16", "2001:db8:bad::/48"]);
        let cases = [
            ("10.1.2.3", Side::Allow, Side::Allow),
            ("10.6.6.7", Side::Deny, Side::Deny),
            ("10.6.6.200", Side::Allow, Side::Allow),
            ("2001:db8::1", Side::Allow, Side::Allow),
            ("2001:db8:bad::1", Side::Deny, Side::Deny),
            ("192.0.2.7", Side::Deny, Side::Allow),
        ];
        for (address, where_deny, where_allow) in cases {
            for (default, expected) in [(Side::Deny, where_deny), (Side::Allow, where_allow)] {
                let lists = Lists { allow: &allow, deny: &deny, default };
                assert_eq!(lists.judge(address.parse().ok()), expected, "{address} {default:?}");
                assert_eq!(lists.judge(None), Side::Deny);
            }
        }
    }
}
