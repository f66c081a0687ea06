//! Fields that a target gets, or does not get, with its requests.

use std::collections::BTreeMap;

use lectern_plugin::Forward;
use lectern_plugin::web::is_path;
use serde::Deserialize;

use crate::address::Address;

/// Most fields of all rules together: what the host takes of one answer.
const MAX_FIELDS: usize = 64;

/// Most bytes of their names and values together: half of what the host takes, so that other plugins have room.
const MAX_FIELD_BYTES: usize = 8 << 10;

/// Fields that the host keeps for itself; it refuses an answer with any of them.
const OF_THE_HOST: &[&str] = &[
    "connection",
    "content-length",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "posit-connect-user-session-token",
    "proxy-connection",
    "rstudio-connect-app-base-url",
    "rstudio-connect-credentials",
    "shiny-server-credentials",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-correlation-id",
    "x-real-ip",
    "x-request-id",
    "x-rsc-request",
];

/// Fields for some requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderRule {
    #[serde(default)]
    content: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    remove: Vec<String>,
}

/// The fields of all rules that concern the request; later rules win. `None`: none does.
pub(crate) fn apply(rules: &[HeaderRule], target: &str, request: &impl Address) -> Option<Forward> {
    let content = target.strip_prefix("content:");
    // A name once, with the value to set or none.
    let mut fields: BTreeMap<String, Option<&str>> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| rule.concerns(content, request)) {
        fields.extend(rule.remove.iter().map(|name| (name.to_ascii_lowercase(), None)));
        fields.extend(rule.set.iter().map(|(name, value)| (name.to_ascii_lowercase(), Some(value.as_str()))));
    }
    if fields.is_empty() {
        return None;
    }
    let mut forward = Forward::to(target);
    for (name, value) in fields {
        match value {
            Some(value) => forward.set_headers.push((name, value.as_bytes().to_vec())),
            None => forward.remove_headers.push(name),
        }
    }
    Some(forward)
}

impl HeaderRule {
    fn concerns(&self, content: Option<&str>, request: &impl Address) -> bool {
        let named = |guid: &str| self.content.iter().any(|named| named.eq_ignore_ascii_case(guid));
        (self.content.is_empty() || content.is_some_and(named))
            && (self.paths.is_empty() || self.paths.iter().any(|path| request.is_below(path)))
    }

    /// What is wrong with the rule.
    fn problem(&self) -> Option<String> {
        if self.content.is_empty() && self.paths.is_empty() {
            return Some("say for which content or paths; [\"/\"] is for all".to_owned());
        }
        if self.set.is_empty() && self.remove.is_empty() {
            return Some("set or remove at least one field".to_owned());
        }
        if let Some(path) = self.paths.iter().find(|path| !is_path(path)) {
            return Some(format!("path {path:?} must begin with a slash and have no dot segments"));
        }
        for name in self.set.keys().chain(&self.remove) {
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(is_token) {
                return Some(format!("{name:?} is no field name"));
            }
            let lower = name.to_ascii_lowercase();
            let kept = OF_THE_HOST.contains(&lower.as_str());
            if kept || lower.starts_with("x-forwarded-") || lower.starts_with("x-lectern-") {
                return Some(format!("the field {name} belongs to the host"));
            }
        }
        let bad = self.set.iter().find(|(_, value)| value.chars().any(|c| c.is_control() && c != '\t'));
        bad.map(|(name, _)| format!("the value of {name} has control characters"))
    }
}

/// What is wrong with the rules, each by itself and together.
pub(crate) fn problem(rules: &[HeaderRule]) -> Option<String> {
    for (at, rule) in rules.iter().enumerate() {
        if let Some(problem) = rule.problem() {
            return Some(format!("headers[{at}]: {problem}"));
        }
    }
    let sets = || rules.iter().flat_map(|rule| &rule.set);
    let removes = || rules.iter().flat_map(|rule| &rule.remove);
    let fields = sets().count() + removes().count();
    let bytes =
        sets().map(|(name, value)| name.len() + value.len()).sum::<usize>() + removes().map(String::len).sum::<usize>();
    (fields > MAX_FIELDS || bytes > MAX_FIELD_BYTES).then(|| {
        format!(
            "headers has {fields} fields of {bytes} bytes; {MAX_FIELDS} of {MAX_FIELD_BYTES} bytes fit into one answer"
        )
    })
}
