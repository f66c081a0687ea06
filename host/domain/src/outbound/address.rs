//! What kind of address it is: an ordinary public one, or one that names something near. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IPv4 address that an IPv4-mapped one stands for: the kernel takes the one for the other.
pub(super) fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// What kind of address it is, unless an ordinary public one. From the registries of special addresses (RFC 6890 and IANA's
/// lists after it).
pub(super) fn reserved(ip: IpAddr) -> Option<&'static str> {
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

/// Whether a cloud keeps credentials of its machines there, or gives orders from there: Amazon (also for containers), Azure,
/// Alibaba, Oracle, Google. Each by its provider's documentation of the metadata service.
pub(super) fn is_metadata(ip: IpAddr) -> bool {
    let v4 = |ip: Ipv4Addr| {
        matches!(
            ip.octets(),
            [169, 254, 169, 254]
                | [169, 254, 170, 2 | 23]
                | [168, 63, 129, 16]
                | [100, 100, 100, 200]
                | [192, 0, 0, 192]
        )
    };
    match ip {
        IpAddr::V4(ip) => v4(ip),
        IpAddr::V6(ip) => match inner(ip) {
            Some(inner) => v4(inner),
            None => matches!(
                ip.segments(),
                [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254 | 0x23] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
            ),
        },
    }
}
