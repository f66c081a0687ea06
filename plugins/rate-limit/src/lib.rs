//! Limits how many requests may come: from one visitor, from one address, for one content item.
//!
//! Each limit keeps token buckets in the host's memory. Every limit that concerns a request takes one token; the first that finds its
//! bucket empty answers 429 and says when to come again. Limits read what they count by, and nothing else.

mod rule;

use lectern_plugin::web::Notice;
use lectern_plugin::{Decision, Failure, Host, Level, Router, export_router};
use serde::Deserialize;

use rule::Rule;

/// Most limits. A request asks for a token of each that concerns it.
const MAX_RULES: usize = 20;

/// Longest message, in characters.
const MAX_MESSAGE_CHARS: usize = 500;

/// The number that clients of the publishing protocol read. The protocol has none for this; its own end below 200.
const TOO_MANY: u16 = 429;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default = "usual_message")]
    message: String,
}

fn usual_message() -> String {
    "Too many requests came from you in a short time.".to_owned()
}

/// The plugin.
#[derive(Debug)]
pub struct RateLimit;

export_router!(RateLimit);

impl Router for RateLimit {
    fn check(host: &impl Host) -> Result<(), Failure> {
        let settings: Settings = host.settings()?;
        settings.problem().map_or(Ok(()), |problem| Err(Failure::Misconfigured(problem)))
    }

    fn route(host: &impl Host) -> Result<Decision, Failure> {
        let settings: Settings = host.settings()?;
        for rule in &settings.rules {
            let Some(bucket) = rule.bucket(host) else { continue };
            let Some(seconds) = host.take(&bucket, rule.per_minute, rule.burst) else { continue };
            let seconds = seconds.max(1).to_string();
            // Debug: whoever sends too much must not fill the operator's log. The access log has the address and the status.
            host.log(Level::Debug, "refused by a limit", &[("limit", &rule.name), ("seconds", &seconds)]);
            let plural = if seconds == "1" { "" } else { "s" };
            let text = format!("{} Please try again in {seconds} second{plural}.", settings.message);
            let notice = Notice { status: 429, code: TOO_MANY, title: "Too many requests", text: &text };
            return Ok(Decision::Respond(notice.reply(host).with("retry-after", &seconds)));
        }
        Ok(Decision::Next)
    }
}

impl Settings {
    fn problem(&self) -> Option<String> {
        if self.rules.len() > MAX_RULES {
            return Some(format!("rules has {} limits, more than {MAX_RULES}", self.rules.len()));
        }
        for (at, rule) in self.rules.iter().enumerate() {
            if let Some(problem) = rule.problem() {
                return Some(format!("rules[{at}]: {problem}"));
            }
            if self.rules[..at].iter().any(|other| other.name == rule.name) {
                return Some(format!(
                    "rules[{at}]: another limit is named {:?}: they would share their counts",
                    rule.name
                ));
            }
        }
        let length = self.message.chars().count();
        (self.message.trim().is_empty() || length > MAX_MESSAGE_CHARS)
            .then(|| format!("message has {length} characters; it must have 1 to {MAX_MESSAGE_CHARS}"))
    }
}

#[cfg(test)]
mod tests;
