//! Lets requests in, or not, by the address they come from.
//!
//! The most specific network that holds the client's address decides; where none does, the setting `default` does. It asks for
//! the client's address and, where the configuration wants it, for the address of whoever opened the connection.
//!
//! The answers are the same in the phases route and select: a refusal, or "go on".

mod lists;

use lectern_plugin::web::{Network, Notice, address};
use lectern_plugin::{Decision, Failure, Host, Level, Router, export_router};
use serde::Deserialize;

use lists::{Lists, Side};

/// Most networks in one list: each decision looks at all of them.
const MAX_NETWORKS: usize = 1_000;

/// Longest message, in characters: a few sentences.
const MAX_MESSAGE_CHARS: usize = 500;

/// The number that clients of the publishing protocol read: the operation is not permitted.
const NOT_PERMITTED: u16 = 22;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    allow: Vec<Network>,
    #[serde(default)]
    deny: Vec<Network>,
    #[serde(default)]
    default: Side,
    #[serde(default)]
    also_peer: Vec<Network>,
    #[serde(default = "usual_message")]
    message: String,
}

fn usual_message() -> String {
    "This address may not be opened from your network.".to_owned()
}

/// The plugin.
#[derive(Debug)]
pub struct IpAllow;

export_router!(IpAllow);

impl Router for IpAllow {
    fn check(host: &impl Host) -> Result<(), Failure> {
        let settings: Settings = host.settings()?;
        let refuse = |problem: String| Err(Failure::Misconfigured(problem));
        for (name, list) in [("allow", &settings.allow), ("deny", &settings.deny), ("also_peer", &settings.also_peer)] {
            if list.len() > MAX_NETWORKS {
                return refuse(format!("{name} has {} networks, more than {MAX_NETWORKS}", list.len()));
            }
        }
        if let Some(both) = settings.allow.iter().find(|network| settings.deny.contains(network)) {
            return refuse(format!("{both} stands in allow and in deny"));
        }
        if settings.allow.is_empty() && settings.default == Side::Deny {
            return refuse("nobody would be let in: set allow, or set default to \"allow\"".to_owned());
        }
        let length = settings.message.chars().count();
        if settings.message.trim().is_empty() || length > MAX_MESSAGE_CHARS {
            return refuse(format!("message has {length} characters; it must have 1 to {MAX_MESSAGE_CHARS}"));
        }
        Ok(())
    }

    fn route(host: &impl Host) -> Result<Decision, Failure> {
        let settings: Settings = host.settings()?;
        // First, because its answers are few: the addresses of the proxies.
        let refused = if !settings.also_peer.is_empty() && !is_in(&settings.also_peer, &host.peer_ip()) {
            Some("connection")
        } else {
            let lists = Lists { allow: &settings.allow, deny: &settings.deny, default: settings.default };
            (lists.judge(address(&host.client_ip())) == Side::Deny).then_some("client")
        };
        let Some(whose) = refused else { return Ok(Decision::Next) };
        // Debug: whoever is refused must not fill the operator's log. The access log has the address and the status.
        host.log(Level::Debug, "refused by address", &[("whose", whose)]);
        let notice = Notice { status: 403, code: NOT_PERMITTED, title: "Not allowed", text: &settings.message };
        Ok(Decision::Respond(notice.reply(host)))
    }
}

fn is_in(list: &[Network], text: &str) -> bool {
    address(text).is_some_and(|address| list.iter().any(|network| network.contains(address)))
}

#[cfg(test)]
mod tests;
