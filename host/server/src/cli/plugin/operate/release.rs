//! Which release: arguments that several verbs share.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Map, Value, json};

/// What a release is made of; what is left out is as in the live release, or as the package says.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ReleaseArgs {
    /// The version; else the live one's, or the newest installed.
    #[arg(long)]
    version: Option<String>,
    /// The configuration: a file with a JSON object; `-` reads it from standard input.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting on top of it, or of the live configuration. The value is JSON, or else text.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// What it may reach; replaces all grants. Like `clock`, `outbound:https://idp.example.org`, `secret:client-secret`.
    #[arg(long = "grant", value_name = "GRANT")]
    grants: Vec<String>,
    /// It may reach nothing: no grants, not even those that come with the plugin.
    #[arg(long, conflicts_with = "grants")]
    no_grant: bool,
    /// How its instances are used.
    #[arg(long, value_parser = ["fresh", "warm"])]
    instances: Option<String>,
    /// An existing release, by its whole name.
    #[arg(long, value_name = "HASH", conflicts_with_all = ["version", "config", "sets", "grants", "no_grant", "instances"])]
    release: Option<String>,
}

impl ReleaseArgs {
    /// As the server reads it.
    pub(super) fn to_json(&self) -> anyhow::Result<Value> {
        let mut request = Map::new();
        if let Some(release) = &self.release {
            request.insert("release".into(), json!(release));
        }
        if let Some(version) = &self.version {
            request.insert("version".into(), json!(version));
        }
        if let Some(file) = &self.config {
            request.insert("config".into(), Value::Object(read_config(file)?));
        }
        if !self.sets.is_empty() {
            let mut set = Map::new();
            for pair in &self.sets {
                let (key, value) = pair.split_once('=').with_context(|| format!("--set {pair:?} must be KEY=VALUE"))?;
                set.insert(key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| json!(value)));
            }
            request.insert("set".into(), Value::Object(set));
        }
        if !self.grants.is_empty() || self.no_grant {
            request.insert("grants".into(), json!(self.grants));
        }
        if let Some(instances) = &self.instances {
            request.insert("instances".into(), json!(instances));
        }
        Ok(Value::Object(request))
    }
}

fn read_config(file: &Path) -> anyhow::Result<Map<String, Value>> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read the configuration from standard input")?;
        text
    } else {
        std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?
    };
    serde_json::from_str(&text).with_context(|| format!("{} must hold a JSON object", file.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn settings_are_json_or_text() {
        let args = ReleaseArgs {
            version: Some("1.2.0".into()),
            config: None,
            sets: vec!["limit=5".into(), "name=a b".into(), "on=true".into()],
            grants: vec!["clock".into()],
            no_grant: false,
            instances: None,
            release: None,
        };
        let expected = json!({
            "version": "1.2.0",
            "set": {"limit": 5, "name": "a b", "on": true},
            "grants": ["clock"],
        });
        assert_eq!(args.to_json().unwrap(), expected);
        let nothing =
            ReleaseArgs { version: None, sets: Vec::new(), grants: Vec::new(), no_grant: true, ..args.clone() };
        assert_eq!(nothing.to_json().unwrap(), json!({"grants": []}));
        let wrong = ReleaseArgs { sets: vec!["x".into()], ..args };
        assert!(wrong.to_json().is_err());
    }
}
