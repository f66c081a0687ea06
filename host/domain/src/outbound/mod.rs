//! Which servers Lectern itself may connect to for somebody else: the public Internet, and what the operator allows beside it.
//! Pure.
//!
//! Plugins, publishers and administrators name URLs, and Lectern fetches them from inside the operator's network. A name can
//! resolve to anything, and to something else the next time. So it is the address that is judged, when it is about to be
//! connected to; [`Target`] judges only what a URL says by itself.

mod address;
mod target;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

use self::address::{canonical, is_metadata, reserved};
pub use self::target::{BadTarget, Target};

/// An exception: an address or a network, on any port or on one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    net: IpNet,
    /// `None`: any.
    port: Option<u16>,
}

/// It is neither an address, with or without a port, nor a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an exception is an address, an address with a port, or a network: 10.1.2.3, 127.0.0.1:8443, 10.1.0.0/16")]
pub struct BadAllowed;

impl FromStr for Allowed {
    type Err = BadAllowed;

    /// Reads `10.1.0.0/16`, `10.1.2.3`, `127.0.0.1:8443` or `[::1]:8443`.
    fn from_str(text: &str) -> Result<Self, BadAllowed> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { net: canonical(address.ip()).into(), port: Some(address.port()) });
        }
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(|ip| canonical(ip).into()));
        net.map(|net| Self { net: net.trunc(), port: None }).map_err(|_| BadAllowed)
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.net.addr(), port).fmt(f),
            None if self.is_one_address() => self.net.addr().fmt(f),
            None => self.net.fmt(f),
        }
    }
}

impl Allowed {
    fn is_one_address(&self) -> bool {
        self.net.prefix_len() == self.net.max_prefix_len()
    }

    /// A wide network never opens the place where a cloud keeps credentials: that must be named.
    fn opens(&self, ip: IpAddr, port: u16) -> bool {
        self.net.contains(&ip) && self.port.is_none_or(|own| own == port) && (self.is_one_address() || !is_metadata(ip))
    }
}

/// An address that is not connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not a public one.
    #[error("{address} is {kind}, which may not be reached from here ({setting} makes exceptions)")]
    Reserved {
        /// The address.
        address: SocketAddr,
        /// What it is: `loopback`.
        kind: &'static str,
        /// The key of the configuration that makes exceptions.
        setting: &'static str,
    },
    /// Secrets would cross the Internet in the clear.
    #[error("{address} is asked for by http, but what is sent there is secret: use https ({setting} makes exceptions)")]
    Plain {
        /// The address.
        address: SocketAddr,
        /// The key of the configuration that makes exceptions.
        setting: &'static str,
    },
}

/// Decides whether an address may be connected to.
#[derive(Debug, Clone)]
pub struct Policy {
    exceptions: Vec<Allowed>,
    setting: &'static str,
    secrets: bool,
}

impl Policy {
    /// The public Internet and `exceptions`, which come from the configuration's key `setting`.
    pub fn new(exceptions: Vec<Allowed>, setting: &'static str) -> Self {
        Self { exceptions, setting, secrets: false }
    }

    /// The same, for requests that carry secrets: plain HTTP only to exceptions.
    pub fn for_secrets(self) -> Self {
        Self { secrets: true, ..self }
    }

    /// Decides about one address; `is_secure`: TLS is spoken with it.
    pub fn check(&self, address: SocketAddr, is_secure: bool) -> Result<(), Refused> {
        let (ip, port, setting) = (canonical(address.ip()), address.port(), self.setting);
        if self.exceptions.iter().any(|one| one.opens(ip, port)) {
            return Ok(());
        }
        match reserved(ip) {
            Some(kind) => Err(Refused::Reserved { address, kind, setting }),
            None if self.secrets && !is_secure => Err(Refused::Plain { address, setting }),
            None => Ok(()),
        }
    }

    /// Decides about what a URL says by itself: an address in place of a name. What a name leads to is judged later.
    pub fn check_target(&self, target: &Target) -> Result<(), Refused> {
        match target.ip() {
            Some(ip) => self.check(SocketAddr::new(ip, target.port()), target.is_secure()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
