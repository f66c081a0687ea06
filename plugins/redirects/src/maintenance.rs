//! Pages, or the whole site, closed for a while.

use lectern_plugin::web::{Network, Notice, address, is_path};
use lectern_plugin::{Host, Reply};
use serde::Deserialize;

use crate::address::{Address, names_host};
use crate::moved::bad_pattern;

/// Longest message, in characters: a few sentences.
const MAX_MESSAGE_CHARS: usize = 1_000;

/// Longest time that clients are told to wait, in seconds: a week.
const MAX_RETRY_AFTER: u32 = 604_800;

/// The number that clients of the publishing protocol read. The protocol has none for this; its own end below 200.
const CLOSED: u16 = 503;

/// What is closed, what is said, and who gets in nevertheless.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Maintenance {
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default = "usual_exceptions")]
    except: Vec<String>,
    #[serde(default = "usual_message")]
    message: String,
    #[serde(default = "usual_retry_after")]
    retry_after_seconds: u32,
    #[serde(default)]
    allow: Vec<Network>,
    #[serde(default)]
    bypass_secret: Option<String>,
    #[serde(default = "usual_cookie")]
    bypass_cookie: String,
}

fn usual_exceptions() -> Vec<String> {
    ["/__ping__", "/__lectern__", "/connect", "/__plugin__"].map(str::to_owned).into()
}

fn usual_message() -> String {
    "We are working on this site. Please try again later.".to_owned()
}

fn usual_retry_after() -> u32 {
    600
}

fn usual_cookie() -> String {
    "maintenance-bypass".to_owned()
}

impl Maintenance {
    /// The page for this request, if it is closed to it.
    pub(crate) fn reply(&self, host: &impl Host, request: &impl Address) -> Option<Reply> {
        let concerns = (self.paths.is_empty() || self.paths.iter().any(|path| request.is_below(path)))
            && names_host(&self.hosts, request)
            && !self.except.iter().any(|path| request.is_below(path));
        if !concerns || self.lets_in(host) {
            return None;
        }
        let notice = Notice { status: 503, code: CLOSED, title: "Down for maintenance", text: &self.message };
        Some(notice.reply(host).with("retry-after", &self.retry_after_seconds.to_string()))
    }

    fn lets_in(&self, host: &impl Host) -> bool {
        if !self.allow.is_empty() {
            let client = address(&host.client_ip());
            if client.is_some_and(|client| self.allow.iter().any(|network| network.contains(client))) {
                return true;
            }
        }
        let Some(secret) = &self.bypass_secret else { return false };
        // No cookie: the secret is not asked for, and an empty secret lets nobody in.
        let cookie = host.cookie(&self.bypass_cookie).filter(|value| !value.is_empty());
        cookie.is_some_and(|value| host.secret_matches(secret, value.as_bytes()) == Some(true))
    }

    /// What is wrong with the rule.
    pub(crate) fn problem(&self, host: &impl Host) -> Option<String> {
        if let Some(path) = self.paths.iter().chain(&self.except).find(|path| !is_path(path)) {
            return Some(format!("path {path:?} must begin with a slash and have no dot segments"));
        }
        if let Some(problem) = bad_pattern(&self.hosts) {
            return Some(problem);
        }
        let length = self.message.chars().count();
        if self.message.trim().is_empty() || length > MAX_MESSAGE_CHARS {
            return Some(format!("message has {length} characters; it must have 1 to {MAX_MESSAGE_CHARS}"));
        }
        if !(1..=MAX_RETRY_AFTER).contains(&self.retry_after_seconds) {
            return Some(format!("retry_after_seconds must be 1 to {MAX_RETRY_AFTER}"));
        }
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.bypass_cookie.is_empty() || self.bypass_cookie.len() > 64 || !self.bypass_cookie.bytes().all(is_token) {
            return Some("bypass_cookie must be 1 to 64 letters, digits, `-`, `_` and `.`".to_owned());
        }
        let secret = self.bypass_secret.as_deref()?;
        // Asked here, so that a mistyped name is found before the site is closed to everybody.
        let known = host.secret_matches(secret, b"").is_some();
        (!known).then(|| format!("there is no secret {secret:?}, or it is not granted as secret:{secret}"))
    }
}
