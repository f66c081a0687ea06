//! Networks that a process must not reach: routes of its namespace that say so, set before the process starts.
//!
//! A route needs no firewall and no privilege outside the namespace, costs nothing per packet, and cannot be changed by the
//! process, which has no capability there. The most specific route decides, so an allowed network inside a refused one
//! is reached.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};
use serde::{Deserialize, Serialize};

/// One route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) to: IpNet,
    /// Where to, if it is allowed; it is refused otherwise.
    pub(crate) via: Option<IpAddr>,
}

/// The routes for what is denied and allowed; `via` is the way out. A network in both is denied.
///
/// The whole of the addresses becomes two halves, because a route for all of them is there already: the way out.
pub(crate) fn routes(deny: &[IpNet], allow: &[IpNet], via: IpAddr) -> Vec<Route> {
    let halves = |net: &IpNet| match net.prefix_len() {
        0 => net.subnets(1).map(Iterator::collect).unwrap_or_else(|_| vec![*net]),
        _ => vec![net.trunc()],
    };
    // The way out knows one family only; the other has no route at all.
    let same = |net: &&IpNet| net.addr().is_ipv4() == via.is_ipv4();
    let denied: Vec<IpNet> = deny.iter().filter(same).flat_map(halves).collect();
    let allowed = allow.iter().filter(same).flat_map(halves).filter(|net| !denied.contains(net));
    let allowed: Vec<Route> = allowed.map(|to| Route { to, via: Some(via) }).collect();
    let mut routes: Vec<Route> = denied.into_iter().map(|to| Route { to, via: None }).chain(allowed).collect();
    routes.sort_by_key(|route| (route.to, route.via));
    routes.dedup();
    routes
}

/// Sets the routes in this process's network namespace.
pub(crate) fn set(routes: &[Route]) -> io::Result<()> {
    if routes.is_empty() {
        return Ok(());
    }
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    bind(netlink.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    for (number, route) in (1..).zip(routes) {
        send(netlink.as_raw_fd(), &message(*route, number), MsgFlags::empty())?;
        let mut answer = [0_u8; 1024];
        let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        match acknowledged(&answer[..length]) {
            // Twice the same is fine.
            Some(0 | libc::EEXIST) => {}
            Some(error) => {
                let error = io::Error::from(Errno::from_raw(error));
                return Err(io::Error::new(error.kind(), format!("route to {}: {error}", route.to)));
            }
            None => return Err(io::Error::other(format!("route to {}: an answer that is none", route.to))),
        }
    }
    Ok(())
}

/// The error of an answer (netlink(7): `struct nlmsgerr`), 0 for success.
fn acknowledged(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let error = i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?);
    (i32::from(kind) == libc::NLMSG_ERROR).then(|| error.saturating_neg())
}

/// A request for one route (rtnetlink(7)): `struct nlmsghdr`, `struct rtmsg`, attributes.
fn message(route: Route, number: u32) -> Vec<u8> {
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (family, kind) = (
        if route.to.addr().is_ipv4() { libc::AF_INET } else { libc::AF_INET6 },
        if route.via.is_some() { libc::RTN_UNICAST } else { libc::RTN_PROHIBIT },
    );
    let mut body = vec![
        family as u8,
        route.to.prefix_len(),
        0,
        0,
        libc::RT_TABLE_MAIN,
        libc::RTPROT_STATIC,
        libc::RT_SCOPE_UNIVERSE,
        kind,
    ];
    body.extend(0_u32.to_ne_bytes());
    attribute(&mut body, libc::RTA_DST, &address(route.to.network()));
    if let Some(via) = route.via {
        attribute(&mut body, libc::RTA_GATEWAY, &address(via));
    }
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut message = Vec::with_capacity(16 + body.len());
    message.extend((16 + body.len() as u32).to_ne_bytes());
    message.extend(libc::RTM_NEWROUTE.to_ne_bytes());
    message.extend((flags as u16).to_ne_bytes());
    message.extend(number.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    message
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    // Addresses are multiples of four bytes long: no padding.
    body.extend(value);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(deny: &[&str], allow: &[&str], expected: &[&str]) {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let got = routes(&nets(deny), &nets(allow), "198.18.0.2".parse().unwrap());
        let got: Vec<String> =
            got.iter().map(|route| format!("{}{}", if route.via.is_some() { "+" } else { "-" }, route.to)).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn what_is_denied_and_allowed_becomes_routes() {
        check(&[], &[], &[]);
        check(&["169.254.0.0/16"], &[], &["-169.254.0.0/16"]);
        check(&["10.1.2.3/8"], &["10.1.0.0/16"], &["-10.0.0.0/8", "+10.1.0.0/16"]);
        check(&["0.0.0.0/0"], &["10.0.0.0/8"], &["-0.0.0.0/1", "+10.0.0.0/8", "-128.0.0.0/1"]);
        check(&["10.0.0.0/8", "10.0.0.0/8"], &["10.0.0.0/8"], &["-10.0.0.0/8"]);
        check(&["fd00:ec2::254/128", "::/0"], &[], &[]);
    }

    #[test]
    fn messages_have_the_kernels_form() {
        let route = Route { to: "169.254.0.0/16".parse().unwrap(), via: None };
        let message = message(route, 7);
        assert_eq!(message.len(), 36);
        assert_eq!(message[..4], 36_u32.to_ne_bytes());
        assert_eq!(message[16..18], [2, 16]);
        assert_eq!(message[23], libc::RTN_PROHIBIT);
        assert_eq!(message[32..], [169, 254, 0, 0]);
        let answer = [36, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0xef, 0xff, 0xff, 0xff];
        assert_eq!(acknowledged(&answer), Some(17));
        assert_eq!(acknowledged(&answer[..18]), None);
    }
}
