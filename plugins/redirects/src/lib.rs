//! Closed pages, moved pages, host names that are not the one to use, and fields for targets.
//!
//! | setting | is for | in the phases |
//! |---|---|---|
//! | `maintenance` | a page instead of the site or a part of it | route, select |
//! | `hosts` | visitors who came to another name of this server | route, select |
//! | `moved` | addresses that moved, here or to another server | route, select |
//! | `headers` | fields that targets get, or do not get | select |
//!
//! Rules are tried in this order. It reads what the configured rules compare and nothing else; most requests are let through after
//! the first segment of their path.

mod address;
mod headers;
mod location;
mod loops;
mod maintenance;
mod moved;

use lectern_plugin::{Decision, Failure, Host, Reply, Router, export_router};
use serde::Deserialize;

use address::Live;
use headers::HeaderRule;
use maintenance::Maintenance;
use moved::{Moved, Renamed};

/// Most rules of each kind, except moved paths. All are tried for every request.
const MAX_RULES: usize = 50;

/// Most moved paths: a site of some age has a hundred.
const MAX_MOVED: usize = 500;

/// Most hosts of one rule.
const MAX_HOSTS: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    maintenance: Vec<Maintenance>,
    #[serde(default)]
    hosts: Vec<Renamed>,
    #[serde(default)]
    moved: Vec<Moved>,
    #[serde(default)]
    headers: Vec<HeaderRule>,
}

/// The plugin.
#[derive(Debug)]
pub struct Redirects;

export_router!(Redirects);

impl Router for Redirects {
    fn check(host: &impl Host) -> Result<(), Failure> {
        let settings: Settings = host.settings()?;
        settings.problem(host).map_or(Ok(()), |problem| Err(Failure::Misconfigured(problem)))
    }

    fn route(host: &impl Host) -> Result<Decision, Failure> {
        let settings: Settings = host.settings()?;
        let request = Live::new(host);
        if let Some(page) = settings.maintenance.iter().find_map(|rule| rule.reply(host, &request)) {
            return Ok(Decision::Respond(page));
        }
        let found = moved::find(&settings.hosts, &settings.moved, &request);
        if let Some(redirect) = found.filter(|redirect| redirect.suits(host, &request)) {
            let location = redirect.to.of(redirect.rest.as_deref(), host.query().as_deref());
            return Ok(Decision::Respond(match location {
                Some(location) => Reply::redirect(redirect.status.0, &location),
                None => Reply::text(414, "This address has moved, and the new one would be too long.\n"),
            }));
        }
        if settings.headers.is_empty() {
            return Ok(Decision::Next);
        }
        let target = host.target();
        if target.is_empty() {
            return Ok(Decision::Next);
        }
        Ok(headers::apply(&settings.headers, &target, &request).map_or(Decision::Next, Decision::Forward))
    }
}

impl Settings {
    fn problem(&self, host: &impl Host) -> Option<String> {
        let counts = [
            ("maintenance", self.maintenance.len(), MAX_RULES),
            ("hosts", self.hosts.len(), MAX_RULES),
            ("moved", self.moved.len(), MAX_MOVED),
            ("headers", self.headers.len(), MAX_RULES),
        ];
        if let Some((name, count, most)) = counts.into_iter().find(|(_, count, most)| count > most) {
            return Some(format!("{name} has {count} rules, more than {most}"));
        }
        let name = |list: &str, at: usize, problem: String| format!("{list}[{at}]: {problem}");
        for (at, rule) in self.maintenance.iter().enumerate() {
            if let Some(problem) = rule.problem(host) {
                return Some(name("maintenance", at, problem));
            }
        }
        let many = |hosts: &[String]| (hosts.len() > MAX_HOSTS).then(|| format!("more than {MAX_HOSTS} hosts"));
        for (at, rule) in self.hosts.iter().enumerate() {
            if let Some(problem) = rule.problem().or_else(|| many(&rule.from)) {
                return Some(name("hosts", at, problem));
            }
        }
        for (at, rule) in self.moved.iter().enumerate() {
            if let Some(problem) = rule.problem().or_else(|| many(&rule.hosts)) {
                return Some(name("moved", at, problem));
            }
        }
        let circle = loops::find_loop(&self.hosts, &self.moved);
        circle.map(|trail| format!("redirects lead in a circle: {trail}")).or_else(|| headers::problem(&self.headers))
    }
}

#[cfg(test)]
mod tests;
