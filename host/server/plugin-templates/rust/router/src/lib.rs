//! Gives content items short addresses: the first segment of the path names one.

use std::collections::BTreeMap;

use lectern_plugin::{Decision, Failure, Forward, Host, Reply, Router, export_router};
use serde::Deserialize;

/// What the operator sets. It has passed `config.schema.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Names and GUIDs of content items.
    #[serde(default)]
    names: BTreeMap<String, String>,
}

/// The plugin.
#[derive(Debug)]
pub struct Plugin;

export_router!(Plugin);

impl Router for Plugin {
    /// Called once when a configuration is loaded: what the schema cannot say is refused here.
    fn check(host: &impl Host) -> Result<(), Failure> {
        let settings: Settings = host.settings()?;
        let mut named = BTreeMap::new();
        for (name, guid) in &settings.names {
            if let Some(other) = named.insert(guid, name) {
                return Err(Failure::Misconfigured(format!("names: {other} and {name} are the same content item")));
            }
        }
        Ok(())
    }

    fn route(host: &impl Host) -> Result<Decision, Failure> {
        // The narrowest question first: requests that it answers need not be asked about again.
        let first = host.path_prefix(1);
        let settings: Settings = host.settings()?;
        let Some(guid) = settings.names.get(first.trim_start_matches('/')) else { return Ok(Decision::Next) };
        // `/sales` has one segment, `/sales/` two, of which the second is empty.
        if host.path_prefix(2) == first {
            let query = host.query().map(|query| format!("?{query}")).unwrap_or_default();
            return Ok(Decision::Respond(Reply::redirect(308, &format!("{first}/{query}"))));
        }
        Ok(Decision::Forward(Forward::to(&format!("content:{guid}")).strip_segments(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lectern_plugin::Mock;

    const SETTINGS: &str = r#"{"names": {"sales": "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162"}}"#;

    fn route(target: &str) -> Decision {
        Plugin::route(&Mock::get(target).document(SETTINGS)).unwrap()
    }

    #[test]
    fn names_lead_to_content() {
        let Decision::Forward(forward) = route("/sales/2026") else { panic!("not forwarded") };
        assert_eq!(forward.target, "content:0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162");
        let Decision::Respond(reply) = route("/sales?page=2") else { panic!("not answered") };
        assert_eq!((reply.status, reply.field("location")), (308, Some("/sales/?page=2")));
        assert!(matches!(route("/salesforce/"), Decision::Next));
    }

    #[test]
    fn other_requests_cost_one_question() {
        let host = Mock::get("/connect/").document(SETTINGS);
        assert!(matches!(Plugin::route(&host), Ok(Decision::Next)));
        assert_eq!(host.asked(), ["path-prefix 1"]);
    }

    #[test]
    fn one_content_item_has_one_name() {
        let host = Mock::get("/").document(r#"{"names": {"a": "1", "b": "1"}}"#);
        assert!(matches!(Plugin::check(&host), Err(Failure::Misconfigured(text)) if text.contains("a and b")));
    }
}
