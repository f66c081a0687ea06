//! The walls around package builds: those of content, with the build's directory and the cache of packages to write to.
//!
//! Building a package runs code of its authors. It needs nothing of this host but the interpreter and the bundle, and the
//! network only where the build itself fetches from an index.

use std::fmt;
use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use lectern_confinement::Facts;
use lectern_domain::confinement::{Network, Walls};

/// What walls are made of, here.
#[derive(Clone)]
pub struct Fence {
    /// How content is kept in.
    pub walls: Walls,
    /// What the host has for walls.
    pub facts: Arc<Facts>,
    /// This program's own file, whose `main` calls [`lectern_confinement::init::run_if_asked`] first.
    pub program: Arc<File>,
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence").field("walls", &self.walls).finish_non_exhaustive()
    }
}

/// A program's place behind a [`Fence`].
#[derive(Debug, Clone)]
pub(crate) struct Yard<'a> {
    pub(crate) fence: &'a Fence,
    pub(crate) read_only: Vec<PathBuf>,
    pub(crate) writable: Vec<PathBuf>,
    /// URLs that it must reach: indexes, proxies.
    pub(crate) urls: Vec<String>,
    /// Whether it needs no network at all: what it builds was fetched before.
    pub(crate) offline: bool,
}

impl Yard<'_> {
    /// The walls of this program.
    pub(crate) fn walls(&self) -> Walls {
        let mut walls = self.fence.walls.clone();
        walls.network = if self.offline { Network::None } else { network(walls.network, &self.urls) };
        walls.read_only.extend(self.read_only.iter().cloned());
        walls.writable.extend(self.writable.iter().cloned());
        walls
    }
}

/// What a build may reach: always the outside, whatever content may; the host's loopback addresses only where an index or a
/// proxy is there.
fn network(of_content: Network, urls: &[String]) -> Network {
    match of_content {
        Network::Host => Network::Host,
        Network::None | Network::Egress if urls.iter().any(|url| is_loopback(url)) => Network::Host,
        Network::None | Network::Egress => Network::Egress,
    }
}

/// Whether a URL names this host's loopback.
fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let name = match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or(address),
        None => host.split(':').next().unwrap_or(host),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_reach_the_index_wherever_it_is() {
        let cases = [
            (Network::Egress, "https://packages.example.org/simple", Network::Egress),
            (Network::None, "https://packages.example.org/simple", Network::Egress),
            (Network::Egress, "http://user:pass@127.0.0.1:3141/index/simple", Network::Host),
            (Network::Egress, "http://[::1]:3141/", Network::Host),
            (Network::None, "http://LOCALHOST/simple", Network::Host),
            (Network::Host, "https://packages.example.org/simple", Network::Host),
            (Network::Egress, "http://localhost.example.org", Network::Egress),
        ];
        for (content, url, expected) in cases {
            assert_eq!(network(content, &[url.to_owned()]), expected, "{url}");
        }
    }
}
