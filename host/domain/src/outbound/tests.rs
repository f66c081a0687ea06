//! Tables of addresses on both sides of each border, and what no address may do whatever carries it.
#![allow(clippy::unwrap_used)]
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn policy(list: &[&str]) -> Policy {
    Policy::new(list.iter().map(|text| text.parse().unwrap()).collect(), "outbound.allow")
}

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
    let policy = policy(&[]);
    let check = |text: &str| {
        let ip: IpAddr = text.replace("1.1.1.1::", "101:101::").parse().unwrap();
        policy.check(SocketAddr::new(ip, 443), true)
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
    let opens = |list: &[&str], address: &str| policy(list).check(address.parse().unwrap(), true).is_ok();
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
        ("fd00::/8", "[fd00:ec2::255]:80", true),
        ("fd00::/8", "[fd00:ec2::254]:80", false),
        ("0.0.0.0/0", "169.254.170.1:80", true),
        // Where a cloud keeps credentials, only by its very name.
        ("0.0.0.0/0", "169.254.169.254:80", false),
        ("169.254.169.254", "169.254.169.254:80", true),
        ("169.254.169.254:80", "169.254.169.254:80", true),
        ("fd00:ec2::254", "[fd00:ec2::254]:80", true),
        ("168.63.129.0/24", "168.63.129.16:80", false),
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

#[test]
fn secrets_cross_the_internet_by_https_only() {
    let check = |policy: &Policy, address: &str, is_secure| policy.check(address.parse().unwrap(), is_secure);
    let open = policy(&["10.1.0.0/16"]);
    assert_eq!(check(&open, "1.1.1.1:80", false), Ok(()));
    let secrets = open.for_secrets();
    assert!(matches!(check(&secrets, "1.1.1.1:80", false), Err(Refused::Plain { .. })));
    assert_eq!(check(&secrets, "1.1.1.1:443", true), Ok(()));
    assert_eq!(check(&secrets, "10.1.2.3:80", false), Ok(()));
    assert!(matches!(check(&secrets, "10.2.0.1:80", false), Err(Refused::Reserved { .. })));
}

#[test]
fn refusals_say_what_to_do() {
    let refused = |address: &str| policy(&[]).check(address.parse().unwrap(), true).unwrap_err().to_string();
    assert_eq!(
        refused("169.254.169.254:80"),
        "169.254.169.254:80 is link-local, which may not be reached from here (outbound.allow makes exceptions)"
    );
    let refused = policy(&[]).for_secrets().check("1.1.1.1:80".parse().unwrap(), false).unwrap_err().to_string();
    assert!(refused.contains("use https (outbound.allow makes exceptions)"), "{refused}");
}

/// All IPv6 forms that lead to an IPv4 address.
fn carriers(ip: Ipv4Addr) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = ip.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    vec![
        ip.to_ipv6_mapped(),
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, 1, 2, 3, 4, 5),
        Ipv6Addr::new(0x2001, 0, 0x101, 0x101, 0, 0, !high, !low),
    ]
}

proptest! {
    #[test]
    fn no_carrier_opens_what_the_address_does_not(bits: u32) {
        let ip = Ipv4Addr::from(bits);
        let plain = policy(&[]).check((ip, 443).into(), true).is_ok();
        for carrier in carriers(ip) {
            prop_assert_eq!(policy(&[]).check((carrier, 443).into(), true).is_ok(), plain, "{} in {}", ip, carrier);
        }
    }

    #[test]
    fn an_exception_opens_its_network_and_nothing_else(net: u32, length in 1_u8..=32, ip: u32, port in 1_u16..) {
        let (net, ip) = (Ipv4Addr::from(net), Ipv4Addr::from(ip));
        let exception = format!("{net}/{length}");
        let (with, without) = (policy(&[&exception]), policy(&[]));
        let inside = ipnet::Ipv4Net::new(net, length).unwrap().contains(&ip);
        let address = SocketAddr::from((ip, port));
        if with.check(address, true).is_ok() {
            prop_assert!(inside || without.check(address, true).is_ok());
        } else {
            prop_assert!(without.check(address, true).is_err() && (!inside || is_metadata(ip.into())));
        }
    }
}
