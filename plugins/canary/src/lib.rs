//! Shows another version of a content item to a share of its visitors, to groups or to users.
//!
//! It stands in the phase select, where the visitor has been admitted. The first rule for the content item that includes the visitor
//! names the version. The same visitor always falls on the same side. Without a rule for the content it asks nothing else.

mod rule;
mod share;

use lectern_plugin::{Decision, Failure, Forward, Host, Level, Router, export_router};
use serde::Deserialize;

use rule::Rule;

/// Most rules: more trials at a time than anybody watches.
const MAX_RULES: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    rules: Vec<Rule>,
}

/// The plugin.
#[derive(Debug)]
pub struct Canary;

export_router!(Canary);

impl Router for Canary {
    fn check(host: &impl Host) -> Result<(), Failure> {
        let settings: Settings = host.settings()?;
        if settings.rules.len() > MAX_RULES {
            let count = settings.rules.len();
            return Err(Failure::Misconfigured(format!("rules has {count} rules, more than {MAX_RULES}")));
        }
        let problem = settings.rules.iter().enumerate().find_map(|(at, rule)| Some((at, rule.problem()?)));
        problem.map_or(Ok(()), |(at, problem)| Err(Failure::Misconfigured(format!("rules[{at}]: {problem}"))))
    }

    fn route(host: &impl Host) -> Result<Decision, Failure> {
        let settings: Settings = host.settings()?;
        if settings.rules.is_empty() {
            return Ok(Decision::Next);
        }
        let Some(content) = host.target_content() else { return Ok(Decision::Next) };
        let mut rules = settings.rules.iter().filter(|rule| rule.content.eq_ignore_ascii_case(&content)).peekable();
        if rules.peek().is_none() || names_a_version(host, &content) {
            return Ok(Decision::Next);
        }
        let Some(rule) = rules.find(|rule| rule.includes(host)) else { return Ok(Decision::Next) };
        if host.active_bundle().as_deref() == Some(&rule.bundle) {
            // The trial is over: the version is everybody's.
            return Ok(Decision::Next);
        }
        if !host.has_bundle(&rule.bundle) {
            let fields = [("content.id", content.as_str()), ("bundle", rule.bundle.as_str())];
            host.log(Level::Warn, "no such version: showing the active one", &fields);
            return Ok(Decision::Next);
        }
        Ok(Decision::Forward(Forward::to(&format!("content:{content}")).hint("bundle", &rule.bundle)))
    }
}

/// Whether the address itself names a version, as previews do: whoever opens it wants that one.
fn names_a_version(host: &impl Host, content: &str) -> bool {
    ["_bundle", "_rev"].iter().any(|word| host.path_has_prefix(&format!("/content/{content}/{word}")))
}

#[cfg(test)]
mod tests;
